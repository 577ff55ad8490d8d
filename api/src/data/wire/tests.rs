//! Every type comes back, in the form that was determined for it.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;

fn form_name<T: Serialize + DeserializeOwned + 'static>() -> &'static str {
    form::<T>().name()
}

/// Encodes and decodes the value.
#[track_caller]
fn returned<T: Serialize + DeserializeOwned + 'static>(value: &T) -> T {
    let mut bytes = Vec::new();
    encode(value, &mut bytes).unwrap();
    decode(&bytes).unwrap()
}

#[track_caller]
fn returns<T: Serialize + DeserializeOwned + PartialEq + Debug + 'static>(
    form: &str,
    values: impl IntoIterator<Item = T>,
) {
    assert_eq!(form_name::<T>(), form);
    for value in values {
        assert_eq!(returned(&value), value);
    }
}

#[track_caller]
fn refuses<T: Serialize + DeserializeOwned + 'static>(value: T, why: &str) {
    let error = encode(&value, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains(type_name::<T>()) && error.contains(why), "{error}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Plain {
    a: u8,
    #[serde(rename = "bee")]
    b: Option<Option<String>>,
    c: Vec<(i128, char)>,
    d: HashMap<i16, [bool; 3]>,
    e: Unit,
    f: Newtype,
    g: Choice,
    h: Option<()>,
    #[serde(skip)]
    i: u64,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(f64);
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Choice {
    None,
    One(u64),
    Two(u64, String),
    Fields { x: std::num::NonZeroU8, y: std::time::Duration },
}

fn plain() -> Plain {
    Plain {
        a: 7,
        b: Some(None),
        c: vec![(i128::MIN, 'é')],
        d: HashMap::from([(-1, [true, false, true]), (2, [false; 3])]),
        e: Unit,
        f: Newtype(-0.0),
        g: Choice::Two(1, "two".to_string()),
        h: Some(()),
        i: 0,
    }
}

#[test]
fn types_that_read_what_they_write_are_plain() {
    let choices = [
        Choice::None,
        Choice::One(u64::MAX),
        Choice::Fields { x: std::num::NonZeroU8::MAX, y: std::time::Duration::from_nanos(1_000_000_001) },
    ];
    returns("plain", choices.map(|g| Plain { g, ..plain() }));
    returns("plain", [plain(), Plain { b: None, h: None, ..plain() }, Plain { b: Some(Some("x".into())), ..plain() }]);
    returns("plain", [("127.0.0.1".parse::<std::net::IpAddr>().unwrap(), std::ops::Bound::Excluded(5u8))]);
    returns("plain", [Vec::<u64>::new(), vec![1, 2]]);
    returns("plain", [std::path::PathBuf::from("/a")]);
    returns("plain", [()]);
}

#[test]
fn plain_bytes_are_those_of_bincode() {
    let value = plain();
    let mut bytes = Vec::new();
    encode(&value, &mut bytes).unwrap();
    let expected = bincode::serde::encode_to_vec(&value, bincode::config::legacy()).unwrap();
    assert_eq!((bytes[0], &bytes[1..]), (PLAIN, &expected[..]));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    ok: bool,
    score: Option<u8>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Tags {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    a: u64,
    b: Option<u64>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Weight {
    name: String,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: u32,
}
fn one() -> u32 {
    1
}
fn is_one(n: &u32) -> bool {
    *n == 1
}
/// Fields are left out deep inside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Nested {
    Nothing,
    Much { list: Vec<Option<Weight>> },
}

#[test]
fn types_that_leave_fields_out_are_tagged() {
    returns(
        "tagged",
        [Note { note: None, ok: false, score: Some(0) }, Note { note: Some("n".into()), ok: true, score: None }],
    );
    returns("tagged", [Tags { tags: vec![], a: 0, b: Some(2) }, Tags { tags: vec!["t".into()], a: 1, b: None }]);
    returns("tagged", [1, 2].map(|weight| Weight { name: "w".into(), weight }));
    let list = vec![None, Some(Weight { name: String::new(), weight: 1 })];
    returns("tagged", [Nested::Nothing, Nested::Much { list }]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: i64,
    #[serde(flatten)]
    rest: BTreeMap<String, String>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FlatNumbers {
    #[serde(flatten)]
    by_number: HashMap<u32, Option<u8>>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i64),
    Float(f64),
    Text(String),
    Many(Vec<Untagged>),
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    A { x: i64, address: std::net::IpAddr },
    B { y: Option<String> },
    C,
    D(Plain),
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    A(u8),
    B { y: Option<String> },
    C,
}

#[test]
fn types_that_use_deserialize_any_are_verified() {
    let rest = BTreeMap::from([("a".to_string(), "x".to_string())]);
    returns("tagged, verified", [Flat { id: 1, rest }, Flat { id: -1, rest: BTreeMap::new() }]);
    returns("tagged, verified", [FlatNumbers { by_number: (0..9).map(|n| (n, Some(1))).collect() }]);
    let many = Untagged::Many(vec![Untagged::Number(-1), Untagged::Text("s".into()), Untagged::Float(1.0)]);
    returns("tagged, verified", [many, Untagged::Number(i64::MAX), Untagged::Float(f64::INFINITY)]);
    let plain = Plain { b: None, h: None, ..plain() };
    let a = Tagged::A { x: 1, address: "::1".parse().unwrap() };
    returns("tagged, verified", [a, Tagged::B { y: None }, Tagged::C]);
    // The buffer of serde for `tag` has no 128-bit numbers.
    refuses(Tagged::D(plain), "cannot be read back");
    returns("tagged, verified", [Adjacent::A(1), Adjacent::B { y: Some("y".into()) }, Adjacent::C]);
}

#[test]
fn json_values_come_back() {
    let value = json!({"a": [1, -1, u64::MAX, 1.5, 1e308, null, true, ""], "b": {"": {}}, "c": 0.1});
    returns("tagged", [value.clone(), json!(null)]);
    returns("tagged, verified", [(1u8, value.clone()), (2, json!([[]]))]);
    returns("tagged, verified", [HashMap::from([(1u8, value)])]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct List {
    #[serde(default)]
    next: Option<Box<List>>,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(u8),
    Branches(Vec<Tree>, HashMap<String, Tree>),
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Alias {
    #[serde(alias = "nom")]
    name: String,
    id: u8,
}
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Gap {
    A,
    #[serde(skip)]
    #[allow(dead_code, reason = "the gap")]
    B,
    C,
}
/// A text that must contain an at sign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Address(String);
impl TryFrom<String> for Address {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('@') { Ok(Address(text)) } else { Err("no address".to_string()) }
    }
}
impl From<Address> for String {
    fn from(address: Address) -> String {
        address.0
    }
}
/// Writes another type of number than it reads.
#[derive(Clone, Debug, PartialEq)]
struct Lopsided(i32);
impl Serialize for Lopsided {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i32(self.0)
    }
}
impl<'de> Deserialize<'de> for Lopsided {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        i64::deserialize(d).map(|n| Lopsided(n as i32))
    }
}

/// Panics at data that it takes for impossible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
struct Strict(String);
impl From<String> for Strict {
    fn from(text: String) -> Self {
        assert!(text.len() > 1, "too short");
        Strict(text)
    }
}
impl From<Strict> for String {
    fn from(strict: Strict) -> String {
        strict.0
    }
}

#[test]
fn type_that_panics_in_the_probe_is_tagged() {
    returns("tagged, verified", [Strict("long".into())]);
}

#[test]
fn types_that_cannot_be_probed_are_tagged() {
    let deep = (0..100).fold(List { next: None }, |list, _| List { next: Some(Box::new(list)) });
    returns("tagged, verified", [deep]);
    let branches = (0..20).map(|n| (n.to_string(), Tree::Leaf(n))).collect();
    returns("tagged, verified", [Tree::Branches(vec![Tree::Leaf(1)], branches)]);
    returns("tagged", [Alias { name: "n".into(), id: 1 }]);
    returns("tagged, verified", [Gap::A, Gap::C]);
    returns("tagged, verified", [Address("a@b".into())]);
    returns("tagged, verified", [Lopsided(-5)]);
    returns("tagged, verified", [(0..50u8).map(Lopsided8).collect::<HashSet<_>>()]);
}

/// Like `Lopsided`, but an element of sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lopsided8(u8);
impl Serialize for Lopsided8 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u8(self.0)
    }
}
impl<'de> Deserialize<'de> for Lopsided8 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        u32::deserialize(d).map(|n| Lopsided8(n as u8))
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Ambiguous {
    Float(f64),
    Number(i64),
}
#[derive(Debug, Serialize, Deserialize)]
#[allow(dead_code, reason = "what is never read back")]
struct Secret {
    name: String,
    #[serde(skip_serializing)]
    password: String,
}
#[derive(Debug, Serialize, Deserialize)]
struct FlatWide {
    #[serde(flatten)]
    wide: BTreeMap<String, u128>,
}
#[derive(Debug, Serialize, Deserialize)]
struct Sometimes {
    #[serde(skip_serializing_if = "is_seven")]
    n: u8,
}
fn is_seven(n: &u8) -> bool {
    *n == 7
}

#[test]
fn values_that_would_change_are_refused() {
    refuses(Ambiguous::Number(1), "changes when");
    returned(&Ambiguous::Float(1.0));
    refuses(FlatWide { wide: BTreeMap::from([("a".to_string(), u128::MAX)]) }, "cannot be read back");
    use std::os::unix::ffi::OsStringExt;
    refuses(std::path::PathBuf::from(std::ffi::OsString::from_vec(vec![0xFF])), "UTF-8");
    // A field that is left out although it has no default.
    assert_eq!(form_name::<Sometimes>(), "plain");
    refuses(Sometimes { n: 7 }, "leaves out");
    returned(&Sometimes { n: 8 });
    refuses((0..300).fold(List { next: None }, |list, _| List { next: Some(Box::new(list)) }), "levels");
}

#[test]
fn types_whose_values_never_come_back_have_no_form() {
    assert_eq!(form_name::<Secret>(), "none");
    let mut forms = Forms::default();
    forms.add::<u8>();
    forms.add::<Vec<Secret>>();
    assert_eq!(forms.broken.map(|(name, _)| name), None, "an empty list of them does");
    refuses(vec![Secret { name: "n".into(), password: "p".into() }], "cannot be read back");
    let mut forms = Forms::default();
    forms.add::<Secret>();
    assert!(forms.broken.unwrap().1.contains("missing field `password`"));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Limited {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "is_large")]
    n: u32,
}
fn is_large(n: &u32) -> bool {
    *n > 100
}

