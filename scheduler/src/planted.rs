//! Bugs to order, for the tests of the simulation: each is something that somebody could get wrong. A simulation that
//! does not find one of them would not find it in the code either. Release builds have none of this.

macro_rules! bugs {
    ($($(#[$what:meta])* $bug:ident,)*) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Planted { $($(#[$what])* $bug,)* }
        impl Planted {
            /// Every bug.
            pub const ALL: &'static [Planted] = &[$(Planted::$bug,)*];
        }
    };
}

bugs! {
    /// Whatever a worker says counts for the attempt that runs now.
    NoFence,
    /// A published task is not recorded.
    UnrecordedPart,
    /// The commit is asked for twice.
    CommitTwice,
    /// Outputs of a lost worker count as there.
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
    /// A reader gets the segments of another partition.
    OtherPartition,
    /// A reader gets segments in reverse order.
    Reversed,
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
    /// What a worker does not name when it returns still counts as running there.
    NotGivenBack,
    /// A lost grant is not repeated.
    GrantLost,
    /// Stages do not wait for those that they read.
    NoBarrier,
    /// A backup may run on the worker of the slow attempt.
    BackupBeside,
    /// Whoever comes second of two attempts is not stopped.
    LoserNotRevoked,
    /// What the backup made counts as made by the first attempt.
    NotPreferred,
    /// A failure puts the task back into its queue although another attempt of it goes on.
    OtherForgotten,
    /// A task that gives another output when it runs again is not noticed.
    MixtureUnseen,
    /// A reader that read what was made anew since is taken.
    StaleReaderTaken,
    /// However often readers complain, what lies on a worker that lives counts as there.
    ComplaintsIgnored,
    /// Leases run out while the coordinator itself sleeps.
    NoGrace,
    /// A task that failed on a worker goes back to its queue and keeps its slot.
    SlotLeaked,
    /// A worker gets one attempt more ahead of its slots than it may.
    OverAhead,
    /// A slot that becomes free is given to nobody while somebody waits there for one.
    NotBegun,
    /// What waits on a busy worker stays there while another one has nothing to do.
    AheadKept,
    /// An attempt that is taken back before it has begun is not revoked.
    AheadNotRevoked,
    /// A worker that gets no more tasks keeps those that wait there.
    AheadOnExcluded,
    /// What waits does not count towards its job's limit of slots.
    WaitingUncounted,
    /// What waits of a restored job is moved before its workers are back.
    HeldMoved,
    /// Attempts that are not charged have no bound.
    NoBound,
    /// A task whose workers were lost runs beside others.
    SuspectShares,
    /// A task that loses the worker which it has for itself is not charged.
    SuspectUncharged,
    /// A restart forgets how often attempts ended without a charge.
    CountsForgotten,
    /// The time-outs of attempts are left to their workers.
    LimitsTrusted,
    /// An attempt that its worker does not list counts as there.
    DeliveryTrusted,
    /// A worker that does not see the files of a job gets tasks of it.
    LeftOutForgotten,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Schedulers on this thread have this bug from now on.
#[cfg(debug_assertions)]
pub fn plant(bug: Option<Planted>) {
    PLANTED.set(bug);
}

/// Whether this bug was ordered.
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
