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

/// A key of each form that is derived.
#[derive(Datum)]
enum Shape {
    Point,
    Line(i32, [u8; 2]),
    Named { name: String, sides: Vec<Option<String>> },
}

/// A key of the type that the first byte selects.
pub fn keys(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    // The kept inputs of the first twelve types begin with any byte.
    let choice = if *kind < 240 { kind % 12 } else { 12 + kind % 6 };
    macro_rules! of {
        ($($number:literal => $datum:ty,)*) => {
            match choice {
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
        12 => (char, [i16; 2]),
        13 => Vec<String>,
        14 => (Vec<(String, Option<char>)>, u8),
        15 => Reverse<Vec<Vec<u16>>>,
        16 => Shape,
        17 => Vec<Shape>,
    }
}
