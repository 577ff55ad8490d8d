//! The executor from ready to its end: it gets tasks, reports on them, and is inspected once a second.

use super::super::channel::{Receiver, Sender};
use super::super::overdue::Overdue;
use super::super::place::look_at;
use super::super::process::Process;
use super::replies::{attempt_of, check_spooled, failure_of, protocol};
use super::{CLOSE_GRACE, Command, Notice, Supervisor, or_full, too_many_processes};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use windrow_attempts::{Event, Exit};
use windrow_format::crumbs::Place;
use windrow_model::{AttemptId, Code, Failure};
use windrow_proto::v1::{self, from_executor, to_executor};
use windrow_proto::{ConvertError, FrameError};

/// Bound on reading the last frames of a dead executor.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// Interval of inspections.
const INSPECT_EVERY: Duration = Duration::from_secs(1);

/// Why a running executor is to be killed.
struct Finding {
    failure: Failure,
    /// It does not take its tasks, which is not their fault.
    stuck: bool,
}

impl<E: Fn(Notice) + Send + Sync + 'static> Supervisor<E> {
    /// From ready to the end.
    pub(super) async fn serve(
        &mut self,
        process: &mut Process,
        sender: Sender,
        mut receiver: Receiver,
        overdue: &mut Overdue,
    ) -> Exit {
        let mut sender = Some(sender);
        let mut close_by: Option<Instant> = None;
        let mut inspections = interval_at(Instant::now() + INSPECT_EVERY, INSPECT_EVERY);
        inspections.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stuck = false;
        let wrong: Option<Failure> = loop {
            tokio::select! {
                biased;
                message = receiver.next() => match self.hear(process, message) {
                    Ok(true) => {}
                    Ok(false) => match timeout(CLOSE_GRACE, process.exited()).await {
                        Ok(_) => break None,
                        Err(_) if self.killed_by_worker => break None,
                        Err(_) => break Some(protocol("it closed its socket but did not exit")),
                    },
                    Err(failure) => break Some(failure),
                },
                _ = process.exited() => {
                    // Messages that it sent before it died still count. No other process may hold its end of the socket
                    // open.
                    process.kill();
                    while let Ok(message) = timeout(LAST_FRAMES, receiver.next()).await {
                        if !matches!(self.hear(process, message), Ok(true)) {
                            break;
                        }
                    }
                    break None;
                }
                command = self.commands.recv() => {
                    if !self.handle_command(command, &mut sender, &mut close_by) {
                        self.killed_by_worker = true;
                        break None;
                    }
                }
                () = sleep_until(close_by.unwrap_or_else(Instant::now)), if close_by.is_some() => break None,
                _ = inspections.tick() => {
                    if let Some(found) = self.inspect(process, overdue) {
                        stuck = found.stuck;
                        break Some(found.failure);
                    }
                }
            }
        };
        // It is dead, or is to be killed.
        if wrong.is_some() || self.killed_by_worker {
            process.kill();
        }
        let exit = self.explain(process, true).await;
        match wrong {
            Some(failure) => Exit {
                failure: self.with_stderr(failure),
                self_inflicted: !stuck,
                killed_by_worker: stuck,
                guilty: None,
                stuck,
            },
            None => exit,
        }
    }

    /// Passes a command of the worker on to the executor. After `Close` it closes its end of the socket and gives the
    /// executor until `close_by`. False: the executor is to be killed.
    fn handle_command(
        &mut self,
        command: Option<Command>,
        sender: &mut Option<Sender>,
        close_by: &mut Option<Instant>,
    ) -> bool {
        match (command, &sender) {
            (Some(Command::Run(attempt, run, chunk)), Some(sender)) => {
                self.watch.begin(attempt, chunk.map(|chunk| *chunk));
                self.handed.given(attempt);
                self.log.lock().started(attempt);
                let message = v1::ToExecutor { message: Some(to_executor::Message::Run(*run)) };
                if let Err(e) = sender.send(&message) {
                    let failure = Failure::new(Code::BadRequest, format!("the task of attempt {attempt}: {e}"));
                    (self.events)(self.task_failed(attempt, failure, None));
                }
            }
            (Some(Command::Cancel(attempt)), Some(sender)) => {
                let cancel = v1::CancelTask { attempt: Some(attempt.into()) };
                let message = v1::ToExecutor { message: Some(to_executor::Message::Cancel(cancel)) };
                sender.send(&message).expect("two ids are shorter than a frame's limit");
            }
            (Some(Command::InPlace(outputs)), Some(sender)) => {
                let message = v1::ToExecutor { message: Some(to_executor::Message::InPlace(*outputs)) };
                // The executor refuses the tasks that need it.
                if let Err(e) = sender.send(&message) {
                    tracing::error!(job = %self.job, "the executor is not told where outputs lie: {e}");
                }
            }
            (Some(Command::Run(..) | Command::Cancel(_) | Command::InPlace(_)), None) => {}
            (Some(Command::Close), _) => {
                self.killed_by_worker = true;
                *sender = None;
                *close_by = Some(Instant::now() + CLOSE_GRACE);
            }
            (Some(Command::Kill) | None, _) => return false,
        }
        true
    }

    /// Samples the memory of the executor and checks its limits and the progress of its tasks. Returns why it is to be
    /// killed, if it is.
    fn inspect(&mut self, process: &mut Process, overdue: &mut Overdue) -> Option<Finding> {
        process.sample_memory();
        if let Some(limit) = process.was_full() {
            return Some(Finding { failure: too_many_processes(limit, ""), stuck: false });
        }
        let threads = process.crumbs_now();
        self.watch.look(&threads);
        let idle = self.handed.look(&threads, || process.is_stopped()).filter(|_| process.leaves_crumbs());
        if let Some(failure) = idle {
            return Some(Finding { failure, stuck: true });
        }
        for (attempt, failure, place) in overdue.look(std::time::Instant::now(), threads) {
            self.tell_overdue(attempt, self.with_stderr(failure), place);
        }
        None
    }

    /// Handles one message; false at the end of the stream.
    fn hear(
        &mut self,
        process: &Process,
        message: Result<Option<v1::FromExecutor>, FrameError>,
    ) -> Result<bool, Failure> {
        let broken = |e: ConvertError| protocol(&e.to_string());
        let notice = match message.map_err(|e| protocol(&e.to_string()))? {
            None => return Ok(false),
            Some(message) => match message.message {
                Some(from_executor::Message::Done(v1::TaskDone { attempt, report, spooled })) => {
                    let (attempt, generation) = (attempt_of(attempt)?, self.generation);
                    let report = report.unwrap_or_default().try_into().map_err(broken)?;
                    check_spooled(&report, &spooled)?;
                    Notice::Done { generation, attempt, report, spooled }
                }
                Some(from_executor::Message::Failed(failed)) => {
                    process.drain_output();
                    let lost = match failed.lost {
                        Some(lost) => Some((attempt_of(lost.attempt)?, lost.output)),
                        None => None,
                    };
                    let failure = or_full(process.was_full(), failure_of(failed.failure));
                    self.task_failed(attempt_of(failed.attempt)?, failure, lost)
                }
                _ => return Err(protocol("it says something that only a starting executor says")),
            },
        };
        if let Notice::Done { attempt, .. } | Notice::Failed { attempt, .. } = &notice {
            // What it reports may erase files, so it must be about its own task.
            if !self.handed.over(*attempt) {
                return Err(protocol(&format!("it reports on attempt {attempt}, which it does not run")));
            }
            self.watch.end(*attempt);
        }
        (self.events)(notice);
        Ok(true)
    }

    fn task_failed(&self, attempt: AttemptId, failure: Failure, lost: Option<(AttemptId, u32)>) -> Notice {
        Notice::Failed { generation: self.generation, attempt, failure: self.with_stderr(failure), lost }
    }

    /// The record is looked up first, without blocking the executor.
    fn tell_overdue(&self, attempt: AttemptId, mut failure: Failure, place: Option<Place>) {
        let (events, looks, generation) = (self.events.clone(), self.looks.clone(), self.generation);
        tokio::spawn(async move {
            if let Some(place) = place {
                failure.place = Some(look_at(place, &looks).await.record);
            }
            events(Notice::Event(Event::TaskOverdue { generation, attempt, failure }));
        });
    }
}
