//! A source reads back the records that the matching sink wrote; a sink refuses records that it could not.

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use windrow::Code;
use windrow::prelude::*;
use windrow::testing::{read, written};

const BLOCK_BYTES: [u64; 3] = [1, 7, u64::MAX];

/// Text in which the special characters of the formats are common.
fn awkward() -> impl Strategy<Value = String> {
    "[\"',;\t\r\n\\\\\u{feff} aé\u{0}]{0,6}"
}

fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"\"',\t\r\n\\ a\x00\xff\xef\xbb\xbf".to_vec()), 0..6)
}

fn floats() -> impl Strategy<Value = f64> {
    let special =
        [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324, 1e308, f64::MAX, f64::MIN_POSITIVE, 0.1];
    prop_oneof![prop::sample::select(special.to_vec()), any::<f64>()]
}

/// Whether the records are refused. Only some records may be.
fn is_refused<X>(part: &windrow::Result<X>) -> bool {
    part.as_ref().err().is_some_and(|e| e.code() == Code::FieldNotRepresentable)
}

/// Same bits, or both NaN.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    text: String,
    maybe: Option<String>,
    number: i64,
    float: f64,
    maybe_float: Option<f64>,
    flag: bool,
    wide: u128,
}

fn rows() -> impl Strategy<Value = Row> {
    let fields = (
        awkward(),
        prop::option::of(awkward()),
        any::<i64>(),
        floats(),
        prop::option::of(floats()),
        any::<bool>(),
        any::<u128>(),
    );
    fields.prop_map(|(text, maybe, number, float, maybe_float, flag, wide)| Row {
        text,
        maybe,
        number,
        float,
        maybe_float,
        flag,
        wide,
    })
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        let floats = match (self.maybe_float, other.maybe_float) {
            (Some(a), Some(b)) => same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        let rest = |r: &Row| (r.text.clone(), r.maybe.clone(), r.number, r.flag, r.wide);
        floats && same(self.float, other.float) && rest(self) == rest(other)
    }
}

fn in_json<T>(value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + Send + Clone + 'static,
{
    let part = written(&jsonl_sink("any"), [Serde(value.clone())]).unwrap();
    for block in BLOCK_BYTES {
        let back: Vec<Serde<T>> = read(&jsonl::<T>("any"), &part, block).unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].0, *value);
    }
}

