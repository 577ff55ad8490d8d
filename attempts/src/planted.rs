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

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in the attempts of this thread, or removes it.
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
