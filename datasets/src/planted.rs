//! Planted bugs for the tests of the simulation: each is a plausible mistake. A simulation that does not find a planted
//! bug would not find it in the code either. Release builds have none of this.

macro_rules! bugs {
    ($($(#[$what:meta])* $bug:ident,)*) => {
        /// A bug that a test can plant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Planted { $($(#[$what])* $bug,)* }
        impl Planted {
            /// Every bug.
            pub const ALL: &'static [Planted] = &[$(Planted::$bug,)*];
        }
    };
}

bugs! {
    /// Chunks are deleted while a put is open.
    DeletedDuringPut,
    /// Chunks are deleted although a worker has seen a newer journal.
    FrozenIgnored,
    /// A worker that has seen more changes of the present or an earlier epoch is admitted.
    MoreChangesAdmitted,
    /// A worker that has seen a later epoch is admitted.
    LaterEpochAdmitted,
    /// A worker that has seen another copy of the journal in the same epoch is admitted.
    CopyAdmitted,
    /// A worker of another cluster is admitted.
    OtherClusterAdmitted,
    /// A change that removes one reference removes all.
    AllReferencesTaken,
    /// A job that reads a dataset does not keep its chunks.
    PinsUncounted,
    /// A worker whose inventory is incomplete is ordered to delete.
    DeletedDuringInventory,
    /// A damaged or missing copy is not restored.
    LossUnseen,
    /// Orphans go to the trash at once.
    OrphansUnkept,
    /// Any number of orphans moves to the trash in an hour.
    HourUnbounded,
    /// A chunk in the trash is not restored when it is needed.
    TrashForgotten,
    /// A put is committed although no worker has reported its chunks.
    UnplacedCommitted,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in the tables of this thread, or removes it.
#[cfg(debug_assertions)]
pub fn plant(bug: Option<Planted>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[inline]
pub(crate) fn has(bug: Planted) -> bool {
    #[cfg(debug_assertions)]
    return PLANTED.get() == Some(bug);
    #[cfg(not(debug_assertions))]
    {
        let _ = bug;
        false
    }
}
