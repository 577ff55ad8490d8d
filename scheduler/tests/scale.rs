//! Cost per event does not grow with the number of tasks.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, Scheduler};

/// No time is asserted: with anything quadratic in it this test would not end within a day.
#[test]
fn hundred_thousand_tasks_run_on_a_hundred_workers() {
    let mut scheduler = Scheduler::new(Config::default(), Epoch(1));
    let mut now = 0;
    let mut step = |event| {
        now += 1;
        scheduler.step(Time(now / 100), event)
    };
    let mut inbox = std::collections::VecDeque::new();
    for n in 0..100 {
        inbox.extend(step(Event::WorkerJoined { node: node(n, 8, 1), held: Vec::new(), left: Vec::new() }));
    }
    let job = spec(1, map_reduce(1_000), JobOptions::default());
    inbox.extend(step(Event::Submitted { spec: Box::new(job), unix_ms: 0 }));
    let (mut assigned, mut ended) = (0, None);
    while let Some(action) = inbox.pop_front() {
        let event = match action {
            Action::PlanJob { job } => Event::Planned { job, input_bytes: 1, stages: vec![chunks(0, 99_000)] },
            Action::Assign { worker, task, .. } => {
                assigned += 1;
                let mut report = report_of_three(&task);
                report.counters.add("n", 1);
                Event::AttemptDone { worker, attempt: task.attempt, report }
            }
            Action::Grant { worker, attempt } => Event::Published { worker, attempt },
            Action::CommitJob { job, .. } => Event::Committed { job },
            Action::JobEnded { status, .. } => {
                ended = Some(status);
                continue;
            }
            Action::Published { .. }
            | Action::SetAside { .. }
            | Action::Charged { .. }
            | Action::Uncharged { .. }
            | Action::WorkerChanged { .. } => continue,
            Action::Revoke { .. } => panic!("nothing is late here"),
        };
        inbox.extend(step(event));
    }
    let status = ended.expect("the job ends");
    assert_eq!((assigned, status.state, status.counters.get("n")), (100_000, JobState::Done, 100_000));
}

/// A plan at the limits on tasks and stages costs little until its tasks run.
#[test]
fn jobs_at_the_limits_are_planned_and_cancelled() {
    let mut scheduler = Scheduler::new(Config::default(), Epoch(1));
    let mut step = |event| scheduler.step(Time(0), event);
    let mut chain = map_reduce(1);
    let (first, last) = (chain.stages[0].clone(), chain.stages.pop().unwrap());
    let after = |stage: &Stage, at: u32| {
        let from = vec![Port { stage: StageId(at), output: 0 }];
        Stage { inputs: vec![Input::Edge { from }], ..stage.clone() }
    };
    chain.stages.extend((0..9_998).map(|at| after(&first, at)));
    chain.stages.push(after(&last, 9_998));
    for (n, plan) in [(1, map_reduce(1_000_000)), (2, chain)] {
        step(Event::Submitted { spec: Box::new(spec(n, plan, JobOptions::default())), unix_ms: 0 });
        step(Event::Planned { job: job_id(n), input_bytes: 1, stages: vec![chunks(0, 1)] });
    }
    step(Event::WorkerJoined { node: node(1, 8, 1), held: Vec::new(), left: Vec::new() });
    let total = |scheduler: &Scheduler, n| scheduler.status(job_id(n), Time(0)).unwrap().tasks.total;
    assert_eq!((total(&scheduler, 1), total(&scheduler, 2)), (1_000_001, 10_000));
    for n in [1, 2] {
        scheduler.step(Time(0), Event::Cancelled { job: job_id(n) });
        assert_eq!(scheduler.status(job_id(n), Time(0)).unwrap().state, JobState::Cancelled);
    }
}

/// Three segments a map, whatever the number of partitions.
fn report_of_three(task: &Task) -> TaskReport {
    let of = |output: &TaskOutput| match output {
        TaskOutput::Edge { partitions } => {
            let first = task.attempt.task.index % (partitions - 2);
            edge_report((first..first + 3).map(segment), *partitions)
        }
        TaskOutput::Broadcast => OutputReport::Broadcast(Vec::new()),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    TaskReport {
        outputs: task.outputs.iter().map(of).collect(),
        inputs: input_digest(&task.inputs),
        ..TaskReport::default()
    }
}
