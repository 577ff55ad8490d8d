//! Commits whose file system is away, or does not answer: the job waits and says so, and is never reported as failed.

#![allow(clippy::disallowed_methods, reason = "a test opens both ends of a pipe")]

mod support;

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;
use support::*;
use windrow_coordinator::{Config, DiskStore, JobStore, Record};
use windrow_model::*;
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as Order};

/// A job whose commit has begun while the folder of its output, as a mount would be, is away.
struct Away {
    place: Place,
    coordinator: Coordinator,
    client: Client,
    job: JobId,
    /// Restored jobs wait for it.
    _worker: FakeWorker,
}

const STORAGE_TIMEOUT: Duration = Duration::from_millis(50);

impl Away {
    async fn new() -> Away {
        let (place, coordinator, mut client, mut worker) =
            start_configured(|config| config.storage_timeout = STORAGE_TIMEOUT).await;
        std::fs::create_dir(place.dir.path().join("mount")).unwrap();
        let spec = spec(1, &place.input(), &place.dir.path().join("mount/out"));
        client.submit(&spec).await.unwrap();
        let mut granted = Vec::new();
        while granted.len() < 2 {
            match worker.hear().await.unwrap() {
                Order::Assign(assign) => worker.done(&assign.task.unwrap().try_into().unwrap()),
                Order::CheckStaging(check) => worker.check_staging(check),
                Order::Grant(grant) => granted.push(AttemptId::try_from(grant.attempt.unwrap()).unwrap()),
                _ => {}
            }
        }
        let folder = PathBuf::from(std::ffi::OsString::from_vec(worker.setups[&spec.id].staging[0].path.clone()));
        for attempt in &granted {
            let part = windrow_format::names::attempt_part(attempt, "");
            std::fs::write(folder.join("_parts").join(part), PART).unwrap();
        }
        std::fs::rename(place.dir.path().join("mount"), place.dir.path().join("away")).unwrap();
        for attempt in granted {
            worker.say(Say::Published(v1::Published { attempt: Some(attempt.into()), ..Default::default() }));
        }
        let mut away = Away { place, coordinator, client, job: spec.id, _worker: worker };
        away.waits_for("is it mounted?").await;
        away
    }
    async fn restart(self, between: impl FnOnce(&Place)) -> Away {
        self.coordinator.stop().await;
        between(&self.place);
        let config = Config { storage_timeout: STORAGE_TIMEOUT, ..self.place.config() };
        let coordinator = Coordinator::start_with(config).await;
        let client = coordinator.client().await;
        let _worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
        Away { coordinator, client, _worker, ..self }
    }
    /// The job commits, and its status says what it waits for.
    async fn waits_for(&mut self, what: &str) {
        soon(what, async {
            loop {
                let status = self.client.get(self.job).await.unwrap();
                assert!(!status.state.is_final(), "{status:?}");
                if status.waiting.is_some_and(|reason| reason.contains(what)) {
                    return assert_eq!(status.state, JobState::Committing);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    fn come_back(place: &Place) {
        std::fs::rename(place.dir.path().join("away"), place.dir.path().join("mount")).unwrap();
    }
    async fn decide(&mut self, give_up: bool) -> Result<(), Failure> {
        let request = v1::DecideCommitRequest { id: Some(self.job.into()), give_up };
        soon("a decision", self.client.0.decide_commit(request)).await.map(drop).map_err(failure)
    }
    async fn ends_well(mut self) {
        assert_eq!(self.client.end_of(self.job).await.state, JobState::Done);
        let manifest = windrow_format::manifest::read(&self.place.dir.path().join("mount/out")).unwrap();
        assert_eq!((manifest.job, manifest.parts.len()), (self.job, 2));
        assert_eq!(self.decide(false).await.unwrap_err().code, Code::BadRequest, "nothing waits");
        self.coordinator.stop().await;
    }
}

/// The job failed although all its parts were there.
#[tokio::test(flavor = "multi_thread")]
async fn commit_waits_for_its_mount_and_ends_well() {
    let mut away = Away::new().await;
    away.client.cancel(away.job).await.unwrap();
    away.waits_for("mount/out").await;
    Away::come_back(&away.place);
    away.ends_well().await;
}

/// It was over with `INTERRUPTED` when a coordinator started without the mount.
#[tokio::test(flavor = "multi_thread")]
async fn commit_waits_for_its_mount_over_restarts() {
    let mut away = Away::new().await.restart(|_| {}).await;
    assert_eq!(away.client.get(away.job).await.unwrap().state, JobState::Committing);
    away.waits_for("out").await;
    // Another job must not write there meanwhile.
    let other = spec(2, &away.place.input(), &away.place.dir.path().join("mount/out"));
    std::fs::create_dir(away.place.dir.path().join("mount")).unwrap();
    away.client.upload(b"binary").await;
    away.client.submit(&other).await.unwrap();
    assert_eq!(away.client.end_of(other.id).await.error.unwrap().code, Code::OutputInUse);
    // An empty folder where the mount was says nothing of the output.
    let mut away = away.restart(|_| {}).await;
    away.waits_for("is it mounted?").await;
    std::fs::remove_dir(away.place.dir.path().join("mount")).unwrap();
    Away::come_back(&away.place);
    away.decide(false).await.unwrap();
    away.ends_well().await;
}

/// A FIFO hangs the thread that opens it, as a dead network file system would.
#[tokio::test(flavor = "multi_thread")]
async fn commit_on_a_mount_that_hangs_at_the_start_waits_for_it() {
    let mut writer = None;
    let hangs = |place: &Place| {
        Away::come_back(place);
        let mount = place.dir.path().join("mount");
        let hidden = std::fs::read_dir(&mount).unwrap().next().unwrap().unwrap().path();
        let nonce = hidden.join(windrow_format::names::NONCE);
        std::fs::remove_file(&nonce).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &nonce, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        writer = Some(std::fs::File::options().read(true).write(true).open(&nonce).unwrap());
    };
    let mut away = Away::new().await.restart(hangs).await;
    away.waits_for("has not answered").await;
    away.decide(false).await.unwrap();
    away.waits_for("has not answered").await;
    drop(writer);
    away.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_gives_up_a_commit_that_waits() {
    let mut away = Away::new().await;
    let unknown = Some(JobId::from_bytes([9; 16]).into());
    let refused = away.client.0.decide_commit(v1::DecideCommitRequest { id: unknown, give_up: true }).await;
    assert_eq!(failure(refused.unwrap_err()).code, Code::JobNotFound);
    away.decide(true).await.unwrap();
    let end = away.client.get(away.job).await.unwrap();
    assert_eq!(end.state, JobState::Cancelled, "the answer comes when the end is on record");
    assert!(end.error.unwrap().message.contains("may be there"));
    // The staging folder stays, in the next epoch, too.
    let mut away = away.restart(Away::come_back).await;
    assert_eq!(away.client.get(away.job).await.unwrap().state, JobState::Cancelled);
    let staged = std::fs::read_dir(away.place.dir.path().join("mount")).unwrap().count();
    assert_eq!(staged, 1);
    assert_eq!(away.decide(true).await.unwrap_err().code, Code::BadRequest);
    away.coordinator.stop().await;
}

/// It failed with `PLANNING_CRASHED`, whatever there was of its output.
#[tokio::test(flavor = "multi_thread")]
async fn commit_that_crashed_often_waits_for_an_operator() {
    let away = Away::new().await;
    let job = away.job;
    let crashed = |place: &Place| {
        Away::come_back(place);
        let mut store = DiskStore::open(&place.data().join("journal.redb")).unwrap();
        store.write(&[Record::Tries(job, 5)]).unwrap();
    };
    let mut away = away.restart(crashed).await;
    for _ in 0..2 {
        away.waits_for("windrow job commit").await;
        // Clean stops are no tries, and change nothing of that.
        away = away.restart(|_| {}).await;
    }
    away.waits_for("windrow job commit").await;
    away.decide(false).await.unwrap();
    away.ends_well().await;
}
