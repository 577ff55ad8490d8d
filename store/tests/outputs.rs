//! What every kind of storage for outputs promises, checked against a model for files and for an object store without rename:
//! readers see no output or a whole one, every step may be repeated, and nothing else stays.

mod objects;

use objects::{Bucket, Objects, Outage};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use windrow_format::{manifest, names};
use windrow_model::{
    AttemptId, Code, Epoch, Framing, Incarnation, JobId, Location, Manifest, PartReport, SinkSpec, StageId, StagedPart,
    TaskId,
};
use windrow_store::Durability::NoSync;
use windrow_store::{CommitState, Outputs, PartFile, Receipts, Result, Staging, Steps, complete_output};

/// Tasks of each job, and attempts of each task.
const TASKS: u32 = 2;

fn job(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

fn attempt(n: u8, index: u32, number: u32) -> AttemptId {
    let task = TaskId { job: job(n), stage: StageId(0), index };
    AttemptId { task, number, epoch: Epoch(1), incarnation: Incarnation(1) }
}

/// The bytes of an attempt's part. Some are empty, some are the same.
fn content(attempt: &AttemptId) -> Vec<u8> {
    let (job, index, number) = (attempt.task.job.as_bytes()[0], attempt.task.index, attempt.number);
    format!("{job}{index}{number}").repeat(usize::from(job) * number as usize).into_bytes()
}

/// A kind of storage, with one output on it.
struct Place {
    outputs: Outputs,
    output: String,
    folder: tempfile::TempDir,
    bucket: Option<Bucket>,
}

impl Place {
    fn files() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("place/out").to_str().unwrap().to_string();
        fs::create_dir(folder.path().join("place")).unwrap();
        Place { outputs: Outputs::default(), output, folder, bucket: None }
    }

    fn objects() -> Place {
        let (folder, bucket) = (tempfile::tempdir().unwrap(), Bucket::default());
        let outputs = Outputs::with(Objects(bucket.clone()));
        Place { outputs, output: "mem://bucket/out".into(), folder, bucket: Some(bucket) }
    }

    fn location(&self) -> Location<'_> {
        Location::of(&self.output)
    }

    fn stage(&self, n: u8, overwrite: bool) -> Result<Staging> {
        let kind = self.outputs.at(self.location())?;
        kind.check_free(self.location(), overwrite)?;
        kind.stage(self.location(), job(n), NoSync, &[])
    }

    /// Places a part as a worker does, and keeps its receipt.
    fn place(&self, staging: &Staging, attempt: AttemptId, receipts: &mut Receipts) -> Result<()> {
        let file = self.folder.path().join(names::attempt_part(&attempt, ""));
        // A part that was placed by an earlier call may have been taken away.
        let moved = self.bucket.is_none() && self.placed(staging, attempt).exists();
        if !moved {
            fs::write(&file, content(&attempt)).unwrap();
        }
        let part = PartFile { attempt: &attempt, suffix: "", file: &file };
        let receipt = self.outputs.of_area(&staging.area)?.place(&staging.area, part, NoSync, &|| {})?;
        receipts.keep(0, attempt, receipt);
        Ok(())
    }

    fn placed(&self, staging: &Staging, attempt: AttemptId) -> PathBuf {
        staging.area.join(names::PARTS).join(names::attempt_part(&attempt, ""))
    }

    fn commit(&self, staging: &Staging, job: &Job) -> Result<()> {
        let part = |(task, number): (&u32, &u32)| {
            let attempt = attempt(job.n, *task, *number);
            let bytes = content(&attempt).len() as u64;
            StagedPart { task: *task, attempt, part: PartReport { sink: 0, bytes, records: 1, checksum: 0 } }
        };
        let parts: Vec<StagedPart> = job.winners.iter().map(part).collect();
        let sink = sink(&self.output, job.overwrite);
        complete_output(&self.outputs, staging, "job", (0, &sink), (&parts, &job.receipts), &[], NoSync)
    }

    fn abandon(&self, staging: &Staging, receipts: &Receipts) -> Result<()> {
        let parts: Vec<_> = receipts.of_sink(0).collect();
        self.outputs.of(staging)?.abandon(staging, &parts)
    }

    /// What a reader sees.
    fn read(&self) -> Option<(JobId, Vec<Vec<u8>>)> {
        let Some(bucket) = &self.bucket else {
            let folder = Path::new(&self.output);
            let Manifest { job, parts, .. } = manifest::read(folder).ok()?;
            return Some((job, parts.iter().map(|p| fs::read(folder.join(&p.name)).unwrap()).collect()));
        };
        bucket.read(&self.output)
    }

    /// Names of all that is on the storage.
    fn names(&self) -> Vec<String> {
        let Some(bucket) = &self.bucket else {
            let (mut names, place) = (Vec::new(), self.folder.path().join("place"));
            let mut folders = vec![place.clone()];
            while let Some(folder) = folders.pop() {
                for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                    match path.is_dir() {
                        true => folders.push(path),
                        false => names.push(path.strip_prefix(&place).unwrap().to_str().unwrap().to_string()),
                    }
                }
            }
            return names;
        };
        bucket.keys()
    }

    fn set_outage(&self, outage: Option<Outage>) {
        self.bucket.iter().for_each(|bucket| bucket.set_outage(outage));
    }
}

