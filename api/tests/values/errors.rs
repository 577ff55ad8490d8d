//! An error names the operation that failed, not the stage into which it is fused, and the key or record that it was
//! working on.

use windrow::prelude::*;
use windrow::testing::run;
use windrow::{Code, Combiner, DecodeError};

/// Returns the number of the line below the comment with this text.
#[track_caller]
fn below(comment: &str) -> u32 {
    let comment = format!("// {comment}");
    let lines = include_str!("errors.rs").lines();
    let at = lines.enumerate().find(|(_, line)| line.trim() == comment);
    at.unwrap_or_else(|| panic!("no {comment}")).0 as u32 + 2
}

/// Returns the code, and what follows the message of the user's code.
#[track_caller]
fn code_and_context<X: std::fmt::Debug>(result: windrow::Result<X>) -> (Code, String) {
    let error = result.unwrap_err();
    let message = &error.failure().message;
    (error.code(), message.split_once("boom").unwrap_or_else(|| panic!("{message}")).1.to_string())
}

fn at(op: &str, line: u32, what: &str) -> String {
    format!(" (in `{op}` at {}:{line}{what})", file!())
}

fn boom_on(bad: bool) {
    assert!(!bad, "boom");
}

#[test]
fn panic_names_the_fused_operation_that_failed() {
    let ops = ["map", "filter", "key_by", "map_values"];
    for (failing, op) in ops.into_iter().enumerate() {
        let here = move |number: usize, l: &str| assert!(failing != number || l != "bb", "boom");
        let got = run(["a", "bb", "c"], |lines| {
            lines
                // fused map
                .map(move |l, out| {
                    here(0, l);
                    out.push(l)
                })
                // fused filter
                .filter(move |l| {
                    here(1, l);
                    true
                })
                // fused key_by
                .key_by(move |l| {
                    here(2, l);
                    l.len()
                })
                // fused map_values
                .map_values(move |l| {
                    here(3, l);
                    l.len()
                })
        });
        let place = got.as_ref().unwrap_err().failure().place.clone().unwrap();
        assert_eq!((place.offset, place.excerpt.as_str()), (2, "bb"));
        assert_eq!(code_and_context(got), (Code::UserPanic, at(op, below(&format!("fused {op}")), "")));
    }
}

#[test]
fn error_names_the_fused_operation_that_failed() {
    let got = run(["a", "b"], |lines| {
        lines
            // failing map
            .map(|l, out| {
                if l == "b" {
                    return Err(Error::msg("boom"));
                }
                out.push(l);
                Ok(())
            })
            .filter(|_| true)
            .map(|l, out| out.push(l))
    });
    assert_eq!(code_and_context(got), (Code::UserError, at("map", below("failing map"), "")));
}

#[test]
fn reduce_and_the_next_operation_name_the_key() {
    for failing in 0..3 {
        let got = run(["a", "b\u{1b}", "b\u{1b}"], |lines| {
            lines
                .map(|l, out| out.emit((l, 7u8), 1u64))
                // keyed reduce
                .reduce(move |(l, n), ones, out| {
                    boom_on(failing == 0 && l != "a");
                    if failing == 1 && l != "a" {
                        return Err(Error::msg("boom"));
                    }
                    out.emit(l, ones.sum::<u64>() + u64::from(n));
                    Ok(())
                })
                // map of a key
                .map(move |(l, _), out| {
                    boom_on(failing == 2 && l != "a");
                    out.push(l)
                })
        });
        let (code, op, line) = match failing {
            0 => (Code::UserPanic, "reduce", below("keyed reduce")),
            1 => (Code::UserError, "reduce", below("keyed reduce")),
            _ => (Code::UserPanic, "map", below("map of a key")),
        };
        assert_eq!(code_and_context(got), (code, at(op, line, r#", key ("b\u{1b}", 7)"#)));
    }
}

#[test]
fn group_and_cogroup_name_the_key() {
    let got = run(["a", "b"], |lines| {
        let pairs = lines.map(|l, out| out.emit((l, 1u8), 1u8));
        // group by letter
        pairs.group(|l, _, out| {
            boom_on(l == "b");
            out.push(l)
        })
    });
    assert_eq!(code_and_context(got), (Code::UserPanic, at("group", below("group by letter"), ", key \"b\"")));
    let got = run(["a", "b"], |lines| {
        let pairs = lines.map(|l, out| out.emit(l.len(), l));
        // cogroup by length
        pairs.cogroup(&pairs, |_, left, _, out| {
            boom_on(left.count() > 1);
            out.push(1u8)
        })
    });
    assert_eq!(code_and_context(got), (Code::UserPanic, at("cogroup", below("cogroup by length"), ", key 1")));
}

/// Fails in `finish`.
struct Last;
impl Combiner<u64> for Last {
    type Acc = u64;
    type Out = u64;
    fn create(&self, value: u64) -> u64 {
        value
    }
    fn merge(&self, into: &mut u64, other: u64) {
        *into = other
    }
    fn finish(&self, acc: u64) -> u64 {
        boom_on(acc == 3);
        acc
    }
    fn encode(&self, acc: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&acc.to_le_bytes())
    }
    fn decode(&self, bytes: &[u8]) -> std::result::Result<u64, DecodeError> {
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| DecodeError::new("last", "length"))
    }
}

#[test]
fn finish_of_a_combiner_names_the_key() {
    let got = run(["a", "bbb"], |lines| {
        let pairs = lines.map(|l, out| out.emit(l, l.len() as u64));
        // combine with Last
        pairs.combine(Last)
    });
    assert_eq!(code_and_context(got), (Code::UserPanic, at("combine", below("combine with Last"), ", key \"bbb\"")));
}

#[test]
fn operation_after_a_sort_names_the_key() {
    let got = run(["a", "b"], |lines| {
        let sorted = lines.map(|l, out| out.emit(l, 1u8)).sort();
        // filter what is sorted
        let kept = sorted.filter(|(l, _)| {
            boom_on(l == "b");
            true
        });
        kept.keys()
    });
    assert_eq!(code_and_context(got), (Code::UserPanic, at("filter", below("filter what is sorted"), ", key \"b\"")));
}
