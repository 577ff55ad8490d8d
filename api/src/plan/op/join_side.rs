//! The other side of a join: pairs, or pairs that are small.

use crate::data::datum::{Datum, Key};
use crate::plan::broadcast::BYTES_MAX;
use crate::plan::records::Pairs;

/// The other side of a join: `&Pairs<K, W>`, or [`small`](crate::Records::small) of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be joined by the key `{K}`",
    label = "these are not pairs with the key `{K}`",
    note = "both sides of a join have the same type of keys: `map` or `key_by` makes pairs with another key"
)]
pub trait JoinSide<K: Key> {
    /// The values of the pairs.
    type Value: Datum;
    /// The pairs.
    fn pairs(&self) -> &Pairs<K, Self::Value>;
    /// The number of bytes up to which they are broadcast; 0 if they never are.
    fn broadcast_bytes_max(&self) -> u64;
}

impl<K: Key, W: Datum> JoinSide<K> for &Pairs<K, W> {
    type Value = W;
    fn pairs(&self) -> &Pairs<K, W> {
        self
    }
    fn broadcast_bytes_max(&self) -> u64 {
        0
    }
}

// As a `&` too many was always accepted.
impl<K: Key, W: Datum> JoinSide<K> for &&Pairs<K, W> {
    type Value = W;
    fn pairs(&self) -> &Pairs<K, W> {
        self
    }
    fn broadcast_bytes_max(&self) -> u64 {
        0
    }
}

/// Pairs that a join broadcasts instead of shuffling both sides, if they are few enough. Made by
/// [`Records::small`](crate::Records::small).
pub struct Small<K: Key, W: Datum> {
    pub(super) pairs: Pairs<K, W>,
    pub(super) bytes_max: u64,
}

impl<K: Key, W: Datum> Small<K, W> {
    /// Sets the limit: the pairs are broadcast if their encodings, with 8 bytes for each pair, take no more than this. It
    /// is 1 MiB by default and at most; more makes the plan invalid, and 0 turns broadcasting off.
    pub fn up_to(self, bytes: u64) -> Self {
        Small { bytes_max: bytes, ..self }
    }
}

impl<K: Key, W: Datum> JoinSide<K> for Small<K, W> {
    type Value = W;
    fn pairs(&self) -> &Pairs<K, W> {
        &self.pairs
    }
    fn broadcast_bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

impl<K: Datum, W: Datum> Pairs<K, W> {
    /// Marks pairs as the small side of `join`, `left_join`, `semi_join` or `anti_join`: `orders.join(names.small())`. If
    /// they turn out to take no more than 1 MiB (or the limit of [`up_to`](Small::up_to)), every task of the large side gets
    /// all of them, and the large side is not shuffled; otherwise both sides are shuffled, as without the mark.
    ///
    /// The job finds the size when it runs. Both ways give the same result, so the large side is also shuffled where the
    /// order of the result matters (a part file, `reduce`, `sort`), and where it is partitioned by the key already. The
    /// result does not count as partitioned by its key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn by_country(orders: &Pairs<u32, u64>, countries: &Pairs<u32, String>) -> Pairs<String, u64> {
    ///     orders.join(countries.small()).map(|(_, (cents, country)), out| out.emit(country, cents)).combine(Sum)
    /// }
    /// # let got = windrow::testing::run(["1", "2", "2"], |lines| {
    /// #     let orders = lines.map(|l, out| out.emit(l.len() as u32, l.parse::<u64>().unwrap()));
    /// #     by_country(&orders, &lines.first().map(|_, out| out.emit(1u32, "DE")))
    /// # });
    /// # assert_eq!(got.unwrap(), [("DE".to_string(), 5)]);
    /// ```
    pub fn small(&self) -> Small<K, W>
    where
        K: Key,
    {
        Small { pairs: self.clone(), bytes_max: BYTES_MAX as u64 }
    }
}
