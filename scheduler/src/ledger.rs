//! The ledger of a task: its attempts that ended without a charge, counted by cause, with a bound for each cause.
//!
//! At the bound the job fails with the code of the cause, and a message that lists the events with their workers. When
//! the task is done, only the counts against its outputs stay.

use std::collections::VecDeque;
use windrow_model::{AttemptId, Code, Incarnation, RecordPlace, WorkerId};

macro_rules! causes {
    ($($(#[$what:meta])* $cause:ident $name:literal $code:ident $most:literal;)*) => {
        /// Why an attempt ended without a charge.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Cause { $($(#[$what])* $cause,)* }

        impl Cause {
            /// Every cause.
            pub const ALL: &'static [Cause] = &[$(Cause::$cause,)*];

            /// Its name in the journal, which never changes.
            pub fn as_str(self) -> &'static str {
                match self { $(Cause::$cause => $name,)* }
            }

            /// The number of endings of one task's attempts at which the job fails.
            pub fn most(self) -> u32 {
                match self { $(Cause::$cause => $most,)* }
            }

            /// The code of that failure.
            pub fn code(self) -> Code {
                match self { $(Cause::$cause => Code::$code,)* }
            }
        }
    };
}

causes! {
    /// Its worker was lost while it had the attempt. After several of these the task runs alone (`suspects.rs`).
    WorkerLost "worker-lost" PoisonTask 20;
    /// Its worker was lost while it ran nothing else. This cause is charged as well.
    LostAlone "lost-alone" PoisonTask 2;
    /// Its worker was silent for a lease and returned in the same incarnation.
    Unheard "unheard" WorkerLost 50;
    /// Its worker ended normally before the attempt did.
    Drained "drained" WorkerLost 50;
    /// Its worker was lost while it published the parts.
    LostPublishing "lost-publishing" WorkerLost 20;
    /// Its worker does not have it although it was sent: the session broke, or the worker lost it.
    Undelivered "undelivered" WorkerLost 50;
    /// Its worker had it and did not start it in time.
    NotBegun "not-begun" TaskTimeout 5;
    /// A segment could not be fetched from its holder.
    FetchFailed "fetch-failed" FetchFailed 40;
    /// A segment did not have its checksum.
    SegmentCorrupt "segment-corrupt" SegmentCorrupt 10;
    /// A reader found an output of the task damaged.
    OutputDamaged "output-damaged" SegmentCorrupt 10;
    /// Two readers could not fetch an output of the task.
    OutputUnreachable "output-unreachable" FetchFailed 40;
    /// A chunk of a dataset could not be read from any holder.
    ChunkUnavailable "chunk-unavailable" ChunkUnavailable 20;
    /// An input was produced again meanwhile and differs.
    InputReplaced "input-replaced" NondeterministicTask 20;
    /// Its worker does not see the job's files; the job leaves that worker out.
    NotShared "not-shared" InputNotShared 8;
    /// Its worker says that the attempt belongs to an earlier incarnation.
    Stale "stale" StaleAttempt 50;
    /// Its worker could not start the job's process or a thread: a limit of the system, which is no fault of the task.
    ResourceLimit "resource-limit" ResourceLimit 20;
    /// The disk of its worker was full, and stayed full after the attempt's files were deleted.
    DiskFull "disk-full" NoSpace 20;
    /// Any other uncharged failure.
    Other "other" Internal 20;
}

impl Cause {
    const COUNT: usize = Cause::ALL.len();

    /// The cause for an uncharged failure with this code.
    pub(crate) fn of(code: Code) -> Cause {
        match code {
            Code::FetchFailed | Code::Unreachable => Cause::FetchFailed,
            Code::SegmentCorrupt => Cause::SegmentCorrupt,
            Code::ChunkUnavailable => Cause::ChunkUnavailable,
            Code::StaleAttempt => Cause::Stale,
            Code::WorkerLost => Cause::Undelivered,
            Code::ResourceLimit => Cause::ResourceLimit,
            Code::NoSpace => Cause::DiskFull,
            _ => Cause::Other,
        }
    }

    /// Whether it concerns outputs of the task. Such counts survive the end of an attempt.
    fn is_of_output(self) -> bool {
        matches!(self, Cause::OutputDamaged | Cause::OutputUnreachable)
    }

    /// The cause with this name in the journal.
    pub fn parse(name: &str) -> Option<Cause> {
        Cause::ALL.iter().copied().find(|cause| cause.as_str() == name)
    }
}

/// The nonzero counts by cause.
pub type Counts = Vec<(Cause, u32)>;

/// The journal's record of a task's uncharged attempts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub counts: Counts,
    /// The losses that `Cause::WorkerLost` and `Cause::LostAlone` count and that a returning worker may still take
    /// back.
    pub losses: Vec<Loss>,
}

