//! Partitions of outputs, fetched from a peer.

use super::scripted::{Answer, Scripted, Then, last, list_of, piece, pieces};
use super::{Peer, fetcher, free_port, made, noise, text};
use crate::fetch::{FetchError, Fetcher};
use crate::made_files::NewFile;
use crate::wanted::WantedOutputs;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use windrow_format::checksum::crc32c;
use windrow_model::{AttemptId, Code, Incarnation, WorkerId};
use windrow_net::Access;
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;
use windrow_sim::samples::attempt;

#[tokio::test]
async fn segments_of_any_size_arrive_in_the_order_of_tasks() {
    let peer = Peer::start().await;
    let bytes = noise(3 << 20);
    let spool = peer.spool(attempt(1, 0));
    let (small, large, medium) = (&bytes[..100], &bytes[..], &bytes[..1 << 20]);
    let all: Vec<(AttemptId, &[u8])> = (0..2_004)
        .map(|n| match n {
            0 => (AttemptId { number: 3, ..attempt(1, 0) }, large),
            1 => (attempt(1, 1), &[][..]),
            2 => (attempt(1, 2), &bytes[..21]),
            3 => (attempt(1, 3), medium),
            n => (attempt(1, n), &small[..100 - n as usize % 50]),
        })
        .collect();
    for (id, content) in &all {
        let segments = [(0, &bytes[..40]), (1, *content), (2, &bytes[..30])];
        let segments: Vec<_> = segments.into_iter().filter(|(_, content)| !content.is_empty()).collect();
        match id.task.index % 3 {
            0 => peer.finished(*id, &segments),
            _ => peer.spooled(*id, &segments, &spool),
        }
    }
    let wanted = peer.wanted(all.iter().map(|(id, _)| *id));
    let target = peer.target("target");
    let found = fetcher().fetch(&peer.url, &wanted, 1, &target).await.unwrap();
    let with_records: Vec<_> = all.iter().filter(|(_, content)| !content.is_empty()).collect();
    assert!(
        fs::read(&target.path).unwrap()
            == with_records.iter().flat_map(|(_, content)| *content).copied().collect::<Vec<_>>()
    );
    let lengths: Vec<u64> = with_records.iter().map(|(_, content)| content.len() as u64).collect();
    let expected = v1::FetchedFile {
        path: path_to_bytes(&target.path),
        task: with_records.iter().map(|(id, _)| id.task.index).collect(),
        number: with_records.iter().map(|(id, _)| id.number).collect(),
        epoch: with_records.iter().map(|(id, _)| id.epoch.0).collect(),
        records: vec![1; lengths.len()],
        raw_length: lengths.iter().map(|length| length - 20).collect(),
        length: lengths,
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn list_of_outputs_is_sent_once() {
    let peer = Peer::start().await;
    let content = text("content");
    peer.finished(attempt(1, 0), &[(0, &content), (2, &content)]);
    let (wanted, fetcher) = (peer.wanted([attempt(1, 0)]), fetcher());
    for (partition, asked) in [(0, 1), (1, 2), (2, 3)] {
        let found = fetcher.fetch(&peer.url, &wanted, partition, &peer.target("to")).await.unwrap();
        assert_eq!((found.task.len(), peer.asked()), (usize::from(partition != 1), asked));
    }
    fetcher.locate(&peer.url, &wanted).await.unwrap();
    assert_eq!(peer.asked(), 4, "calls for places use the same lists");
    // A holder that has started again, or keeps other lists.
    peer.service.lists.forget_job(attempt(1, 0).task.job);
    fetcher.fetch(&peer.url, &wanted, 0, &peer.target("to")).await.unwrap();
    assert_eq!(peer.asked(), 6, "one call with the name, one with the list");
    peer.service.lists.forget_job(attempt(1, 0).task.job);
    fetcher.locate(&peer.url, &wanted).await.unwrap();
    assert_eq!(peer.asked(), 8);
}

#[tokio::test]
async fn partition_without_segments_makes_no_file() {
    let peer = Peer::start().await;
    peer.finished(attempt(1, 0), &[(0, &text("content"))]);
    let wanted = peer.wanted([attempt(1, 0)]);
    let to = peer.target("to");
    let found = fetcher().fetch(&peer.url, &wanted, 1, &to).await.unwrap();
    assert!(found.task.is_empty() && !to.path.exists() && to.made.take().is_empty());
}

#[tokio::test]
async fn output_of_a_missing_attempt_is_lost_at_once() {
    let peer = Peer::start().await;
    let content = text("content");
    (0..2).for_each(|n| peer.finished(attempt(1, n), &[(0, &content)]));
    let gone = AttemptId { incarnation: Incarnation(99), ..attempt(1, 1) };
    let wanted = peer.wanted([attempt(1, 0), gone]);
    match fetcher().fetch(&peer.url, &wanted, 0, &peer.target("to")).await {
        Err(FetchError::Lost(1, failure)) => assert_eq!(failure.code, Code::StaleAttempt),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.asked(), 1, "a missing attempt is not retried");
    let of_another = WantedOutputs::new(WorkerId::from_bytes([7; 16]), 0, 3, vec![attempt(1, 0)]);
    let lost = fetcher().fetch(&peer.url, &of_another, 0, &peer.target("to")).await;
    assert!(matches!(lost, Err(FetchError::Lost(0, _))), "{lost:?}");
    assert_eq!(peer.asked(), 2, "neither is a list of another worker");
    let lost = fetcher().fetch(&peer.url, &peer.wanted([attempt(1, 0)]), 3, &peer.target("to")).await;
    assert!(matches!(lost, Err(FetchError::Lost(0, _))), "{lost:?}");
    assert_eq!(peer.asked(), 3, "nor a partition that does not exist");
}

#[tokio::test]
async fn damaged_output_is_lost_with_its_position() {
    let content = text("content");
    let cut = |path: &std::path::Path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(40).unwrap();
    };
    // Before and after the holder has read the index.
    for known in [false, true] {
        let peer = Peer::start().await;
        (0..3).for_each(|n| peer.finished(attempt(1, n), &[(0, &content), (1, &content)]));
        let wanted = peer.wanted((0..3).map(|n| attempt(1, n)));
        if known {
            fetcher().fetch(&peer.url, &wanted, 1, &peer.target("to")).await.unwrap();
        }
        cut(&peer.scratch.attempt(&attempt(1, 1)).edge(0));
        let code = if known { Code::FetchFailed } else { Code::SegmentCorrupt };
        match fetcher().fetch(&peer.url, &wanted, 1, &peer.target("to")).await {
            Err(FetchError::Lost(1, failure)) => assert_eq!(failure.code, code, "{failure}"),
            other => panic!("{other:?}"),
        }
        fs::remove_file(peer.scratch.attempt(&attempt(1, 0)).edge(0)).unwrap();
        match fetcher().fetch(&peer.url, &wanted, 1, &peer.target("to")).await {
            Err(FetchError::Lost(0, failure)) => assert_eq!(failure.code, Code::FetchFailed),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn unreachable_peer_is_retried_then_lost() {
    let peer = Peer::start().await;
    let url = free_port().await;
    match fetcher().fetch(&url, &peer.wanted([attempt(1, 0)]), 0, &peer.target("to")).await {
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
    let impatient = Fetcher::new(Access::default(), Duration::from_millis(200));
    let wanted = peer.wanted([attempt(1, 0)]);
    let fetched = impatient.fetch(&url, &wanted, 0, &peer.target("to")).await;
    assert!(matches!(fetched, Err(FetchError::Lost(0, _))), "{fetched:?}");
    let located = impatient.locate(&url, &wanted).await;
    assert!(matches!(located, Err(FetchError::Lost(0, _))), "{located:?}");
    silent.abort();
}

/// Each byte came within the deadline, so a peer held one of the few streams for as long as it liked.
#[tokio::test]
async fn dripping_peer_holds_no_stream() {
    let drop = pieces(&[piece(&[], &[7])]);
    let dripping =
        Scripted::always(pieces(&[piece(&[(0, 1 << 20)], &[7])]), Then::Again(drop, Duration::from_millis(20)));
    let dripping = dripping.await;
    let peer = Peer::start().await;
    let content = noise(1 << 20);
    peer.finished(attempt(1, 0), &[(0, &content)]);
    let fetcher = Fetcher::new(Access::default(), Duration::from_millis(300));
    let wanted = peer.wanted([attempt(1, 0)]);
    match fetcher.fetch(&dripping.url, &wanted, 0, &peer.target("to")).await {
        Err(FetchError::Lost(0, failure)) => assert!(failure.message.contains("too little"), "{failure}"),
        other => panic!("{other:?}"),
    }
    // Three deadlines of pieces, and what was on its way.
    let drops = dripping.repeated.load(Ordering::Relaxed);
    assert!((5..=200).contains(&drops), "{drops} pieces");
    fetcher.fetch(&peer.url, &wanted, 0, &peer.target("to")).await.unwrap();
}

#[tokio::test]
async fn every_try_goes_on_after_the_last_complete_segment() {
    let parts = ["first", "second", "third", "fourth"].map(text);
    let length = parts[0].len() as u64;
    let sent = parts.clone();
    // Each try breaks in the middle of a segment, the third one at the end of one.
    let script = move |tries: usize, request: &v1::FetchSegmentsRequest| {
        let [a, b, c, d] = &sent;
        let bytes = match (tries, request.first) {
            (0, 0) => pieces(&[piece(&[(0, length), (2, length)], &[a, &b[..7]].concat())]),
            (1, 1) => pieces(&[piece(&[(2, length)], &b[..9]), piece(&[(5, length)], &[&b[9..], &c[..1]].concat())]),
            (2, 3) => pieces(&[piece(&[(5, length)], c)]),
            (3, 6) => pieces(&[piece(&[(6, length)], d), last()]),
            other => panic!("{other:?}"),
        };
        Answer { bytes, then: Then::End }
    };
    let breaking = Scripted::start(script).await;
    let folder = tempfile::tempdir().unwrap();
    let target = NewFile { path: folder.path().join("target"), made: made() };
    let wanted = WantedOutputs::new(WorkerId::from_bytes([7; 16]), 0, 3, (0..9).map(|n| attempt(1, n)).collect());
    let found = fetcher().fetch(&breaking.url, &wanted, 2, &target).await.unwrap();
    assert_eq!((found.task, found.length), (vec![0, 2, 5, 6], vec![length; 4]));
    assert_eq!(fs::read(&target.path).unwrap(), parts.concat());
    let requests = breaking.requests.lock().unwrap();
    assert!(requests.iter().all(|request| request.partition == 2));
    let with_list = requests.iter().map(|request| list_of(request).is_some());
    assert_eq!(with_list.collect::<Vec<_>>(), [true, false, false, false]);
}

#[tokio::test]
async fn holder_sends_only_what_is_wanted_from_a_position_on() {
    let peer = Peer::start().await;
    let parts: Vec<Vec<u8>> = (0..5).map(|n| text(&format!("part {n}"))).collect();
    (0..5).for_each(|n| peer.finished(attempt(1, n), &[(1, &parts[n as usize])]));
    let wanted = peer.wanted((0..5).map(|n| attempt(1, n)));
    let mut client = peer.client().await;
    for first in [0, 3, 5, u32::MAX] {
        let request = v1::FetchSegmentsRequest { wanted: Some(wanted.wire(true)), partition: 1, first };
        let mut stream = client.fetch_segments(request).await.unwrap().into_inner();
        let mut data = Vec::new();
        loop {
            let piece = stream.message().await.unwrap().expect("the end is announced");
            data.extend_from_slice(&piece.data);
            if piece.last {
                break;
            }
        }
        assert_eq!(data, parts[(first as usize).min(5)..].concat());
    }
}

#[tokio::test]
async fn small_segments_come_in_few_messages() {
    let peer = Peer::start().await;
    let spool = peer.spool(attempt(1, 0));
    let (tasks, content) = (10_000, text("tiny"));
    (0..tasks).for_each(|n| peer.spooled(attempt(1, n), &[(0, &content)], &spool));
    let wanted = peer.wanted((0..tasks).map(|n| attempt(1, n)));
    let found = fetcher().fetch(&peer.url, &wanted, 0, &peer.target("to")).await.unwrap();
    assert_eq!(found.task, (0..tasks).collect::<Vec<_>>());
    assert!(fs::read(peer.target("to").path).unwrap() == content.repeat(tasks as usize));
    let request = v1::FetchSegmentsRequest { wanted: Some(wanted.wire(false)), partition: 0, first: 0 };
    let mut stream = peer.client().await.fetch_segments(request).await.unwrap().into_inner();
    let mut messages = 0;
    while let Some(piece) = stream.message().await.unwrap() {
        assert!(!piece.unknown && piece.failure.is_none());
        messages += 1;
    }
    assert!(messages <= 2, "{messages} messages");
}

/// Workers of another release use gRPC's own codec.
#[tokio::test]
async fn served_segments_decode_with_the_stock_client() {
    let peer = Peer::start().await;
    let bytes = noise(3 << 20);
    let lengths = [30, 1 << 20, (2 << 20) - 30];
    let mut rest = &bytes[..];
    for (n, length) in (0..).zip(lengths) {
        let (content, behind) = rest.split_at(length);
        peer.finished(attempt(1, n), &[(0, content)]);
        rest = behind;
    }
    peer.finished(attempt(1, 3), &[(0, &bytes[..50])]);
    let wanted = peer.wanted((0..4).map(|n| attempt(1, n)));
    // The holder has made its index when the attempt goes.
    fetcher().fetch(&peer.url, &wanted, 1, &peer.target("to")).await.unwrap();
    peer.outputs.remove(&attempt(1, 3));
    let mut client = peer.client().await;
    let request = v1::FetchSegmentsRequest { wanted: Some(wanted.wire(false)), partition: 0, first: 0 };
    let mut pieces = client.fetch_segments(request).await.unwrap().into_inner();
    let (mut heads, mut found) = (Vec::new(), Vec::new());
    let failure = loop {
        let piece = pieces.message().await.unwrap().expect("the last message names the missing attempt");
        if let Some(failure) = piece.failure {
            break (piece.index, failure.code);
        }
        assert_eq!(piece.crc32c, Some(crc32c(&piece.data)));
        found.extend_from_slice(&piece.data);
        let begun = piece.heads.unwrap_or_default();
        heads.extend(begun.index.into_iter().zip(begun.length));
    };
    assert_eq!(failure, (3, Code::StaleAttempt.as_str().to_string()));
    assert_eq!(heads, (0..).zip(lengths.map(|length| length as u64)).collect::<Vec<(u32, u64)>>());
    assert!(found == bytes);
    assert!(pieces.message().await.unwrap().is_none(), "and then all is well");
}
