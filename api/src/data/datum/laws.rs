//! Property tests of every family: encodings decode to the same value and sort as the values do, and no encoding that
//! more bytes may follow is a prefix of another.

use super::{Datum, Reader, encoded};
use crate::data::arena::Arena;
use proptest::prelude::*;
use std::cmp::{Ordering, Reverse};

fn holds<'r, D: Datum + PartialEq + std::fmt::Debug>(
    a: D::Ref<'r>,
    b: D::Ref<'r>,
    order: Ordering,
) -> Result<(), TestCaseError> {
    let (x, y) = (encoded::<D>(a), encoded::<D>(b));
    prop_assert_eq!(x.cmp(&y), order, "{:?} and {:?}", x, y);
    let arena = Arena::new();
    for (r, bytes) in [(a, &x), (b, &y)] {
        let back = D::decode::<true>(&mut Reader::new(bytes, &arena)).unwrap();
        prop_assert_eq!(D::to_owned(back), D::to_owned(r));
        prop_assert_eq!(&D::to_owned(r).lend(|lent| encoded::<D>(lent)), bytes);
        // With bytes after it: they are left over, and decide only between equal values.
        let mut longer = Vec::new();
        D::encode::<false>(r, &mut longer);
        longer.extend_from_slice(b"more");
        let mut reader = Reader::new(&longer, &arena);
        prop_assert_eq!(D::to_owned(D::decode::<false>(&mut reader).unwrap()), D::to_owned(r));
        prop_assert_eq!(reader.left(), b"more");
    }
    let (mut x, mut y) = (Vec::new(), Vec::new());
    D::encode::<false>(a, &mut x);
    D::encode::<false>(b, &mut y);
    prop_assert_eq!(x.cmp(&y), order);
    prop_assert!(order == Ordering::Equal || (!x.starts_with(&y) && !y.starts_with(&x)));
    Ok(())
}

/// Strings in which zero bytes and shared prefixes are common.
fn text() -> impl Strategy<Value = String> {
    "[\0\u{1}ab\u{ff}é]{0,6}"
}

proptest! {
    #[test]
    fn numbers(a in any::<i64>(), b in any::<i64>(), c in any::<u16>(), d in any::<u16>()) {
        holds::<i64>(a, b, a.cmp(&b))?;
        holds::<u16>(c, d, c.cmp(&d))?;
        holds::<i128>(a as i128 * b as i128, b as i128, (a as i128 * b as i128).cmp(&(b as i128)))?;
    }

    #[test]
    fn floats(a in any::<f64>(), b in any::<f64>()) {
        prop_assume!(!a.is_nan() && !b.is_nan());
        let (x, y) = (encoded::<f64>(a), encoded::<f64>(b));
        prop_assert_eq!(x.cmp(&y), a.total_cmp(&b));
        let arena = Arena::new();
        prop_assert_eq!(f64::decode::<true>(&mut Reader::new(&x, &arena)).unwrap().to_bits(), a.to_bits());
        prop_assert!(encoded::<f64>(f64::NAN) > x && encoded::<f64>(-f64::NAN) == encoded::<f64>(f64::NAN));
    }

    #[test]
    fn strings_and_bytes(a in text(), b in text()) {
        holds::<String>(&a, &b, a.cmp(&b))?;
        holds::<Vec<u8>>(a.as_bytes(), b.as_bytes(), a.cmp(&b))?;
    }

    #[test]
    fn tuples(a in (text(), any::<i8>(), text()), b in (text(), any::<i8>(), text())) {
        let (x, y) = ((a.0.as_str(), a.1, a.2.as_str()), (b.0.as_str(), b.1, b.2.as_str()));
        holds::<(String, i8, String)>(x, y, x.cmp(&y))?;
        holds::<((String, i8), String)>(((x.0, x.1), x.2), ((y.0, y.1), y.2), x.cmp(&y))?;
    }

    #[test]
    fn options_lists_and_reversed_keys(
        a in prop::option::of(text()), b in prop::option::of(text()),
        c in prop::collection::vec(any::<i16>(), 0..4), d in prop::collection::vec(any::<i16>(), 0..4),
    ) {
        holds::<Option<String>>(a.as_deref(), b.as_deref(), a.cmp(&b))?;
        holds::<Vec<i16>>(&c, &d, c.cmp(&d))?;
        let (x, y) = (a.unwrap_or_default(), b.unwrap_or_default());
        holds::<Reverse<String>>(Reverse(&x), Reverse(&y), y.cmp(&x))?;
        holds::<(Reverse<String>, Vec<i16>)>(
            (Reverse(&x), &c), (Reverse(&y), &d), (Reverse(&x), &c).cmp(&(Reverse(&y), &d)),
        )?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let arena = Arena::new();
        let mut reader = Reader::new(&bytes, &arena);
        let _ = <(String, Vec<u8>)>::decode::<true>(&mut reader);
        let _ = <(Option<u32>, Vec<i64>)>::decode::<false>(&mut Reader::new(&bytes, &arena));
        let _ = Reverse::<String>::decode::<true>(&mut Reader::new(&bytes, &arena));
    }
}