#[test]
fn left_out_field_that_is_not_the_default_is_refused() {
    assert_eq!(form_name::<Limited>(), "tagged");
    refuses(Limited { note: Some("n".into()), n: 101 }, "changes when");
    for n in [0, 100] {
        let value = Limited { note: None, n };
        assert_eq!(returned(&value), value);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Alike {
    Point { x: i32 },
    Named(BTreeMap<String, i32>),
    Small(u32),
    Large(u64),
    Pair((u8, u8)),
    List(Vec<u8>),
}

#[test]
fn ambiguous_untagged_variants_are_refused() {
    refuses(Alike::Named(BTreeMap::from([("x".to_string(), 1)])), "changes when");
    refuses(Alike::Large(5), "changes when");
    refuses(Alike::List(vec![1, 2]), "changes when");
    returns("tagged, verified", [Alike::Point { x: 1 }, Alike::Named(BTreeMap::from([("y".to_string(), 1)]))]);
    returns("tagged, verified", [Alike::Small(5), Alike::Large(u64::MAX), Alike::Pair((1, 2)), Alike::List(vec![1])]);
}

/// The version determines what follows.
#[derive(Clone, Debug, PartialEq)]
enum Versioned {
    One(u32),
    Two(String),
}
impl Serialize for Versioned {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Versioned::One(n) => (1u8, n).serialize(s),
            Versioned::Two(text) => (2u8, text).serialize(s),
        }
    }
}
impl<'de> Deserialize<'de> for Versioned {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> serde::de::Visitor<'de> for Parts {
            type Value = Versioned;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a version and what follows")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<Versioned, A::Error> {
                let missing = || serde::de::Error::custom("a part is missing");
                if parts.next_element::<u8>()?.ok_or_else(missing)? < 2 {
                    return parts.next_element()?.map(Versioned::One).ok_or_else(missing);
                }
                parts.next_element()?.map(Versioned::Two).ok_or_else(missing)
            }
        }
        d.deserialize_tuple(2, Parts)
    }
}

