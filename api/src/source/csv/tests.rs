//! Rows that are split here and rows that the csv crate parses have the same result, and errors carry their position.

use super::*;
use crate::testing::read_until_error;
use proptest::prelude::*;
use serde::Deserialize;
use std::fmt::Debug;

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Row {
    id: i32,
    name: String,
    note: Option<String>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Strict {
    id: u8,
    name: String,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Loose {
    #[serde(default)]
    id: f64,
    #[serde(alias = "nom", alias = "note")]
    name: String,
    #[serde(rename = "x", default)]
    flag: Option<bool>,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Wrapped(Loose);

#[derive(Serialize, Deserialize, Debug, PartialEq)]
enum Kind {
    A,
    B,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Nested {
    id: char,
    name: Kind,
    #[serde(skip)]
    gone: u8,
    note: (),
}

/// Records, and the position, code and message of the error that ends them.
type Seen<T> = (Vec<T>, Option<(u64, Code, String)>);

fn seen<T>(source: &CsvSource<T>, bytes: &[u8], block_bytes: u64) -> Seen<T>
where
    T: Serialize + DeserializeOwned + Send + Debug + 'static,
{
    let (records, error) = read_until_error(source, bytes, block_bytes);
    (
        records.into_iter().map(|Serde(record)| record).collect(),
        error.map(|(at, e)| (at, e.code(), e.failure().message.clone())),
    )
}

fn judged_alike<T>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + Send + Debug + PartialEq + 'static,
{
    let source = || csv::<T>("f");
    let whole = seen(&source(), bytes, u64::MAX);
    prop_assert_eq!(&seen(&source().never_plain(), bytes, u64::MAX), &whole);
    // A block of one row may end with another error than a block in which a quote extends further.
    let rows = seen(&source(), bytes, 1);
    prop_assert_eq!(&seen(&source().never_plain(), bytes, 1), &rows);
    prop_assert_eq!(rows.1.is_some(), whole.1.is_some());
    if whole.1.is_none() {
        prop_assert_eq!(rows, whole);
    }
    let source = || source().quoted_newlines();
    prop_assert_eq!(seen(&source().never_plain(), bytes, u64::MAX), seen(&source(), bytes, u64::MAX));
    Ok(())
}

/// Files of few columns, with everything that the two parsers could treat differently.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec!["id", "name", "note", "nom", "x", "", "\"id\"", "Name"]);
    let fields = vec![
        "1",
        "-7",
        "300",
        "0x1f",
        "+1",
        " 1",
        "1.5",
        "1e3",
        "true",
        "a",
        "A",
        "B",
        "",
        "",
        "\"1\"",
        "\"a\"",
        "a\"b",
        "\"a\"\"b\"",
        "\u{e9}",
        "\u{feff}a",
        "()",
    ];
    let row = prop::collection::vec(prop::sample::select(fields), 1..4).prop_map(|fields| fields.join(","));
    // Most rows are as wide as the header, so that some rows are read.
    let rows = move |width: usize| {
        let fits = row.clone().prop_map(move |row| {
            let mut row = row;
            while row.matches(',').count() + 1 < width {
                row.push_str(",1");
            }
            row
        });
        let odd = prop::sample::select(vec!["", "", "\"", "1,\"a", "a\rb,1", "\r"]).prop_map(str::to_string);
        let line = prop_oneof![12 => fits, 1 => odd, 1 => row.clone()];
        prop::collection::vec(line, 0..6)
    };
    let header = prop::collection::vec(names, 1..4);
    let lines = header.prop_flat_map(move |header| (Just(header.join(",")), rows(header.len())));
    let end = prop::sample::select(vec!["\n", "\r\n"]);
    (lines, end, any::<bool>(), prop::bool::weighted(0.1)).prop_map(|((header, rows), end, ends, is_marked)| {
        let mut text = if is_marked { "\u{feff}" } else { "" }.to_string() + &header;
        rows.iter().for_each(|row| text.extend([end, row]));
        if ends {
            text.push_str(end);
        }
        text.into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(700))]
    #[test]
    fn plain_rows_and_the_csv_crate_agree(bytes in file()) {
        judged_alike::<Row>(&bytes)?;
        judged_alike::<Strict>(&bytes)?;
        judged_alike::<Loose>(&bytes)?;
        judged_alike::<Wrapped>(&bytes)?;
        judged_alike::<Nested>(&bytes)?;
        judged_alike::<(String, String)>(&bytes)?;
        judged_alike::<Vec<String>>(&bytes)?;
    }
}

#[track_caller]
fn refused<T>(source: CsvSource<T>, text: &str, at: u64, what: &str)
where
    T: Serialize + DeserializeOwned + Send + Debug + PartialEq + 'static,
{
    let source_says = |source: &CsvSource<T>| seen(source, text.as_bytes(), u64::MAX).1;
    let error = source_says(&source);
    assert_eq!(source_says(&source.never_plain()), error);
    let (place, code, message) = error.unwrap_or_else(|| panic!("{text:?} is read"));
    assert_eq!((place, code), (at, Code::RecordMalformed), "{message}");
    assert!(message.contains(what), "{message}");
}

#[test]
fn errors_do_not_depend_on_quotes() {
    for value in ["a", "\"a\""] {
        let file = |header: &str, row: &str| format!("{header}\n1,{value}{row}\n");
        refused(csv::<Row>("f"), &file("id,name,note,name", ",b,c"), 18, "duplicate field `name`");
        refused(csv::<Strict>("f"), &file("id,name,extra", ",x"), 14, "unknown field `extra`");
        refused(csv::<Loose>("f"), &file("id,name,nom", ",x"), 12, "duplicate field `name`");
        refused(csv::<Row>("f"), &file("id,name", ",x"), 8, "a row of 3 fields under a header of 2");
        refused(csv::<Row>("f"), &file("id,names", ""), 9, "missing field `name`");
    }
}

#[test]
fn unclosed_quote_is_reported_at_its_row() {
    for end in ["", "\n", "\n2,b,y\n", "\n\n2,b,y", "\r\n"] {
        let text = format!("id,name,note\n0,z,\n\n1,a,\"x{end}");
        refused(csv::<Row>("f"), &text, 19, "see `quoted_newlines`");
        refused(csv::<Row>("f").quoted_newlines(), &text, 19, "never ends");
    }
    for source in [csv::<Row>("f"), csv::<Row>("f").quoted_newlines()] {
        refused(source, "id,\"name", 0, "never ends");
    }
    let read = seen(&csv::<(i32, String)>("f").no_header().quoted_newlines(), b"1,\"a\nb\"\n2,\"c", u64::MAX);
    assert_eq!(read.0, [(1, "a\nb".to_string())]);
    assert_eq!(read.1.unwrap().0, 8);
}

#[test]
fn errors_name_the_field_but_no_line_of_a_block() {
    let text = "id,name,note\n\n\n1,a,\n\n2x,b,\n";
    for block_bytes in [u64::MAX, 1] {
        for source in [csv::<Row>("f"), csv::<Row>("f").never_plain()] {
            let (_, error) = seen(&source, text.as_bytes(), block_bytes);
            let (at, _, message) = error.unwrap();
            assert_eq!(at, 21);
            assert_eq!(message, "the row is not as expected: field 1 (id): invalid digit found in string");
        }
    }
}

#[test]
fn byte_order_mark_belongs_to_no_field() {
    for (text, place) in
        [("\u{feff}id,name\n1,a\n", 0), ("\u{feff}\"id\",name\n1,a\n", 0), ("\u{feff}id,name\nx,a", 11)]
    {
        let (records, error) = seen(&csv::<Strict>("f"), text.as_bytes(), u64::MAX);
        assert_eq!(records.len(), usize::from(place == 0));
        assert_eq!(error.map_or(0, |(at, ..)| at), place);
    }
    let (records, _) = seen(&csv::<(String, u8)>("f").no_header(), "\u{feff}a,1\n\u{feff}b,2\n".as_bytes(), u64::MAX);
    assert_eq!(records, [("a".to_string(), 1), ("\u{feff}b".to_string(), 2)], "only that of the file");
}

#[test]
fn delimiters_may_be_any_byte_that_is_not_special() {
    let (records, _) = seen(&csv::<(i32, i32)>("f").no_header().delimiter(0xa7), b"1\xa72\n", u64::MAX);
    assert_eq!(records, [(1, 2)]);
    let (records, _) = seen(&csv::<Strict>("f").delimiter(0xc3), "id\u{e9}".as_bytes(), u64::MAX);
    assert_eq!(records, []);
    for delimiter in [b'\n', b'\r', b'"'] {
        let (_, error) = seen(&csv::<Strict>("f").delimiter(delimiter), b"id,name\n1,a\n", u64::MAX);
        assert_eq!(error.unwrap().1, Code::BadRequest);
    }
}
