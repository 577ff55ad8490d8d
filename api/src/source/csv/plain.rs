//! Rows without quotes, as in most files: they are split at the delimiters, and each field of a struct is parsed from
//! its column alone.
//!
//! The csv crate visits every column of every row and compares its name with the names of the fields. Here the columns
//! are looked up once per block, and fields are identified by their index. Everything that this code does not handle (a
//! missing column, an alias, a nested type, an invalid number) goes to the csv crate, row by row, and its answer
//! counts.
//!
//! The csv crate alone decides what is valid. So each block first asks the type, with the names of all columns as the
//! csv crate passes them: the rows are parsed here only if the type takes each field from one column and ignores all
//! other columns. That is not the case if a name occurs twice, if two names mean the same field, or if the type denies
//! unknown fields.

use memchr::{memchr, memchr_iter};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt;

/// Returns a block as text if all of its rows can be split without a parser: they have no quotes, the delimiter is a
/// character, and lines end with `
/// ` or `\r
/// `.
pub(super) fn text(bytes: &[u8], delimiter: u8) -> Option<&str> {
    let ends_lines = |at: usize| bytes.get(at + 1).is_none_or(|next| *next == b'\n');
    if !delimiter.is_ascii() || memchr(b'"', bytes).is_some() || !memchr_iter(b'\r', bytes).all(ends_lines) {
        return None;
    }
    std::str::from_utf8(bytes).ok()
}

/// The rows of a block, in order.
pub(super) struct Rows<'h> {
    text: &'h str,
    /// The number of columns of a row.
    width: usize,
    /// The column of each field of the struct, in the order of the fields.
    columns: Vec<usize>,
    /// Where the fields of the current row end, for the delimiters found so far.
    ends: Vec<usize>,
    /// Set after a row that this code could not parse.
    given_up: bool,
}

impl<'h> Rows<'h> {
    /// Starts before the first row of a text, if rows of type `T` can be parsed here. `first` is one of its rows, with
    /// which the type is asked.
    pub(super) fn of<T: DeserializeOwned>(
        header: &csv::ByteRecord,
        delimiter: u8,
        text: &'h str,
        first: &str,
    ) -> Option<Rows<'h>> {
        let names: Vec<&str> = header.iter().map(|name| std::str::from_utf8(name).ok()).collect::<Option<_>>()?;
        let values: Vec<&str> = first.split(char::from(delimiter)).collect();
        let mut columns = Vec::new();
        if values.len() == names.len() {
            T::deserialize(Asking { names: &names, values: &values, columns: &mut columns }).ok()?;
        }
        (!columns.is_empty()).then(|| Rows { text, width: names.len(), columns, ends: Vec::new(), given_up: false })
    }

    /// Returns the text of the rows.
    pub(super) fn text(&self) -> &'h str {
        self.text
    }

    /// Notes a delimiter of the current row.
    #[inline]
    pub(super) fn delimited(&mut self, at: usize) {
        self.ends.push(at);
    }

    /// Skips the current row.
    pub(super) fn skip(&mut self) {
        self.ends.clear();
    }

    /// Parses the row between two offsets. `None` means that the csv crate must parse it.
    #[inline]
    pub(super) fn value<T: DeserializeOwned>(&mut self, from: usize, to: usize) -> Option<T> {
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
        if self.ends.len() != self.width {
            return None;
        }
        let value = T::deserialize(Row { rows: self, from }).ok();
        // A row that cannot be parsed is soon an error; if the first row of a type cannot be parsed here, no row can.
        self.given_up = value.is_none();
        value
    }
}

/// The reason to use the csv crate.
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

/// Asks a type which columns are its fields: it sees all names, with the values of one row.
struct Asking<'a> {
    names: &'a [&'a str],
    values: &'a [&'a str],
    /// The answer, in the order of the type's fields.
    columns: &'a mut Vec<usize>,
}

impl<'de> Deserializer<'de> for Asking<'_> {
    type Error = AskCsv;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AskCsv> {
        for field in fields {
            let column = self.names.iter().position(|name| name == field).ok_or(AskCsv)?;
            self.columns.push(column);
        }
        visitor.visit_map(Columns { names: self.names, values: self.values, fields, next: 0 })
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

/// Every column with its name. The type must ignore columns that are not named like a field.
struct Columns<'a> {
    names: &'a [&'a str],
    values: &'a [&'a str],
    fields: &'a [&'static str],
    next: usize,
}

