//! Which records of a block a sampling stage reads: those that begin in small windows at fixed distances of the file.
//!
//! The windows follow from the bytes of all inputs, so the sample is the same however a file is cut. The bytes of a block are
//! searched for ends of records at most once, whatever the length of its records: windows that lie in one record share its end.

use super::blocks::record_end;
use windrow_model::Framing;

/// Windows of so many bytes are read …
const WINDOW_BYTES: u64 = 2 << 10;
/// … about so many times over all inputs.
const WINDOWS: u64 = 1024;

/// Gives the records of whole records `bytes`, of which the first begins at `offset` of its file, that begin in a window. False if
/// `give` said so.
pub(super) fn windows(
    bytes: &[u8],
    offset: u64,
    framing: Framing,
    input_bytes: u64,
    give: &mut dyn FnMut(usize, usize) -> bool,
) -> bool {
    sample(&mut Ends::of(bytes, framing), offset, input_bytes, give)
}

fn sample(ends: &mut Ends<'_>, offset: u64, input_bytes: u64, give: &mut dyn FnMut(usize, usize) -> bool) -> bool {
    let distance = (input_bytes / WINDOWS).max(WINDOW_BYTES);
    let end = offset + ends.bytes.len() as u64;
    let mut window = offset / distance * distance;
    while window < end {
        let behind = window + WINDOW_BYTES;
        // A window that ends before these bytes has none of them.
        if behind > offset {
            let from = if window <= offset { 0 } else { ends.next((window - offset) as usize) };
            let to = ends.next((behind - offset) as usize);
            if from < to && !give(from, to) {
                return false;
            }
        }
        window += distance;
    }
    true
}

/// Ends of records, asked for at ascending places.
struct Ends<'b> {
    bytes: &'b [u8],
    framing: Framing,
    /// The last place that was searched from, and the end that was found: that of every place between the two.
    searched_from: usize,
    end: usize,
    /// Bytes that were searched.
    searched: u64,
}

impl<'b> Ends<'b> {
    fn of(bytes: &'b [u8], framing: Framing) -> Self {
        Ends { bytes, framing, searched_from: 0, end: 0, searched: 0 }
    }

    /// The end of the record that holds the byte before `at`, which is not before the last place that was asked for.
    fn next(&mut self, at: usize) -> usize {
        debug_assert!(at >= self.searched_from);
        if at > self.end {
            self.searched_from = at;
            self.end = record_end(self.bytes, self.framing, at);
            self.searched += self.end.saturating_sub(at) as u64;
        }
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LINES: Framing = Framing::Delimiter(b'\n');

    /// Lines of these lengths, without their ends.
    fn lines(lengths: &[usize]) -> Vec<u8> {
        lengths.iter().flat_map(|n| [vec![b'x'; *n], vec![b'\n']].concat()).collect()
    }

    fn sampled(bytes: &[u8], offset: u64, input_bytes: u64) -> (Vec<(u64, u64)>, u64) {
        let (mut given, mut ends) = (Vec::new(), Ends::of(bytes, LINES));
        sample(&mut ends, offset, input_bytes, &mut |from, to| {
            given.push((offset + from as u64, offset + to as u64));
            true
        });
        (given, ends.searched)
    }

    /// A record of a thousand windows was searched a thousand times.
    #[test]
    fn records_longer_than_windows_are_searched_once() {
        let mebi = 1 << 20;
        for lengths in [vec![32 * mebi], vec![mebi; 32], vec![16 * mebi, 10, 16 * mebi], vec![5; 1 << 20]] {
            let bytes = lines(&lengths);
            let length = bytes.len() as u64;
            let (given, searched) = sampled(&bytes, 0, length);
            let read: u64 = given.iter().map(|(from, to)| to - from).sum();
            assert!(searched <= length, "{searched} of {length} bytes were searched");
            assert!(read <= length, "{read} of {length} bytes were read");
        }
    }

    proptest! {
        #[test]
        fn samples_are_the_same_however_a_file_is_cut(
            lengths in prop::collection::vec(0usize..9000, 1..40), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = lines(&lengths);
            let input_bytes = bytes.len() as u64 * 3;
            let records = |given: Vec<(u64, u64)>| {
                let lines = |(from, to): (u64, u64)| {
                    let mut starts = vec![];
                    let mut at = from;
                    for line in bytes[from as usize..to as usize].split_inclusive(|b| *b == b'\n') {
                        starts.push(at);
                        at += line.len() as u64;
                    }
                    starts
                };
                given.into_iter().flat_map(lines).collect::<Vec<u64>>()
            };
            let whole = records(sampled(&bytes, 0, input_bytes).0);
            let at = record_end(&bytes, LINES, cut.index(bytes.len()));
            let mut pieces = records(sampled(&bytes[..at], 0, input_bytes).0);
            pieces.extend(records(sampled(&bytes[at..], at as u64, input_bytes).0));
            prop_assert_eq!(pieces, whole);
        }

        #[test]
        fn ends_are_those_of_a_search_from_each_place(
            lengths in prop::collection::vec(0usize..20, 1..20), mut places in prop::collection::vec(1usize..300, 1..20),
        ) {
            let bytes = lines(&lengths);
            places.sort_unstable();
            let mut ends = Ends::of(&bytes, LINES);
            for at in places {
                prop_assert_eq!(ends.next(at), record_end(&bytes, LINES, at));
            }
        }
    }
}
