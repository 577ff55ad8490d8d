//! The planted bugs of the datasets and of membership, for the tests of the simulation (`windrow_model::planted_bugs`).

windrow_model::planted_bugs! {
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
    /// A worker that has seen another copy in an epoch of the journal is refused after a restore, too.
    ForkRefused,
    /// A worker of another cluster is admitted.
    OtherClusterAdmitted,
    /// A change that removes one reference removes all.
    AllReferencesTaken,
    /// A job that reads a dataset does not keep its chunks.
    PinsUncounted,
    /// Chunks that an inventory does not list still count as held.
    StaleInventory,
    /// A worker whose inventory is incomplete is ordered to delete.
    DeletedDuringInventory,
    /// A damaged or missing copy is not restored.
    LossUnseen,
    /// A copy that is never reported is awaited without a bound.
    CopyAwaited,
    /// Orphans go to the trash at once.
    OrphansUnkept,
    /// Any number of orphans moves to the trash in an hour.
    HourUnbounded,
    /// Orphans move to the trash before the journal has their reservation.
    Unreserved,
    /// A reservation is not counted in the next epoch.
    ReservationUncounted,
    /// A chunk in the trash is not restored when it is needed.
    TrashForgotten,
    /// A failed put takes chunks with it that were there before.
    FailedPutTakesAll,
    /// A put is committed although no worker has reported its chunks.
    UnplacedCommitted,
}
