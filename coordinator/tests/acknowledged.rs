//! No call reports a state that the journal does not have yet. The journal of these tests holds its writes back.

mod support;

use std::sync::{Arc, Condvar, Mutex};
use support::*;
use windrow_coordinator::{
    Error, Identity, JobRecord, JobStore, KeptResult, MemoryStore, Record, RunningJob, Snapshot,
};
use windrow_model::*;

/// Says which records are held back.
type Which = fn(&Record) -> bool;

/// Which writes may pass.
#[derive(Default)]
struct Gate {
    /// A write that holds a record for which this says so waits.
    held: Mutex<Option<Which>>,
    opened: Condvar,
    /// Writes that have waited.
    waited: Mutex<u32>,
}

impl Gate {
    fn hold(&self, which: Which) {
        *self.held.lock().unwrap() = Some(which);
    }
    /// Lets what waits pass, and holds others.
    fn next(&self, which: Which) {
        *self.waited.lock().unwrap() = 0;
        self.hold(which);
        self.opened.notify_all();
    }
    fn open(&self) {
        *self.held.lock().unwrap() = None;
        self.opened.notify_all();
    }
    fn pass(&self, records: &[Record]) {
        let mut held = self.held.lock().unwrap();
        if held.is_some_and(|which| records.iter().any(which)) {
            *self.waited.lock().unwrap() += 1;
        }
        while held.is_some_and(|which| records.iter().any(which)) {
            held = self.opened.wait(held).unwrap();
        }
    }
    /// Until a write is held back.
    async fn reached(&self) {
        soon("a write to be held back", async {
            while *self.waited.lock().unwrap() == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

struct Slow(MemoryStore, Arc<Gate>);

impl JobStore for Slow {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        self.0.begin_epoch()
    }
    fn identity(&mut self) -> Result<Identity, Error> {
        self.0.identity()
    }
    fn snapshot(&mut self) -> Result<Snapshot, Error> {
        self.0.snapshot()
    }
    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        self.0.load()
    }
    fn load_running(&mut self) -> Result<Vec<RunningJob>, Error> {
        self.0.load_running()
    }
    fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error> {
        self.0.load_collected()
    }
    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
        self.0.load_datasets()
    }
    fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error> {
        self.0.load_workers()
    }
    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        self.1.pass(records);
        self.0.write(records)
    }
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        self.0.forget(jobs)
    }
}

struct Held {
    place: Place,
    gate: Arc<Gate>,
    coordinator: Coordinator,
    client: Client,
}

impl Held {
    async fn start() -> Held {
        let (place, gate) = (Place::new(), Arc::new(Gate::default()));
        std::fs::create_dir_all(place.data()).unwrap();
        let store = Box::new(Slow(MemoryStore::default(), gate.clone()));
        let coordinator = Coordinator::start_on(place.config(), store).await;
        let client = coordinator.client_with_binary().await;
        Held { place, gate, coordinator, client }
    }

    /// What every call that reports a state says.
    async fn states(&mut self, job: JobId) -> [Option<JobState>; 3] {
        let get = self.client.get(job).await.ok().map(|s| s.state);
        let list = self.client.list().await.into_iter().find(|s| s.id == job).map(|s| s.state);
        let request = windrow_proto::v1::WatchRequest { id: Some(job.into()) };
        let watch = match self.client.0.watch(request).await {
            Ok(stream) => {
                let first = soon("a status", stream.into_inner().message()).await.unwrap().unwrap();
                Some(JobStatus::try_from(first).unwrap().state)
            }
            Err(_) => None,
        };
        [get, list, watch]
    }
}

fn is_final(record: &Record) -> bool {
    matches!(record, Record::Job(job) if job.status.state.is_final())
}
fn is_sealed(record: &Record) -> bool {
    matches!(record, Record::Job(job) if job.status.state == JobState::Committing)
}
fn is_submit(record: &Record) -> bool {
    matches!(record, Record::Job(job) if job.status.state == JobState::Planning)
}
fn is_split(record: &Record) -> bool {
    matches!(record, Record::Split(..))
}

