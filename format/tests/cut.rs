//! Every record is in exactly one piece for any chunk size: checked against a simple model, exhaustively on small files
//! and at random on larger ones.

use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use windrow_format::boundary::{FileAt, LengthOnly, ReadAt, next_record_start};
use windrow_format::cut::cut;
use windrow_model::Framing;

/// All record starts and the end, found by reading every byte.
fn starts(framing: Framing, bytes: &[u8]) -> BTreeSet<u64> {
    let n = bytes.len() as u64;
    let mut starts = BTreeSet::from([0, n]);
    match framing {
        Framing::Delimiter(b) => starts.extend((1..=n).filter(|i| bytes[*i as usize - 1] == b)),
        Framing::Fixed(size) => starts.extend((0..n).step_by(size as usize)),
        Framing::Whole => {}
    }
    starts
}

fn plain_next(starts: &BTreeSet<u64>, at: u64) -> u64 {
    starts.range(at..).next().copied().unwrap_or_else(|| *starts.last().unwrap())
}

fn check(framing: Framing, bytes: &[u8], chunk_bytes: u64, extra: &[u64]) {
    let n = bytes.len() as u64;
    let pieces = cut(framing, bytes, chunk_bytes, extra).unwrap();
    let starts = starts(framing, bytes);
    let wanted = (1..).map(|k| k * chunk_bytes).take_while(|w| *w < n).chain(extra.iter().copied().filter(|e| *e > 0));
    let mut expected: BTreeSet<u64> = wanted.map(|w| plain_next(&starts, w)).chain([0, n]).collect();
    if n == 0 {
        expected.clear();
    }
    let edges: Vec<u64> = expected.into_iter().collect();
    let expected: Vec<(u64, u64)> = edges.windows(2).map(|w| (w[0], w[1] - w[0])).collect();
    assert_eq!(pieces, expected, "{framing:?} {bytes:?} every {chunk_bytes} and {extra:?}");
}

#[test]
fn small_files_are_cut_as_the_model_says() {
    for length in 0..=9u32 {
        for bits in 0..1u32 << length {
            let bytes: Vec<u8> = (0..length).map(|i| if bits >> i & 1 == 1 { b'\n' } else { b'x' }).collect();
            let starts = starts(Framing::Delimiter(b'\n'), &bytes);
            for at in 0..=length as u64 + 2 {
                let next = next_record_start(Framing::Delimiter(b'\n'), &bytes[..], at).unwrap();
                assert_eq!(next, plain_next(&starts, at), "{bytes:?} at {at}");
            }
            for chunk_bytes in 1..=length as u64 + 2 {
                check(Framing::Delimiter(b'\n'), &bytes, chunk_bytes, &[]);
                for extra in 0..=length as u64 + 1 {
                    check(Framing::Delimiter(b'\n'), &bytes, chunk_bytes, &[extra]);
                }
            }
        }
    }
}

