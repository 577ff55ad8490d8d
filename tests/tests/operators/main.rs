//! Every operator equals a model in memory, for any input, chunks, partitions, threads and memory.

mod broadcasts;
mod folds;
mod joins;
mod places;
mod shuffles;
mod sketches;
mod ways;
mod whole;
