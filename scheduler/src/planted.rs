//! The planted bugs of the scheduler, for the tests of the simulation (`windrow_model::planted_bugs`).

windrow_model::planted_bugs! {
    /// Messages about any attempt count for the running one.
    NoFence,
    /// A published task is not recorded.
    UnrecordedPart,
    /// The commit is asked for twice.
    CommitTwice,
    /// Outputs of a lost worker count as available.
    LossUnseen,
    /// Attempts of lost workers are charged.
    LossCharged,
    /// A worker gets one task more than it has slots.
    OverSlots,
    /// Attempts on chunks of an earlier cut are adopted.
    OtherCut,
    /// Failures are counted anew after a restart.
    FailuresForgotten,
    /// A restored job begins before its workers are back.
    NoWait,
    /// A task whose parts are staged is granted again when it has run again.
    SecondGrant,
    /// A reader gets the ports of an input in another order.
    OtherPort,
    /// A table names the attempts of the tasks in reverse order.
    Reversed,
    /// A reader gets the table that a stage had before it was reopened.
    StaleTable,
    /// A table names the attempt before the one that counts.
    GivenUpKept,
    /// A table that has changed is not sent again in the same session.
    TableNotSentAnew,
    /// The output of a task that runs again is not compared with that of its earlier attempt.
    RerunNotCompared,
    /// Leases do not run out.
    NoLease,
    /// A delayed task is not woken.
    NoWake,
    /// Counters of a task that ran twice are added twice.
    CountedTwice,
    /// A cancel ends a job that commits.
    CancelledCommit,
    /// A restart forgets that the commit had begun.
    SealForgotten,
    /// An attempt that a returning worker does not name still counts as running there.
    NotGivenBack,
    /// A lost grant is not repeated.
    GrantLost,
    /// A stage starts before the stages that it reads are done.
    NoBarrier,
    /// A backup may run on the worker of the slow attempt.
    BackupBeside,
    /// The slower one of two attempts is not revoked.
    LoserNotRevoked,
    /// Outputs of the backup count as those of the first attempt.
    NotPreferred,
    /// A failure puts the task back into its queue although another attempt of it goes on.
    OtherForgotten,
    /// A task that gives another output when it runs again goes unnoticed.
    MixtureUnseen,
    /// A report of a reader with replaced inputs is accepted.
    StaleReaderTaken,
    /// Outputs on a live worker count as available despite any number of failed fetches.
    FetchFailuresIgnored,
    /// A reader is charged for a damaged output that is made again already.
    StaleDamageCharged,
    /// Other timers are handled before leases that end in the same step.
    LeasesLate,
    /// Leases run out while the coordinator itself sleeps.
    NoGrace,
    /// A task that failed on a worker goes back to its queue and keeps its slot.
    SlotLeaked,
    /// A worker gets one queued attempt more than it may.
    OverAhead,
    /// A slot that becomes free stays free although an attempt is queued there.
    NotBegun,
    /// An attempt queued on a busy worker stays there while another worker is idle.
    AheadKept,
    /// A queued attempt that is taken back is not revoked.
    AheadNotRevoked,
    /// A worker that gets no more tasks keeps its queued attempts.
    AheadOnExcluded,
    /// Queued attempts do not count towards their job's limit of slots.
    WaitingUncounted,
    /// Queued attempts of a restored job are moved before its workers are back.
    HeldMoved,
    /// Uncharged attempts have no bound.
    NoBound,
    /// A suspect runs beside other tasks.
    SuspectShares,
    /// A suspect that loses its own worker is not charged.
    SuspectUncharged,
    /// A restart forgets how often attempts ended without a charge.
    CountsForgotten,
    /// The time-outs of attempts are left to their workers.
    LimitsTrusted,
    /// An attempt that its worker does not list counts as delivered.
    DeliveryTrusted,
    /// A worker that does not see the files of a job gets tasks of it.
    LeftOutForgotten,
}
