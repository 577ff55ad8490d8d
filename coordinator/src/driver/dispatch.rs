//! Dispatches a message to its handler: one arm for each.

use crate::driver::Driver;
use crate::jobs::Awaited;
use crate::mailbox::Message;
use windrow_model::JobState;
use windrow_scheduler::Event;

impl Driver {
    pub(crate) fn handle(&mut self, message: Message) {
        match message {
            Message::Submit { spec, answer } => self.handle_submit(spec, answer),
            Message::Cancel { job, answer } => self.handle_cancel(job, answer),
            Message::Watch { job, answer } => drop(answer.send(self.watch(job))),
            Message::Get { job, answer } => drop(answer.send(self.status(job))),
            Message::List { filter, answer } => drop(answer.send(self.list(&filter))),
            Message::Collected { job, answer } => drop(answer.send(self.collected(job))),
            Message::Workers { answer } => drop(answer.send(self.workers())),
            Message::JobsPart { query, answer } => drop(answer.send(self.jobs_part(&query))),
            Message::JobFacts { job, answer } => drop(answer.send(self.job_facts(job))),
            Message::WorkerFacts { answer } => drop(answer.send(self.worker_facts())),
            Message::DrainWorker { worker, answer } => drop(answer.send(self.handle_drain(worker))),
            Message::KnownTasks { answer } => drop(answer.send(self.known_tasks())),
            Message::ArtifactsInUse { answer } => drop(answer.send(self.artifacts_in_use())),
            Message::Data(message) => self.handle_data(message),
            Message::Backup { answer } => {
                let artifacts = self.artifacts_in_use();
                self.journal.snapshot(Box::new(move |snapshot| {
                    let _ = answer.send(snapshot.map(|snapshot| (artifacts, snapshot)));
                }));
            }
            Message::LogHolders { job, answer } => drop(answer.send(self.log_holders(job))),
            Message::SessionBegan { node, process, inventory, to_worker, answer } => {
                let began = self.handle_session_began(node, process, inventory, to_worker);
                let _ = answer.send(began);
            }
            Message::FromWorker { session, worker, report } => self.handle_report(session, worker, report),
            Message::SessionEnded { session, worker } => self.handle_session_ended(session, worker),
            Message::Split { job, result } => self.handle_split(job, result),
            Message::CommitTried { job, tried } => self.commit_tried(job, tried),
            Message::DecideCommit { job, give_up, answer } => self.decide_commit(job, give_up, answer),
            Message::MaySplit { job, result: Ok(_) } => self.split(job, Awaited::Try),
            Message::MaySplit { job, result: Err(failure) } => self.step(Event::PlanFailed { job, failure }),
            Message::SplitRecorded { job, durable } => {
                self.job_states.advance(job, JobState::Running, durable);
                self.watchers.touch();
            }
            Message::Sealed { job, result } => self.sealed(job, result),
            Message::ResultStored { worker, attempt, report, result } => {
                self.result_stored(worker, attempt, *report, result);
            }
            Message::CollectedStored { job, result } => self.collected_stored(job, result),
            Message::Fetched { job } => self.fetched(job),
            Message::EndRecorded { job, past, durable } => self.end_recorded(job, *past, durable),
            Message::SubmitRecorded { job, answer, durable } => self.submit_recorded(job, answer, durable),
            Message::SubmitNotRecorded { job } => self.step(Event::Cancelled { job }),
        }
    }
}
