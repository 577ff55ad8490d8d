//! The operations, one file each.

mod cogroup;
mod collect;
mod combine;
mod distinct;
mod filter;
mod group;
mod hash_join;
mod join;
mod map;
mod partition_by;
mod pipe;
mod reduce;
mod share;
mod sort;
mod sort_within;
mod union;
mod write;

pub(crate) use collect::records_of;
