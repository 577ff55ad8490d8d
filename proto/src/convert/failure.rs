//! Failures and counters.

use super::{ConvertError, NAME_BYTES_MAX, PLAN_ITEMS_MAX, path_from_bytes, path_to_bytes, required, text};
use crate::v1;
use windrow_model::{Code, Counters, Failure, KeyPlace, RecordPlace};

/// Cuts a text that is only for people instead of refusing its message: the failure itself must arrive.
fn cut(mut value: String, bytes_max: usize) -> String {
    if value.len() > bytes_max {
        value.truncate(value.floor_char_boundary(bytes_max));
    }
    value
}

impl TryFrom<v1::Failure> for Failure {
    type Error = ConvertError;
    /// A code that this release does not know becomes `INTERNAL`; the message keeps its text.
    fn try_from(w: v1::Failure) -> Result<Self, ConvertError> {
        let (code, message) = match w.code.parse::<Code>() {
            Ok(code) => (code, w.message),
            Err(_) => (Code::Internal, format!("{}: {}", cut(w.code, NAME_BYTES_MAX), w.message)),
        };
        let place = w.place.map(RecordPlace::try_from).transpose()?;
        let key = w.key.map(KeyPlace::try_from).transpose()?.map(Box::new);
        Ok(Failure { code, message, place, stderr_tail: w.stderr_tail.into(), key }.cut_to(Failure::TEXT_BYTES_MAX))
    }
}
impl From<Failure> for v1::Failure {
    /// Long texts are cut here, too: a failure that does not fit into a message would end its sender instead.
    fn from(d: Failure) -> Self {
        let d = d.cut_to(Failure::TEXT_BYTES_MAX);
        v1::Failure {
            code: d.code.as_str().to_string(),
            message: d.message,
            place: d.place.map(Into::into),
            stderr_tail: d.stderr_tail.into(),
            key: d.key.map(|key| (*key).into()),
        }
    }
}

impl TryFrom<v1::KeyPlace> for KeyPlace {
    type Error = ConvertError;
    fn try_from(w: v1::KeyPlace) -> Result<Self, ConvertError> {
        Ok(KeyPlace { digest: required(w.digest, "key.digest")?.try_into()?, shown: cut(w.shown, NAME_BYTES_MAX) })
    }
}
impl From<KeyPlace> for v1::KeyPlace {
    fn from(d: KeyPlace) -> Self {
        v1::KeyPlace { digest: Some(d.digest.into()), shown: d.shown }
    }
}

impl TryFrom<v1::RecordPlace> for RecordPlace {
    type Error = ConvertError;
    fn try_from(w: v1::RecordPlace) -> Result<Self, ConvertError> {
        Ok(RecordPlace {
            file: path_from_bytes(w.file, "place.file")?,
            offset: w.offset,
            excerpt: cut(w.excerpt, NAME_BYTES_MAX),
        })
    }
}
impl From<RecordPlace> for v1::RecordPlace {
    fn from(d: RecordPlace) -> Self {
        v1::RecordPlace { file: path_to_bytes(&d.file), offset: d.offset, excerpt: d.excerpt }
    }
}

impl TryFrom<v1::Counters> for Counters {
    type Error = ConvertError;
    fn try_from(w: v1::Counters) -> Result<Self, ConvertError> {
        if w.values.len() > PLAN_ITEMS_MAX {
            return Err(ConvertError::invalid("counters", format!("has {} names", w.values.len())));
        }
        let values = w.values.into_iter().map(|(name, n)| Ok((text(name, "counter name", NAME_BYTES_MAX)?, n)));
        Ok(Counters(values.collect::<Result<_, ConvertError>>()?))
    }
}
impl From<Counters> for v1::Counters {
    fn from(d: Counters) -> Self {
        v1::Counters { values: d.0.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_code_arrives_with_its_text() {
        let wire = v1::Failure { code: "FROM_2030".into(), message: "what happened".into(), ..Default::default() };
        let failure = Failure::try_from(wire).unwrap();
        assert_eq!(failure.code, Code::Internal);
        assert_eq!(failure.message, "FROM_2030: what happened");
    }

    #[test]
    fn long_failure_fits_into_every_message() {
        let long =
            Failure { stderr_tail: "s".repeat(1 << 20).into(), ..Failure::new(Code::UserError, "m".repeat(1 << 20)) };
        let wire = v1::Failure::from(long.clone());
        assert!(wire.message.len() < Failure::TEXT_BYTES_MAX + 10);
        let raw = v1::Failure { message: long.message, stderr_tail: long.stderr_tail.into(), ..wire };
        let back = Failure::try_from(raw).unwrap();
        assert!(back.message.len() + back.stderr_tail.len() < 2 * Failure::TEXT_BYTES_MAX + 10);
    }

    #[test]
    fn failures_and_counters_read_back() {
        let failure = Failure::new(Code::UserPanic, "boom").at(RecordPlace {
            file: "/data/a".into(),
            offset: 9,
            excerpt: "x".into(),
        });
        assert_eq!(Failure::try_from(v1::Failure::from(failure.clone())).unwrap(), failure);
        let mut counters = Counters::default();
        counters.add("a", 1);
        counters.add("b", u64::MAX);
        assert_eq!(Counters::try_from(v1::Counters::from(counters.clone())).unwrap(), counters);
    }
}
