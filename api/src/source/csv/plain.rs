//! Rows without quotes, which most files have only: split where the delimiter is, and each field of a struct read from its column
//! alone.
//!
//! The csv crate looks at every column of every row, and compares its name with those of the fields. Here the columns are found
//! once for a block, and fields are told apart by their numbers. Whatever this does not know (a missing column, an alias, a
//! nested type, a number that is none) it leaves to the csv crate, row by row, whose answer stands.

use memchr::{memchr, memchr_iter};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt;

/// A block as text, if no row of it needs more than splitting: no quotes, and line ends that are `\n` or `\r\n`.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    let ends_lines = |at: usize| bytes.get(at + 1).is_none_or(|next| *next == b'\n');
    if memchr(b'"', bytes).is_some() || !memchr_iter(b'\r', bytes).all(ends_lines) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// The rows of a block, from the first to the last.
pub(super) struct Rows<'h> {
    header: &'h csv::ByteRecord,
    text: &'h str,
    /// The column of each field, once a struct has asked for its fields.
    columns: Option<Vec<usize>>,
    /// Where the fields of the current row end, as far as delimiters have been met.
    ends: Vec<usize>,
    /// Set when a type turned out to be none for this.
    given_up: bool,
}

impl<'h> Rows<'h> {
    /// Before the first row of a text.
    pub fn new(header: &'h csv::ByteRecord, text: &'h str) -> Self {
        Rows { header, text, columns: None, ends: Vec::new(), given_up: false }
    }

    /// A row of its own, whose delimiters have been met.
    pub fn of_line(header: &'h csv::ByteRecord, delimiter: u8, line: &'h str) -> Self {
        let mut rows = Self::new(header, line);
        memchr_iter(delimiter, line.as_bytes()).for_each(|at| rows.delimited(at));
        rows
    }

    /// A delimiter is here, in the row whose value is asked for next.
    #[inline]
    pub fn delimited(&mut self, at: usize) {
        self.ends.push(at);
    }

    /// The row is left out.
    pub fn skip(&mut self) {
        self.ends.clear();
    }

    /// The value of the row from here to there; none: ask the csv crate.
    #[inline]
    pub fn value<T: DeserializeOwned>(&mut self, from: usize, to: usize) -> Option<T> {
        let value = self.read(from, to);
        self.ends.clear();
        value
    }

    #[inline]
    fn read<T: DeserializeOwned>(&mut self, from: usize, to: usize) -> Option<T> {
        if self.given_up {
            return None;
        }
        self.ends.push(to);
        if self.ends.len() != self.header.len() {
            return None;
        }
        let value = T::deserialize(Row { rows: self, from }).ok();
        // A row that cannot be read is an error soon; a type whose first row cannot will never be.
        self.given_up = value.is_none();
        value
    }

    fn find(&mut self, fields: &[&str]) -> Option<&[usize]> {
        if self.columns.is_none() {
            let column = |field: &&str| self.header.iter().position(|name| name == field.as_bytes());
            self.columns = Some(fields.iter().map(column).collect::<Option<Vec<usize>>>()?);
        }
        self.columns.as_deref()
    }
}

/// Why the csv crate is asked.
#[derive(Debug)]
struct AskCsv;

impl fmt::Display for AskCsv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the row is not plain")
    }
}
impl std::error::Error for AskCsv {}
impl serde::de::Error for AskCsv {
    fn custom<T: fmt::Display>(_: T) -> Self {
        AskCsv
    }
}

struct Row<'r, 'h> {
    rows: &'r mut Rows<'h>,
    /// Where it begins.
    from: usize,
}

impl<'de> Deserializer<'de> for Row<'_, '_> {
    type Error = AskCsv;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AskCsv> {
        self.rows.find(fields).ok_or(AskCsv)?;
        let Rows { columns, ends, text, .. } = self.rows;
        let columns = columns.as_deref().unwrap_or_default();
        // As a sequence, which derived code reads without asking for names.
        visitor.visit_seq(Fields { columns, ends, text, from: self.from, next: 0 })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, AskCsv> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, AskCsv> {
        Err(AskCsv)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// The fields of a struct, in its own order.
struct Fields<'r> {
    columns: &'r [usize],
    ends: &'r [usize],
    text: &'r str,
    from: usize,
    next: usize,
}

impl<'de> SeqAccess<'de> for Fields<'_> {
    type Error = AskCsv;

    #[inline]
    fn next_element_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<Option<V::Value>, AskCsv> {
        let Some(&column) = self.columns.get(self.next) else { return Ok(None) };
        self.next += 1;
        let start = if column == 0 { self.from } else { self.ends[column - 1] + 1 };
        seed.deserialize(Field(&self.text[start..self.ends[column]])).map(Some)
    }
}

/// One field's text.
struct Field<'r>(&'r str);