fn sink(path: &str, overwrite: bool) -> SinkSpec {
    SinkSpec { path: path.into(), format: "text".into(), suffix: String::new(), framing: Framing::Whole, overwrite }
}

/// A job as the coordinator knows it.
#[derive(Clone, Debug)]
struct Job {
    n: u8,
    overwrite: bool,
    /// The number of the attempt that has won, by task.
    winners: BTreeMap<u32, u32>,
    receipts: Receipts,
    /// Attempts that have placed their part, by task and number.
    placed: BTreeSet<(u32, u32)>,
    /// Its commit has begun: no other attempt can win.
    committing: bool,
    /// It has failed: nothing but the removal of its staging follows.
    ended: bool,
}

impl Job {
    fn new(n: u8, overwrite: bool) -> Job {
        let (winners, receipts, placed) = Default::default();
        Job { n, overwrite, winners, receipts, placed, committing: false, ended: false }
    }

    fn is_complete(&self) -> bool {
        self.winners.len() == TASKS as usize
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        self.winners.iter().map(|(task, number)| content(&attempt(self.n, *task, *number))).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Stage { overwrite: bool },
    Place { task: u32, number: u32 },
    Commit,
    Abandon,
}

/// A step, and an outage during it: the calls that are answered before, and whether the last one has its effect.
type Tried = (Step, Option<(usize, bool)>);

fn tries() -> impl Strategy<Value = Vec<Tried>> {
    let step = prop_oneof![
        2 => any::<bool>().prop_map(|overwrite| Step::Stage { overwrite }),
        6 => (0..TASKS, 0..3u32).prop_map(|(task, number)| Step::Place { task, number }),
        4 => Just(Step::Commit),
        1 => Just(Step::Abandon),
    ];
    prop::collection::vec((step, prop::option::weighted(0.4, (0usize..14, any::<bool>()))), 0..60)
}

/// The storage, and what it must hold.
struct Model {
    place: Place,
    visible: Option<(JobId, Vec<Vec<u8>>)>,
    /// The job that has claimed the output, and its staging if the claim was answered.
    job: Option<(Job, Option<Staging>)>,
    jobs: u8,
    /// Uploads whose ids may be unknown to all.
    lost_uploads: usize,
}

impl Model {
    fn new(place: Place) -> Model {
        Model { place, visible: None, job: None, jobs: 0, lost_uploads: 0 }
    }

    fn step(&mut self, (step, outage): Tried) {
        let outage = outage.filter(|_| self.place.bucket.is_some());
        self.place.set_outage(outage.map(|(after, answer_lost)| Outage { after, answer_lost }));
        match step {
            Step::Stage { overwrite } => self.stage(overwrite, outage.is_some()),
            Step::Place { task, number } => self.place_part(task, number, outage.is_some()),
            Step::Commit => self.commit(outage.is_some()),
            Step::Abandon => self.abandon(outage.is_some()),
        }
        self.place.set_outage(None);
        assert_eq!(self.place.read(), self.visible);
    }

    fn stage(&mut self, overwrite: bool, may_fail: bool) {
        if self.job.is_none() {
            self.jobs += 1;
            self.job = Some((Job::new(self.jobs, overwrite), None));
        }
        // Staging may be repeated, and gives the same names.
        let (job, staging) = self.job.as_mut().unwrap();
        if job.committing || job.ended {
            return;
        }
        let refused = self.visible.is_some() && !job.overwrite;
        match self.place.stage(job.n, job.overwrite) {
            Ok(staged) => {
                assert!(!refused && staging.as_ref().is_none_or(|known| *known == staged));
                *staging = Some(staged);
            }
            Err(e) if refused && e.code == Code::OutputExists => self.job = None,
            Err(e) => assert!(may_fail && e.away, "{e}"),
        }
    }