impl Tally {
    /// Whether nothing counts against the task.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// An attempt that was lost with its worker. It counts once, however often that worker is lost with it, and no longer
/// once the worker returns in the incarnation in which it was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub worker: WorkerId,
    pub attempt: AttemptId,
    /// The worker ran nothing else: `Cause::LostAlone` counts the loss, and the task was charged for it.
    pub alone: bool,
}

impl Loss {
    fn cause(&self) -> Cause {
        if self.alone { Cause::LostAlone } else { Cause::WorkerLost }
    }
}

/// Number of the latest endings that a message lists.
const LISTED_MAX: usize = 6;
/// Bytes of each ending in a message.
const WHAT_BYTES_MAX: usize = 160;

/// One attempt that ended without a charge.
pub(crate) struct Happening {
    pub worker: WorkerId,
    pub host: String,
    /// The number of the attempt.
    pub number: u32,
    pub cause: Cause,
    pub what: String,
}

/// A suspect whose worker was lost while it ran alone: the next incarnation may report the record at which it was.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    pub worker: WorkerId,
    pub attempt: AttemptId,
}

/// The uncharged endings of one task's attempts.
#[derive(Default)]
pub(crate) struct Ledger {
    counts: [u32; Cause::COUNT],
    losses: Vec<Loss>,
    latest: VecDeque<Happening>,
    /// Whether the task must run alone.
    pub suspect: bool,
    pub pending: Option<Pending>,
    /// Its attempts whose outputs were found damaged in this epoch: workers that offer them again are refused. As many as
    /// `Cause::OutputDamaged` counts.
    pub damaged: Vec<AttemptId>,
    /// The record that it was at when its worker was last lost, if the worker's next incarnation could report it.
    pub last_place: Option<RecordPlace>,
}

impl Ledger {
    pub(crate) fn count(&self, cause: Cause) -> u32 {
        self.counts[cause as usize]
    }

    /// The record for the journal.
    pub(crate) fn tally(&self) -> Tally {
        let counts = Cause::ALL.iter().map(|c| (*c, self.count(*c))).filter(|(_, n)| *n > 0).collect();
        Tally { counts, losses: self.losses.clone() }
    }

    /// Takes over the counts of an earlier epoch.
    pub(crate) fn restore(&mut self, tally: &Tally, suspect_after: u32) {
        for (cause, n) in &tally.counts {
            self.counts[*cause as usize] = (*n).min(cause.most().saturating_sub(1));
        }
        let mut counted = [self.count(Cause::WorkerLost), self.count(Cause::LostAlone)];
        let mut is_counted = |loss: &Loss| {
            let left = &mut counted[usize::from(loss.alone)];
            std::mem::replace(left, left.saturating_sub(1)) > 0
        };
        self.losses = tally.losses.iter().copied().filter(|loss| is_counted(loss)).collect();
        self.suspect = self.count(Cause::WorkerLost) >= suspect_after;
    }

    pub(crate) fn clear(&mut self, cause: Cause) {
        self.counts[cause as usize] = 0;
        self.losses.retain(|loss| loss.cause() != cause);
    }

    /// Takes back the losses of a worker's incarnation, and returns them.
    pub(crate) fn forgive(&mut self, worker: WorkerId, incarnation: Incarnation) -> Vec<Loss> {
        let is_lost = |loss: &mut Loss| loss.worker == worker && loss.attempt.incarnation == incarnation;
        let forgiven: Vec<Loss> = self.losses.extract_if(.., is_lost).collect();
        for loss in &forgiven {
            let count = &mut self.counts[loss.cause() as usize];
            *count = count.saturating_sub(1);
        }
        forgiven
    }