proptest! {
    #[test]
    fn lines_of_text(records in prop::collection::vec(awkward(), 0..5)) {
        // A byte order mark at the start of a file is not a part of its text.
        let records: Vec<String> = records.into_iter().map(|r| r.replace('\u{feff}', "")).collect();
        let part = written(&text("any"), &records);
        let no_line = |r: &String| r.contains('\n') || r.ends_with('\r');
        prop_assert_eq!(is_refused(&part), records.iter().any(no_line));
        if let Ok(part) = part {
            for block in BLOCK_BYTES {
                prop_assert_eq!(&read(&lines("any"), &part, block).unwrap(), &records);
            }
        }
    }

    #[test]
    fn lines_of_bytes(records in prop::collection::vec(awkward_bytes(), 0..5)) {
        prop_assume!(records.first().is_none_or(|r| !r.starts_with(b"\xef\xbb\xbf")));
        let part = written(&text("any"), &records);
        prop_assert_eq!(is_refused(&part), records.iter().any(|r| r.contains(&b'\n')));
        if let Ok(part) = part {
            for block in BLOCK_BYTES {
                prop_assert_eq!(&read(&bytes_lines("any"), &part, block).unwrap(), &records);
            }
        }
    }

    #[test]
    fn tab_separated_fields(records in prop::collection::vec((awkward(), any::<i64>(), awkward()), 0..5)) {
        let records: Vec<_> = records.into_iter().map(|(a, n, b)| (a.replace('\u{feff}', ""), n, b)).collect();
        let part = written(&tsv("any"), records.iter().map(|(a, n, b)| (a, *n, b)));
        let special = |s: &String| s.contains(['\t', '\n']);
        let refused = records.iter().any(|(a, _, b)| special(a) || special(b) || b.ends_with('\r'));
        prop_assert_eq!(is_refused(&part), refused);
        if let Ok(part) = part {
            let lines = read(&lines("any"), &part, 1).unwrap();
            let fields = lines.iter().map(|l| l.split('\t').map(str::to_string).collect::<Vec<_>>());
            let expected = records.iter().map(|(a, n, b)| vec![a.clone(), n.to_string(), b.clone()]);
            prop_assert_eq!(fields.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
        // With escapes, every text can be represented.
        let part = written(&tsv("any").escaped(), records.iter().map(|(a, n, b)| (a, *n, b))).unwrap();
        let unescape = |s: &str| {
            let mut plain = String::new();
            let mut chars = s.chars();
            while let Some(c) = chars.next() {
                plain.push(match c {
                    '\\' => match chars.next() {
                        Some('t') => '\t',
                        Some('n') => '\n',
                        Some('r') => '\r',
                        other => other.unwrap(),
                    },
                    c => c,
                });
            }
            plain
        };
        let lines = read(&lines("any"), &part, 1).unwrap();
        let fields = lines.iter().map(|l| l.split('\t').map(unescape).collect::<Vec<_>>());
        let expected = records.iter().map(|(a, n, b)| vec![a.clone(), n.to_string(), b.clone()]);
        prop_assert_eq!(fields.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn numbers_as_fields(a in floats(), b in any::<f32>(), c in any::<i128>()) {
        let part = written(&tsv("any"), [(a, b, c)]).unwrap();
        let line = read(&lines("any"), &part, 1).unwrap().remove(0);
        let fields: Vec<&str> = line.split('\t').collect();
        prop_assert!(same(fields[0].parse().unwrap(), a));
        prop_assert!(same(fields[1].parse::<f32>().unwrap().into(), b.into()));
        prop_assert_eq!(fields[2].parse::<i128>().unwrap(), c);
    }

    #[test]
    fn rows_of_csv(records in prop::collection::vec(rows(), 0..4)) {
        let fields = |r: &Row| (r.text.clone(), r.maybe.clone(), r.number, r.float, r.maybe_float, r.flag, r.wide);
        let fields = |r: &Row| {
            let (text, maybe, number, float, maybe_float, _, wide) = fields(r);
            (text, maybe, number, (float, maybe_float), r.flag, wide)
        };
        let part = written(&csv_sink("any"), records.iter().map(fields));
        prop_assert_eq!(is_refused(&part), records.iter().any(|r| r.maybe.as_deref() == Some("")));
        if let Ok(part) = part {
            let source = csv::<Row>("any").no_header().quoted_newlines();
            let back: Vec<Row> = read(&source, &part, 1).unwrap().into_iter().map(|r| r.0).collect();
            prop_assert_eq!(back, records);
        }
    }

    #[test]
    fn single_fields_of_csv(records in prop::collection::vec(prop::option::of(awkward()), 0..4)) {
        let part = written(&csv_sink("any"), records.iter().map(|r| r.as_deref()));
        prop_assert_eq!(is_refused(&part), records.iter().any(|r| r.as_deref() == Some("")));
        if let Ok(part) = part {
            let source = csv::<(Option<String>,)>("any").no_header().quoted_newlines();
            let back: Vec<_> = read(&source, &part, 1).unwrap().into_iter().map(|r| r.0.0).collect();
            prop_assert_eq!(back, records.clone());
        }
        let texts: Vec<String> = records.into_iter().flatten().collect();
        let part = written(&csv_sink("any"), &texts).unwrap();
        let source = csv::<(String,)>("any").no_header().quoted_newlines();
        let back: Vec<_> = read(&source, &part, 1).unwrap().into_iter().map(|r| r.0.0).collect();
        prop_assert_eq!(back, texts);
    }

    #[test]
    fn values_of_json(records in prop::collection::vec(rows(), 0..4)) {
        let part = written(&jsonl_sink("any"), records.iter().cloned().map(Serde));
        let finite = |r: &Row| r.float.is_finite() && r.maybe_float.is_none_or(f64::is_finite);
        prop_assert_eq!(is_refused(&part), !records.iter().all(finite));
        if let Ok(part) = part {
            for block in BLOCK_BYTES {
                let back: Vec<Row> = read(&jsonl::<Row>("any"), &part, block).unwrap().into_iter().map(|r| r.0).collect();
                prop_assert_eq!(&back, &records);
            }
        }
    }

    #[test]
    fn other_values_of_json(
        keyed in prop::collection::btree_map(any::<i32>(), awkward(), 0..3),
        nested in prop::option::of(prop::option::of(any::<u8>())),
        float in any::<f32>().prop_filter("finite", |f| f.is_finite()),
        wide in any::<i128>(),
    ) {
        in_json::<BTreeMap<i32, String>>(&keyed);
        in_json::<(f32, i128)>(&(float, wide));
        let part = written(&jsonl_sink("any"), [Serde(nested)]);
        prop_assert_eq!(is_refused(&part), nested == Some(None));
        if part.is_ok() {
            in_json(&nested);
        }
    }

    #[test]
    fn records_of_a_fixed_length(records in prop::collection::vec(prop::array::uniform4(any::<u8>()), 0..5)) {
        let records: Vec<Vec<u8>> = records.into_iter().map(Vec::from).collect();
        let part = written(&fixed_sink("any", 4), &records).unwrap();
        for block in BLOCK_BYTES {
            prop_assert_eq!(&read(&fixed("any", 4), &part, block).unwrap(), &records);
        }
        prop_assert!(is_refused(&written(&fixed_sink("any", 4), [b"short".as_slice(), b"it"])));
    }
}

#[test]
fn record_without_fields_is_refused_in_csv() {
    assert!(is_refused(&written(&csv_sink("any"), [()])));
}

#[test]
fn verbatim_text_accepts_any_record() {
    assert_eq!(written(&text("any").verbatim(), ["a\nb\r"]).unwrap(), b"a\nb\r\n");
}
