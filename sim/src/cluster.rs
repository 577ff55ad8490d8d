//! Random plans on a simulated cluster whose workers crash, return, drain and fall silent, whose links are cut in one direction,
//! whose messages come late, twice or never, and whose coordinator dies and starts again on what its journal had written. Then everything heals,
//! and every job must end.
//!
//! The simulation has the files: it knows which attempt's segments exist on which worker, which parts are staged, which
//! records are durable and which outputs visible. It checks what the scheduler cannot know: that a task reads exactly
//! what its producers wrote, that what is committed was granted and staged, once per task, and the same after every
//! restart, that nothing is run again whose parts are recorded, and that no worker ever has more attempts than
//! slots and what may wait ahead of them.

mod checker;
mod damage;
mod faults;
mod journal;
mod machine;
mod node;
mod notes;
mod tables;
mod traps;
mod worker;

use crate::data::{self, DataOutcome};
use crate::dice::Dice;
use crate::samples::{chunks, failure, job_id, node as sample_node, spec};
use crate::trace::Trace;
use crate::workload::random_plan;
use journal::Record;
use node::Node;
use notes::Begun;
pub use notes::Noted;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Counts, Event, RestoredJob, Scheduler};

/// What may go wrong beyond crashes, silence and losses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kinds {
    /// Links that work in one direction only.
    pub links: bool,
    /// The coordinator is suspended for some leases.
    pub gaps: bool,
    /// Tasks that kill their workers, workers that do not see the files of a job, assignments that are lost on the way, and
    /// attempts that never end on workers that beat.
    pub traps: bool,
    /// Workers get attempts ahead of their slots. No fault, but something that faults can meet.
    pub ahead: bool,
    /// Executors take time to start, inputs to be fetched, attempts to be stopped, beats to be answered; executors die, hang and do
    /// not start. A worker whose lease ends gives up its session.
    pub executors: bool,
    /// Disks of workers fill.
    pub disks: bool,
    /// Files that hold the outputs of many attempts are damaged as a whole.
    pub files: bool,
    /// Every job has stages whose tasks may give another output when they run again, and not every fourth job only; and some
    /// attempts end long after they have read their inputs.
    pub fickle: bool,
    /// The datasets of a cluster are simulated as well, in a world of their own (`data.rs`).
    pub datasets: bool,
}

impl Kinds {
    /// All of them.
    pub const ALL: Kinds = Kinds {
        links: true,
        gaps: true,
        ahead: true,
        traps: true,
        executors: true,
        disks: true,
        files: true,
        fickle: true,
        datasets: true,
    };
}

/// What a run follows from: equal setups give equal runs.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    /// Attempts also fail by errors of user code.
    pub user_errors: bool,
    pub kinds: Kinds,
    /// Two to five, as the seed says, if no number is named.
    pub workers: Option<u32>,
    /// Whether each event and each action writes a line, and where to.
    pub trace: Trace,
}

/// The counts of a run, and its trace.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Milliseconds of the cluster's clock.
    pub ms: u64,
    /// Events that the scheduler has taken in.
    pub events: u64,
    pub jobs: u64,
    /// Of them, how many ended with an error of user code, or by a cancel.
    pub ended_otherwise: u64,
    pub backups: u64,
    /// Attempts that a worker got when it had as many as slots already.
    pub ahead: u64,
    /// Jobs that ended because a task had killed its workers, and those of them that had no such task: chance took the
    /// workers of one task.
    pub poisoned: u64,
    pub poisoned_by_chance: u64,
    /// Datasets that were acknowledged, copies of chunks that were ordered, and deletions of chunks.
    pub puts: u64,
    pub copies: u64,
    pub deletions: u64,
    /// How often each kind of fault came.
    pub faults: BTreeMap<&'static str, u64>,
    pub trace: String,
    /// What the scheduler has noted, in order.
    pub notes: Vec<Noted>,
}

