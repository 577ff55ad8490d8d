//! Every operator equals a model in memory, for any input, chunks, partitions, threads and memory.

mod joins;
mod shuffles;
mod ways;
mod whole;
