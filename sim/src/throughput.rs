//! Measures what an event costs the scheduler, by the number of workers and tasks: the cost per event must not grow with either.
//!
//! In the middle of the maps a tenth of the workers is lost, one after the other, and returns without files. After the maps the
//! coordinator restarts, and every worker registers with its inventory. In the middle of the reduces a tenth of the workers is
//! lost again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, HeldAttempt, RestoredJob, RestoredSplit, Scheduler, StageChunks};
use windrow_sim::samples::{chunks, edge_report, map_reduce, node, restored, segment, spec};

const SLOTS: u32 = 8;

/// Events of one kind, and how long they took.
pub(crate) struct Phase {
    pub name: &'static str,
    pub events: u64,
    pub took: Duration,
}

struct World {
    scheduler: Scheduler,
    now: u64,
    inbox: VecDeque<Action>,
    events: u64,
    took: Duration,
    /// Finished maps by worker.
    files: BTreeMap<WorkerId, Vec<AttemptId>>,
    /// Partitions, and how many of them each map writes.
    reduces: u32,
    writes: u32,
    /// Finished reduces.
    reduced: u32,
    split: Option<RestoredSplit>,
    phases: Vec<Phase>,
    ended: bool,
}

/// Runs one job on `workers` workers. Each map writes `writes` partitions.
pub(crate) fn run(workers: u32, maps: u32, reduces: u32, writes: u32) -> Vec<Phase> {
    let mut w = World {
        scheduler: Scheduler::new(config(), Epoch(1)),
        now: 0,
        inbox: VecDeque::new(),
        events: 0,
        took: Duration::ZERO,
        files: (0..workers).map(|n| (worker(n), Vec::new())).collect(),
        reduces,
        writes,
        reduced: 0,
        split: None,
        phases: Vec::new(),
        ended: false,
    };
    (0..workers).for_each(|n| w.join(n));
    w.phase("join");
    let job = spec(1, map_reduce(reduces), JobOptions::default());
    w.step(Event::Submitted { spec: Box::new(job.clone()), unix_ms: 0 });
    w.work(maps, maps / 2, 0);
    w.phase("map");
    w.lose_a_tenth(workers);
    w.phase("lose and join");
    w.work(maps, maps, 0);
    w.phase("map");
    w.restart(&job, workers);
    w.phase("restart");
    w.work(maps, maps, reduces / 2);
    w.phase("reduce");
    w.lose_a_tenth(workers);
    w.phase("lose and join");
    w.work(maps, u32::MAX, u32::MAX);
    while !w.ended && w.scheduler.next_deadline().is_some() {
        // Tasks that were lost twice wait for a moment.
        w.now += 100;
        w.step(Event::Tick);
        w.work(maps, u32::MAX, u32::MAX);
    }
    w.phase("map and reduce");
    assert!(w.ended, "the job ends");
    w.phases
}

/// Workers that are not asked do not beat here.
fn config() -> Config {
    Config { lease_ms: u64::MAX, ..Config::default() }
}

fn worker(n: u32) -> WorkerId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    WorkerId::from_bytes(bytes)
}

impl World {
    fn step(&mut self, event: Event) {
        self.events += 1;
        // A tick each millisecond of virtual time, so that no lease expires between events.
        let now = Time(self.events / 1_000 + self.now);
        let started = Instant::now();
        let actions = self.scheduler.step(now, event);
        self.took += started.elapsed();
        self.inbox.extend(actions);
    }

    fn phase(&mut self, name: &'static str) {
        let (events, took) = (std::mem::take(&mut self.events), std::mem::take(&mut self.took));
        self.now += events / 1_000 + 1;
        self.phases.push(Phase { name, events, took });
    }

    fn join(&mut self, n: u32) {
        let held = self.files.get(&worker(n)).into_iter().flatten();
        let outputs = [TaskOutput::Edge { partitions: self.reduces }];
        let report = |attempt: &AttemptId| self.report(attempt.task.index, &outputs, &[]);
        let held = held.map(|attempt| HeldAttempt { attempt: *attempt, report: Some(report(attempt)) }).collect();
        self.step(Event::WorkerJoined {
            node: NodeInfo { worker: worker(n), ..node(1, SLOTS, 1) },
            held,
            left: Vec::new(),
        });
    }