#[test]
fn fixed_and_whole_framings_are_cut_without_reading() {
    for records in 0..6u64 {
        for size in 1..5u32 {
            let n = records * size as u64;
            for chunk_bytes in 1..=n + 2 {
                for extra in 0..=n + 1 {
                    check(Framing::Fixed(size), &vec![0; n as usize], chunk_bytes, &[extra]);
                    check(Framing::Whole, &vec![0; n as usize], chunk_bytes, &[extra]);
                    let pieces = cut(Framing::Fixed(size), &LengthOnly(n), chunk_bytes, &[extra]).unwrap();
                    assert_eq!(
                        pieces,
                        cut(Framing::Fixed(size), &vec![0; n as usize][..], chunk_bytes, &[extra]).unwrap()
                    );
                }
            }
        }
    }
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(Vec::new()),
        1 => Just(b"x\r".to_vec()),
        1 => (1usize..40_000).prop_map(|n| vec![b'y'; n]),
    ];
    (prop::collection::vec(line, 0..30), any::<bool>()).prop_map(|(lines, last)| {
        let mut bytes = lines.join(&b'\n');
        if last {
            bytes.push(b'\n');
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_file_is_cut_as_the_model_says(
        bytes in lines(),
        chunk_bytes in prop_oneof![1u64..4, 1u64..100, 1u64..100_000, Just(u64::MAX)],
        extra in prop::collection::vec(0u64..100_000, 0..5),
    ) {
        check(Framing::Delimiter(b'\n'), &bytes, chunk_bytes, &extra);
        let pieces = cut(Framing::Delimiter(b'\n'), &bytes[..], chunk_bytes, &extra).unwrap();
        let joined: Vec<u8> = pieces.iter().flat_map(|(o, n)| &bytes[*o as usize..(o + n) as usize]).copied().collect();
        prop_assert_eq!(joined, bytes);
    }

    #[test]
    fn a_file_on_disk_is_cut_like_its_bytes(bytes in lines(), chunk_bytes in 1u64..50_000) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let on_disk = FileAt::new(file.reopen().unwrap(), bytes.len() as u64);
        let framing = Framing::Delimiter(b'\n');
        prop_assert_eq!(cut(framing, &on_disk, chunk_bytes, &[]).unwrap(), cut(framing, &bytes[..], chunk_bytes, &[]).unwrap());
    }
}

/// Counts the bytes that are read.
struct Counting<'a>(&'a [u8], Cell<u64>);
impl ReadAt for Counting<'_> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read_at(offset, buf)?;
        self.1.set(self.1.get() + n as u64);
        Ok(n)
    }
    fn length(&self) -> u64 {
        self.0.length()
    }
}

#[test]
fn tiny_chunks_do_not_read_the_file_many_times() {
    for line in [1usize, 10, 1000, 100_000, 3_000_000] {
        let bytes: Vec<u8> = (1..=3_000_000).map(|i| if i % line == 0 { b'\n' } else { b'x' }).collect();
        let file = Counting(&bytes, Cell::new(0));
        cut(Framing::Delimiter(b'\n'), &file, 1, &[]).unwrap();
        let times = file.1.get() as f64 / bytes.len() as f64;
        assert!(times < 2.5, "lines of {line}: read {times} times");
    }
}

#[test]
fn large_chunks_read_only_around_their_cuts() {
    let bytes: Vec<u8> = (1..=8_000_000).map(|i| if i % 100 == 0 { b'\n' } else { b'x' }).collect();
    let file = Counting(&bytes, Cell::new(0));
    assert_eq!(cut(Framing::Delimiter(b'\n'), &file, 1_000_000, &[]).unwrap().len(), 8);
    assert!(file.1.get() < 200_000, "{} bytes read", file.1.get());
}

#[test]
fn the_holes_of_a_huge_sparse_file_are_not_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let length = 10u64 << 40;
    if file.as_file().set_len(length).is_err() {
        return; // a file system without such files
    }
    use std::os::unix::fs::FileExt;
    file.as_file().write_all_at(b"\n", 7 << 40).unwrap();
    let at = FileAt::new(file.reopen().unwrap(), length);
    let middle = (7 << 40) + 1;
    assert_eq!(cut(Framing::Delimiter(b'\n'), &at, 256 << 20, &[]).unwrap(), [(0, middle), (middle, length - middle)]);
}

#[test]
fn file_shorter_than_listed_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a\nbbbb").unwrap();
    let at = FileAt::new(file.reopen().unwrap(), 100);
    let e = cut(Framing::Delimiter(b'\n'), &at, 4, &[]).unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::UnexpectedEof, "{e}");
}

#[test]
fn numbers_near_the_end_of_u64_do_not_overflow() {
    let length = u64::MAX - 1;
    let pieces = cut(Framing::Fixed(100), &LengthOnly(length), 1 << 62, &[u64::MAX]).unwrap();
    assert_eq!(pieces.iter().map(|p| p.1).sum::<u64>(), length);
    assert!(pieces.iter().all(|(o, _)| o % 100 == 0));
}
