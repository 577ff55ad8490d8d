//! Peers that send what they were not asked for: each is given up with an error, and costs neither much memory nor disk.

use super::scripted::{Answer, Scripted, Then, last, list_of, piece, pieces};
use super::{fetcher, made};
use crate::fetch::{FetchError, Fetcher};
use crate::made_files::NewFile;
use crate::wanted::WantedOutputs;
use futures_util::future::join_all;
use std::fs;
use std::time::Duration;
use windrow_model::{Code, Failure, WorkerId};
use windrow_net::Access;
use windrow_proto::v1;
use windrow_sim::samples::attempt;

/// The outputs of three tasks.
fn wanted() -> WantedOutputs {
    WantedOutputs::new(WorkerId::from_bytes([7; 16]), 0, 3, (0..3).map(|n| attempt(1, n)).collect())
}

/// The error of a fetch from this peer, with the number of bytes that it left on the disk.
async fn error_of(fetcher: &Fetcher, peer: &Scripted) -> (u32, Failure, u64) {
    let folder = tempfile::tempdir().unwrap();
    let target = NewFile { path: folder.path().join("target"), made: made() };
    let wanted = wanted();
    let fetch = tokio::time::timeout(Duration::from_secs(60), fetcher.fetch(&peer.url, &wanted, 1, &target));
    match fetch.await.expect("every lie ends") {
        Err(FetchError::Lost(at, failure)) => (at, failure, fs::metadata(&target.path).map_or(0, |meta| meta.len())),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stream_of_other_segments_than_the_wanted_is_refused() {
    let other = "other bytes than it was asked for";
    let uneven = v1::SegmentHeads { index: vec![0, 1], length: vec![4, 4], records: vec![1], raw_length: vec![4, 4] };
    let many = v1::SegmentHeads { index: vec![1; 3 << 20], ..v1::SegmentHeads::default() };
    let with_heads = |heads| v1::SegmentPiece { heads: Some(heads), ..v1::SegmentPiece::default() };
    let other_heads = v1::SegmentPiece { heads_crc32c: Some(7), ..last() };
    let too_long = [&[0][..], &u32::MAX.to_be_bytes(), &[0; 100]].concat();
    let ordered = |heads: &[(u32, u64)]| pieces(&[piece(heads, b"12345678"), last()]);
    let mut lies = vec![
        ("heads in descending order", other, ordered(&[(1, 4), (0, 4)])),
        ("two heads of one output", other, ordered(&[(1, 4), (1, 4)])),
        ("a head again", other, pieces(&[piece(&[(1, 4)], b"1234"), piece(&[(1, 4)], b"1234"), last()])),
        ("a position beyond the list", other, ordered(&[(2, 4), (3, 4)])),
        ("an empty segment", other, ordered(&[(0, 8), (1, 0)])),
        ("a length beyond every file", other, ordered(&[(0, u64::MAX)])),
        ("lengths that overflow together", other, ordered(&[(0, i64::MAX as u64), (1, i64::MAX as u64)])),
        ("lists of different lengths", other, pieces(&[with_heads(uneven), last()])),
        ("more bytes than announced", other, ordered(&[(0, 4)])),
        ("bytes of no segment", other, ordered(&[])),
        ("heads without one that was sent", other, pieces(&[piece(&[(0, 8)], b"12345678"), other_heads])),
        ("an end in a segment", "in the middle of a segment", ordered(&[(0, 9)])),
        ("no end", "ended too early", pieces(&[piece(&[(0, 9)], b"12345678")])),
        ("no end behind whole segments", other, pieces(&[piece(&[(0, 4), (1, 4)], b"12345678")])),
        ("nothing", "ended too early", Vec::new()),
        ("half a message", "ended too early", pieces(&[last()])[..4].to_vec()),
        ("no message", "not a piece", vec![0, 0, 0, 0, 2, 0xff, 0xff]),
        ("a message beyond the limit", "longer than the limit", too_long),
        ("heads beyond the limit", "not a piece", pieces(&[with_heads(many)])),
    ];
    let flipped = v1::SegmentPiece { crc32c: Some(1), ..piece(&[(0, 4)], b"1234") };
    lies.push(("a wrong checksum", "changed on the way", pieces(&[flipped, last()])));
    let fetcher = fetcher();
    let refused = lies.into_iter().map(async |(lie, reason, bytes)| {
        let peer = Scripted::always(bytes, Then::End).await;
        let (at, failure, left) = error_of(&fetcher, &peer).await;
        assert!(failure.message.contains(reason) && failure.message.contains(&peer.url), "{lie}: {failure}");
        assert_eq!(failure.code, Code::FetchFailed, "{lie}");
        assert!(at <= 3 && left <= 8, "{lie}: {left} bytes for the output at {at}");
        let tries = peer.requests.lock().unwrap().len();
        assert!((5..=7).contains(&tries), "{lie}: {tries} tries");
    });
    join_all(refused).await;
}

#[tokio::test]
async fn peer_that_never_knows_the_list_is_given_up() {
    let unknown = v1::SegmentPiece { unknown: true, ..v1::SegmentPiece::default() };
    let peer = Scripted::always(pieces(&[unknown]), Then::End).await;
    let (at, failure, _) = error_of(&fetcher(), &peer).await;
    assert!(at == 0 && failure.message.contains("does not know the list"), "{failure}");
    let requests = peer.requests.lock().unwrap();
    assert_eq!(requests.iter().map(|request| list_of(request).is_some()).collect::<Vec<_>>(), [true]);
    assert_eq!(list_of(&requests[0]).unwrap().task, [0, 1, 2]);
}

#[tokio::test]
async fn failure_of_a_peer_is_not_retried() {
    for (index, failure) in [(1, Failure::new(Code::StaleAttempt, "gone")), (9, Failure::new(Code::FetchFailed, "?"))] {
        let refusal = v1::SegmentPiece { index, failure: Some(failure.clone().into()), ..v1::SegmentPiece::default() };
        let bytes = pieces(&[piece(&[(0, 4)], b"1234"), refusal]);
        let peer = Scripted::always(bytes, Then::Silence).await;
        let (at, reported, left) = error_of(&fetcher(), &peer).await;
        assert_eq!((at, reported, left), (index, failure, 4));
        assert_eq!(peer.requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn endless_stream_without_content_is_given_up() {
    let fetcher = fetcher();
    let empty = pieces(&[v1::SegmentPiece::default()]);
    let many = pieces(&[v1::SegmentPiece { index: 7, ..v1::SegmentPiece::default() }]).repeat(50_000);
    for again in [empty, many] {
        let peer = Scripted::always(Vec::new(), Then::Again(again, Duration::ZERO)).await;
        let (_, failure, left) = error_of(&fetcher, &peer).await;
        assert!(left == 0 && failure.message.contains("without segments and bytes"), "{failure}");
    }
}

#[tokio::test]
async fn peer_that_falls_silent_is_given_up() {
    let fetcher = Fetcher::new(Access::default(), Duration::from_millis(200));
    for bytes in [Vec::new(), pieces(&[piece(&[(0, 4), (1, 4)], b"12345")]), pieces(&[piece(&[(0, 4)], b"1234")])] {
        let complete = u32::from(!bytes.is_empty());
        let script = move |tries, _: &v1::FetchSegmentsRequest| {
            let bytes = if tries == 0 { bytes.clone() } else { Vec::new() };
            Answer { bytes, then: Then::Silence }
        };
        let peer = Scripted::start(script).await;
        let (at, failure, left) = error_of(&fetcher, &peer).await;
        assert!(failure.message.contains("nothing came"), "{failure}");
        assert_eq!((at, left), (complete, u64::from(complete) * 4));
    }
}
