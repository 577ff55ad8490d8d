//! Detects an unclosed quote in a row. The csv crate accepts a row whose quote never ends as a row that ends with the
//! file.

use csv_core::{ReadFieldResult, ReaderBuilder};

/// Returns whether the bytes end within a quoted field. They begin with a row, which is scanned to its end: the time is
/// linear in its length.
pub(super) fn never_end(delimiter: u8, row: &[u8]) -> bool {
    if row.is_empty() {
        return false;
    }
    let mut reader = ReaderBuilder::new().delimiter(delimiter).build();
    let mut field = [0; 1024];
    let mut ends_row = |bytes: &mut &[u8]| {
        let (result, read, _) = reader.read_field(bytes, &mut field);
        *bytes = &bytes[read..];
        matches!(result, ReadFieldResult::Field { record_end: true })
    };
    let mut rest = row;
    while !rest.is_empty() {
        if ends_row(&mut rest) {
            return false;
        }
    }
    // One more line end closes every row except one that ends within quotes.
    !ends_row(&mut &b"\n"[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclosed_quotes_are_detected() {
        for closed in [
            "",
            "a",
            "a,",
            ",",
            "a,b\n",
            "\"a\"",
            "\"a\",",
            "\"a\"\"b\"",
            "a\"b",
            "\"a\nb\"",
            "\"\"",
            "\"a\"b",
            "\"a\"\r",
        ] {
            assert!(!never_end(b',', closed.as_bytes()), "{closed:?}");
        }
        for open in ["\"", "a,\"", "a,\"b", "a,\"b\n", "\"a\"\"", "\"a\nb,c\n", "a,\"b\"\"\n"] {
            assert!(never_end(b',', open.as_bytes()), "{open:?}");
        }
        assert!(never_end(b'\t', b"a\t\"b") && !never_end(b'\t', b"a\t\"b\""));
        let long = ["\"", &"x".repeat(5000)].concat();
        assert!(never_end(b',', long.as_bytes()));
        assert!(!never_end(b',', [&long, "\""].concat().as_bytes()));
    }
}
