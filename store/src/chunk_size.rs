//! Sizes of chunks for a source, if the job does not name one.
//!
//! A chunk is the input of one task. Few chunks for a slot leave slots without work at the end of a stage; too many cost
//! the coordinator memory, and a shuffle one more output to read from. So chunks follow from the input and the slots,
//! with at most 256 MiB, until that would make more than 100,000 of them; beyond that they grow with the input.
//!
//! Chunks of datasets have been cut already, and each lies on two workers or so. A task may read several, but one that
//! reads many finds most of them on other workers. So they are packed to the same size up to 256 MiB, and beyond that
//! only to avoid more than 500,000 tasks.

/// Bounds of default sizes in bytes, for inputs that do not need more than [`CHUNKS`] chunks.
const CHUNK_BYTES_MIN: u64 = 1 << 20;
const CHUNK_BYTES_MAX: u64 = 256 << 20;
/// Chunks for each slot, so that a slow task does not leave the other slots without work at the end.
const CHUNKS_PER_SLOT: u64 = 3;
/// Chunks of files from which on they grow with the input. There are more if files or parts end within a chunk.
const CHUNKS: u64 = 100_000;
/// Tasks for chunks of datasets from which on they read more than [`CHUNK_BYTES_MAX`] each.
const DATASET_TASKS: u64 = 500_000;

/// Most bytes of a task's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkSizes {
    /// Files are cut at multiples of this, and share chunks up to it.
    pub files: u64,
    /// Chunks of datasets share tasks up to this.
    pub datasets: u64,
}

impl ChunkSizes {
    /// The sizes for `total` bytes of input and this number of slots.
    pub(crate) fn of_input(total: u64, slots: u32) -> ChunkSizes {
        let wanted = u64::from(slots.max(1)).saturating_mul(CHUNKS_PER_SLOT);
        let even = (total / wanted).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let of_at_most = |chunks| even.max(total.div_ceil(chunks));
        ChunkSizes { files: of_at_most(CHUNKS), datasets: of_at_most(DATASET_TASKS) }
    }

    /// This size for every input.
    pub(crate) fn exact(bytes: u64) -> ChunkSizes {
        let bytes = bytes.max(1);
        ChunkSizes { files: bytes, datasets: bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TB: u64 = 1_000_000_000_000;

    #[test]
    fn tasks_stay_bounded_as_the_input_grows() {
        // Files and datasets, for 100 machines of 64 slots.
        let tasks = |total: u64| {
            let sizes = ChunkSizes::of_input(total, 6_400);
            [sizes.files, sizes.datasets].map(|bytes| total.div_ceil(bytes))
        };
        assert_eq!(tasks(TB), [19_201; 2]);
        assert_eq!(tasks(10 * TB), [37_253; 2]);
        assert_eq!(tasks(100 * TB), [100_000, 372_530]);
        assert_eq!(tasks(1_000 * TB), [100_000, 500_000]);
        assert_eq!(ChunkSizes::of_input(100 * TB, 6_400).files, 1_000_000_000);
        assert_eq!(ChunkSizes::of_input(u64::MAX, u32::MAX).files, u64::MAX.div_ceil(CHUNKS));
        assert_eq!(ChunkSizes::of_input(0, 0), ChunkSizes::exact(CHUNK_BYTES_MIN));
    }

    proptest! {
        #[test]
        fn sizes_are_monotone_and_small_inputs_keep_theirs(
            total in prop_oneof![0u64..1 << 30, 0u64..200 * TB, any::<u64>()],
            more in prop_oneof![0u64..1 << 20, any::<u64>()],
            slots in prop_oneof![1u32..100, any::<u32>()],
        ) {
            let sizes = ChunkSizes::of_input(total, slots);
            let larger = ChunkSizes::of_input(total.saturating_add(more), slots);
            prop_assert!(sizes.files <= larger.files && sizes.datasets <= larger.datasets);
            prop_assert!(total.div_ceil(sizes.files) <= CHUNKS && total.div_ceil(sizes.datasets) <= DATASET_TASKS);
            // Today's and earlier releases agree wherever those made no more chunks.
            let before = (total / (u64::from(slots.max(1)) * 3)).clamp(1 << 20, 256 << 20);
            if total.div_ceil(before) <= CHUNKS {
                prop_assert_eq!(sizes, ChunkSizes::exact(before));
            }
        }
    }
}
