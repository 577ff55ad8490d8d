//! Combiners over the fields of a value.

use super::approx_distinct::ApproxDistinct;
use super::fold::{Combiner, part, put_part};
use super::histogram::Histogram;
use super::mean::Mean;
use super::quantiles::Quantiles;
use super::simple::{Count, Max, Min, Sum};
use super::top_k::TopK;
use crate::data::datum::{Datum, IntoDatum};
use crate::data::decode_error::DecodeError;

/// A combiner for each field of a value that is a tuple: the first combiner folds the first fields, and so on.
///
/// ```
/// use windrow::prelude::*;
/// /// The sum of the bytes and the latest time for each host.
/// fn totals(requests: &Pairs<String, (u64, i64)>) -> Pairs<String, (u64, i64)> {
///     requests.combine(Each((Sum, Max)))
/// }
/// # let got = windrow::testing::run(["3", "4"], |l| totals(&l.map(|l, out| {
/// #     let n = l.parse::<u64>()?;
/// #     out.emit("h", (n, -(n as i64)));
/// #     Ok(())
/// # })));
/// # assert_eq!(got.unwrap(), [("h".to_string(), (7, -3))]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Each<C>(pub C);

macro_rules! fields {
    ($($V:ident $C:ident $v:ident $i:tt),*) => {
        impl<$($V: Datum, $C: Combiner<$V>,)*> Combiner<($($V,)*)> for Each<($($C,)*)> {
            type Acc = ($($C::Acc,)*);
            type Out = ($($C::Out,)*);
            #[inline]
            fn create(&self, ($($v,)*): <($($V,)*) as Datum>::Ref<'_>) -> Self::Acc {
                ($(self.0.$i.create($v),)*)
            }
            #[inline(always)]
            fn merge(&self, into: &mut Self::Acc, other: Self::Acc) {
                $(self.0.$i.merge(&mut into.$i, other.$i);)*
            }
            fn finish(&self, acc: Self::Acc) -> Self::Out {
                ($(self.0.$i.finish(acc.$i),)*)
            }
            fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>) {
                $(put_part(out, |out| self.0.$i.encode(&acc.$i, out));)*
            }
            fn encode_value(&self, ($($v,)*): <($($V,)*) as Datum>::Ref<'_>, out: &mut Vec<u8>) {
                $(put_part(out, |out| self.0.$i.encode_value($v, out));)*
            }
            fn decode(&self, mut bytes: &[u8]) -> Result<Self::Acc, DecodeError> {
                Ok(($({
                    let (part, rest) = part(bytes)?;
                    bytes = rest;
                    let _ = bytes;
                    self.0.$i.decode(part)?
                },)*))
            }
            fn heap_bytes(&self, acc: &Self::Acc) -> usize {
                0 $(+ self.0.$i.heap_bytes(&acc.$i))*
            }
        }
    };
}
fields!(A C a 0, B D b 1);
fields!(A C a 0, B D b 1, E F e 2);
fields!(A C a 0, B D b 1, E F e 2, G H g 3);

/// A combiner over what a function computes from each value; made by the method `of` of combiners.
///
/// ```
/// use windrow::prelude::*;
/// fn stats(pairs: &Pairs<String, (String, u64)>) -> Pairs<String, (u64, u64)> {
///     pairs.combine((Sum.of(|v: (&str, u64)| v.1), Max.of(|v: (&str, u64)| v.0.len())))
/// }
/// # let got = windrow::testing::run(["ab", "a"], |l| stats(&l.map(|l, out| out.emit("k", (l, 3u64)))));
/// # assert_eq!(got.unwrap(), [("k".to_string(), (6, 2))]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Of<C, F> {
    combiner: C,
    f: F,
}

impl<C, F> Of<C, F> {
    /// Folds what `f` computes from each value with `combiner`.
    pub fn new(combiner: C, f: F) -> Self {
        Of { combiner, f }
    }
}

/// What `of` means for a combiner.
macro_rules! of {
    ($([$($generic:tt)*] $t:ty;)*) => {$(
        impl<$($generic)*> $t {
            /// This combiner over what `f` computes from each value. The type of the value must be written, as record
            /// functions get it: `Sum.of(|v: (&str, u64)| v.1)`. See [`Of`].
            pub fn of<F>(self, f: F) -> Of<Self, F> {
                Of::new(self, f)
            }
        }
    )*};
}
of! {
    [] Sum; [] Min; [] Max; [] Count; [] Mean; [] TopK; [] ApproxDistinct; [] Histogram; [const N: usize] Quantiles<N>;
}

impl<V: Datum, T: IntoDatum, C: Combiner<T::Datum>, F> Combiner<V> for Of<C, F>
where
    F: Fn(V::Ref<'_>) -> T + Send + Sync + 'static,
{
    type Acc = C::Acc;
    type Out = C::Out;
    #[inline]
    fn create(&self, value: V::Ref<'_>) -> C::Acc {
        (self.f)(value).with(|r| self.combiner.create(r))
    }
    #[inline(always)]
    fn merge(&self, into: &mut C::Acc, other: C::Acc) {
        self.combiner.merge(into, other)
    }
    fn finish(&self, acc: C::Acc) -> C::Out {
        self.combiner.finish(acc)
    }
    fn encode(&self, acc: &C::Acc, out: &mut Vec<u8>) {
        self.combiner.encode(acc, out)
    }
    fn decode(&self, bytes: &[u8]) -> Result<C::Acc, DecodeError> {
        self.combiner.decode(bytes)
    }
    #[inline]
    fn encode_value(&self, value: V::Ref<'_>, out: &mut Vec<u8>) {
        (self.f)(value).with(|r| self.combiner.encode_value(r, out))
    }
    fn heap_bytes(&self, acc: &C::Acc) -> usize {
        self.combiner.heap_bytes(acc)
    }
}
