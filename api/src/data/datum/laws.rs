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

fn lists<T>(a: &Vec<T>, b: &Vec<T>) -> Result<(), TestCaseError>
where
    T: super::list::Element + super::Key + Ord + std::fmt::Debug,
{
    a.lend(|x| b.lend(|y| holds::<Vec<T>>(T::shorten_list(x), T::shorten_list(y), a.cmp(b))))?;
    a.lend(|x| b.lend(|y| holds::<Reverse<Vec<T>>>(Reverse(T::shorten_list(x)), Reverse(T::shorten_list(y)), b.cmp(a))))
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

    #[cfg(feature = "jiff")]
    #[test]
    fn times(
        a in (-9_000i16..9_000, 1i8..=12, 1i8..=28), b in (-9_000i16..9_000, 1i8..=12, 1i8..=28),
        t in -300_000_000_000_000_000_000i128..250_000_000_000_000_000_000, ahead in -2_000_000_000i128..2_000_000_000,
        c in (0i8..24, 0i8..60, 0i8..60, 0i32..1_000_000_000), d in (0i8..24, 0i8..60, 0i8..60, 0i32..1_000_000_000),
    ) {
        use jiff::civil::{Date, DateTime, Time};
        let date = |(year, month, day)| Date::new(year, month, day).unwrap();
        let (a, b) = (date(a), date(b));
        holds::<Date>(a, b, a.cmp(&b))?;
        holds::<Reverse<Date>>(Reverse(a), Reverse(b), b.cmp(&a))?;
        let time = |(h, m, s, n)| Time::new(h, m, s, n).unwrap();
        for (a, b) in [(a, a), (a, b)] {
            let (a, b) = (DateTime::from_parts(a, time(c)), DateTime::from_parts(b, time(d)));
            holds::<DateTime>(a, b, a.cmp(&b))?;
        }
        let at = |nanos| jiff::Timestamp::from_nanosecond(nanos).unwrap();
        for (t, u) in [(at(t), at(t + ahead)), (at(ahead), at(0)), (jiff::Timestamp::MIN, jiff::Timestamp::MAX)] {
            holds::<jiff::Timestamp>(t, u, t.cmp(&u))?;
            lists(&vec![t, u], &vec![t])?;
        }
        let mut bytes = Vec::new();
        <(i16, i8, i8)>::encode::<true>((2023, 2, 29), &mut bytes);
        prop_assert!(Date::decode::<true>(&mut Reader::new(&bytes, &Arena::new())).is_err());
        bytes.clear();
        <(i64, u32)>::encode::<true>((1, 1_000_000_000), &mut bytes);
        prop_assert!(jiff::Timestamp::decode::<true>(&mut Reader::new(&bytes, &Arena::new())).is_err());
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
    fn wide_numbers(a in any::<i128>(), b in any::<i128>(), c in any::<u128>(), d in any::<u128>()) {
        holds::<i128>(a, b, a.cmp(&b))?;
        holds::<u128>(c, d, c.cmp(&d))?;
        holds::<(i128, u128)>((a, c), (b, d), (a, c).cmp(&(b, d)))?;
    }

    #[test]
    fn characters(a in any::<char>(), b in any::<char>(), c in any::<char>()) {
        holds::<char>(a, b, a.cmp(&b))?;
        holds::<(char, Reverse<char>)>((a, Reverse(b)), (a, Reverse(c)), c.cmp(&b))?;
    }

    #[test]
    fn arrays(a in any::<[i16; 3]>(), b in any::<[i16; 3]>(), c in any::<[u64; 1]>(), d in any::<[u64; 1]>()) {
        holds::<[i16; 3]>(&a, &b, a.cmp(&b))?;
        holds::<([u64; 1], [i16; 3])>((&c, &a), (&d, &b), (c, a).cmp(&(d, b)))?;
        holds::<Reverse<[i16; 3]>>(Reverse(&a), Reverse(&b), b.cmp(&a))?;
        holds::<[u64; 0]>(&[], &[], Ordering::Equal)?;
        holds::<Option<[bool; 2]>>(None, Some(&[a[0] > 0, b[0] > 0]), Ordering::Less)?;
    }

    #[test]
    fn nested_options(a in any::<Option<Option<u8>>>(), b in any::<Option<Option<u8>>>(), c in text(), d in text()) {
        holds::<Option<Option<u8>>>(a, b, a.cmp(&b))?;
        let (x, y) = (a.map(|a| a.map(|_| c.as_str())), b.map(|b| b.map(|_| d.as_str())));
        holds::<Option<Option<String>>>(x, y, x.cmp(&y))?;
        holds::<(Option<Option<String>>, char)>((x, 'x'), (y, 'x'), x.cmp(&y))?;
    }

    #[test]
    fn nested_lists(
        a in prop::collection::vec((text(), any::<Option<bool>>()), 0..4),
        b in prop::collection::vec((text(), any::<Option<bool>>()), 0..4),
    ) {
        lists(&a, &b)?;
        let texts = |list: &[(String, Option<bool>)]| list.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>();
        lists(&texts(&a), &texts(&b))?;
        lists(&vec![texts(&a), Vec::new()], &vec![texts(&b)])?;
        let bytes = |list: &[(String, Option<bool>)]| list.iter().map(|(text, _)| text.clone().into_bytes()).collect::<Vec<_>>();
        lists(&bytes(&a), &bytes(&b))?;
        let maybe = |list: &[(String, Option<bool>)]| list.iter().map(|(text, some)| some.map(|_| text.clone())).collect::<Vec<_>>();
        lists(&maybe(&a), &maybe(&b))?;
        let letters = |list: &[(String, Option<bool>)]| list.iter().flat_map(|(text, _)| text.chars()).collect::<Vec<_>>();
        lists(&letters(&a), &letters(&b))?;
        lists(&vec![[a.len() as u8; 2]], &vec![[b.len() as u8; 2]])?;
        lists(&vec![[a.len() as u64; 2]], &vec![[b.len() as u64; 2]])?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let arena = Arena::new();
        let mut reader = Reader::new(&bytes, &arena);
        let _ = <(String, Vec<u8>)>::decode::<true>(&mut reader);
        let _ = <(Option<u32>, Vec<i64>)>::decode::<false>(&mut Reader::new(&bytes, &arena));
        let _ = <(Vec<String>, Vec<Vec<(u8, Vec<char>)>>)>::decode::<true>(&mut Reader::new(&bytes, &arena));
        let _ = <([i32; 2], char)>::decode::<true>(&mut Reader::new(&bytes, &arena));
        let _ = Reverse::<String>::decode::<true>(&mut Reader::new(&bytes, &arena));
    }
}

/// The bytes of keys decide the partition of a record and lie in datasets and shuffle files: they never change.
#[test]
fn encodings_are_what_they_were() {
    let bytes = encoded::<(String, i32, f64)>(("a\0", -1, 1.5));
    assert_eq!(bytes, b"a\x00\xff\x00\x00\x7f\xff\xff\xff\xbf\xf8\x00\x00\x00\x00\x00\x00");
    assert_eq!(
        encoded::<(Option<bool>, Vec<u16>, [u8; 2])>((Some(true), &[258], b"\0x")),
        b"\x01\x01\x01\x01\x02\x00\x00x"
    );
    assert_eq!(encoded::<Reverse<String>>(Reverse("a")), [!b'a', 0xff, 0xff]);
    assert_eq!(
        encoded::<(u128, i128)>((1, -1)).as_chunks::<16>().0,
        [1u128.to_be_bytes(), [[0x7f].as_slice(), &[0xff; 15]].concat().try_into().unwrap()]
    );
    assert_eq!(encoded::<char>('a'), b"\0\0\0a");
    assert_eq!(vec!["a".to_string(), String::new()].lend(encoded::<Vec<String>>), b"\x01a\0\0\x01\0\0\0");
    assert_eq!(encoded::<[i16; 2]>(&[1, -1]), b"\x80\x01\x7f\xff");
}
