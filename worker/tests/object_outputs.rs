//! A whole worker whose outputs go to storage that is no file system.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

#[path = "../../store/tests/objects/mod.rs"]
mod objects;
mod support;

use objects::{Bucket, Objects};
use support::*;
use windrow_model::{Location, OutputReport, PartReport, TaskOutput};
use windrow_proto::v1::from_worker::Message as From;
use windrow_proto::v1::to_worker::Message as To;
use windrow_proto::v1::{self};
use windrow_store::{CompleteOutput, Durability, Output, Outputs, Placed, Receipt};
use windrow_worker::Config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_reports_receipts_with_which_the_output_completes() {
    let mut cluster = Cluster::start().await;
    let objects = Objects(Bucket::default());
    let outputs = Outputs::with(objects.clone());
    let settings = config(cluster.url.clone(), cluster.data_dir(0), Config::STOP_TIMEOUT);
    let _worker = cluster.worker_with(Config { outputs, ..settings });
    let mut line = cluster.line().await;
    let staging = objects.stage(Location::of("mem://bucket/out"), job(), Durability::Sync, &[]).unwrap();
    let nonce = objects.nonce(&staging).unwrap();

    for (nonce, fine) in [(&nonce[..], true), ("other", false)] {
        let folder = windrow_proto::convert::path_to_bytes(&staging.area);
        line.send(To::CheckStaging(v1::CheckStaging { folder, nonce: nonce.into(), ..Default::default() }));
        let From::StagingChecked(checked) = line.hear().await else { panic!("an answer") };
        assert_eq!(checked.failure.is_none(), fine);
    }

    let input = cluster.folder.path().join("input");
    std::fs::write(&input, "some text").unwrap();
    let id = line.attempt(0, 0);
    let mut setup = setup("copy", Some(&staging.area)).unwrap();
    setup.staging[0].nonce = nonce;
    line.assign(task(id, vec![chunk(&input)], vec![TaskOutput::Sink { sink: 0 }]), Some(setup), vec![]);
    let outputs = line.done(id).await;
    let [OutputReport::Sink(PartReport { bytes, records, checksum, .. })] = outputs[..] else { panic!("{outputs:?}") };
    line.send(To::Grant(v1::Grant { attempt: Some(id.into()) }));
    let From::Published(published) = line.hear().await else { panic!("it is published") };
    let [v1::PlacedPart { sink: 0, receipt }] = &published.parts[..] else { panic!("{published:?}") };
    assert_eq!(objects.0.read("mem://bucket/out"), None);

    let part = windrow_format::manifest::part(0, ".txt", bytes, records, checksum);
    let manifest = windrow_format::manifest::build(job(), "job", "text", vec![part]);
    let winners = [Placed { attempt: id, receipt: &Receipt::new(receipt.clone()).unwrap() }];
    let complete =
        CompleteOutput { manifest: &manifest, winners: &winners, others: &[], bad_records: &[], overwrite: false };
    objects.commit(&staging, &complete, Durability::Sync).unwrap();
    assert_eq!(objects.0.read("mem://bucket/out"), Some((job(), vec![b"some text".to_vec()])));
}