#[tokio::test(flavor = "multi_thread")]
async fn job_is_shown_when_its_submit_is_durable() {
    let mut held = Held::start().await;
    let spec = held.place.spec(1);
    held.gate.hold(is_submit);
    let mut other = held.coordinator.client().await;
    let own = spec.clone();
    let submit = tokio::spawn(async move { other.submit(&own).await });
    held.gate.reached().await;
    assert_eq!(held.states(spec.id).await, [None; 3]);
    assert!(!submit.is_finished());
    held.gate.open();
    assert_eq!(submit.await.unwrap(), Ok(spec.id));
    assert!(held.states(spec.id).await.iter().all(Option::is_some));
    held.client.cancel(spec.id).await.unwrap();
    held.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_is_shown_when_it_is_durable() {
    let mut held = Held::start().await;
    let spec = held.place.spec(1);
    let id = spec.id;
    // Its answer is waited for: how the job is split is not recorded together with its submit.
    let silent = FakeWorker::join(&held.coordinator, register(2, 1)).await.unwrap();
    held.client.submit(&spec).await.unwrap();
    held.gate.hold(is_split);
    drop(silent);
    held.gate.reached().await;
    assert_eq!(held.states(id).await, [Some(JobState::Planning); 3]);
    // Only now, or the whole job would be recorded at once.
    held.gate.next(is_sealed);
    let mut worker = FakeWorker::join(&held.coordinator, register(1, 1)).await.unwrap();
    let work = tokio::spawn(async move {
        worker.work_until_dropped(id).await;
        worker
    });
    held.gate.reached().await;
    assert_eq!(held.states(id).await, [Some(JobState::Running); 3]);
    held.gate.next(is_final);
    held.gate.reached().await;
    assert_eq!(held.states(id).await, [Some(JobState::Committing); 3]);
    held.gate.open();
    assert_eq!(held.client.end_of(id).await.state, JobState::Done);
    assert_eq!(held.states(id).await, [Some(JobState::Done); 3]);
    drop(work.await.unwrap());
    held.coordinator.stop().await;
}

/// The crash that would take the end back: another submit to the same output.
#[tokio::test(flavor = "multi_thread")]
async fn cancel_answers_when_the_end_is_durable() {
    let mut held = Held::start().await;
    let spec = held.place.spec(1);
    held.client.submit(&spec).await.unwrap();
    held.gate.hold(is_final);
    let mut other = held.coordinator.client().await;
    let id = spec.id;
    let cancel = tokio::spawn(async move { other.cancel(id).await });
    held.gate.reached().await;
    assert!(held.states(id).await.iter().all(|state| state.is_some_and(|s| !s.is_final())));
    assert!(!cancel.is_finished());
    held.gate.open();
    assert_eq!(cancel.await.unwrap(), Ok(()));
    assert_eq!(held.states(id).await, [Some(JobState::Cancelled); 3]);
    held.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_submit_is_answered_when_the_first_is_durable() {
    let mut held = Held::start().await;
    let spec = held.place.spec(1);
    held.gate.hold(is_submit);
    let clients = [held.coordinator.client().await, held.coordinator.client().await];
    let submits = clients.map(|mut client| {
        let own = spec.clone();
        tokio::spawn(async move { client.submit(&own).await })
    });
    held.gate.reached().await;
    assert!(submits.iter().all(|submit| !submit.is_finished()));
    held.gate.open();
    for submit in submits {
        assert_eq!(submit.await.unwrap(), Ok(spec.id));
    }
    held.client.cancel(spec.id).await.unwrap();
    held.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn same_id_with_another_spec_is_refused() {
    let (place, coordinator, mut client) = start().await;
    let spec = place.spec(1);
    let mut other = spec.clone();
    other.params = "{\"x\":1}".into();
    client.submit(&spec).await.unwrap();
    assert_eq!(client.submit(&other).await.unwrap_err().code, Code::JobExists, "while it runs");
    assert_eq!(client.submit(&spec).await, Ok(spec.id));
    client.cancel(spec.id).await.unwrap();
    assert_eq!(client.submit(&other).await.unwrap_err().code, Code::JobExists, "after its end");
    coordinator.stop().await;
    let coordinator = Coordinator::start(&place.data()).await;
    let mut client = coordinator.client().await;
    assert_eq!(client.submit(&other).await.unwrap_err().code, Code::JobExists, "in the next epoch");
    assert_eq!(client.submit(&spec).await, Ok(spec.id));
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_by_state_name_and_number() {
    let (place, coordinator, mut client) = start().await;
    for n in 1..=4 {
        let spec = spec(n, &place.input(), &place.dir.path().join(format!("out{n}")));
        client.submit(&spec).await.unwrap();
        if n % 2 == 0 {
            client.cancel(spec.id).await.unwrap();
        }
    }
    let mut listed = async |filter: JobFilter| {
        let reply = client.0.list(windrow_proto::v1::ListRequest::from(filter)).await.unwrap().into_inner();
        (reply.jobs.into_iter().map(|j| j.name).collect::<Vec<_>>().join(","), reply.admitted)
    };
    let all = JobFilter::default();
    assert_eq!(listed(all.clone()).await, ("job 1,job 2,job 3,job 4".into(), 4));
    let cancelled = JobFilter { states: vec![JobState::Cancelled], ..all.clone() };
    assert_eq!(listed(cancelled.clone()).await, ("job 2,job 4".into(), 2));
    assert_eq!(listed(JobFilter { limit: Some(1), ..cancelled }).await, ("job 4".into(), 2));
    assert_eq!(listed(JobFilter { name: "b 3".into(), ..all.clone() }).await, ("job 3".into(), 1));
    assert_eq!(listed(JobFilter { since_unix_ms: u64::MAX, ..all }).await, (String::new(), 0));
    coordinator.stop().await;
}

fn is_try(record: &Record) -> bool {
    matches!(record, Record::Tries(_, tries) if *tries > 0)
}

/// A try that is not on record could end the coordinator again and again.
#[tokio::test(flavor = "multi_thread")]
async fn second_planning_begins_when_its_try_is_durable() {
    let (place, gate) = (Place::new(), Arc::new(Gate::default()));
    let spec = place.spec(1);
    let mut store = MemoryStore::default();
    store.write(&left_in_planning(&spec, 1)).unwrap();
    std::fs::create_dir_all(place.data()).unwrap();
    gate.hold(is_try);
    let coordinator = Coordinator::start_on(place.config(), Box::new(Slow(store, gate.clone()))).await;
    gate.reached().await;
    assert_eq!(place.names(), ["data", "in.txt"], "nothing is staged yet");
    gate.open();
    soon("the staging folder", async {
        while place.names().len() < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    coordinator.client().await.cancel(spec.id).await.unwrap();
    coordinator.stop().await;
}

/// Its inputs were recorded before the scheduler refused it, and so it was shown as running.
#[tokio::test(flavor = "multi_thread")]
async fn job_of_too_many_tasks_is_never_shown_as_running() {
    let mut held = Held::start().await;
    let mut spec = held.place.spec(1);
    let Output::Edge { partitions, .. } = &mut spec.plan.stages[0].outputs[0] else { panic!("the map shuffles") };
    *partitions = Partitions::Count(1_000_000);
    let from = |stage: usize| Input::Edge { from: vec![Port { stage: StageId(stage as u32), output: 0 }] };
    for stage in 1..3 {
        let mut shuffled = spec.plan.stages[stage].clone();
        (shuffled.inputs, shuffled.outputs) = (vec![from(stage - 1)], spec.plan.stages[0].outputs.clone());
        spec.plan.stages.insert(stage, shuffled);
    }
    spec.plan.stages[3].inputs = vec![from(2)];
    spec.plan.collects[0].from.stage = StageId(3);
    held.gate.hold(|record| is_split(record) || is_final(record));
    held.client.submit(&spec).await.unwrap();
    held.gate.reached().await;
    assert_eq!(held.states(spec.id).await, [Some(JobState::Planning); 3]);
    held.gate.next(is_split);
    assert_eq!(held.client.end_of(spec.id).await.error.unwrap().code, Code::PlanInvalid);
    held.coordinator.stop().await;
}
