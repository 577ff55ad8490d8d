//! Time-outs as a table: leases of workers, delays of retries, time-outs of jobs. It owns when something is due; what
//! happens then is decided elsewhere. It reads no clock.

use crate::planted::{self, Planted};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{JobId, StageId, TaskId, Time, WorkerId};

/// What can become due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Lease(WorkerId),
    Delay(TaskId),
    Timeout(JobId),
    /// A worker gets tasks again.
    Excluded(WorkerId),
    /// Restored jobs wait for workers no longer.
    Awaited,
    /// No worker takes tasks, and the job waits for that no longer.
    Unserved(JobId),
    /// The job is looked through for slow tasks.
    Backups(JobId),
}

/// Each timer is set at most once.
#[derive(Default)]
pub(crate) struct Timers {
    at: BTreeMap<Timer, Time>,
    order: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets or moves a timer. The end of time is never.
    pub fn set(&mut self, timer: Timer, at: Time) {
        // A lease is renewed by everything that is heard, often many times in a millisecond.
        if self.at.get(&timer) == Some(&at) {
            return;
        }
        self.clear(timer);
        if at < Time(u64::MAX) {
            self.at.insert(timer, at);
            self.order.insert((at, timer));
        }
    }

    pub fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due, with the time it was due at.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, Timer)> {
        let (at, timer) = *self.order.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some((at, timer))
    }

    pub fn iter(&self) -> impl Iterator<Item = Timer> + '_ {
        self.at.keys().copied()
    }

    /// The delays that are set for tasks of a job.
    pub fn delays(&self, job: JobId) -> impl Iterator<Item = Timer> + '_ {
        let edge = |stage, index| Timer::Delay(TaskId { job, stage: StageId(stage), index });
        self.at.range(edge(0, 0)..=edge(u32::MAX, u32::MAX)).map(|(timer, _)| *timer)
    }
}

impl State {
    /// Something was heard of a worker that lives.
    pub fn renew_lease(&mut self, worker: WorkerId) {
        if let Some(w) = self.workers.live_mut(worker) {
            w.graced = false;
            let forever = planted::has(Planted::NoLease);
            let due = if forever { Time(u64::MAX - 1) } else { self.now.plus_ms(self.config.lease_ms) };
            self.timers.set(Timer::Lease(worker), due);
        }
    }

    /// Does what is due.
    pub fn expire(&mut self) {
        while let Some((due, timer)) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Lease(worker) => self.lease_ran_out(worker, due),
                Timer::Delay(task) => self.delay_is_over(task),
                Timer::Timeout(job) => self.job_timed_out(job),
                Timer::Excluded(worker) => self.readmit(worker),
                Timer::Awaited => self.stop_waiting(),
                Timer::Unserved(job) => self.give_up_unserved(job),
                Timer::Backups(job) => self.look_for_slow_tasks(job),
            }
        }
    }

    /// If we look much too late it was us who slept (a suspended machine, a stopped process), and the worker's beats
    /// wait unread: it gets one more lease. Only one, or a driver that looks rarely would never lose anybody.
    fn lease_ran_out(&mut self, worker: WorkerId, due: Time) {
        let late = self.now.since_ms(due) > self.config.lease_ms / 2;
        match self.workers.live_mut(worker) {
            Some(w) if late && !w.graced && !planted::has(Planted::NoGrace) => {
                w.graced = true;
                self.timers.set(Timer::Lease(worker), self.now.plus_ms(self.config.lease_ms));
            }
            Some(_) => self.lose_worker(worker, "nothing was heard of it for the time of its lease"),
            None => {}
        }
    }
}
