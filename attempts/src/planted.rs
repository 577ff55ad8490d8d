//! The planted bugs of a worker's attempts, for the tests of the simulation (`windrow_model::planted_bugs`).

windrow_model::planted_bugs! {
    /// An attempt that fails keeps its slot.
    SlotKept,
    /// One attempt more than there are slots runs.
    OverSlots,
    /// The attempts that get a slot when another one ends do not begin.
    QueueStalls,
    /// Messages of an executor of an earlier generation count.
    GenerationIgnored,
    /// A revoked attempt that has not begun runs all the same.
    RevocationLost,
    /// A failed attempt is forgotten without a report.
    FailureUnreported,
    /// A repeated grant of a published attempt is not answered.
    GrantUnanswered,
    /// All attempts of an executor that crashed are charged.
    NeighboursCharged,
    /// Suspects run side by side.
    SuspectsTogether,
    /// An attempt whose executor died does not run again.
    ClearedForgotten,
    /// The inventory leaves out attempts that have not begun.
    QueuedUnlisted,
    /// The files of an ended job stay.
    DropForgotten,
    /// The lease of a session never ends.
    LeaseForgotten,
    /// Executors that ignore their tasks are restarted without a bound.
    StuckUncounted,
    /// Executors that are killed before they are ready are restarted without a bound.
    StartsUncounted,
    /// An executor that this worker killed charges its only attempt.
    OwnKillCharged,
}
