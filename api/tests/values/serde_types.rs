//! Serde values go through a shuffle unchanged, or fail with their type and record.

use windrow::prelude::*;
use windrow::testing::{run, run_with};
use windrow::{Code, JobOptions};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Event {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    ok: bool,
    score: Option<u8>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

#[test]
fn values_with_serde_attributes_survive_a_shuffle() {
    let lines = [r#"{"ok":false,"score":0}"#, r#"{"note":"n","ok":true,"score":null,"more":{"a":[1,2.5,null]}}"#];
    let parse = |line: &str| serde_json::from_str::<Event>(line);
    let got = run(lines, |lines| {
        let events = lines.map(move |line, out| {
            out.emit((line.len(), 1u8), (Serde(parse(line)?), Some(Serde(parse(line)?))));
            Ok(())
        });
        events.partition_by(2).values()
    });
    let mut got: Vec<Event> =
        got.unwrap().into_iter().flat_map(|(a, b)| [Some(a.0), b.map(|b| b.0)]).flatten().collect();
    got.sort_by_key(|e| e.ok);
    let expected = lines.map(|line| parse(line).unwrap());
    assert_eq!(got, [&expected[0], &expected[0], &expected[1], &expected[1]].map(Event::clone));
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Login {
    name: String,
    #[serde(skip_serializing)]
    #[allow(dead_code, reason = "it is never read back")]
    password: String,
}

#[test]
fn type_whose_values_never_come_back_is_refused() {
    let error = run(["a"], |lines| {
        let logins = lines.map(|l, out| out.emit(l, Serde(Login { name: l.into(), password: l.into() })));
        logins.partition_by(1).keys()
    });
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::PlanInvalid);
    let message = &error.failure().message;
    assert!(
        message.contains("Login") && message.contains("password") && message.contains("serde_types.rs:"),
        "{message}"
    );
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Float(f64),
    Whole(i64),
}

#[test]
fn value_that_would_change_fails_its_record() {
    let doubled = |bad: u64| {
        let options = JobOptions { skip_bad_records: bad, ..JobOptions::default() };
        run_with(["1.5", "7", "2.5"], options, 2, 64 << 20, |lines| {
            let numbers = lines.map(|l, out| {
                let number = l.parse().map(Number::Whole).or_else(|_| l.parse().map(Number::Float))?;
                out.emit((), Serde(number));
                Ok(())
            });
            numbers.reduce(|_, numbers, out| numbers.each(|n| out.push(format!("{n:?}"))))
        })
    };
    let error = doubled(0).unwrap_err();
    assert_eq!(error.code(), Code::FieldNotRepresentable);
    let place = error.failure().place.clone().unwrap();
    assert_eq!((place.offset, place.excerpt.as_str()), (4, "7"));
    assert!(error.failure().message.contains("Number"), "{error}");
    assert_eq!(doubled(1).unwrap(), ["Float(1.5)", "Float(2.5)"]);
}

#[test]
fn nested_options_are_collected_unchanged() {
    let got = run(["a"], |lines| lines.map(|_, out| out.push(Serde(Some(None::<u8>))))).unwrap();
    assert_eq!(got, [Serde(Some(None))]);
}
