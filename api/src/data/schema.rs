//! The text by which a file of records says what type its records have.

use crate::data::datum::Datum;
use windrow_model::Digest;

/// Most bytes of a schema that is kept as a text. Of a longer one the beginning is kept, with a digest of all of it.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Bytes of a longer schema that are kept.
const KEPT_BYTES: usize = 1 << 10;

/// The schema of a type of records.
pub(crate) fn schema_of<R: Datum>() -> String {
    let mut text = String::new();
    R::schema(&mut text);
    shortened(text)
}

fn shortened(mut text: String) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let digest = Digest::of(text.as_bytes());
    text.truncate(text.floor_char_boundary(KEPT_BYTES));
    format!("{text}… ({digest})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::datum::serde::Serde;
    use std::cmp::Reverse;

    #[test]
    fn schema_names_all_parts_of_a_type() {
        assert_eq!(schema_of::<(u64, f64)>(), "(u64, f64)");
        assert_eq!(schema_of::<(String, Vec<u8>)>(), "(String, Vec<u8>)");
        assert_eq!(
            schema_of::<(Reverse<char>, (Option<Vec<String>>, [u8; 4]), ())>(),
            "(Reverse<char>, (Option<Vec<String>>, [u8; 4]), ())"
        );
    }

    #[test]
    fn schema_of_a_serde_type_changes_with_its_encoding() {
        mod of_today {
            #[derive(serde::Serialize, serde::Deserialize)]
            pub(super) struct Visit {
                pub(super) page: String,
                pub(super) seconds: Option<u32>,
            }
        }
        mod of_tomorrow {
            #[derive(serde::Serialize, serde::Deserialize)]
            pub(super) struct Visit {
                pub(super) page: String,
                pub(super) seconds: Option<u64>,
            }
        }
        let schema = schema_of::<Serde<of_today::Visit>>();
        assert_eq!(schema, "Serde<Visit {page: Str, seconds: Option<U32>}>");
        assert_ne!(schema, schema_of::<Serde<of_tomorrow::Visit>>());
        assert_eq!(schema_of::<Serde<Vec<of_today::Visit>>>(), "Serde<Vec<Visit> [{page: Str, seconds: Option<U32>}]>");
    }

    #[test]
    fn long_schema_is_cut_and_keeps_its_difference() {
        let [one, other] = ["a", "b"].map(|end| shortened("é".repeat(5_000) + end));
        assert!(one.len() < 2 * KEPT_BYTES && one != other);
    }
}
