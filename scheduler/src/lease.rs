//! Leases of workers, and what happens when a timer is due.

use crate::planted::{self, Planted};
use crate::state::State;
use crate::timers::Timer;
use windrow_model::{Time, WorkerId};

impl State {
    /// Renews the lease of a live worker after a message from it.
    pub(crate) fn renew_lease(&mut self, worker: WorkerId) {
        if let Some(w) = self.workers.live_mut(worker) {
            w.graced = false;
            let forever = planted::has(Planted::NoLease);
            let due = if forever { Time(u64::MAX - 1) } else { self.now.plus_ms(self.config.lease_ms) };
            self.timers.set(Timer::Lease(worker), due);
        }
    }

    /// Handles every timer that is due. Leases come first: no other timer assigns an attempt to a worker that is lost in
    /// the same step, which would count as one more attempt that its worker took along.
    pub(crate) fn expire(&mut self) {
        if !planted::has(Planted::LeasesLate) {
            for (due, worker) in self.timers.take_due_leases(self.now) {
                self.lease_ran_out(worker, due);
            }
        }
        while let Some((due, timer)) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Lease(worker) => self.lease_ran_out(worker, due),
                Timer::Delay(task) => self.delay_is_over(task),
                Timer::Timeout(job) => self.job_timed_out(job),
                Timer::Excluded(worker) => self.readmit(worker),
                Timer::Awaited => self.stop_waiting(),
                Timer::Starved(job) => self.fail_starved_job(job),
                Timer::Backups(job) => self.look_for_slow_tasks(job),
            }
        }
    }

    /// If the timer fires much too late, this process has slept (a suspended machine, a stopped process), and the
    /// beats of the worker wait unread: the worker gets one more lease. Only one, otherwise a driver with rare steps
    /// would never lose a worker.
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
