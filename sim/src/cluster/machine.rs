//! The machine of a simulated worker: executors that take time and end, and a disk that fills.

use super::Cluster;
use super::worker::Death;
use windrow_model::*;

impl Cluster {
    /// Whether an attempt that writes or fetches meets a full disk.
    pub(crate) fn runs_out_of_space(&mut self, id: WorkerId, writes: bool) -> bool {
        let full = self.nodes[&id].full && self.user_errors && writes && self.fourth.percent(30);
        if full {
            self.count("attempt without space");
        }
        full
    }

    /// Ends some of the worker's pending work, or one of its executors. It takes no turn: otherwise an attempt would live through
    /// many more turns, and so meet many more faults, than in runs without executors.
    pub(crate) fn attend(&mut self, id: WorkerId) {
        let executors = self.nodes[&id].worker.executors();
        if self.end_some_executor(id, &executors) {
            return;
        }
        let full = self.kinds.disks && self.broken && self.fourth.percent(1);
        if full {
            let node = self.nodes.get_mut(&id).expect("it is there");
            node.full = !node.full;
            self.count("disk full, or with room again");
        }
        let node = self.nodes.get_mut(&id).expect("it is there");
        while self.fourth.percent(75) {
            let pending = node.worker.pending();
            if pending.is_empty() {
                break;
            }
            node.worker.complete(pending[self.fourth.below(pending.len())]);
        }
        node.tell(id);
    }

    /// Ends one of these executors, or none. A start that was killed is likely to be killed again, since a bound counts such kills.
    fn end_some_executor(&mut self, id: WorkerId, executors: &[JobId]) -> bool {
        let worker = &self.nodes[&id].worker;
        let hangs = |job: &&JobId| self.hung.contains(job) && !worker.running_in(**job).is_empty();
        let killed = |job: &&JobId| !worker.is_ready(**job) && worker.was_killed_early(**job);
        let (job, death) = match (executors.iter().find(hangs), executors.iter().find(killed)) {
            (Some(job), _) if self.fourth.percent(30) => (*job, Death::Stuck),
            (_, Some(job)) if self.broken && self.fourth.percent(50) => (*job, Death::Killed),
            _ if self.broken && !executors.is_empty() && self.fourth.percent(6) => {
                let job = executors[self.fourth.below(executors.len())];
                let running = worker.running_in(job);
                (job, self.death(&running))
            }
            _ => return false,
        };
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.worker.end_executor(job, death);
        node.tell(id);
        self.count("executor ended");
        true
    }

    /// How an executor that runs these attempts ends. A crash by a task is charged in the end, so it happens only where user code
    /// may fail.
    fn death(&mut self, running: &[AttemptId]) -> Death {
        if running.is_empty() {
            return if self.fourth.percent(50) { Death::Killed } else { Death::ByWorker };
        }
        match self.user_errors.then(|| self.fourth.below(6)) {
            Some(0) => Death::By(running[self.fourth.below(running.len())]),
            Some(1 | 2) => Death::Unexplained,
            Some(3) => Death::Stuck,
            Some(4) => Death::Killed,
            _ => Death::ByWorker,
        }
    }

    /// Completes everything that is pending in the worker.
    pub(crate) fn settle(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        while let Some(first) = node.worker.pending().first().copied() {
            node.worker.complete(first);
        }
        node.tell(id);
    }
}