struct Cluster {
    dice: Dice,
    begun: Begun,
    noted: Vec<Noted>,
    /// Draws for faults of links and clocks. They are drawn apart, so that a seed without these faults gives the run it always gave.
    wild: Dice,
    /// Draws for traps (`traps.rs`).
    third: Dice,
    /// Draws for executors and disks (`machine.rs`).
    fourth: Dice,
    /// Draws for damaged files (`damage.rs`).
    fifth: Dice,
    kinds: Kinds,
    config: Config,
    /// Tasks that kill their workers.
    poison: BTreeSet<TaskId>,
    /// The number of workers that each has killed.
    kills: BTreeMap<TaskId, u64>,
    /// Attempts that the scheduler knows of on each worker, and those that were lost with their worker.
    open: BTreeMap<AttemptId, WorkerId>,
    deaths: BTreeMap<AttemptId, WorkerId>,
    /// Those whose worker came back in the same incarnation.
    pardoned: BTreeMap<AttemptId, WorkerId>,
    /// A worker registers in this step.
    joins: bool,
    /// The most attempts that one task of a job had lost with their workers when the job ended.
    deaths_at_end: BTreeMap<JobId, u64>,
    /// Workers that a task has killed.
    fallen: BTreeSet<WorkerId>,
    /// What the scheduler said last of attempts without a charge, or the journal had of them.
    counts: BTreeMap<TaskId, Counts>,
    /// Jobs whose executors never do anything with their tasks.
    hung: BTreeSet<JobId>,
    /// Tasks whose outputs are always damaged.
    rotten: BTreeSet<TaskId>,
    /// Outputs that were damaged with their file, and the number of such files of each job.
    damaged: BTreeSet<AttemptId>,
    damaged_files: BTreeMap<JobId, u32>,
    /// Outputs that counted when a reader reported them as damaged in this epoch.
    reported_damage: BTreeSet<AttemptId>,
    /// The present event reports damage that is known already.
    known_damage: Option<damage::Known>,
    /// Assignments that were lost since all was healed.
    lost_when_healed: u64,
    /// Attempts that have not ended since then.
    stuck_when_healed: u64,
    /// Attempts that never end.
    stuck: BTreeSet<AttemptId>,
    /// Workers that do not see the files of a job, and those of which the scheduler has heard it.
    blind: BTreeSet<(WorkerId, JobId)>,
    left_out: BTreeSet<(WorkerId, JobId)>,
    /// Workers that did not see them before all was healed.
    blind_ever: BTreeSet<(WorkerId, JobId)>,
    /// By which factor the cluster is larger than usual: a fifth of its workers, at least 1.
    scale: u32,
    ids: Vec<WorkerId>,
    /// Workers that were heard since time has jumped.
    heard: BTreeSet<WorkerId>,
    faults: BTreeMap<&'static str, u64>,
    events: u64,
    ahead: u64,
    unchecked: u64,
    trace: Trace,
    lines: String,
    epoch: u64,
    /// What the journal has on disk.
    journal: BTreeMap<JobId, RestoredJob>,
    /// Records that are not on disk yet, in order.
    unwritten: VecDeque<Record>,
    /// Jobs whose end is on disk.
    over: BTreeSet<JobId>,
    /// The parts that readers see.
    visible: BTreeMap<JobId, Vec<StagedPart>>,
    specs: BTreeMap<JobId, JobSpec>,
    /// Jobs whose commit the coordinator has asked for in this epoch.
    commits: BTreeSet<JobId>,
    /// Jobs of an earlier epoch, the workers that they wait for, and until when.
    restored: BTreeSet<JobId>,
    awaited: BTreeSet<WorkerId>,
    awaited_until: Time,
    scheduler: Scheduler,
    now: Time,
    nodes: BTreeMap<WorkerId, Node>,
    /// Messages that arrive at any later time, in any order: duplicates, and what lost workers had sent.
    late: Vec<Event>,
    /// Answers of the driver.
    answers: Vec<Event>,
    plans: BTreeMap<JobId, (Plan, Vec<u32>)>,
    staged: BTreeSet<AttemptId>,
    /// Attempts that were revoked in this epoch and that no worker has announced since.
    revoked: BTreeSet<AttemptId>,
    /// Stages whose tasks write another output in each attempt, or may.
    fickle: BTreeSet<(JobId, StageId)>,
    /// The output of each finished attempt as a number, and the attempts that it has read.
    made: BTreeMap<AttemptId, (u64, Vec<AttemptId>)>,
    /// The latest table of each stage that was given to a reader in this epoch.
    issued: BTreeMap<(JobId, StageId), Arc<StageOutputs>>,
    /// Attempts that have read all of their inputs and have not ended.
    have_read: BTreeSet<AttemptId>,
    ended: BTreeMap<JobId, JobStatus>,
    cancelled: BTreeSet<JobId>,
    user_errors: bool,
    broken: bool,
    /// The coordinator dies when this step is over.
    must_restart: bool,
    /// Workers that the scheduler excludes.
    excluded: BTreeSet<WorkerId>,
}