    /// Counts lone losses as ordinary ones until the task is a suspect again. Returns how many were moved.
    pub(crate) fn rebalance(&mut self, suspect_after: u32) -> u32 {
        let mut moved = 0;
        for loss in self.losses.iter_mut().filter(|loss| loss.alone) {
            if self.counts[Cause::WorkerLost as usize] >= suspect_after {
                break;
            }
            loss.alone = false;
            self.counts[Cause::WorkerLost as usize] += 1;
            self.counts[Cause::LostAlone as usize] = self.counts[Cause::LostAlone as usize].saturating_sub(1);
            moved += 1;
        }
        moved
    }

    /// Clears the counts of a done task except those against its outputs. False if no count is left.
    pub(crate) fn settle(&mut self) -> bool {
        for cause in Cause::ALL.iter().filter(|c| !c.is_of_output()) {
            self.clear(*cause);
        }
        self.latest.retain(|h| h.cause.is_of_output());
        (self.suspect, self.pending, self.last_place) = (false, None, None);
        self.counts.iter().any(|n| *n > 0)
    }

    /// The latest endings as text, each with its attempt and worker.
    pub(crate) fn story(&self) -> String {
        let all: u32 = self.counts.iter().sum();
        let listed = self.latest.iter().map(|h| {
            let host = if h.host.is_empty() { String::new() } else { format!("{} ", h.host) };
            format!("attempt {} on {host}({}): {}: {}", h.number, h.worker, h.cause.as_str(), h.what)
        });
        let listed: Vec<String> = listed.collect();
        let earlier = (all as usize).saturating_sub(listed.len());
        match earlier {
            0 => listed.join("; "),
            n => format!("{n} earlier ones, then {}", listed.join("; ")),
        }
    }

    /// Records a loss. False if it counts already.
    pub(crate) fn lose(&mut self, loss: Loss) -> bool {
        let is_known = self.losses.iter().any(|l| l.worker == loss.worker && l.attempt == loss.attempt);
        if !is_known {
            self.losses.push(loss);
        }
        !is_known
    }

    /// Counts an ending. Returns how many had this cause.
    pub(crate) fn add(&mut self, mut happening: Happening) -> u32 {
        cut(&mut happening.what);
        let count = &mut self.counts[happening.cause as usize];
        *count = count.saturating_add(1);
        let count = *count;
        if self.latest.len() == LISTED_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back(happening);
        count
    }
}

fn cut(text: &mut String) {
    if text.len() > WHAT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(WHAT_BYTES_MAX));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_bound_a_name_and_a_code() {
        for cause in Cause::ALL.iter().copied() {
            assert!((1..=50).contains(&cause.most()), "{cause:?}");
            assert_eq!(Cause::parse(cause.as_str()), Some(cause));
        }
        assert_eq!(Cause::parse("unknown"), None);
    }

    #[test]
    fn story_lists_the_latest_and_counts_the_rest() {
        let mut ledger = Ledger::default();
        for number in 0..9 {
            let (worker, host) = (WorkerId::from_bytes([number as u8; 16]), "h".to_string());
            ledger.add(Happening { worker, host, number, cause: Cause::FetchFailed, what: "x".repeat(500) });
        }
        let story = ledger.story();
        assert!(story.starts_with("3 earlier ones, then attempt 3 on h"), "{story}");
        assert!(story.len() < LISTED_MAX * (WHAT_BYTES_MAX + 100), "{story}");
    }

    #[test]
    fn done_task_keeps_what_counts_against_its_output() {
        let mut ledger = Ledger::default();
        let counts = vec![(Cause::WorkerLost, 3), (Cause::OutputDamaged, 2)];
        ledger.restore(&Tally { counts, losses: Vec::new() }, 3);
        assert!(ledger.suspect);
        assert!(ledger.settle() && !ledger.suspect);
        assert_eq!(ledger.tally().counts, [(Cause::OutputDamaged, 2)]);
        ledger.clear(Cause::OutputDamaged);
        assert!(!ledger.settle());
    }
}
