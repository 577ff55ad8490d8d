//! Fuzzes encoded keys and values.

use std::cmp::Reverse;
use windrow::{Arena, Datum, Reader};

/// Every decoded value has one encoding, which decodes to the same value.
fn decodes<D: Datum, const LAST: bool>(bytes: &[u8]) {
    let arena = Arena::new();
    let mut reader = Reader::new(bytes, &arena);
    let Ok(value) = D::decode::<LAST>(&mut reader) else { return };
    let left = reader.left().len();
    assert!(left <= bytes.len());
    let mut once = Vec::new();
    D::encode::<LAST>(value, &mut once);
    let mut reader = Reader::new(&once, &arena);
    let again = D::decode::<LAST>(&mut reader).expect("what we have written");
    assert!(reader.left().is_empty());
    let mut twice = Vec::new();
    D::encode::<LAST>(again, &mut twice);
    assert_eq!(once, twice);
}

/// A key of the type that the first byte selects.
pub fn keys(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    macro_rules! of {
        ($($number:literal => $datum:ty,)*) => {
            match kind % 12 {
                $($number => {
                    decodes::<$datum, true>(bytes);
                    decodes::<$datum, false>(bytes);
                })*
                _ => {}
            }
        };
    }
    of! {
        0 => String,
        1 => Vec<u8>,
        2 => i64,
        3 => f64,
        4 => Option<String>,
        5 => (String, i32),
        6 => (Vec<u8>, String, u8),
        7 => Vec<i64>,
        8 => Reverse<String>,
        9 => (Option<(String, u16)>, Reverse<Vec<u8>>),
        10 => (Reverse<f32>, Vec<u32>),
        11 => bool,
    }
}
