//! Measures what an event costs the scheduler, by the number of workers and tasks: the cost per event must not grow with either.
//!
//! The job has a hundredth as many reduces as maps. In the middle of the maps a tenth of the workers is lost, one after the other,
//! and returns without files. After the maps the coordinator restarts, and every worker registers with its inventory.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, HeldAttempt, RestoredJob, RestoredSplit, Scheduler, StageChunks};
use windrow_sim::samples::{chunks, map_reduce, node, restored, spec};

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
    files: BTreeMap<WorkerId, Vec<(AttemptId, TaskReport)>>,
    split: Option<RestoredSplit>,
    phases: Vec<Phase>,
    ended: bool,
}

/// Runs one job of `tasks` maps on `workers` workers.
pub(crate) fn run(workers: u32, tasks: u32) -> Vec<Phase> {
    let mut w = World {
        scheduler: Scheduler::new(Config::default(), Epoch(1)),
        now: 0,
        inbox: VecDeque::new(),
        events: 0,
        took: Duration::ZERO,
        files: (0..workers).map(|n| (worker(n), Vec::new())).collect(),
        split: None,
        phases: Vec::new(),
        ended: false,
    };
    let reduces = (tasks / 100).max(1);
    let maps = tasks - reduces;
    (0..workers).for_each(|n| w.join(n));
    w.phase("join");
    let job = spec(1, map_reduce(reduces), JobOptions::default());
    w.step(Event::Submitted { spec: Box::new(job.clone()), unix_ms: 0 });
    w.work(maps, maps / 2);
    w.phase("map");
    for n in 0..(workers / 10).max(1) {
        w.files.entry(worker(n)).or_default().clear();
        w.inbox.retain(|a| !matches!(a, Action::Assign { worker: at, .. } if *at == worker(n)));
        w.step(Event::WorkerLeft { worker: worker(n) });
        w.join(n);
    }
    w.phase("lose and join");
    w.work(maps, maps);
    w.phase("map");
    w.restart(&job, workers);
    w.phase("restart");
    w.work(maps, u32::MAX);
    w.phase("reduce");
    assert!(w.ended, "the job ends");
    w.phases
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
        let held =
            held.map(|(attempt, report)| HeldAttempt { attempt: *attempt, report: Some(report.clone()) }).collect();
        self.step(Event::WorkerJoined {
            node: NodeInfo { worker: worker(n), ..node(1, SLOTS, 1) },
            held,
            left: Vec::new(),
        });
    }

    /// Performs actions until this number of maps is finished, or no action is left.
    fn work(&mut self, maps: u32, until: u32) {
        let mut finished: usize = self.files.values().map(Vec::len).sum();
        while finished < until as usize
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
                Action::Assign { worker, task } => {
                    let report = report(&task);
                    if task.attempt.task.stage == StageId(0) {
                        self.files.entry(worker).or_default().push((task.attempt, report.clone()));
                        finished += 1;
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
        self.scheduler = Scheduler::new(Config::default(), Epoch(2));
        let restored = RestoredJob { split: self.split.clone(), ..restored(job.clone()) };
        self.step(Event::Restored { job: Box::new(restored) });
        self.step(Event::Awaited { workers: (0..workers).map(worker).collect(), ms: 10_000 });
        (0..workers).for_each(|n| self.join(n));
    }
}

/// Three segments a map, for any number of partitions: the number of segments is not what is measured.
fn report(task: &Task) -> TaskReport {
    let of = |output: &TaskOutput| match output {
        TaskOutput::Edge { partitions } => {
            let mut of: Vec<u32> =
                (0..3).map(|i| (task.attempt.task.index + i * (partitions / 3)) % partitions).collect();
            of.sort_unstable();
            of.dedup();
            let segment =
                |partition| Segment { partition, offset: 0, length: 10, records: 1, raw_length: 10, digest: partition };
            OutputReport::Edge(of.into_iter().map(segment).collect())
        }
        TaskOutput::Broadcast => OutputReport::Broadcast(Vec::new()),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    TaskReport {
        outputs: task.outputs.iter().map(of).collect(),
        inputs: input_digest(&task.inputs, |_| true),
        ..TaskReport::default()
    }
}