/// Durations are short, since about a millisecond passes with each turn. The lease grows with the cluster, as more turns pass until
/// each worker has had one.
fn config(scale: u32, kinds: Kinds) -> Config {
    let prefetch_per_slot = if kinds.ahead { Config::default().prefetch_per_slot } else { 0 };
    let lease_ms = 1_000 * u64::from(scale);
    Config {
        lease_ms,
        backup_after_ms: 20,
        backup_every_ms: 10,
        prefetch_per_slot,
        poison_wait_ms: lease_ms / 2,
        delivery_ms: 2 * lease_ms,
        limit_margin_ms: lease_ms / 2,
        notes: true,
        ..Config::default()
    }
}

impl Cluster {
    fn new(setup: &Setup) -> Self {
        let scale = setup.workers.map_or(1, |n| (n / 5).max(1));
        Cluster {
            dice: Dice(setup.seed),
            begun: Begun::default(),
            noted: Vec::new(),
            wild: Dice(!setup.seed),
            third: Dice(setup.seed ^ 0x7261_7073),
            fourth: Dice(setup.seed ^ 0x6578_6563),
            fifth: Dice(setup.seed ^ 0x6669_6c65),
            poison: BTreeSet::new(),
            kills: BTreeMap::new(),
            open: BTreeMap::new(),
            deaths: BTreeMap::new(),
            pardoned: BTreeMap::new(),
            joins: false,
            deaths_at_end: BTreeMap::new(),
            fallen: BTreeSet::new(),
            counts: BTreeMap::new(),
            hung: BTreeSet::new(),
            rotten: BTreeSet::new(),
            damaged: BTreeSet::new(),
            damaged_files: BTreeMap::new(),
            reported_damage: BTreeSet::new(),
            known_damage: None,
            lost_when_healed: 0,
            stuck_when_healed: 0,
            stuck: BTreeSet::new(),
            blind: BTreeSet::new(),
            left_out: BTreeSet::new(),
            blind_ever: BTreeSet::new(),
            kinds: setup.kinds,
            config: config(scale, setup.kinds),
            scale,
            ids: Vec::new(),
            heard: BTreeSet::new(),
            faults: BTreeMap::new(),
            events: 0,
            ahead: 0,
            unchecked: 0,
            trace: setup.trace,
            lines: String::new(),
            epoch: 3,
            journal: BTreeMap::new(),
            unwritten: VecDeque::new(),
            over: BTreeSet::new(),
            visible: BTreeMap::new(),
            specs: BTreeMap::new(),
            commits: BTreeSet::new(),
            restored: BTreeSet::new(),
            awaited: BTreeSet::new(),
            awaited_until: Time(0),
            scheduler: Scheduler::new(config(scale, setup.kinds), Epoch(3)),
            now: Time(0),
            nodes: BTreeMap::new(),
            late: Vec::new(),
            answers: Vec::new(),
            plans: BTreeMap::new(),
            staged: BTreeSet::new(),
            revoked: BTreeSet::new(),
            fickle: BTreeSet::new(),
            made: BTreeMap::new(),
            issued: BTreeMap::new(),
            have_read: BTreeSet::new(),
            ended: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            user_errors: setup.user_errors,
            broken: true,
            must_restart: false,
            excluded: BTreeSet::new(),
        }
    }

