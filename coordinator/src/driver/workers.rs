//! The sessions of workers: their beginnings, their ends, and the reports in them.

use crate::driver::Driver;
use crate::journal::Record;
use crate::mailbox::{Inventory, Report, SessionId};
use crate::outbox::Outbox;
use crate::staging_check::Answer;
use std::collections::BTreeSet;
use windrow_datasets::Verdict;
use windrow_model::{Code, Digest, Failure, JobId, NodeInfo, WorkerId};
use windrow_proto::v1;
use windrow_scheduler::Event;

/// A worker whose stream broke may come back within this time, and loses nothing.
const GRACE_MS: u64 = 500;

impl Driver {
    pub(crate) fn handle_drain(&mut self, worker: WorkerId) -> Result<(), Failure> {
        if self.scheduler.worker_address(worker).is_none() {
            return Err(Failure::new(Code::WorkerNotFound, format!("there is no {worker}")));
        }
        self.sessions.set_draining(worker, v1::Draining::default());
        self.step(Event::WorkerDrains { worker });
        self.sessions.send(worker, v1::to_worker::Message::Drain(v1::Drain {}));
        Ok(())
    }

    pub(crate) fn handle_session_began(
        &mut self,
        node: NodeInfo,
        process: u64,
        inventory: Inventory,
        to_worker: Outbox,
    ) -> Result<SessionId, Failure> {
        let worker = node.worker;
        self.admit(&node, &inventory)?;
        let Some(session) = self.sessions.begin(worker, node.incarnation, process, to_worker, self.clock.now()) else {
            let other = self.scheduler.worker_address(worker).unwrap_or("an unknown address").to_string();
            let message = format!(
                "another process is registered as {worker}, at {other}: one of the two runs on a copy of the other's data folder"
            );
            tracing::warn!("a worker at {} is refused: {message}", node.address);
            // Releases without a number of their process know the other code, and try again.
            let code = if process == 0 { Code::StaleAttempt } else { Code::DataDirInUse };
            return Err(Failure::new(code, message));
        };
        // Questions of an older session are not answered in this one.
        self.drop_checks_of(worker);
        let registered = v1::Registered {
            protocol: Some(windrow_proto::own_range()),
            epoch: self.epoch.0,
            lease_ms: self.lease_ms,
            cluster: Some(self.membership.cluster.into()),
            nonce: self.nonce,
            revision: self.revision,
        };
        self.sessions.send(worker, v1::to_worker::Message::Registered(registered));
        let Inventory { held, jobs, dropped, left, .. } = inventory;
        for job in dropped {
            let drop = v1::DropJob { job: Some(job.into()) };
            self.sessions.send(worker, v1::to_worker::Message::DropJob(drop));
        }
        let named: BTreeSet<JobId> = held.iter().map(|t| t.attempt.task.job).chain(jobs).collect();
        for job in &named {
            match self.jobs.is_active(*job) {
                true => self.ran_on.note(*job, worker),
                false => {
                    let drop = v1::DropJob { job: Some((*job).into()) };
                    self.sessions.send(worker, v1::to_worker::Message::DropJob(drop));
                }
            }
        }
        self.sessions.names(worker, named);
        self.datasets.worker_joined(worker, node.incarnation, self.clock.now());
        if self.members.insert(worker) {
            self.journal.note(Record::Worker(worker, true));
        }
        let (host, address, slots) = (&node.host, &node.address, node.slots);
        tracing::info!(%worker, ?host, ?address, slots, attempts = held.len(), "worker joined");
        self.addresses.learn(&node);
        self.history.worker_joined(&node, self.clock.now());
        self.step(Event::WorkerJoined { node, held, left });
        if self.scheduler.worker_address(worker).is_none() {
            // The scheduler knows a later incarnation of it.
            self.worker_lost(worker);
        }
        if self.members.iter().all(|w| self.sessions.is_live(*w)) {
            self.awaited_until = None;
            self.datasets.all_are_back();
        }
        Ok(session)
    }

