//! Which form is right for a type, found out by trying it.
//!
//! `T::deserialize` runs on a deserializer that makes up data and notes in a tree of [`Node`]s what it is asked for (the idea is that of
//! serde-reflection's tracer). Each run makes one value; runs go on until every variant of every enum, both sides of every option
//! and an element of every list have been seen. What comes out of each run is serialized, and must fit the tree.
//!
//! Runs come in two ways. In the first one structs get their fields in a row, as bincode gives them, with values that attributes
//! such as `skip_serializing_if = "Vec::is_empty"` leave out: nothing, zero, empty. In the second one they get them by name, once all of
//! them, and once only those without which they do not do: the others have their defaults, and a field that is left out of a
//! self-describing form and comes back can be no other value. So a sane `skip_serializing_if` is seen by one of the two.
//!
//! Everything that is not understood makes the type's form the tagged one: a `Deserialize` that asks what is there
//! (`deserialize_any`, as of `flatten`, `untagged` and `tag`), a type without end, one that takes none of the made-up values.

mod maker;

use super::schema::{Fields, LEAVES_OUT, Node, Shape};
use super::{Form, plain, tagged};
use maker::{Answers, Maker, Run, Stop, Way};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs of one type at most; an enum of as many variants needs as many.
const RUNS_MAX: usize = 4096;
/// Numbers and texts to try until a type takes them: `NonZero` takes no zero, a checked text perhaps not an empty one.
const ANSWERS: [Answers; 5] = [
    Answers { number: 0, text: "" },
    Answers { number: 1, text: "" },
    Answers { number: 0, text: "a" },
    Answers { number: 1, text: "a" },
    Answers { number: 1, text: "1" },
];

/// The form of a type, and if it is the plain one, the schema.
pub(super) fn form_of<T: Serialize + DeserializeOwned + 'static>() -> Form {
    if TypeId::of::<T>() == TypeId::of::<serde_json::Value>() {
        // It asks what is there, and takes whatever that is.
        return Form::Tagged { verify: false };
    }
    // A type may take made-up data for impossible, and panic: then it cannot be tried.
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

/// Why a type is not written plainly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    /// It leaves fields out or knows them under several names, so that it needs their names.
    ByNameOnly,
    Other,
}

struct Trial {
    root: Node,
    runs: usize,
    /// Why a value does not fit.
    unfit: Option<Unfit>,
    /// Values that come back from the tagged form, and why one did not.
    returned: usize,
    lost: Option<String>,
}

impl Trial {
    /// Runs until everything has been seen in this way.
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

    /// One value, with the first answers that the type takes.
    fn one_run<T: DeserializeOwned>(&mut self, way: Way) -> Result<T, Unfit> {
        let mut answers = ANSWERS.iter().copied();
        let mut now = answers.next();
        loop {
            self.runs += 1;
            let Some(answers_now) = now.filter(|_| self.runs <= RUNS_MAX) else { return Err(Unfit::Other) };
            let mut run = Run::new(self.runs, way, answers_now);
            match T::deserialize(Maker::new(&mut self.root, &mut run)) {
                Ok(value) => return Ok(value),
                // The tree knows more now: the same once more.
                Err(Stop::Again) => {}
                Err(Stop::ByNameOnly) => return Err(Unfit::ByNameOnly),
                Err(Stop::NotPlain) => return Err(Unfit::Other),
                Err(Stop::Refused | Stop::Missing(_)) => now = answers.next(),
            }
        }
    }
}

/// Everything is to be seen once more.
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

/// Notes what the run that has just made a value came by; true if there is no more to see.
fn settle(node: &mut Node, run: usize, way: Way) -> bool {
    if node.seen_in != run || node.done {
        return node.done;
    }
    let all = |nodes: &mut [Node]| {
        // Also those behind one that is not done.
        let left = nodes.iter_mut().filter_map(|node| (!settle(node, run, way)).then_some(())).count();
        left == 0
    };
    // First without what lies below, then with it, until that is done.
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