macro_rules! parsed {
    ($($method:ident => $visit:ident: $type:ty),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AskCsv> {
            visitor.$visit(self.0.parse::<$type>().map_err(|_| AskCsv)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Field<'_> {
    type Error = AskCsv;

    parsed! {
        deserialize_bool => visit_bool: bool, deserialize_char => visit_char: char,
        deserialize_i8 => visit_i8: i8, deserialize_i16 => visit_i16: i16, deserialize_i32 => visit_i32: i32,
        deserialize_i64 => visit_i64: i64, deserialize_i128 => visit_i128: i128,
        deserialize_u8 => visit_u8: u8, deserialize_u16 => visit_u16: u16, deserialize_u32 => visit_u32: u32,
        deserialize_u64 => visit_u64: u64, deserialize_u128 => visit_u128: u128,
        deserialize_f32 => visit_f32: f32, deserialize_f64 => visit_f64: f64,
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AskCsv> {
        visitor.visit_str(self.0)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AskCsv> {
        visitor.visit_str(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AskCsv> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, AskCsv> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AskCsv> {
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, AskCsv> {
        Err(AskCsv)
    }

    forward_to_deserialize_any! {
        bytes byte_buf unit unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Clone, PartialEq, Deserialize)]
    struct Id(u32);

    #[derive(Debug, Clone, PartialEq, Deserialize)]
    struct Order {
        cents: i64,
        #[serde(rename = "who")]
        name: String,
        id: Id,
        #[serde(default)]
        note: Option<f64>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Alias {
        #[serde(alias = "who")]
        name: String,
    }

    fn by_csv<T: DeserializeOwned>(header: &csv::ByteRecord, line: &str) -> Option<T> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line.as_bytes());
        let mut row = csv::ByteRecord::new();
        let read = reader.read_byte_record(&mut row).is_ok_and(|more| more) && row.len() == header.len();
        read.then(|| row.deserialize(Some(header)).ok()).flatten()
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_csv_crate_reads(
            lines in prop::collection::vec("(-?[0-9]{1,3}|x|),[a-z ]{0,3},[0-9+.]{0,3},(-?[0-9.]{0,3}|1e3|)(,y)?", 1..20),
        ) {
            let header = csv::ByteRecord::from(vec!["id", "who", "cents", "note"]);
            for line in lines {
                // A row by itself, so that nothing is given up.
                let got: Option<Order> = Rows::of_line(&header, b',', &line).value(0, line.len());
                if got.is_some() {
                    prop_assert_eq!(&got, &by_csv(&header, &line));
                }
            }
        }
    }

    #[test]
    fn plain_rows_are_read_and_the_rest_is_left_to_csv() {
        let header = csv::ByteRecord::from(vec!["x", "id", "who", "cents", "note"]);
        let lines = [";7;Ann;-5;", "?;7;Ann;-5;1.5", ";7;Ann;-5", ";;Ann;-5;", ";7;Ann;-5;"];
        let text = lines.join("\n");
        let mut rows = Rows::new(&header, &text);
        let mut from = 0;
        let mut next = |rows: &mut Rows<'_>| {
            let end = text[from..].find('\n').map_or(text.len(), |i| from + i);
            (from..end).filter(|at| text.as_bytes()[*at] == b';').for_each(|at| rows.delimited(at));
            rows.value::<Order>(std::mem::replace(&mut from, end + 1), end)
        };
        let order = |note| Order { cents: -5, name: "Ann".into(), id: Id(7), note };
        assert_eq!(next(&mut rows), Some(order(None)));
        assert_eq!(next(&mut rows), Some(order(Some(1.5))));
        assert_eq!(next(&mut rows), None, "a column is missing");
        assert_eq!(next(&mut rows), None, "no number");
        assert_eq!(next(&mut rows), None, "one could not be read: the csv crate is asked from now on");
        let line = || Rows::of_line(&header, b';', lines[0]);
        assert_eq!(line().value::<Alias>(0, lines[0].len()), None);
        assert_eq!(line().value::<(u8, u8)>(0, lines[0].len()), None);
    }

    #[test]
    fn quotes_and_strange_line_ends_are_not_plain() {
        assert!(text(b"a,b\r\nc,d\n").is_some());
        assert!(text(b"a,b\r").is_some());
        assert!(text(b"a,\"b\"\n").is_none());
        assert!(text(b"a,b\rc,d\n").is_none());
        assert!(text(b"a,\xff\n").is_none());
    }
}
