//! Structs and enums as record types.

use proptest::prelude::*;
use std::cmp::Ordering;
use windrow::prelude::*;
use windrow::testing::{run, written};
use windrow::{Arena, Datum, Key, Reader};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Datum)]
#[datum(derive(Debug, PartialEq))]
struct Visit {
    page: String,
    seconds: i32,
    from: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Datum)]
enum Event {
    Start,
    Visit(Visit, u8),
    Left { after: u64, r#type: String },
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Datum)]
enum Color {
    Red,
    Green,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Datum)]
struct Wrapped(Vec<u8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Datum)]
struct Unit;

/// A value, but no key and no row: it holds a serde value.
#[derive(Debug, PartialEq, Datum)]
pub(crate) struct Report {
    /// How often.
    pub(crate) count: u64,
    /// Which ones.
    pub(crate) tags: Serde<Vec<String>>,
}

fn text() -> impl Strategy<Value = String> {
    "[\0\u{1}ab]{0,3}"
}
fn visits() -> impl Strategy<Value = Visit> {
    (text(), any::<i32>(), prop::option::of(text())).prop_map(|(page, seconds, from)| Visit { page, seconds, from })
}
fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Start),
        (visits(), any::<u8>()).prop_map(|(visit, n)| Event::Visit(visit, n)),
        (0u64..3, text()).prop_map(|(after, r#type)| Event::Left { after, r#type }),
        Just(Event::End),
    ]
}

fn bytes<const LAST: bool, D: Datum>(value: &D) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.lend(|r| D::encode::<LAST>(r, &mut bytes));
    bytes
}

/// The laws of keys: they decode to the same value, sort as the values do, and none is a prefix of another.
fn holds<D: Key + PartialEq + std::fmt::Debug>(a: &D, b: &D, order: Ordering) -> Result<(), TestCaseError> {
    let arena = Arena::new();
    let (x, y) = (bytes::<true, D>(a), bytes::<true, D>(b));
    prop_assert_eq!(x.cmp(&y), order);
    prop_assert_eq!(&D::to_owned(D::decode::<true>(&mut Reader::new(&x, &arena)).unwrap()), a);
    let (x, y) = (bytes::<false, D>(a), bytes::<false, D>(b));
    prop_assert_eq!(x.cmp(&y), order);
    prop_assert!(order.is_eq() || !x.starts_with(&y) && !y.starts_with(&x));
    let longer = [x.as_slice(), b"more"].concat();
    let mut reader = Reader::new(&longer, &arena);
    prop_assert_eq!(&D::to_owned(D::decode::<false>(&mut reader).unwrap()), a);
    prop_assert_eq!(reader.left(), b"more");
    Ok(())
}

proptest! {
    #[test]
    fn derived_keys_sort_as_their_values(a in events(), b in events(), c in visits(), d in visits()) {
        holds(&a, &b, a.cmp(&b))?;
        holds(&c, &d, c.cmp(&d))?;
        holds(&Wrapped(c.page.clone().into()), &Wrapped(d.page.clone().into()), c.page.cmp(&d.page))?;
        holds(&(Reverse(c.clone()), Color::Red), &(Reverse(d.clone()), Color::Green), d.cmp(&c).then(Ordering::Less))?;
        holds(&Unit, &Unit, Ordering::Equal)?;
    }

    #[test]
    fn a_struct_has_the_bytes_of_its_fields(a in visits()) {
        let fields = (a.page.clone(), a.seconds, a.from.clone());
        prop_assert_eq!(bytes::<true, _>(&a), bytes::<true, _>(&fields));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let arena = Arena::new();
        let _ = Event::decode::<true>(&mut Reader::new(&bytes, &arena));
        let _ = <(Color, Visit)>::decode::<false>(&mut Reader::new(&bytes, &arena));
    }
}

#[test]
fn derived_types_pass_through_shuffles() {
    let events = run(["a 3", "b", "a 4"], |lines| {
        let events = lines.map(|line, out| match line.split_once(' ') {
            // Borrowed: nothing is allocated for the record.
            Some((page, n)) => {
                let visit = VisitRef { page, seconds: n.parse()?, from: None };
                out.emit(EventRef::Visit(visit, 1), Color::Red);
                Ok(())
            }
            None => {
                out.emit(&Event::Left { after: 1, r#type: line.to_string() }, Color::Green);
                Ok(())
            }
        });
        events
            .sort()
            .reduce(|event, colors, out| out.emit(event, (colors.count(), matches!(event, EventRef::Left { .. }))))
    });
    let visit = |seconds| Event::Visit(Visit { page: "a".to_string(), seconds, from: None }, 1);
    let left = Event::Left { after: 1, r#type: "b".to_string() };
    assert_eq!(events.unwrap(), [(visit(3), (1, false)), (visit(4), (1, false)), (left, (1, true))]);
}

#[test]
fn derived_values_may_hold_serde_values() {
    let reports = run(["x y", "z"], |lines| {
        let reports = lines.map(|line, out| {
            let tags = line.split(' ').map(str::to_string).collect();
            out.emit("all", Report { count: 1, tags: Serde(tags) })
        });
        reports.reduce_by(|mut a, b| {
            a.count += b.count;
            a.tags.0.extend(b.tags.0);
            a.tags.0.sort();
            a
        })
    });
    let tags = Serde(["x", "y", "z"].map(str::to_string).to_vec());
    assert_eq!(reports.unwrap(), [("all".to_string(), Report { count: 2, tags })]);
}

#[test]
fn lists_of_any_records_are_keys_and_values() {
    let got = run(["a b", "b", "a b"], |lines| {
        let lists = lines.map(|line, out| {
            let pages: Vec<&str> = line.split(' ').collect();
            let visits = pages.iter().map(|page| Visit { page: page.to_string(), seconds: 1, from: None });
            out.emit(pages.clone(), visits.collect::<Vec<_>>())
        });
        lists.reduce(|pages, visits, out| {
            let pages: Vec<String> = pages.iter().map(str::to_uppercase).collect();
            out.emit(pages, visits.map(|list| list.iter().map(|visit| visit.page.len()).sum::<usize>()).sum::<usize>())
        })
    });
    let texts = |list: &[&str]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    assert_eq!(got.unwrap(), [(texts(&["A", "B"]), 4), (texts(&["B"]), 1)]);
    let items = run(["x y", "z"], |lines| {
        lines
            .map(|line, out| out.push(line.split(' ').map(|t| Some((t, 'c'))).collect::<Vec<_>>().len()))
            .flat_map(|n| vec![n])
    });
    assert_eq!(items.unwrap(), [2, 1]);
    let flat = run(["x y", "z"], |lines| {
        lines.map(|line, out| out.push(line.split(' ').collect::<Vec<_>>())).filter(|list| !list.is_empty()).flatten()
    });
    assert_eq!(flat.unwrap(), ["x", "y", "z"]);
}

#[test]
fn fields_of_a_struct_are_columns() {
    let visit = Visit { page: "p".to_string(), seconds: -2, from: Some("q".to_string()) };
    assert_eq!(written(&tsv("any"), [(7u8, &visit)]).unwrap(), b"7\tp\t-2\tq\n");
}

#[test]
fn derived_records_are_shown_as_in_a_program() {
    let failed = run(["a"], |lines| {
        let pairs = lines.map(|line, out| out.emit(Event::Left { after: 2, r#type: line.to_string() }, Unit));
        pairs.reduce(|_, _, out| {
            out.push(1u8);
            Err(Error::msg("no"))
        })
    });
    let message = failed.unwrap_err().to_string();
    assert!(message.contains("key Left { after: 2, type: \"a\" }"), "{message}");
}
