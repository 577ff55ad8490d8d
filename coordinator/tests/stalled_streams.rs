//! Peers that stall in the middle of a stream hold up no other call.

mod support;

use std::future::pending;
use support::*;
use tokio_stream::StreamExt;
use windrow_model::Digest;
use windrow_net::clients;
use windrow_proto::v1;

/// More than there are threads for calls that block.
const STALLED: usize = 12;
const THREADS: usize = 4;

#[test]
fn stalled_uploads_and_downloads_hold_no_threads() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // The journal and the like have threads of their own.
    let runtime = runtime.worker_threads(2).max_blocking_threads(THREADS).enable_all().build().unwrap();
    runtime.block_on(async {
        let place = Place::new();
        let coordinator = Coordinator::start(&place.data()).await;
        let mut client = coordinator.client().await;
        let large: &'static [u8] = Box::leak(vec![7; 24 << 20].into_boxed_slice());
        let whole = v1::ArtifactPiece { digest: Some(Digest::of(large).into()), data: large.into() };
        soon("an upload", client.0.put_artifact(tokio_stream::iter([whole]))).await.unwrap();
        let mut stalled = Vec::new();
        let mut downloads = Vec::new();
        for n in 0..STALLED {
            // One call on each connection, whose window would hold up all of its calls.
            let connection = coordinator.connect().await;
            let first = v1::ArtifactPiece { digest: Some(Digest([n as u8; 32]).into()), data: vec![1].into() };
            let pieces = tokio_stream::once(first).chain(futures_util::stream::once(pending()));
            let mut jobs = clients::jobs(connection.clone());
            stalled.push(tokio::spawn(async move { jobs.put_artifact(pieces).await.map(drop) }));
            // Of this one nothing is read.
            let wanted = v1::GetArtifactRequest { digest: Some(Digest::of(large).into()) };
            downloads.push(soon("a download", clients::session(connection).get_artifact(wanted)).await.unwrap());
        }
        for n in 0..4u8 {
            let bytes: &'static [u8] = Box::leak(vec![n; 100].into_boxed_slice());
            soon("an upload beside them", client.upload(bytes)).await;
        }
        assert!(stalled.iter().all(|call| !call.is_finished()));
        stalled.iter().for_each(|call| call.abort());
        drop(downloads);
        coordinator.stop().await;
    });
}