    fn place_part(&mut self, task: u32, number: u32, may_fail: bool) {
        let Some((job, Some(staging))) = &mut self.job else { return };
        // An attempt whose part is known to be placed is not granted again.
        if job.committing || job.ended || !job.placed.insert((task, number)) {
            return;
        }
        match self.place.place(staging, attempt(job.n, task, number), &mut job.receipts) {
            Ok(()) => drop(job.winners.entry(task).or_insert(number)),
            Err(e) => {
                assert!(may_fail && e.away, "{e}");
                job.placed.remove(&(task, number));
                self.lost_uploads += 1;
            }
        }
    }

    fn commit(&mut self, may_fail: bool) {
        let Some((job, Some(staging))) = &mut self.job else { return };
        if !job.is_complete() || job.ended {
            return;
        }
        job.committing = true;
        let complete = (job_id(job), job.contents());
        match self.place.commit(staging, job) {
            Ok(()) => {
                self.place.set_outage(None);
                self.place.commit(staging, job).expect("a commit may be repeated");
                self.visible = Some(complete);
                self.job = None;
            }
            Err(e) => {
                assert!(may_fail && e.away, "{e}");
                self.place.set_outage(None);
                // The old output, or the whole new one.
                match self.place.read() == Some(complete.clone()) {
                    true => self.visible = Some(complete),
                    false => assert_eq!(self.place.read(), self.visible),
                }
            }
        }
    }

    fn abandon(&mut self, may_fail: bool) {
        let Some((job, Some(staging))) = &mut self.job else { return };
        job.ended = true;
        match self.place.abandon(staging, &job.receipts) {
            Ok(()) => {
                self.place.set_outage(None);
                self.place.abandon(staging, &job.receipts).expect("it may be repeated");
                self.job = None;
            }
            Err(e) => assert!(may_fail && e.away, "{e}"),
        }
    }