#[test]
fn value_that_the_probe_did_not_foresee_comes_back() {
    returns("plain", [Versioned::One(7), Versioned::Two("x".into())]);
}

/// Distinguishes a missing field from a null one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Patch {
    #[serde(default, deserialize_with = "some_of", skip_serializing_if = "Option::is_none")]
    name: Option<Option<String>>,
}
fn some_of<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(d).map(Some)
}

#[test]
fn options_that_are_read_as_from_json_come_back() {
    returns("tagged, verified", [None, Some(None), Some(Some("n".to_string()))].map(|name| Patch { name }));
}

/// Anything that the serde data model can represent.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<u64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,4}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            prop::collection::btree_map(".{0,3}", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nested: Option<Option<Option<u8>>>,
    wide: (i128, u128),
    unit: Option<Option<()>>,
    text: (char, String),
    keyed: BTreeMap<(u8, Option<i8>), Vec<bool>>,
    choice: Vec<Result<u64, Unit>>,
}

proptest! {
    #[test]
    fn any_json_value_comes_back(value in value()) {
        prop_assert_eq!(returned(&value), value.clone());
        prop_assert_eq!(returned(&(value.clone(), 1u8)).0, value);
    }

    #[test]
    fn any_value_of_the_data_model_comes_back(
        nested: Option<Option<Option<u8>>>, wide: (i128, u128), unit: Option<Option<()>>, text: (char, String),
        keyed in prop::collection::btree_map(any::<(u8, Option<i8>)>(), any::<Vec<bool>>(), 0..3),
        choice in prop::collection::vec(any::<Option<u64>>(), 0..3),
    ) {
        let choice = choice.into_iter().map(|n| n.ok_or(Unit)).collect();
        let value = Everything { nested, wide, unit, text, keyed, choice };
        prop_assert_eq!(form_name::<Everything>(), "tagged");
        prop_assert_eq!(returned(&value), value);
    }

    #[test]
    fn bits_of_floats_stay(single: u32, double: u64) {
        #[derive(Serialize, Deserialize)]
        struct Floats {
            #[serde(default, skip_serializing_if = "Option::is_none")]
            _none: Option<u8>,
            floats: (f32, f64),
        }
        let (a, b) = (f32::from_bits(single), f64::from_bits(double));
        let back = returned(&Floats { _none: None, floats: (a, b) });
        prop_assert_eq!((back.floats.0.to_bits(), back.floats.1.to_bits()), (single, double));
        let back = returned(&(a, b));
        prop_assert_eq!((back.0.to_bits(), back.1.to_bits()), (single, double));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_value(bytes in prop::collection::vec(any::<u8>(), 0..40), form in 0u8..4) {
        let bytes = [&[form][..], &bytes].concat();
        let _ = decode::<Everything>(&bytes);
        let _ = decode::<serde_json::Value>(&bytes);
        let _ = decode::<Tagged>(&bytes);
    }
}

#[test]
fn length_beyond_the_bytes_takes_no_memory() {
    for (filler, length) in [(0, 1u64 << 50), (40_000, 1 << 50), (0, 200_000)] {
        let mut bytes = Vec::new();
        encode(&(vec![7u8; filler], "text".to_string()), &mut bytes).unwrap();
        let at = bytes.len() - 4 - 8;
        assert_eq!(bytes[at..at + 8], 4u64.to_le_bytes());
        bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
        let error = decode::<(Vec<u8>, String)>(&bytes).unwrap_err().to_string();
        assert!(!error.is_empty());
    }
}
