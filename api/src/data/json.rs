//! JSON that round-trips: a value that would be read back differently is refused. Plain `serde_json` writes NaN and
//! infinities as `null`, cannot distinguish a `Some` of nothing from a `None`, and limits the depth when it reads.

use crate::data::watched::{Leaf, Observer, Parts, Refusal, Watched};
use serde::Serialize;
use std::io::Write;

/// Most levels of arrays and objects that the reader accepts.
const LEVELS_MAX: u8 = 127;

/// Appends a value as one line, without the newline.
///
/// # Errors
/// The value has no JSON form that is read back as the same value, or its type fails to serialize it.
pub(crate) fn write<T: Serialize + ?Sized>(value: &T, out: impl Write) -> Result<(), serde_json::Error> {
    serde_json::to_writer(out, &Watched { value, by: InJson { level: 0, in_some: false } })
}

/// Tracks the depth of a value, and whether it is within a `Some`.
#[derive(Clone, Copy)]
struct InJson {
    level: u8,
    in_some: bool,
}

impl InJson {
    fn deeper(self) -> Result<Self, Refusal> {
        if self.level == LEVELS_MAX {
            return Err(format!("the value has more than {LEVELS_MAX} levels, which JSON readers do not accept"));
        }
        Ok(InJson { level: self.level + 1, in_some: false })
    }
}

impl Observer for InJson {
    #[inline]
    fn leaf(self, leaf: Leaf) -> Result<(), Refusal> {
        let finite = match leaf {
            Leaf::F32(v) => v.is_finite(),
            Leaf::F64(v) => v.is_finite(),
            Leaf::None | Leaf::Unit | Leaf::UnitStruct if self.in_some => {
                return Err("JSON cannot represent a `Some` of nothing: it would be read back as `None`".to_string());
            }
            _ => true,
        };
        if finite { Ok(()) } else { Err("JSON cannot represent NaN and infinite numbers".to_string()) }
    }
    fn some(self) -> Result<Self, Refusal> {
        Ok(InJson { in_some: true, ..self })
    }
    fn newtype(self) -> Result<Self, Refusal> {
        Ok(self)
    }
    fn unit_variant(self, _: u32) -> Result<(), Refusal> {
        Ok(())
    }
    fn newtype_variant(self, _: u32) -> Result<Self, Refusal> {
        self.deeper()
    }
    fn parts(self, parts: Parts, _: Option<usize>) -> Result<Self, Refusal> {
        match parts {
            Parts::TupleVariant(_) | Parts::StructVariant(_) => self.deeper()?.deeper(),
            _ => self.deeper(),
        }
    }
    #[inline]
    fn part(self, _: usize) -> Result<Self, Refusal> {
        Ok(self)
    }
    fn left_out(self, _: &'static str) -> Result<(), Refusal> {
        Ok(())
    }
    fn end(self, _: usize) -> Result<(), Refusal> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn text<T: Serialize>(value: &T) -> Result<String, String> {
        let mut out = Vec::new();
        write(value, &mut out).map_err(|e| e.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_without_a_json_form_are_refused() {
        assert_eq!(text(&1e308).unwrap(), "1e+308");
        assert_eq!(text(&Some(Some(5))).unwrap(), "5");
        assert_eq!(text(&None::<()>).unwrap(), "null");
        assert!(text(&f64::NAN).unwrap_err().contains("NaN"));
        assert!(text(&vec![Some(f32::INFINITY)]).unwrap_err().contains("infinite"));
        assert!(text(&Some(None::<u8>)).unwrap_err().contains("`Some` of nothing"));
        assert!(text(&Some(())).unwrap_err().contains("`Some` of nothing"));
        assert!(text(&Some(serde_json::Value::Null)).unwrap_err().contains("`Some` of nothing"));
    }

    #[derive(Serialize, Deserialize)]
    enum Deep {
        End,
        Newtype(Box<Deep>),
        Tuple(Box<Deep>, ()),
        Struct { next: Option<Box<Deep>> },
        List(Vec<Deep>),
    }

    #[test]
    fn written_json_is_never_too_deep_to_read() {
        let wraps: [fn(Deep) -> Deep; 4] = [
            |d| Deep::Newtype(Box::new(d)),
            |d| Deep::Tuple(Box::new(d), ()),
            |d| Deep::Struct { next: Some(Box::new(d)) },
            |d| Deep::List(vec![d]),
        ];
        for wrap in wraps {
            let written = (0..200).map(|levels| text(&(0..levels).fold(Deep::End, |deep, _| wrap(deep))));
            let (read, refused): (Vec<_>, Vec<_>) = written.partition(|text| text.is_ok());
            assert!(read.len() > 60 && !refused.is_empty());
            for text in read {
                serde_json::from_str::<Deep>(&text.unwrap()).map(drop).unwrap();
            }
            assert!(refused.into_iter().all(|e| e.unwrap_err().contains("levels")));
        }
    }
}
