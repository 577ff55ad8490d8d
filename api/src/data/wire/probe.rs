//! Determines the form of a type by experiment.
//!
//! `T::deserialize` runs on a deserializer that makes up data and records in a tree of [`Node`]s what it is asked for
//! (the idea comes from the tracer of serde-reflection). Each run makes one value. Runs continue until every variant of
//! every enum, both cases of every option and an element of every list have been seen. The value of each run is
//! serialized, and must fit the tree.
//!
//! There are two ways to run. In the first, structs get their fields in sequence, as bincode passes them, with values
//! that attributes such as `skip_serializing_if = "Vec::is_empty"` leave out: nothing, zero, empty. In the second,
//! structs get their fields by name: in one run all fields, in another only those that they require. The other fields
//! then have their defaults, and a field that is left out of a self-describing form can only come back as its default.
//! So one of the two ways detects a sane `skip_serializing_if`.
//!
//! Everything that the probe does not understand makes the form of the type the tagged one: a `Deserialize` that asks
//! what the data is (`deserialize_any`, as with `flatten`, `untagged` and `tag`), a type of unbounded depth, and one
//! that accepts none of the made-up values.

mod maker;

use super::schema::{Fields, LEAVES_OUT, Node, Shape};
use super::{Form, plain, tagged};
use maker::{Answers, Maker, Run, Stop, Way};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Maximum number of runs of one type. An enum needs one run per variant.
const RUNS_MAX: usize = 4096;
/// Numbers and texts that are tried until a type accepts one: `NonZero` refuses zero, and a checked text may refuse an
/// empty one.
const ANSWERS: [Answers; 5] = [
    Answers { number: 0, text: "" },
    Answers { number: 1, text: "" },
    Answers { number: 0, text: "a" },
    Answers { number: 1, text: "a" },
    Answers { number: 1, text: "1" },
];

/// Returns the form of a type, with its schema if the form is plain.
pub(super) fn form_of<T: Serialize + DeserializeOwned + 'static>() -> Form {
    if TypeId::of::<T>() == TypeId::of::<serde_json::Value>() {
        // It asks what the data is, and accepts everything.
        return Form::Tagged { verify: false };
    }
    // A type may take made-up data for impossible and panic: then it cannot be probed.
    catch_unwind(AssertUnwindSafe(tried::<T>)).unwrap_or(Form::Tagged { verify: true })
}

fn tried<T: Serialize + DeserializeOwned + 'static>() -> Form {
    let mut trial = Trial { root: Node::default(), runs: 0, returned: 0, unfit: None, lost: None };
    let ended = trial.all_runs::<T>(Way::InRow).and_then(|()| trial.all_runs::<T>(Way::ByName));
    match (ended, trial.unfit, trial.lost) {
        (Ok(()), None, _) => Form::Plain(trial.root),
        (Ok(()), Some(_), Some(why)) if trial.returned == 0 => Form::Broken(why),
        (Ok(()), Some(Unfit::ByNameOnly), None) | (Err(Unfit::ByNameOnly), _, None) => Form::Tagged { verify: false },
        _ => Form::Tagged { verify: true },
    }
}

/// Why a type does not get the plain form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// It leaves fields out or accepts several names for a field, so it needs the names.
    ByNameOnly,
    Other,
}

struct Trial {
    root: Node,
    runs: usize,
    /// Why a value does not fit.
    unfit: Option<Unfit>,
    /// Number of values that come back from the tagged form, and why one did not.
    returned: usize,
    lost: Option<String>,
}

impl Trial {
    /// Runs in one way until everything has been seen.
    fn all_runs<T: Serialize + DeserializeOwned>(&mut self, way: Way) -> Result<(), Unfit> {
        restart(&mut self.root);
        while !self.root.done {
            let value: T = self.one_run(way)?;
            settle(&mut self.root, self.runs, way);
            if let Err(why) = plain::encode(&value, &self.root, &mut Vec::new()) {
                let now = if why.starts_with(LEAVES_OUT) { Unfit::ByNameOnly } else { Unfit::Other };
                self.unfit = Some(self.unfit.filter(|before| *before == Unfit::Other).unwrap_or(now));
            }
            match tagged::returns(&value) {
                Ok(()) => self.returned += 1,
                Err(why) => self.lost = Some(why),
            }
        }
        Ok(())
    }

    /// Makes one value, with the first answers that the type accepts.
    fn one_run<T: DeserializeOwned>(&mut self, way: Way) -> Result<T, Unfit> {
        let mut answers = ANSWERS.iter().copied();
        let mut now = answers.next();
        loop {
            self.runs += 1;
            let Some(answers_now) = now.filter(|_| self.runs <= RUNS_MAX) else { return Err(Unfit::Other) };
            let mut run = Run::new(self.runs, way, answers_now);
            match T::deserialize(Maker::new(&mut self.root, &mut run)) {
                Ok(value) => return Ok(value),
                // The tree has more information now: run again with the same answers.
                Err(Stop::Again) => {}
                Err(Stop::ByNameOnly) => return Err(Unfit::ByNameOnly),
                Err(Stop::NotPlain) => return Err(Unfit::Other),
                Err(Stop::Refused | Stop::Missing(_)) => now = answers.next(),
            }
        }
    }
}

/// Resets the progress, so that everything is seen once more.
fn restart(node: &mut Node) {
    (node.next, node.done) = (0, false);
    match &mut node.shape {
        Shape::Unknown | Shape::Leaf(_) => {}
        Shape::Option(child) | Shape::Newtype(child) | Shape::Seq(child) => restart(child),
        Shape::Map(pair) => pair.iter_mut().for_each(restart),
        Shape::Tuple(nodes) | Shape::TupleStruct(nodes) | Shape::Enum(nodes) | Shape::Struct(Fields { nodes, .. }) => {
            nodes.iter_mut().for_each(restart)
        }
    }
}

/// Records what the last run has covered. Returns whether the node is done.
fn settle(node: &mut Node, run: usize, way: Way) -> bool {
    if node.seen_in != run || node.done {
        return node.done;
    }
    let all = |nodes: &mut [Node]| {
        // All nodes must be settled, also those after one that is not done.
        let left = nodes.iter_mut().filter_map(|node| (!settle(node, run, way)).then_some(())).count();
        left == 0
    };
    // First without the child, then with it until the child is done.
    let two = |next: &mut usize, below: bool| {
        *next += usize::from(*next == 0 || below);
        *next > 1
    };
    node.done = match &mut node.shape {
        Shape::Unknown => false,
        Shape::Leaf(_) => true,
        Shape::Newtype(child) => settle(child, run, way),
        Shape::Option(child) | Shape::Seq(child) => two(&mut node.next, settle(child, run, way)),
        Shape::Map(pair) => two(&mut node.next, all(&mut pair[..])),
        Shape::Tuple(nodes) | Shape::TupleStruct(nodes) => all(nodes),
        Shape::Struct(fields) => {
            let below = all(&mut fields.nodes);
            if way == Way::InRow { below } else { two(&mut node.next, below) }
        }
        Shape::Enum(variants) => {
            let done = variants.get_mut(node.next).is_none_or(|variant| settle(variant, run, way));
            node.next += usize::from(done);
            node.next >= variants.len()
        }
    };
    node.done
}