impl<'de> MapAccess<'de> for Columns<'_> {
    type Error = AskCsv;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, AskCsv> {
        let Some(name) = self.names.get(self.next) else { return Ok(None) };
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, AskCsv> {
        let column = self.next;
        self.next += 1;
        match self.fields.contains(&self.names[column]) {
            true => seed.deserialize(Field(self.values[column])),
            false => seed.deserialize(Ignored),
        }
    }
}

/// A value that the type may only ignore.
struct Ignored;

impl<'de> Deserializer<'de> for Ignored {
    type Error = AskCsv;

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, AskCsv> {
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, AskCsv> {
        Err(AskCsv)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier
    }
}

struct Row<'r, 'h> {
    rows: &'r mut Rows<'h>,
    /// The offset at which the row begins.
    from: usize,
}

impl<'de> Deserializer<'de> for Row<'_, '_> {
    type Error = AskCsv;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, AskCsv> {
        let Rows { columns, ends, text, .. } = self.rows;
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

/// The fields of a struct, in the order of the struct.
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

/// The text of one field.
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

    fn by_csv<T: DeserializeOwned>(header: &csv::ByteRecord, line: &str) -> Option<T> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line.as_bytes());
        let mut row = csv::ByteRecord::new();
        let read = reader.read_byte_record(&mut row).is_ok_and(|more| more) && row.len() == header.len();
        read.then(|| row.deserialize(Some(header)).ok()).flatten()
    }

    /// Parses the first row of a text that has no other row.
    fn one<T: DeserializeOwned>(header: &csv::ByteRecord, delimiter: u8, line: &str) -> Option<T> {
        let mut rows = Rows::of::<T>(header, delimiter, line, line)?;
        memchr_iter(delimiter, line.as_bytes()).for_each(|at| rows.delimited(at));
        rows.value(0, line.len())
    }

    proptest! {
        #[test]
        fn rows_equal_those_of_the_csv_crate(
            lines in prop::collection::vec("(-?[0-9]{1,3}|x|),[a-z ]{0,3},[0-9+.]{0,3},(-?[0-9.]{0,3}|1e3)(,y)?", 1..20),
        ) {
            let header = csv::ByteRecord::from(vec!["id", "who", "cents", "note"]);
            for line in lines {
                // The row is alone, so that no earlier row disables the fast path.
                let got: Option<Order> = one(&header, b',', &line);
                if got.is_some() {
                    prop_assert_eq!(&got, &by_csv(&header, &line));
                }
            }
        }
    }

    #[test]
    fn plain_rows_are_read_here_and_the_rest_by_csv() {
        let header = csv::ByteRecord::from(vec!["x", "id", "who", "cents", "note"]);
        let lines = [";7;Ann;-5;", "?;7;Ann;-5;1.5", ";7;Ann;-5", ";;Ann;-5;", ";7;Ann;-5;"];
        let text = lines.join("\n");
        let mut rows = Rows::of::<Order>(&header, b';', &text, lines[0]).unwrap();
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
        assert_eq!(one::<(u8, u8)>(&header, b';', lines[0]), None);
    }

    #[test]
    fn columns_with_attributes_are_left_to_csv() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            name: String,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        struct Loose {
            #[serde(alias = "who")]
            name: String,
        }
        let read = |names: &[&str], line: &str| {
            let header = csv::ByteRecord::from(names.to_vec());
            (one::<Strict>(&header, b',', line), one::<Loose>(&header, b',', line))
        };
        assert_eq!(read(&["name"], "a").0, Some(Strict { name: "a".into() }));
        assert_eq!(read(&["name", "x"], "a,b").0, None, "it denies the other column");
        assert_eq!(read(&["name", "name"], "a,b").0, None, "a name occurs twice");
        assert_eq!(read(&["who"], "a").1, None, "an alias");
        assert_eq!(read(&["name", "who"], "a,b").1, None, "two names of one field");
    }

    #[test]
    fn quotes_and_strange_line_ends_are_not_plain() {
        assert!(text(b"a,b\r\nc,d\n", b',').is_some());
        assert!(text(b"a,b\r", b',').is_some());
        assert!(text(b"a,\"b\"\n", b',').is_none());
        assert!(text(b"a,b\rc,d\n", b',').is_none());
        assert!(text(b"a,\xff\n", b',').is_none());
        assert!(text(b"a,b\n", 0xa7).is_none());
    }
}
