//! The table of timers: leases of workers, delays of retries, time-outs of jobs. It knows when something is due; other
//! files decide what happens then. It reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{JobId, StageId, TaskId, Time, WorkerId};

/// The kinds of timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Lease(WorkerId),
    Delay(TaskId),
    Timeout(JobId),
    /// An exclusion ends: the worker gets tasks again.
    Excluded(WorkerId),
    /// Restored jobs stop waiting for workers.
    Awaited,
    /// A job that no worker takes fails.
    Starved(JobId),
    /// The job is searched for slow tasks.
    Backups(JobId),
}

/// The timers; each is set at most once.
#[derive(Default)]
pub(crate) struct Timers {
    at: BTreeMap<Timer, Time>,
    order: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets or moves a timer. The maximal time means never.
    pub(crate) fn set(&mut self, timer: Timer, at: Time) {
        // Every message renews a lease, often many times in a millisecond.
        if self.at.get(&timer) == Some(&at) {
            return;
        }
        self.clear(timer);
        if at < Time(u64::MAX) {
            self.at.insert(timer, at);
            self.order.insert((at, timer));
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due, with its time.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, Timer)> {
        let (at, timer) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some((at, timer))
    }

    /// Takes every lease that is due, with its time, the earliest first.
    pub(crate) fn take_due_leases(&mut self, now: Time) -> Vec<(Time, WorkerId)> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        let lease = |(at, timer): &(Time, Timer)| match timer {
            Timer::Lease(worker) => Some((*at, *worker)),
            _ => None,
        };
        let leases: Vec<(Time, WorkerId)> = due.filter_map(lease).collect();
        leases.iter().for_each(|(_, worker)| self.clear(Timer::Lease(*worker)));
        leases
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Timer> + '_ {
        self.at.keys().copied()
    }

    /// The delays of a job's tasks.
    pub(crate) fn delays(&self, job: JobId) -> impl Iterator<Item = Timer> + '_ {
        let edge = |stage, index| Timer::Delay(TaskId { job, stage: StageId(stage), index });
        self.at.range(edge(0, 0)..=edge(u32::MAX, u32::MAX)).map(|(timer, _)| *timer)
    }
}
