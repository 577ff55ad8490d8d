//! Combiners fold the values of a key: the trait, and the combiners of the library.

mod approx_distinct;
mod exact_sum;
mod exact_total;
mod fields;
mod fold;
mod histogram;
mod mean;
mod ordered_float;
mod quantiles;
mod rounding;
mod simple;
mod top_k;
mod wide;

pub use approx_distinct::{ApproxDistinct, DistinctAcc};
pub use exact_sum::ExactSum;
pub use exact_total::ExactTotal;
pub use fields::{Each, Of};
pub use fold::Combiner;
pub use histogram::{Histogram, HistogramAcc};
pub use mean::{Mean, MeanAcc};
pub use ordered_float::Quantity;
pub use quantiles::{Buckets, Quantiles, QuantilesAcc};
pub use simple::{Count, Max, Min, Number, Sum};
pub use top_k::TopK;
pub use wide::{Wide64, Wide128};
