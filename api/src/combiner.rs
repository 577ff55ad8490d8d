//! Combiners fold the values of a key: the trait, and the combiners of the library.

mod exact_sum;
mod exact_total;
mod fields;
mod fold;
mod mean;
mod rounding;
mod simple;
mod top_k;
mod wide;

pub use exact_sum::ExactSum;
pub use exact_total::ExactTotal;
pub use fields::{Each, Of};
pub use fold::Combiner;
pub use mean::{Mean, MeanAcc};
pub use simple::{Count, Max, Min, Number, Sum};
pub use top_k::TopK;
pub use wide::{Wide64, Wide128};
