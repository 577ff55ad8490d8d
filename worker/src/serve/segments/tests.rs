//! One partition of the outputs of finished attempts, piece by piece.

use super::*;
use crate::transfer_tests::{Peer, noise};
use crate::wanted::WantedOutputs;
use windrow_proto::pieces::{Piece, PieceDecoder};
use windrow_sim::samples::attempt;

fn reader(peer: &Peer, wanted: &WantedOutputs, partition: u32) -> PartitionReader {
    let holding = peer.service.lists.get(wanted.wire(true), peer.service.worker).unwrap().unwrap();
    PartitionReader::new(peer.service.clone(), holding, partition, 0)
}

fn next(reader: &mut PartitionReader) -> Vec<Piece> {
    let mut decoder = PieceDecoder::default();
    decoder.push(reader.next_batch());
    std::iter::from_fn(|| decoder.next_piece().unwrap()).collect()
}

fn positions(piece: &Piece) -> Vec<u32> {
    piece.heads.clone().unwrap_or_default().index
}

fn data_bytes(piece: &Piece) -> usize {
    piece.data.iter().map(|part| part.len()).sum()
}

/// A peer with an output of two and a half pieces, and two smaller ones behind it.
async fn holder() -> (Peer, WantedOutputs) {
    let peer = Peer::start().await;
    let bytes = noise(PIECE_BYTES * 5 / 2);
    peer.finished(attempt(1, 0), &[(0, &bytes)]);
    (1..3).for_each(|n| peer.finished(attempt(1, n), &[(0, &bytes[..100])]));
    let wanted = peer.wanted((0..3).map(|n| attempt(1, n)));
    (peer, wanted)
}

#[tokio::test]
async fn attempt_revoked_between_pieces_is_not_served_any_further() {
    let (peer, wanted) = holder().await;
    let mut all = reader(&peer, &wanted, 0);
    let begun = [next(&mut all), next(&mut all), next(&mut all), next(&mut all)];
    assert_eq!(begun.each_ref().map(Vec::len), [1, 1, 2, 0]);
    assert_eq!(
        begun.each_ref().map(|pieces| pieces.first().map_or(0, data_bytes)),
        [PIECE_BYTES, PIECE_BYTES, PIECE_BYTES / 2 + 200, 0]
    );
    assert_eq!((positions(&begun[0][0]), positions(&begun[2][0])), (vec![0], vec![1, 2]));
    assert!(begun[2][1].last);

    for (revoked, sent) in [(0, 0), (1, PIECE_BYTES / 2), (2, PIECE_BYTES / 2 + 100)] {
        let (peer, wanted) = holder().await;
        let mut reader = reader(&peer, &wanted, 0);
        (0..2).for_each(|_| assert_eq!(next(&mut reader).iter().map(data_bytes).sum::<usize>(), PIECE_BYTES));
        peer.outputs.remove(&attempt(1, revoked));
        let pieces = next(&mut reader);
        assert_eq!(pieces.iter().map(data_bytes).sum::<usize>(), sent);
        let end = pieces.last().unwrap();
        let code = end.failure.as_ref().map(|failure| failure.code.as_str());
        assert_eq!((end.index, code, end.last), (revoked, Some(Code::StaleAttempt.as_str()), false));
        assert!(next(&mut reader).is_empty());
    }
}

/// The place of a revoked output in a spool is erased at once, so what is read there may be zeros.
#[tokio::test]
async fn piece_read_during_a_revocation_is_not_sent() {
    let (peer, wanted) = holder().await;
    let mut reader = reader(&peer, &wanted, 0);
    next(&mut reader);
    next(&mut reader);
    for (revoked, expected) in [(None, Ok(())), (Some(2), Err(2)), (Some(0), Err(0))] {
        let taken = reader.take_parts().unwrap();
        // The reader begins the last piece again.
        (reader.next, reader.done) = (0, 2 * PIECE_BYTES as u64);
        assert!(taken.missing.is_none() && taken.parts.len() == 3);
        let held = revoked.map(|n| (n, peer.outputs.remove(&attempt(1, n)).unwrap()));
        let mut batch = Vec::new();
        let put = reader.put_parts(&mut batch, &taken).map_err(|(position, failure)| {
            assert_eq!(failure.code, Code::StaleAttempt);
            position
        });
        assert_eq!((put, batch.is_empty()), (expected, revoked.is_some()));
        held.into_iter().for_each(|(n, held)| peer.outputs.insert(attempt(1, n), held));
    }
}

/// The images have one length, and no partition has records of both. Without a check of the owner, readers of the second
/// partition would get the end of the stream, and count no records.
#[tokio::test]
async fn image_of_another_attempt_is_refused_by_its_holder() {
    let bytes = noise(100);
    for spooled in [false, true] {
        for (from, to) in [(0u32, 1u32), (1, 0)] {
            let (peer, spool) = (Peer::start().await, attempt(1, 0));
            let spool = peer.spool(spool);
            for n in 0..2 {
                let segments: &[(u32, &[u8])] = &[(n, &bytes)];
                match spooled {
                    true => peer.spooled(attempt(1, n), segments, &spool),
                    false => peer.finished(attempt(1, n), segments),
                }
            }
            let image = |n| peer.outputs.locate([attempt(1, n)].into_iter(), 0).unwrap().remove(0);
            let (of, over) = (image(from), image(to));
            assert_eq!(of.length, over.length);
            let bytes = std::fs::read(&of.file).unwrap()[of.base as usize..][..of.length as usize].to_vec();
            let file = File::options().write(true).open(&over.file).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, over.base).unwrap();
            let wanted = peer.wanted((0..2).map(|n| attempt(1, n)));
            for partition in 0..3 {
                let pieces = next(&mut reader(&peer, &wanted, partition));
                let code = |piece: &Piece| Some((piece.index, piece.failure.as_ref()?.code.clone()));
                let found: Vec<_> = pieces.iter().map(code).collect();
                assert_eq!(found, [Some((to, Code::SegmentCorrupt.as_str().to_string()))], "{spooled} {partition}");
            }
        }
    }
}

#[tokio::test]
async fn indexes_of_other_lists_give_memory_back() {
    let (peer, wanted) = holder().await;
    let other = peer.wanted([attempt(1, 2)]);
    let (a, b) = (reader(&peer, &wanted, 0), reader(&peer, &other, 0));
    for mut reader in [reader(&peer, &wanted, 0), reader(&peer, &other, 0)] {
        next(&mut reader);
    }
    let memory = |reader: &PartitionReader| crate::known_lists::Made::memory(&*reader.holding);
    assert!(memory(&a) > 0 && memory(&b) > 0);
    peer.service.lists.bound_memory(&b.holding, 0);
    assert!(memory(&a) == 0 && memory(&b) > 0);
    let mut again = reader(&peer, &wanted, 0);
    assert_eq!(data_bytes(&next(&mut again)[0]), PIECE_BYTES);
}
