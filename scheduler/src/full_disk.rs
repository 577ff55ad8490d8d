//! Workers whose disk is full: they get no tasks as long as they report that.
//!
//! A worker measures its own disk, so its report is believed at once, and for any number of workers: a task would only
//! fail there. If every worker is full, jobs wait with that reason in their status. They fail with `NO_SPACE` after the
//! time for which jobs wait for workers (`starvation.rs`). Attempts that run on a full disk go on, and end without a
//! charge if they fail for want of space.

use crate::action::Action;
use crate::job::Job;
use crate::state::State;
use windrow_model::{WorkerId, WorkerState};

/// Why a worker with a full disk gets no tasks.
pub(crate) const DISK_FULL: &str = "its disk is full";

impl State {
    /// Handles a worker's report whether its disk is full.
    pub(crate) fn note_room(&mut self, id: WorkerId, full: bool) {
        let Some(worker) = self.workers.live(id).filter(|w| w.full != full) else { return };
        // An exclusion or a drain has a reason of its own, which stays.
        let shown = worker.state == WorkerState::Live && !worker.excluded;
        let reason = full.then(|| DISK_FULL.to_string());
        self.workers.change(id, |w| {
            w.full = full;
            if shown {
                w.reason.clone_from(&reason);
            }
        });
        if shown {
            let state = if full { WorkerState::Excluded } else { WorkerState::Live };
            self.out.push(Action::WorkerChanged { worker: id, state, reason });
        }
        if full {
            self.take_back_all(id);
            self.ensure_eligible_worker();
        }
    }

    /// Why a job waits whose tasks no worker takes, if some worker would take them with room on its disk.
    pub(crate) fn waits_for_disks(&self, job: &Job) -> Option<String> {
        let live = self.workers.iter().filter(|(_, w)| w.full && w.state == WorkerState::Live && w.info.slots > 0);
        let mut full = live.filter(|(id, _)| !job.left_out.contains_key(id));
        let (id, worker) = full.next()?;
        let host = &worker.info.host;
        Some(match full.count() {
            0 => format!("no worker takes new tasks: the disk of {host} ({id}) is full"),
            more => {
                format!("no worker takes new tasks: {} disks are full, one of them that of {host} ({id})", more + 1)
            }
        })
    }
}
