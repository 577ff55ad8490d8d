//! The operations, one file each.

mod cogroup;
mod collect;
mod combine;
mod combine_all;
mod combine_by;
mod count;
mod distinct;
mod distinct_by;
mod filter;
mod flatten;
mod full_join;
mod gather;
mod group;
mod hash_join;
mod inspect;
mod join;
mod map;
mod map_partitions;
mod partition_by;
mod pipe;
mod reduce;
mod reduce_by;
mod repartition;
mod sample;
mod semi_join;
mod share;
mod sort;
mod sort_within;
mod take;
mod top;
mod union;
mod window;
mod write;
mod zip_with_index;

pub(crate) use collect::records_of;
pub use flatten::Nested;