    /// Whether a worker's folder belongs to this cluster. While one has seen a newer journal, nothing is deleted.
    pub(crate) fn admit(&mut self, node: &NodeInfo, inventory: &Inventory) -> Result<(), Failure> {
        let Inventory { folder, chunks, .. } = inventory;
        let is_known = |digest: &Digest| self.datasets.is_known(digest);
        let verdict = self.membership.judge(node, *folder, chunks, self.revision, is_known);
        self.datasets.set_frozen(self.membership.is_behind());
        match verdict {
            Verdict::Admitted => {
                if folder.cluster.is_none() {
                    let (worker, chunks) = (node.worker, folder.chunks);
                    tracing::info!(%worker, host = %node.host, chunks, "a worker's data folder joins the cluster");
                }
                Ok(())
            }
            Verdict::Refused { failure, is_news, above } => {
                if is_news {
                    let (worker, code) = (node.worker, failure.code);
                    let hint = code.hint();
                    tracing::error!(%worker, host = %node.host, %code, "a worker is refused: {}; {hint}", failure.message);
                }
                if let Some(epoch) = above.filter(|_| is_news) {
                    tracing::error!(%epoch, "the next start of this coordinator begins above what the worker has seen: restart it");
                    self.journal.note(Record::RestoreAbove(epoch));
                }
                Err(failure)
            }
        }
    }

    /// The scheduler takes no more reports of the worker until it registers again: the copies of chunks on it count no more.
    pub(crate) fn worker_lost(&mut self, worker: WorkerId) {
        self.datasets.worker_left(worker, self.clock.now());
        self.addresses.forget(worker);
        self.scrubs.remove(&worker);
    }

    pub(crate) fn forget_member(&mut self, worker: WorkerId) {
        if self.members.remove(&worker) {
            self.journal.note(Record::Worker(worker, false));
        }
    }

    pub(crate) fn handle_report(&mut self, session: SessionId, worker: WorkerId, report: Report) {
        if !self.sessions.is_current(worker, session) {
            return;
        }
        if self.scheduler.worker_address(worker).is_none() {
            // Its lease has run out while its stream stayed open: it has to register again.
            self.forget_member(worker);
            self.sessions.end(worker);
            self.drop_checks_of(worker);
            return;
        }
        let full = if let Report::Beat { full, .. } = &report { Some(*full) } else { None };
        self.sessions.heard(worker, self.clock.now(), full);
        match report {
            Report::Draining(said) => {
                self.sessions.set_draining(worker, said);
                self.step(Event::WorkerDrains { worker });
            }
            Report::Event(event) => match *event {
                Event::AttemptDone { worker, attempt, report } => self.attempt_done(worker, attempt, report),
                event => self.step(event),
            },
            Report::Beat { progress, lists_all, full, scrub } => {
                self.datasets.note_room(worker, full);
                if let Some(scrub) = scrub {
                    self.scrubs.insert(worker, scrub);
                }
                self.step(Event::WorkerBeat { worker, progress, lists_all, full: Some(full) });
            }
            Report::Published { attempt, parts } => self.handle_published(worker, attempt, parts),
            Report::Chunks(report) => {
                self.note_alive(worker);
                self.handle_chunk_report(worker, report);
            }
            Report::StagingChecked { request, failure } => {
                self.note_alive(worker);
                match self.checks.answered(request, worker, failure) {
                    Some(Answer::Counted(job)) => self.plan_if_checked(job),
                    Some(Answer::TakenIn(job)) => self.step(Event::TakenIn { job, worker }),
                    Some(Answer::LeftOut(job, failure)) => self.leave_out(job, worker, failure),
                    None => {}
                }
            }
        }
    }

    /// A worker has sent something that the scheduler does not see.
    pub(crate) fn note_alive(&mut self, worker: WorkerId) {
        self.step(Event::WorkerBeat { worker, progress: Vec::new(), lists_all: false, full: None });
    }

    pub(crate) fn handle_session_ended(&mut self, session: SessionId, worker: WorkerId) {
        if !self.sessions.is_current(worker, session) {
            return;
        }
        let running = self.scheduler.workers().iter().find(|w| w.id == worker).map_or(0, |w| w.running);
        let at_once = self.sessions.is_draining(worker) && running == 0;
        self.sessions.end(worker);
        self.drop_checks_of(worker);
        let grace = if at_once { 0 } else { GRACE_MS.min(self.lease_ms / 4) };
        self.sessions.leaves_at(worker, self.clock.now().plus_ms(grace));
    }

    pub(crate) fn drop_checks_of(&mut self, worker: WorkerId) {
        for job in self.checks.worker_gone(worker) {
            self.plan_if_checked(job);
        }
    }
}
