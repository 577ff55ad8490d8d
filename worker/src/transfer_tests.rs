//! The shuffle between two workers: `serve.rs` on one side, `fetch.rs` and `staging.rs` on the other.

use crate::chunks::{ARRIVALS_MAX, Chunks, News};
use crate::fetch::{FetchError, Fetcher};
use crate::logs::{Logs, Stream};
use crate::membership::Membership;
use crate::neighbours::{Neighbours, Whereabouts};
use crate::outputs::Outputs;
use crate::replicas::Replicas;
use crate::scratch::Scratch;
use crate::serve::TransferService;
use crate::staging::Staging;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use windrow_attempts::StageError;
use windrow_format::checksum::crc32c;
use windrow_model::{
    AttemptId, Chunk, Code, Digest, FileRange, Incarnation, Segment, SegmentRef, Task, TaskInput, WorkerId,
};
use windrow_net::{Access, Role, Server, channel, clients, from_status, serve::serve};
use windrow_proto::v1;
use windrow_sim::samples::{attempt, job_id as job, task};
use windrow_store::identity;

/// A worker's service on a port of its own, with its stores.
struct Peer {
    _folder: tempfile::TempDir,
    scratch: Arc<Scratch>,
    outputs: Outputs,
    chunks: Chunks,
    logs: Logs,
    url: String,
    /// Calls so far.
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    async fn start() -> Peer {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let (outputs, logs) = (Outputs::default(), Logs::default());
        let chunks = Chunks::new(scratch.clone());
        let service = TransferService {
            worker: scratch.worker(),
            outputs: outputs.clone(),
            logs: logs.clone(),
            chunks: chunks.clone(),
            membership: Arc::new(Membership::open(&scratch).unwrap()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let counted = InterceptedService::new(service.into_server(), move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(request)
        });
        let routes = tonic::service::Routes::new(counted);
        let task = tokio::spawn(async move {
            serve(listener, routes, Server::new(Role::Worker, None, None), std::future::pending()).await.unwrap();
        });
        Peer { _folder: folder, scratch, outputs, chunks, logs, url, asked, task }
    }

    /// A finished attempt whose first output holds these bytes, cut into segments of these lengths.
    fn finished(&self, id: AttemptId, bytes: &[u8], lengths: &[u64]) -> Vec<SegmentRef> {
        let folder = self.scratch.attempt(&id);
        fs::create_dir_all(folder.outputs()).unwrap();
        fs::write(folder.edge(0), bytes).unwrap();
        self.outputs.insert(id, folder);
        let mut offset = 0;
        let segment = |(partition, length): (usize, &u64)| {
            let segment = Segment {
                partition: partition as u32,
                offset,
                length: *length,
                records: 1,
                raw_length: *length,
                digest: 0,
            };
            offset += length;
            SegmentRef { worker: self.scratch.worker(), attempt: id, output: 0, segment }
        };
        lengths.iter().enumerate().map(segment).collect()
    }

    /// As a peer on another machine is known.
    fn known_by_address(&self) -> HashMap<WorkerId, Whereabouts> {
        HashMap::from([(self.scratch.worker(), Whereabouts { address: self.url.clone(), home: None })])
    }

    /// As a neighbour is known.
    fn known_with_home(&self) -> HashMap<WorkerId, Whereabouts> {
        let home = Neighbours::here().home(self.scratch.root().to_path_buf());
        HashMap::from([(self.scratch.worker(), Whereabouts { address: self.url.clone(), home })])
    }

    fn staging(&self) -> Staging {
        Staging {
            worker: self.scratch.worker(),
            scratch: self.scratch.clone(),
            outputs: self.outputs.clone(),
            fetcher: fetcher(),
            replicas: Replicas {
                chunks: Chunks::new(self.scratch.clone()),
                access: Access::default(),
                progress_deadline: Duration::from_secs(5),
            },
            seen: Arc::default(),
            neighbours: Arc::new(Neighbours::here()),
            storage: Default::default(),
        }
    }

    async fn client(&self) -> windrow_proto::v1::transfer_client::TransferClient<windrow_net::Connection> {
        clients::transfer(channel(&self.url, &Access::default()).await.unwrap())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn fetcher() -> Fetcher {
    Fetcher::new(Access::default(), Duration::from_secs(5))
}

fn noise(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

#[tokio::test]
async fn many_segments_of_any_size_arrive_in_order() {
    let peer = Peer::start().await;
    let bytes = noise(5 << 20);
    let mut lengths = vec![3 << 20, 0, 1, 1 << 20];
    lengths.extend([100; 2000]);
    let segments = peer.finished(attempt(1, 0), &bytes, &lengths);
    // In another order than they lie in the file.
    let wanted: Vec<_> = segments.iter().rev().copied().collect();
    let target = peer.scratch.artifact(Digest::of(b"target"));
    fetcher().fetch(&peer.url, &wanted, &target).await.unwrap();
    let part = |s: &SegmentRef| &bytes[s.segment.offset as usize..][..s.segment.length as usize];
    let expected: Vec<u8> = wanted.iter().flat_map(|s| part(s).to_vec()).collect();
    assert!(fs::read(&target).unwrap() == expected);
}

#[tokio::test]
async fn segment_of_a_missing_attempt_is_lost_at_once() {
    let peer = Peer::start().await;
    let mut segments = peer.finished(attempt(1, 0), b"abcdef", &[3, 3]);
    segments[1].attempt.incarnation = Incarnation(99);
    let target = peer.scratch.artifact(Digest::of(b"target"));
    match fetcher().fetch(&peer.url, &segments, &target).await {
        Err(FetchError::Lost(1, failure)) => assert_eq!(failure.code, Code::StaleAttempt),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.asked.load(Ordering::Relaxed), 1, "a missing attempt is not retried");
    segments[0].worker = WorkerId::from_bytes([7; 16]);
    let other_worker = fetcher().fetch(&peer.url, &segments[..1], &target).await;
    assert!(matches!(other_worker, Err(FetchError::Lost(0, _))), "{other_worker:?}");
    assert_eq!(peer.asked.load(Ordering::Relaxed), 2, "neither does this one");
}

#[tokio::test]
async fn truncated_file_is_a_lost_segment() {
    let peer = Peer::start().await;
    let segments = peer.finished(attempt(1, 0), b"abcd", &[3, 3]);
    let target = peer.scratch.artifact(Digest::of(b"target"));
    match fetcher().fetch(&peer.url, &segments, &target).await {
        Err(FetchError::Lost(1, failure)) => assert_eq!(failure.code, Code::FetchFailed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn unreachable_peer_is_retried_then_lost() {
    let peer = Peer::start().await;
    let segments = peer.finished(attempt(1, 0), b"abc", &[3]);
    let target = peer.scratch.artifact(Digest::of(b"target"));
    // A port without a listener.
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    match fetcher().fetch(&url, &segments, &target).await {
        Err(FetchError::Lost(0, failure)) => assert!(failure.message.contains(&url), "{failure}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn silent_peer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    let peer = Peer::start().await;
    let segments = peer.finished(attempt(1, 0), b"abc", &[3]);
    let target = peer.scratch.artifact(Digest::of(b"target"));
    let fetched = Fetcher::new(Access::default(), Duration::from_millis(200)).fetch(&url, &segments, &target).await;
    assert!(matches!(fetched, Err(FetchError::Lost(0, _))), "{fetched:?}");
    silent.abort();
}

/// A server that answers calls for segments with a piece of one byte each `every`; counts the pieces.
async fn dripping(every: Duration) -> (String, Arc<AtomicUsize>) {
    use tonic::body::Body;
    use tonic::codegen::http;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let sent = count.clone();
    struct Frames(tokio::sync::mpsc::Receiver<Bytes>);
    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = tonic::Status;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes))))
        }
    }
    #[derive(Clone)]
    struct Drip(Duration, Arc<AtomicUsize>);
    impl tonic::server::NamedService for Drip {
        const NAME: &'static str = "windrow.v1.Transfer";
    }
    impl tonic::codegen::Service<http::Request<Body>> for Drip {
        type Response = http::Response<Body>;
        type Error = std::convert::Infallible;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: http::Request<Body>) -> Self::Future {
            let (frames, stream) = tokio::sync::mpsc::channel(1);
            let Drip(every, sent) = self.clone();
            tokio::spawn(async move {
                loop {
                    let mut piece = Vec::new();
                    let fill = |out: &mut Vec<u8>| {
                        out.push(7);
                        Ok::<_, std::convert::Infallible>(())
                    };
                    let _ = windrow_proto::pieces::put_piece(&mut piece, 0, 1, fill, crc32c);
                    if frames.send(Bytes::from(piece)).await.is_err() {
                        return;
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(every).await;
                }
            });
            let mut response = http::Response::new(Body::new(Frames(stream)));
            let grpc = http::HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
            std::future::ready(Ok(response))
        }
    }
    let routes = tonic::service::Routes::new(Drip(every, sent));
    tokio::spawn(serve(listener, routes, Server::new(Role::Worker, None, None), std::future::pending()));
    (url, count)
}

/// Each byte came within the deadline, so a peer held one of the few streams for as long as it liked.
#[tokio::test]
async fn dripping_peer_holds_no_stream() {
    let (url, count) = dripping(Duration::from_millis(20)).await;
    let peer = Peer::start().await;
    let segments = peer.finished(attempt(1, 0), &noise(1 << 20), &[1 << 20]);
    let fetcher = Fetcher::new(Access::default(), Duration::from_millis(300));
    let target = peer.scratch.artifact(Digest::of(b"target"));
    match fetcher.fetch(&url, &segments, &target).await {
        Err(FetchError::Lost(0, failure)) => assert!(failure.message.contains("too little"), "{failure}"),
        other => panic!("{other:?}"),
    }
    // Three deadlines of pieces, and what was on its way.
    let pieces = count.load(Ordering::Relaxed);
    assert!((5..=200).contains(&pieces), "{pieces} pieces");
    fetcher.fetch(&peer.url, &segments, &target).await.unwrap();
}

/// Workers of another release use gRPC's own codec.
#[tokio::test]
async fn served_segments_decode_with_the_stock_client() {
    let peer = Peer::start().await;
    let bytes = noise(3 << 20);
    let segments = peer.finished(attempt(1, 0), &bytes, &[3, 1 << 20, (2 << 20) - 3]);
    let gone = SegmentRef { attempt: attempt(1, 9), ..segments[0] };
    let wanted: Vec<v1::SegmentRef> = segments.iter().chain([&gone]).map(|s| (*s).into()).collect();
    let mut client = peer.client().await;
    let mut pieces = client.fetch_segments(v1::FetchSegmentsRequest { segments: wanted }).await.unwrap().into_inner();
    let mut found = vec![Vec::new(); segments.len()];
    let failure = loop {
        let piece = pieces.message().await.unwrap().expect("the last message names the missing attempt");
        if let Some(failure) = piece.failure {
            break (piece.index, failure.code);
        }
        assert_eq!(piece.crc32c, Some(crc32c(&piece.data)));
        found[piece.index as usize].extend_from_slice(&piece.data);
    };
    assert_eq!(failure, (3, Code::StaleAttempt.as_str().to_string()));
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1 << 20, (2 << 20) - 3]);
    assert_eq!(found.concat(), bytes);
    assert!(pieces.message().await.unwrap().is_none(), "and then all is well");
}

#[tokio::test]
async fn own_segments_are_used_in_place() {
    let (here, there) = (Peer::start().await, Peer::start().await);
    let own = here.finished(attempt(1, 0), b"own-own2", &[3, 5]);
    let other = there.finished(attempt(1, 1), b"firstsecond", &[5, 6]);
    let mut t = task(attempt(1, 2), vec![]);
    t.inputs.push(TaskInput::Segments(vec![other[1], own[1], other[0]]));
    t.inputs.push(TaskInput::Segments(vec![other[0]]));
    let peers = there.known_by_address();
    let staged = here.staging().stage(&t, &peers, &HashMap::new()).await.unwrap();
    assert!(staged.fetched);
    let read = |input: usize, at: usize, length: usize| read(&staged.segments[input].segments[at], length);
    assert_eq!((staged.segments[0].input, staged.segments[1].input), (1, 2));
    assert_eq!(read(0, 0, 6), b"second");
    assert_eq!(read(0, 1, 5), b"-own2");
    assert_eq!(read(0, 2, 5), b"first");
    assert_eq!(read(1, 0, 5), b"first");
    let folder = here.scratch.attempt(&attempt(1, 2));
    assert_eq!(fs::read_dir(folder.inputs()).unwrap().count(), 1, "one file per peer");
}

#[tokio::test]
async fn neighbour_segments_are_used_in_place() {
    let (here, neighbour, there) = (Peer::start().await, Peer::start().await, Peer::start().await);
    let near = neighbour.finished(attempt(1, 0), b"nearnear2", &[4, 5]);
    let far = there.finished(attempt(1, 1), b"far", &[3]);
    let mut t = task(attempt(1, 2), vec![]);
    t.inputs.push(TaskInput::Segments(vec![near[1], far[0], near[0]]));
    let mut peers = there.known_by_address();
    peers.extend(neighbour.known_with_home());
    let staged = here.staging().stage(&t, &peers, &HashMap::new()).await.unwrap();
    let places = &staged.segments[0].segments;
    assert_eq!([read(&places[0], 5), read(&places[1], 3), read(&places[2], 4)].concat(), b"near2farnear");
    let theirs = windrow_proto::convert::path_to_bytes(&neighbour.scratch.attempt(&attempt(1, 0)).edge(0));
    assert!(places[0].path == theirs && places[2].path == theirs && staged.fetched);

    let mut t = task(attempt(1, 3), vec![]);
    t.inputs.push(TaskInput::Segments(near));
    let staged = here.staging().stage(&t, &peers, &HashMap::new()).await.unwrap();
    assert!(!staged.fetched && !here.scratch.attempt(&attempt(1, 3)).path().exists(), "nothing was made for it");
}

/// Only a running worker knows what became of a file.
#[tokio::test]
async fn segment_missing_at_a_neighbour_is_fetched() {
    let (here, neighbour) = (Peer::start().await, Peer::start().await);
    let segments = neighbour.finished(attempt(1, 0), b"abc", &[3]);
    neighbour.outputs.remove(&attempt(1, 0));
    fs::remove_file(neighbour.scratch.attempt(&attempt(1, 0)).edge(0)).unwrap();
    let mut t = task(attempt(1, 2), vec![]);
    t.inputs.push(TaskInput::Segments(segments.clone()));
    match here.staging().stage(&t, &neighbour.known_with_home(), &HashMap::new()).await {
        Err(StageError::SegmentLost(segment, failure)) => {
            assert_eq!((*segment, failure.code), (segments[0], Code::StaleAttempt));
        }
        other => panic!("{other:?}"),
    }
}

/// Bytes of a staged segment.
fn read(place: &v1::LocalSegment, length: usize) -> Vec<u8> {
    let path = windrow_proto::convert::path_from_bytes(place.path.clone(), "path").unwrap();
    fs::read(path).unwrap()[place.offset as usize..][..length].to_vec()
}

#[tokio::test]
async fn a_segment_of_an_unknown_peer_is_lost() {
    let (here, there) = (Peer::start().await, Peer::start().await);
    let segments = there.finished(attempt(1, 1), b"abc", &[3]);
    let mut t = task(attempt(1, 2), vec![]);
    t.inputs.push(TaskInput::Segments(segments.clone()));
    match here.staging().stage(&t, &HashMap::new(), &HashMap::new()).await {
        Err(StageError::SegmentLost(segment, _)) => assert_eq!(*segment, segments[0]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn missing_and_changed_inputs_are_distinguished() {
    let here = Peer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    fs::write(&path, "abc").unwrap();
    let range = FileRange {
        identity: identity::of_path(&path).unwrap(),
        path: path.clone(),
        offset: 0,
        length: 3,
        content: None,
        local: None,
        as_is: false,
    };
    let stage = async |n, range: &FileRange| {
        let mut t = task(attempt(1, n), vec![]);
        t.inputs.push(TaskInput::Chunk(Chunk { ranges: vec![range.clone()], ..Chunk::default() }));
        match here.staging().stage(&t, &HashMap::new(), &HashMap::new()).await {
            Ok(_) => None,
            Err(StageError::Failed(failure)) => Some(failure.code),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(stage(0, &range).await, None);
    fs::write(&path, "abcd").unwrap();
    assert_eq!(stage(1, &range).await, Some(Code::InputChanged));
    let missing = FileRange { path: folder.path().join("missing"), ..range.clone() };
    assert_eq!(stage(2, &missing).await, Some(Code::InputNotShared));
    let mut elsewhere = range;
    (elsewhere.identity.device, elsewhere.identity.inode) = (0, 0);
    assert_eq!(stage(3, &elsewhere).await, Some(Code::InputNotShared));
}

#[tokio::test]
async fn only_local_verified_inputs_are_staged_at_once() {
    let (here, there) = (Peer::start().await, Peer::start().await);
    let staging = here.staging();
    let file = tempfile::NamedTempFile::new().unwrap();
    let identity = identity::of_path(file.path()).unwrap();
    let range = FileRange {
        path: file.path().into(),
        offset: 0,
        length: 0,
        identity,
        content: None,
        local: None,
        as_is: false,
    };
    let reads = |n, input| Task { inputs: vec![input], ..*task(attempt(1, n), vec![]) };
    let chunk =
        |n, range: &FileRange| reads(n, TaskInput::Chunk(Chunk { ranges: vec![range.clone()], ..Chunk::default() }));
    assert_eq!(staging.at_once(&chunk(0, &range)), None, "not verified yet");
    let staged = staging.stage(&chunk(0, &range), &HashMap::new(), &HashMap::new()).await.unwrap();
    assert_eq!(staging.at_once(&chunk(1, &range)), Some(Ok(staged)));
    let mut other = range.clone();
    other.identity.modified_ns += 1;
    assert_eq!(staging.at_once(&chunk(2, &other)), None, "split from another file of that name");
    let of_dataset = FileRange { content: Some(Digest::of(b"abc")), ..range };
    assert_eq!(staging.at_once(&chunk(3, &of_dataset)), None);

    let own = here.finished(attempt(1, 4), b"own-own2", &[3, 5]);
    let other = there.finished(attempt(1, 5), b"other", &[5]);
    let staged = staging.at_once(&reads(6, TaskInput::Segments(own.clone())));
    assert_eq!(staged.unwrap().unwrap().segments[0].segments[1].offset, 3);
    assert_eq!(staging.at_once(&reads(7, TaskInput::Segments(vec![own[0], other[0]]))), None);
    here.outputs.remove(&attempt(1, 4));
    let lost = staging.at_once(&reads(8, TaskInput::Segments(own)));
    assert!(matches!(lost, Some(Err(StageError::SegmentLost(..)))), "{lost:?}");
}

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
