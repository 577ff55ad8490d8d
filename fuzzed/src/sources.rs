//! Fuzzes text sources: they read the same records for any cut of the file.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use windrow::sources;
use windrow::testing::read;
use windrow::{Serde, Source};

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Strict {
    name: String,
    #[serde(alias = "number")]
    count: Option<i64>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Row {
    name: String,
    #[serde(default)]
    count: Option<i64>,
    #[serde(default)]
    list: Vec<u32>,
}

/// Read in one block and in blocks of single records: the same records, or both fail.
fn splits_change_nothing<S, T>(source: &S, bytes: &[u8])
where
    S: Source<Item = Serde<T>>,
    T: Serialize + DeserializeOwned + Send + PartialEq + Debug + 'static,
{
    let whole = read(source, bytes, u64::MAX).ok();
    for block_bytes in [1, 7] {
        assert_eq!(read(source, bytes, block_bytes).ok(), whole, "in blocks of {block_bytes} bytes");
    }
}

/// JSON lines.
pub fn jsonl(data: &[u8]) {
    splits_change_nothing(&sources::jsonl::<Row>("f"), data);
}

/// Rows that are split here and rows that the csv crate reads: the same records, or the same error.
fn plain_changes_nothing<T>(source: impl Fn() -> sources::CsvSource<T>, bytes: &[u8])
where
    T: Serialize + DeserializeOwned + Send + PartialEq + Debug + 'static,
{
    for block_bytes in [1, u64::MAX] {
        let all = |source| read(&source, bytes, block_bytes).map_err(|e| e.failure().message.clone());
        assert_eq!(all(source()), all(source().never_plain()), "in blocks of {block_bytes} bytes");
    }
}

/// CSV, with and without a header.
pub fn csv(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => splits_change_nothing(&sources::csv::<(String, String)>("f").no_header(), bytes),
        1 => splits_change_nothing(&sources::csv::<Row>("f"), bytes),
        _ => splits_change_nothing(&sources::csv::<(String, u32)>("f").delimiter(b'\t'), bytes),
    }
    plain_changes_nothing(|| sources::csv::<Row>("f"), bytes);
    plain_changes_nothing(|| sources::csv::<Strict>("f"), bytes);
    plain_changes_nothing(|| sources::csv::<Strict>("f").quoted_newlines(), bytes);
}
