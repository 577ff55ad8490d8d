//! The operations, one file each.

mod cogroup;
mod collect;
mod combine;
mod combine_all;
mod count;
mod distinct;
mod filter;
mod flatten;
mod full_join;
mod gather;
mod group;
mod hash_join;
mod inspect;
mod join;
mod map;
mod partition_by;
mod pipe;
mod reduce;
mod semi_join;
mod share;
mod sort;
mod sort_within;
mod take;
mod top;
mod union;
mod write;

pub(crate) use collect::records_of;
pub use flatten::Nested;