    /// A tenth of the workers is lost with all files and returns, one after the other.
    fn lose_a_tenth(&mut self, workers: u32) {
        for n in 0..(workers / 10).max(1) {
            self.files.entry(worker(n)).or_default().clear();
            self.inbox.retain(|a| !matches!(a, Action::Assign { worker: at, .. } if *at == worker(n)));
            self.step(Event::WorkerLeft { worker: worker(n) });
            self.join(n);
        }
    }

    /// Performs actions until these numbers of maps and reduces are finished, or no action is left.
    fn work(&mut self, maps: u32, until: u32, reduces: u32) {
        let mut finished: usize = self.files.values().map(Vec::len).sum();
        while (finished < until as usize || self.reduced < reduces)
            && let Some(action) = self.inbox.pop_front()
        {
            match action {
                Action::PlanJob { job } => {
                    let stages: Vec<StageChunks> = vec![chunks(0, maps)];
                    let stages_of_split = stages.clone();
                    self.split = Some(RestoredSplit {
                        epoch: Epoch(1),
                        input_bytes: 1,
                        auto_partitions: 1,
                        stages: stages_of_split,
                    });
                    self.step(Event::Planned { job, input_bytes: 1, stages });
                }
                Action::Assign { worker, task, .. } => {
                    let report = self.report(task.attempt.task.index, &task.outputs, &task.inputs);
                    match task.attempt.task.stage {
                        StageId(0) => {
                            self.files.entry(worker).or_default().push(task.attempt);
                            finished += 1;
                        }
                        _ => self.reduced += 1,
                    }
                    self.step(Event::AttemptDone { worker, attempt: task.attempt, report });
                    // Beats are about as frequent as finished tasks.
                    self.step(Event::WorkerBeat { worker, progress: Vec::new(), lists_all: false, full: None });
                }
                Action::Grant { worker, attempt } => self.step(Event::Published { worker, attempt }),
                Action::CommitJob { job, .. } => self.step(Event::Committed { job }),
                Action::JobEnded { .. } => self.ended = true,
                Action::Published { .. }
                | Action::SetAside { .. }
                | Action::Charged { .. }
                | Action::WorkerChanged { .. }
                | Action::Uncharged { .. }
                | Action::Revoke { .. } => {}
            }
        }
    }

    /// The next epoch of the coordinator, in which all workers register again.
    fn restart(&mut self, job: &JobSpec, workers: u32) {
        self.inbox.clear();
        self.scheduler = Scheduler::new(config(), Epoch(2));
        let restored = RestoredJob { split: self.split.clone(), ..restored(job.clone()) };
        self.step(Event::Restored { job: Box::new(restored) });
        self.step(Event::Awaited { workers: (0..workers).map(worker).collect(), ms: 10_000 });
        (0..workers).for_each(|n| self.join(n));
    }

    /// The report of a task. A map writes to partitions at even distances.
    fn report(&self, index: u32, outputs: &[TaskOutput], inputs: &[TaskInput]) -> TaskReport {
        let of = |output: &TaskOutput| match output {
            TaskOutput::Edge { partitions } if self.writes >= *partitions && *partitions > 64 => {
                let hints = partitions.div_ceil(SizeHints::width(*partitions)) as usize;
                let sizes = SizeHints::Dense(vec![60; hints]);
                let (bytes, digest) = (1_000 * u64::from(*partitions), 1);
                OutputReport::Edge(EdgeReport { bytes, records: 1, digest, sizes })
            }
            TaskOutput::Edge { partitions } => {
                let writes = self.writes.min(*partitions);
                let mut of: Vec<u32> = (0..writes).map(|i| (index + i * (partitions / writes)) % partitions).collect();
                of.sort_unstable();
                edge_report(of.into_iter().map(segment), *partitions)
            }
            TaskOutput::Broadcast => OutputReport::Broadcast(Vec::new()),
            TaskOutput::Sink { sink } => {
                OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 })
            }
        };
        let outputs = outputs.iter().map(of).collect();
        TaskReport { outputs, inputs: input_digest(inputs), ..TaskReport::default() }
    }
}