    /// The last job ends, and nothing but the visible output is left.
    fn end(mut self) {
        if let Some((job, None)) = &mut self.job {
            // The claim may have been made without an answer.
            let staging = self.place.outputs.at(self.place.location()).unwrap();
            let staging = staging.staging(self.place.location(), job_id(job)).unwrap();
            self.place.abandon(&staging, &job.receipts).unwrap();
            self.job = None;
        }
        self.abandon(false);
        let objects = self.visible.as_ref().map_or(0, |(_, parts)| parts.len() + 1);
        assert_eq!(self.place.names().len(), objects, "{:?}", self.place.names());
        if let Some(bucket) = &self.place.bucket {
            assert!(bucket.pending_uploads() <= self.lost_uploads, "an upload with a known id was left");
        }
        assert_eq!(self.place.read(), self.visible);
    }
}

fn job_id(of: &Job) -> JobId {
    job(of.n)
}

proptest! {
    #[test]
    fn object_store_keeps_the_promises_of_outputs(tries in tries()) {
        let mut model = Model::new(Place::objects());
        tries.into_iter().for_each(|tried| model.step(tried));
        model.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_keep_the_promises_of_outputs(tries in tries()) {
        let mut model = Model::new(Place::files());
        tries.into_iter().for_each(|tried| model.step(tried));
        model.end();
    }
}

/// A job whose parts are placed: two attempts of the first task, of which the second has won.
fn placed(place: &Place, n: u8, overwrite: bool) -> (Staging, Job) {
    let staging = place.stage(n, overwrite).unwrap();
    let mut job = Job::new(n, overwrite);
    for (task, number) in [(0, 1), (0, 2), (1, 1)] {
        place.place(&staging, attempt(n, task, number), &mut job.receipts).unwrap();
    }
    job.winners = BTreeMap::from([(0, 2), (1, 1)]);
    (staging, job)
}

/// Every call of a commit is the last one before a crash, with and without its effect.
#[test]
fn object_commit_resumes_after_a_crash_at_any_call() {
    for answer_lost in [false, true] {
        let mut crashes = 0;
        for after in 0.. {
            let place = Place::objects();
            let bucket = place.bucket.clone().unwrap();
            let (old_staging, old) = placed(&place, 1, false);
            place.commit(&old_staging, &old).unwrap();
            let (staging, job) = placed(&place, 2, true);
            bucket.set_outage(Some(Outage { after, answer_lost }));
            let tried = place.commit(&staging, &job);
            bucket.set_outage(None);
            let read = place.read().unwrap();
            assert!(read == (job_id(&old), old.contents()) || read == (job_id(&job), job.contents()), "{after}");
            place.commit(&staging, &job).unwrap();
            assert_eq!(place.read().unwrap(), (job_id(&job), job.contents()), "{after}");
            assert_eq!((bucket.keys().len(), bucket.pending_uploads()), (3, 0), "{after}: {:?}", bucket.keys());
            match tried {
                Ok(()) => break,
                Err(e) => assert!(e.away, "{e}"),
            }
            crashes += 1;
        }
        assert!(crashes > 10, "{crashes}");
    }
}

#[test]
fn commit_and_abandon_discard_the_uploads_of_losers() {
    for commits in [true, false] {
        let place = Place::objects();
        let bucket = place.bucket.clone().unwrap();
        let (staging, job) = placed(&place, 1, false);
        assert_eq!(bucket.pending_uploads(), 3);
        match commits {
            true => place.commit(&staging, &job).unwrap(),
            false => place.abandon(&staging, &job.receipts).unwrap(),
        }
        assert_eq!((bucket.pending_uploads(), bucket.keys().len()), (0, if commits { 3 } else { 0 }));
    }
}

#[test]
fn part_that_is_placed_again_has_one_upload() {
    let place = Place::objects();
    let (staging, mut job) = placed(&place, 1, false);
    place.place(&staging, attempt(1, 1, 1), &mut job.receipts).unwrap();
    assert_eq!(place.bucket.as_ref().unwrap().pending_uploads(), 3);
    place.commit(&staging, &job).unwrap();
    assert_eq!(place.read(), Some((job_id(&job), job.contents())));
}

#[test]
fn commit_without_the_receipt_of_a_winner_fails() {
    let place = Place::objects();
    let (staging, job) = placed(&place, 1, false);
    let failed = place.commit(&staging, &Job { receipts: Receipts::default(), ..job }).unwrap_err();
    assert!(failed.code == Code::OutputFailed && !failed.away, "{failed}");
    assert_eq!(place.read(), None);
}

/// Every kind: who may stage where, and which machine sees it.
#[test]
fn staging_is_found_by_its_names_and_nonce() {
    for place in [Place::files(), Place::objects()] {
        let kind = place.outputs.at(place.location()).unwrap();
        let staging = place.stage(1, false).unwrap();
        assert_eq!(kind.staging(place.location(), job(1)).unwrap(), staging);
        assert_eq!(place.outputs.of(&staging).unwrap().state(&staging), Ok(CommitState::Staged));
        let nonce = kind.nonce(&staging).unwrap();
        assert_eq!(place.stage(1, false).unwrap(), staging, "it may be repeated");
        assert_eq!(kind.nonce(&staging).unwrap(), nonce);
        assert_eq!(kind.check_nonce(&staging.area, &nonce), Ok(()));
        assert_eq!(kind.check_nonce(&staging.area, "other").unwrap_err().code, Code::OutputNotShared);
        assert_eq!(kind.earlier(place.location()).unwrap(), [(job(1), staging.area.clone())]);
        kind.remove(&staging.area).unwrap();
        assert_eq!(kind.check_nonce(&staging.area, &nonce).unwrap_err().code, Code::OutputNotShared);
        assert_eq!((kind.state(&staging), place.names().len()), (Ok(CommitState::Gone), 0));
        assert_eq!(kind.earlier(place.location()).unwrap(), []);
    }
}

#[test]
fn object_store_refuses_a_second_claim_of_an_output() {
    let place = Place::objects();
    place.stage(1, false).unwrap();
    assert_eq!(place.stage(2, false).unwrap_err().code, Code::OutputInUse);
}

#[test]
fn location_of_no_kind_is_refused() {
    for location in ["s3://bucket/out", "windrow://logs"] {
        let refused = Outputs::default().check(Location::of(location), false, &[], &Steps::default()).unwrap_err();
        assert!(refused.code == Code::OutputFailed && refused.message.contains(location), "{refused}");
    }
}
