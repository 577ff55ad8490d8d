//! Selects the records of a block that a sampling stage reads: those that begin in small windows at equal distances in
//! the file.
//!
//! The windows follow from the total size of the inputs, so the sample does not depend on how files are split. The
//! bytes of a block are searched for ends of records at most once, however long its records are: windows within one
//! record share its end.

use windrow_format::framing::record_end;
use windrow_model::{Framing, Partitions};

/// Size of a window, in bytes.
const WINDOW_BYTES: u64 = 2 << 10;
/// The approximate number of windows over inputs of up to [`Partitions::AUTO_EVEN`] default partitions. With more
/// partitions there are more windows, …
const WINDOWS: u64 = 1024;
/// … up to this: every task that sorts gets the whole sample, so its bytes are sent once for each of them. Windows of
/// records of 100 bytes have 82,000 keys then, and a sort into more partitions leaves the others empty.
const WINDOWS_MAX: u64 = 4096;

/// The approximate number of windows over all inputs.
fn windows_of(input_bytes: u64) -> u64 {
    let partitions = u64::from(Partitions::auto(input_bytes));
    (partitions * WINDOWS / u64::from(Partitions::AUTO_EVEN)).clamp(WINDOWS, WINDOWS_MAX)
}

/// Calls `give` with the ranges of records that begin in a window. `bytes` are whole records, the first of which begins
/// at `offset` of its file. Returns `false` if `give` did.
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
    let distance = (input_bytes / windows_of(input_bytes)).max(WINDOW_BYTES);
    let end = offset + ends.bytes.len() as u64;
    let mut window = offset / distance * distance;
    while window < end {
        let behind = window + WINDOW_BYTES;
        // A window that ends before these bytes contains none of them.
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

/// Finds ends of records for ascending positions.
struct Ends<'b> {
    bytes: &'b [u8],
    framing: Framing,
    /// The last position that was searched from, and the end that was found. It is the end for every position between
    /// the two.
    searched_from: usize,
    end: usize,
    /// Number of bytes searched.
    searched: u64,
}

impl<'b> Ends<'b> {
    fn of(bytes: &'b [u8], framing: Framing) -> Self {
        Ends { bytes, framing, searched_from: 0, end: 0, searched: 0 }
    }

    /// Returns the end of the record that contains the byte before `at`. `at` must not be less than in the last call.
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

    #[test]
    fn windows_follow_the_default_partitions_up_to_a_bound() {
        let tb = 1_000_000_000_000;
        let counts = [0, 1 << 30, 2_000 << 24, 200_000_000_000, tb, 100 * tb, u64::MAX].map(windows_of);
        assert_eq!(counts, [1024, 1024, 1024, 3365, 4096, 4096, 4096]);
    }

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

    /// Guards against a search per window within one long record.
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
        fn samples_do_not_depend_on_splits(
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
        fn ends_equal_those_of_a_search_per_position(
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