    fn step(&mut self, event: Event) {
        match &event {
            Event::Submitted { spec, .. } => self.unwritten.push_back(Record::Submitted(spec.clone())),
            Event::Planned { job, input_bytes, stages } => {
                self.unwritten.push_back(Record::Split(*job, *input_bytes, stages.clone()));
            }
            _ => {}
        }
        self.joins = matches!(event, Event::WorkerJoined { .. });
        let about = match &event {
            Event::WorkerJoined { node, .. } => Some(node.worker),
            Event::WorkerLeft { worker } => Some(*worker),
            _ => None,
        };
        self.known_damage = self.known_damage(&event);
        self.note_ended(&event);
        let lived = self.living();
        self.events += 1;
        self.note(|now| format!("{} {event:?}", now.0));
        let actions = self.scheduler.step(self.now, event);
        self.take_notes(&actions);
        self.unchecked += 1;
        // A check visits every task: in large clusters it is not made after each step.
        if self.unchecked >= u64::from(self.scale) {
            self.unchecked = 0;
            self.scheduler.check().expect("the invariants hold");
            self.check_begun();
        }
        let living = self.living();
        if self.joins {
            // A registration ends an exclusion.
            about.iter().for_each(|worker| _ = self.excluded.remove(worker));
        }
        lived.difference(&living).for_each(|lost| {
            self.note_deaths(*lost);
            self.check_lease(*lost, about);
        });
        for action in actions {
            self.note(|_| format!("    {action:?}"));
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::PlanJob { job } => {
                let (plan, counts) = &self.plans[&job];
                let sources = plan.stages.iter().enumerate().filter(|(_, s)| s.source().is_some());
                let stages = sources.zip(counts).map(|((i, _), n)| chunks(i as u32, *n)).collect();
                let blind: Vec<WorkerId> = self.blind.iter().filter(|(_, j)| *j == job).map(|(w, _)| *w).collect();
                for worker in blind {
                    if self.third.percent(50) {
                        let failure = failure(Code::InputNotShared);
                        self.answers.push(Event::LeftOut { job, worker, failure });
                    }
                }
                self.answers.push(Event::Planned { job, input_bytes: 1, stages });
            }
            Action::Assign { worker, task, tables } => {
                self.check_inputs(&task, &tables);
                self.issued.extend(tables.iter().map(|table| ((table.job, table.stage), table.clone())));
                assert!(!self.ended.contains_key(&task.attempt.task.job), "nothing is assigned after the end");
                assert!(!self.visible.contains_key(&task.attempt.task.job), "an output is visible: no task runs again");
                self.check_not_recorded(&task);
                self.check_slots(worker, &task);
                let job = task.attempt.task.job;
                let is_live = self.scheduler.worker_address(worker).is_some();
                assert!(is_live, "{worker} is lost in the step in which it gets {task:?}");
                self.open.insert(task.attempt, worker);
                assert!(!self.left_out.contains(&(worker, job)), "{worker} does not see the files of {job}");
                let waits = self.now < self.awaited_until && !self.awaited.is_empty();
                assert!(!waits || !self.restored.contains(&job), "a restored job begins before its workers are back");
                assert!(!self.excluded.contains(&worker), "{worker} is excluded and gets {task:?}");
                let node = self.nodes.get_mut(&worker).expect("it joined");
                node.named.insert(job);
                let lacking = node.sent.take_lacking(&tables, 0).into_iter().map(|lacking| lacking.table);
                node.inbox.push_back(Action::Assign { worker, task, tables: lacking.collect() });
            }
            Action::Revoke { worker, .. } | Action::Grant { worker, .. } => {
                match &action {
                    Action::Revoke { attempt, .. } => {
                        self.open.remove(attempt);
                        self.revoked.insert(*attempt);
                    }
                    Action::Grant { attempt, .. } => self.check_reads(*attempt),
                    _ => {}
                }
                self.nodes.get_mut(&worker).expect("it joined").inbox.push_back(action);
            }
            Action::Published { worker, attempt, report } => {
                self.unwritten.push_back(Record::Published(worker, attempt, report));
            }
            Action::Charged { task, failures } => {
                let before = self.charges(task);
                // A charge is taken back when the lost worker returns.
                let least = before.map(|n| if self.joins { n.saturating_sub(1) } else { n + 1 });
                assert!(least <= Some(failures), "{task} failed {before:?} times before, and now {failures}");
                self.unwritten.push_back(Record::Charged(task, failures));
            }
            Action::WorkerChanged { worker, state, .. } => {
                match state {
                    WorkerState::Excluded => self.excluded.insert(worker),
                    _ => self.excluded.remove(&worker),
                };
            }
            Action::Uncharged { task, tally } => {
                self.check_damage(self.known_damage.as_ref(), task, &tally.counts);
                self.check_counts(task, &tally.counts);
                self.unwritten.push_back(Record::Uncharged(task, tally));
            }
            Action::SetAside { .. } => panic!("no failure here names a record"),
            Action::CommitJob { job, parts, collected, .. } => {
                self.check_commit(job, &parts);
                assert!(self.commits.insert(job), "a commit is asked for once");
                self.unwritten.push_back(Record::Sealed(job, collected));
                // A crash before the commit begins.
                if self.dice.percent(80) {
                    self.write(usize::MAX);
                    let seen = self.visible.entry(job).or_insert_with(|| parts.clone());
                    assert_eq!(*seen, parts, "what was visible once does not change");
                    self.answers.push(Event::Committed { job });
                    // A crash when readers see the output and the scheduler has not heard of it.
                    self.must_restart = self.broken && self.dice.percent(30);
                } else if self.broken {
                    self.answers.clear();
                    self.must_restart = true;
                } else {
                    self.write(usize::MAX);
                    self.visible.entry(job).or_insert_with(|| parts.clone());
                    self.answers.push(Event::Committed { job });
                }
            }
            Action::JobEnded { job, ref status, ref collected, ref workers } => {
                let seen = self.visible.contains_key(&job);
                assert!(!seen || status.state == JobState::Done, "an output is visible: {status:?}");
                for (id, node) in &mut self.nodes {
                    node.sent.forget(job);
                    if node.session && (node.named.remove(&job) || workers.contains(id)) {
                        node.inbox.push_back(action.clone());
                    }
                }
                self.check_blindness(job, status);
                if status.state == JobState::Done {
                    self.check_done(job, status, collected);
                }
                self.deaths_at_end.insert(job, self.most_deaths(job));
                assert!(self.ended.insert(job, (**status).clone()).is_none(), "a job ends once");
                self.unwritten.push_back(Record::Ended(job));
            }
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// A line of the trace, if there is one.
    fn note(&mut self, line: impl FnOnce(Time) -> String) {
        let now = self.now;
        self.trace.note(&mut self.lines, || line(now));
    }

    fn answer(&mut self) {
        if !self.answers.is_empty() {
            let event = self.answers.remove(self.dice.below(self.answers.len()));
            self.step(event);
        }
    }
}

fn worker(n: u32) -> WorkerId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    WorkerId::from_bytes(bytes)
}

fn node_info(worker: WorkerId, slots: u32, incarnation: u64) -> NodeInfo {
    NodeInfo { worker, slots, ..sample_node(1, slots, incarnation) }
}

/// Runs a cluster from its start until every job has ended. Panics if a promise does not hold.
pub fn run(setup: &Setup) -> Outcome {
    let mut c = Cluster::new(setup);
    let usual = 2 + c.dice.below(4) as u32;
    for n in 1..=setup.workers.unwrap_or(usual) {
        let slots = 1 + c.dice.below(3) as u32;
        let slow = c.dice.percent(20);
        c.ids.push(worker(n));
        c.nodes.insert(worker(n), Node::new(slots, slow, setup.kinds.executors));
        if c.dice.percent(80) {
            c.start(worker(n));
        }
    }
    let jobs = 1 + c.dice.below(3) as u8;
    for n in 1..=jobs {
        let fickle = c.dice.percent(25) || setup.kinds.fickle;
        let (plan, chunk_counts) = random_plan(&mut c.dice, fickle, c.scale);
        for (s, stage) in plan.stages.iter().enumerate() {
            if fickle && (!stage.deterministic || c.dice.percent(30)) {
                c.fickle.insert((job_id(n), StageId(s as u32)));
            }
        }
        let (task_timeout_ms, progress_timeout_ms) = c.time_outs();
        let options = JobOptions {
            task_timeout_ms,
            progress_timeout_ms,
            priority: c.dice.below(2) as i32,
            slots_max: c.dice.percent(30).then_some(2 * c.scale),
            backup_attempts: c.dice.percent(90),
            ..JobOptions::default()
        };
        c.plans.insert(job_id(n), (plan.clone(), chunk_counts));
        c.set_traps(job_id(n));
        let spec = spec(n, plan, options);
        c.specs.insert(spec.id, spec.clone());
        c.step(Event::Submitted { spec: Box::new(spec), unix_ms: 0 });
        for _ in 0..c.dice.below(200) as u64 * u64::from(c.scale) {
            c.turn();
        }
    }
    for _ in 0..c.dice.below(2_000) as u64 * u64::from(c.scale) {
        c.turn();
    }
    c.heal();
    let over = c.scheduler.workers().iter().all(|w| w.running == 0);
    assert!(over, "slots are free again");
    for (job, status) in &c.ended {
        let mixed = c.fickle.iter().any(|(j, _)| j == job)
            && status.error.as_ref().is_some_and(|e| e.code == Code::NondeterministicTask);
        let may_fail = (setup.user_errors || mixed) && status.state == JobState::Failed;
        let was_cancelled = c.cancelled.contains(job) && status.state == JobState::Cancelled;
        let trapped = c.may_be_trapped(*job, status);
        assert!(status.state == JobState::Done || may_fail || was_cancelled || trapped, "{status:#?}");
        assert!(!(status.state == JobState::Done && c.poison.iter().any(|t| t.job == *job)), "{status:#?}");
    }
    c.check_kills();
    let data = if setup.kinds.datasets { data::run(setup.seed, setup.trace) } else { DataOutcome::default() };
    data.faults.into_iter().for_each(|(fault, n)| *c.faults.entry(fault).or_default() += n);
    c.lines.push_str(&data.trace);
    Outcome {
        ms: c.now.0,
        puts: data.puts,
        copies: data.copies,
        deletions: data.deletions,
        events: c.events,
        jobs: c.ended.len() as u64,
        ended_otherwise: c.ended.values().filter(|s| s.state != JobState::Done).count() as u64,
        backups: c.ended.values().map(|s| s.backups).sum(),
        ahead: c.ahead,
        poisoned_by_chance: c
            .ended
            .iter()
            .filter(|(id, s)| traps::is_poisoned(s) && !c.poison.iter().any(|t| t.job == **id))
            .count() as u64,
        poisoned: c.ended.values().filter(|s| traps::is_poisoned(s)).count() as u64,
        faults: c.faults,
        trace: c.lines,
        notes: c.noted,
    }
}
