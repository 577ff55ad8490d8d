//! The datasets of a cluster and their chunks, as a pure state machine.
//!
//! The table ([`Datasets`]) knows the names of datasets, the datasets and jobs that reference each chunk, the holders
//! of each chunk, and the unreferenced chunks. Names and references are also in the journal. Holders are not: workers
//! report their chunks when they register. The table answers with [`Order`]s: copy a chunk, delete chunks, move chunks
//! to the trash.
//!
//! A chunk whose last reference was removed by a recorded change (a removal, an overwrite, the end of a job) is *ordered*
//! to be deleted and goes at once, and so do the copies that a failed put has stored. Any other unreferenced chunk is an *orphan*
//! (`orphans.rs`): it stays for a time, and few are removed in an hour (`hour.rs`). Nothing is deleted while a put is open, since
//! it may be about to name the chunk, nor while a worker has seen a newer journal than this one ([`Membership`]).
//!
//! The crate knows no file, connection or clock: times are arguments. The coordinator is one driver, the simulation is another.

#![warn(unreachable_pub)]

mod copies;
mod holders;
mod hour;
mod inventories;
mod lineage;
mod membership;
mod names;
mod orders;
mod orphans;
pub mod planted;
mod puts;
mod references;
mod table;
mod trash;
mod unreferenced;
mod waits;

pub use lineage::{EpochRecord, Lineage};
pub use membership::{Membership, Verdict};
pub use orders::Order;
pub use orphans::Orphans;
pub use puts::Placed;
pub use table::{Datasets, PutId};
pub use unreferenced::Orphan;
pub use waits::{OrphanChanges, OrphanRule, OrphanWaits, ReservationId, Wait};

#[cfg(test)]
mod deletion_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
