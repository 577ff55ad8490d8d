//! `flatten`: the items of lists and options as records.

use crate::data::datum::Datum;
use crate::data::datum::list::{Element, Scalar};
use crate::data::datum::serde::Serde;
use crate::plan::records::Records;
use crate::task::culprit::Op;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Records that hold other records: lists, and options, which hold one or none.
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no records",
    label = "cannot be flattened",
    note = "lists and options can be flattened; use `flat_map` to make records of others"
)]
pub trait Nested: Datum {
    /// The records that are held.
    type Item: Datum;
    /// Calls `f` with each of them in order.
    fn each(r: Self::Ref<'_>, f: impl FnMut(<Self::Item as Datum>::Ref<'_>));
}

impl<T: Datum> Nested for Option<T> {
    type Item = T;
    fn each(r: Option<T::Ref<'_>>, mut f: impl FnMut(T::Ref<'_>)) {
        if let Some(r) = r {
            f(r)
        }
    }
}

impl<T: Element> Nested for Vec<T> {
    type Item = T;
    fn each(r: T::List<'_>, f: impl FnMut(T::Ref<'_>)) {
        T::each_of(r, f)
    }
}

impl<T: Scalar, const N: usize> Nested for [T; N] {
    type Item = T;
    fn each(r: &[T; N], f: impl FnMut(T)) {
        r.iter().copied().for_each(f)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Nested for Serde<Vec<T>> {
    type Item = Serde<T>;
    fn each(r: &Vec<T>, f: impl FnMut(&T)) {
        r.iter().for_each(f)
    }
}

impl<R: Nested> Records<R> {
    /// The items of every list, in order; of every option, its value if there is one.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn numbers(lines: &Records<String>) -> Records<u64> {
    ///     lines.map(|line, out| out.push(line.parse::<u64>().ok())).flatten()
    /// }
    /// # assert_eq!(windrow::testing::run(["1", "x", "3"], |l| numbers(&l)).unwrap(), [1, 3]);
    /// ```
    #[track_caller]
    pub fn flatten(&self) -> Records<R::Item> {
        self.step(Op::here("flatten"), false, |_, r, sink| R::each(r, |item| sink.push(item)))
    }
}
