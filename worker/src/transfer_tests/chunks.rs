//! Chunks of datasets and logs, as a worker serves them.

use super::{Peer, noise};
use crate::chunks::{ARRIVALS_MAX, News};
use crate::logs::Stream;
use bytes::Bytes;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;
use windrow_model::{Code, Digest};
use windrow_net::from_status;
use windrow_proto::v1;
use windrow_sim::samples::{attempt, job_id as job};

#[tokio::test]
async fn received_chunk_is_kept_only_if_its_digest_fits() {
    let peer = Peer::start().await;
    let mut client = peer.client().await;
    let bytes = noise(3 << 20);
    let digest = Digest::of(&bytes);
    let put = |digest: Digest| {
        let pieces: Vec<v1::ChunkPiece> = bytes
            .chunks(1 << 20)
            .map(|c| v1::ChunkPiece { digest: Some(digest.into()), data: Bytes::copy_from_slice(c), cluster: None })
            .collect();
        tokio_stream::iter(pieces)
    };
    client.put_chunk(put(digest)).await.unwrap();
    client.put_chunk(put(digest)).await.unwrap();
    let mut stream = client.get_chunk(v1::GetChunkRequest { digest: Some(digest.into()) }).await.unwrap().into_inner();
    let mut back = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        back.extend_from_slice(&piece.data);
    }
    assert!(back == bytes);

    let wrong = Digest::of(b"something else");
    let status = client.put_chunk(put(wrong)).await.unwrap_err();
    assert_eq!(from_status(&status).code, Code::BadRequest);
    let status = client.get_chunk(v1::GetChunkRequest { digest: Some(wrong.into()) }).await.unwrap_err();
    assert_eq!(from_status(&status).code, Code::FetchFailed);
    let folder = peer.scratch.chunk(digest);
    assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1, "nothing is left of the wrong one");
}

#[tokio::test]
async fn damaged_chunk_is_noticed_by_the_worker_that_serves_it() {
    let peer = Peer::start().await;
    let mut client = peer.client().await;
    let bytes = Bytes::from(noise(3 << 20));
    let digest = Digest::of(&bytes);
    let whole = v1::ChunkPiece { digest: Some(digest.into()), data: bytes.clone(), cluster: None };
    client.put_chunk(tokio_stream::iter([whole])).await.unwrap();
    assert_eq!(peer.chunks.take_news(), [News::Stored(digest, 3 << 20)]);
    let mut flipped = bytes.to_vec();
    flipped[1 << 20] ^= 1;
    for damaged in [&flipped[..], &bytes[..100], b""] {
        let put = peer.chunks.begin(digest);
        assert!(put.write(bytes.clone()).await);
        put.finish().await.unwrap();
        peer.chunks.take_news();
        fs::write(peer.scratch.chunk(digest), damaged).unwrap();
        let wanted = v1::GetChunkRequest { digest: Some(digest.into()) };
        let mut stream = client.get_chunk(wanted).await.unwrap().into_inner();
        let end = loop {
            match stream.message().await {
                Ok(piece) => assert!(piece.is_some(), "damaged bytes came to a good end"),
                Err(status) => break status,
            }
        };
        assert_eq!(from_status(&end).code, Code::FetchFailed);
        assert_eq!(peer.chunks.take_news(), [News::Lost(digest)]);
    }
}

#[test]
fn stalled_puts_leave_threads_for_reads() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(ARRIVALS_MAX + 2).enable_all().build().unwrap();
    runtime.block_on(async {
        let peer = Peer::start().await;
        let digest = Digest::of(b"bytes");
        let mut client = peer.client().await;
        let whole = v1::ChunkPiece { digest: Some(digest.into()), data: Bytes::from_static(b"bytes"), cluster: None };
        client.put_chunk(tokio_stream::iter([whole])).await.unwrap();
        let mut stalled = tokio::task::JoinSet::new();
        for at in 0..ARRIVALS_MAX + 8 {
            // A few calls on each connection.
            if at % 40 == 0 {
                client = peer.client().await;
            }
            let other = Digest::of(&at.to_le_bytes());
            let first = v1::ChunkPiece { digest: Some(other.into()), data: Bytes::from_static(b"b"), cluster: None };
            let (pieces, stream) = tokio::sync::mpsc::channel(1);
            pieces.send(first).await.unwrap();
            let mut client = client.clone();
            stalled.spawn(async move {
                let _open = pieces;
                let _ = client.put_chunk(tokio_stream::wrappers::ReceiverStream::new(stream)).await;
            });
        }
        let calls = ARRIVALS_MAX + 9;
        let soon = tokio::time::timeout(Duration::from_secs(60), async {
            while peer.asked.load(Ordering::Relaxed) < calls {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for _ in 0..4 {
                let wanted = v1::GetChunkRequest { digest: Some(digest.into()) };
                let mut stream = peer.client().await.get_chunk(wanted).await.unwrap().into_inner();
                assert_eq!(stream.message().await.unwrap().unwrap().data, "bytes");
            }
        });
        soon.await.expect("a chunk is read beside puts that stall");
        stalled.abort_all();
    });
}

#[tokio::test]
async fn logs_are_read_with_their_attempts() {
    let peer = Peer::start().await;
    let log = peer.logs.open(job(1));
    log.lock().started(attempt(1, 3));
    log.lock().append(Stream::Stdout, b"hello");
    let mut client = peer.client().await;
    let request = v1::ReadLogsRequest { job: Some(job(1).into()) };
    let mut stream = client.read_logs(request).await.unwrap().into_inner();
    let chunk = stream.message().await.unwrap().unwrap();
    assert_eq!((chunk.attempt, chunk.data), (Some(attempt(1, 3).into()), b"hello".to_vec()));
    assert!(stream.message().await.unwrap().is_none());
}
