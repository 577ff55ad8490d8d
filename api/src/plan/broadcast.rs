//! The handle of a broadcast: records that one stage of the job makes, and that functions of later stages read.
//!
//! A plan is built in every process, and closures do not travel. So the handle has no value when a closure captures it: the
//! closure's stage has the broadcast among its inputs (`Branch::broadcasts`), and while a task of it runs, its thread knows
//! which value the task got (`task/broadcasts.rs`). A value is decoded once for each process, by the first function that
//! reads it. If the stage that makes it runs again and makes another value, each task reads the value that it was assigned
//! with: a handle keeps all values that its process has seen.

use crate::task::broadcasts::{Seen, value_of};
use std::fmt;
use std::sync::{Arc, OnceLock};
use windrow_model::Port;

/// Most bytes of the encoded records of one broadcast. They are a part of the message of every task that depends on them.
pub(crate) const BYTES_MAX: usize = 1 << 20;
/// Most broadcasts that one stage depends on, so that the message of a task has a bound.
pub(crate) const BROADCASTS_MAX: usize = 32;

/// A value that the job computes, for record functions of later operations: they capture a clone and call [`get`](Self::get).
/// Made by [`Records::broadcast`](crate::Records::broadcast) and [`Records::broadcast_as`](crate::Records::broadcast_as).
///
/// ```
/// use windrow::prelude::*;
/// /// The share that each word has of all words.
/// fn shares(words: &Records<String>) -> Pairs<String, f64> {
///     let total = words.count().broadcast();
///     words.map(|word, out| out.emit(word, 1u64)).combine(Sum).map_values(move |n| n as f64 / *total.get() as f64)
/// }
/// # let got = windrow::testing::run(["a", "b", "a", "a"], |words| shares(&words)).unwrap();
/// # assert_eq!(got, [("a".to_string(), 0.75), ("b".to_string(), 0.25)]);
/// ```
///
/// Nothing declares which functions read a handle: the stage of every function that captures something, and that is added
/// to the plan after the handle, waits for the value. So no function can miss a value that it reads, and a value cannot
/// depend on itself.
pub struct Broadcast<T> {
    slot: Arc<Slot<T>>,
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Broadcast { slot: self.slot.clone() }
    }
}

impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broadcast").field(&self.slot.made_by).finish()
    }
}

impl<T> Broadcast<T> {
    /// The only value. It costs a look at the values that the task reads; it is decoded once for each process.
    ///
    /// # Panics
    /// In a record function, if there is another number of values than one: see [`all`](Self::all). Elsewhere always, since
    /// the value is known only while the functions of later operations of the same plan run; in `plan`, that makes the plan
    /// invalid.
    #[track_caller]
    pub fn get(&self) -> &T {
        match self.all() {
            [value] => value,
            values => panic!(
                "the {} has {} values: `get` reads the only one, and `all` any number of them",
                self.slot.made_by,
                values.len()
            ),
        }
    }

    /// All values, in the order of the records from which they are made.
    ///
    /// # Panics
    /// Outside of the functions of later operations of the same plan, as [`get`](Self::get).
    #[track_caller]
    pub fn all(&self) -> &[T] {
        match value_of(self.slot.address()) {
            Some(value) => self.slot.values(value),
            None => panic!(
                "the {} has no value here: it is read by record functions of operations that come after it in the same plan",
                self.slot.made_by
            ),
        }
    }

    /// A broadcast that `made_by` has made, and whose values `decode` makes from its bytes.
    pub(crate) fn new(made_by: String, decode: impl Fn(&[u8]) -> Vec<T> + Send + Sync + 'static) -> Self {
        Broadcast { slot: Arc::new(Slot { made_by, decode: Box::new(decode), first: OnceLock::new() }) }
    }
}

impl<T: Send + Sync + 'static> Broadcast<T> {
    /// The broadcast as an input of stages, from this port.
    pub(crate) fn bound(&self, port: Port) -> Bound {
        Bound { port, slot: self.slot.clone() }
    }
}

/// A broadcast that a stage depends on.
#[derive(Clone)]
pub(crate) struct Bound {
    pub port: Port,
    slot: Arc<dyn AnySlot>,
}

impl Bound {
    /// Takes the blobs that a task got, and returns which value they are.
    pub(crate) fn seen(&self, blobs: &[Vec<u8>]) -> Seen {
        self.slot.seen(blobs)
    }
}

trait AnySlot: Send + Sync {
    fn seen(&self, blobs: &[Vec<u8>]) -> Seen;
}

/// The values that this process has seen of a broadcast.
struct Slot<T> {
    /// The operation and its place, for errors.
    made_by: String,
    decode: Box<Decode<T>>,
    first: Next<T>,
}

type Decode<T> = dyn Fn(&[u8]) -> Vec<T> + Send + Sync;
type Next<T> = OnceLock<Box<Version<T>>>;

/// Bytes that tasks of this process got, and what they are decoded to. It stays as long as the slot, so functions can
/// borrow from it.
struct Version<T> {
    bytes: Box<[u8]>,
    values: OnceLock<Vec<T>>,
    next: Next<T>,
}

impl<T> Slot<T> {
    /// A number that no other broadcast has as long as this one exists.
    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    #[track_caller]
    fn values(&self, number: usize) -> &[T] {
        let versions = std::iter::successors(self.first.get(), |version| version.next.get());
        match versions.skip(number).map(|version| (&version.values, &version.bytes)).next() {
            Some((values, bytes)) => values.get_or_init(|| (self.decode)(bytes)),
            None => panic!("the {} has lost a value", self.made_by),
        }
    }
}

impl<T: Send + Sync> AnySlot for Slot<T> {
    fn seen(&self, blobs: &[Vec<u8>]) -> Seen {
        let is = |bytes: &[u8]| {
            let mut left = bytes;
            let all = blobs.iter().all(|blob| left.strip_prefix(&blob[..]).map(|rest| left = rest).is_some());
            all && left.is_empty()
        };
        let (mut next, mut value) = (&self.first, 0);
        loop {
            // Another thread may be faster, with other bytes.
            let make = || Version { bytes: blobs.concat().into(), values: OnceLock::new(), next: OnceLock::new() };
            let version = next.get_or_init(|| Box::new(make()));
            if is(&version.bytes) {
                return Seen { broadcast: std::ptr::from_ref(self).addr(), value };
            }
            (next, value) = (&version.next, value + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::broadcasts::with_broadcasts;
    use windrow_model::StageId;

    #[test]
    fn each_task_reads_the_value_that_it_got() {
        let handle = Broadcast::new("broadcast".to_string(), |bytes: &[u8]| vec![bytes.len(), bytes[0] as usize]);
        let bound = handle.bound(Port { stage: StageId(0), output: 0 });
        let read = |blobs: &[&[u8]]| {
            let seen = bound.seen(&blobs.iter().map(|b| b.to_vec()).collect::<Vec<_>>());
            (seen.value, with_broadcasts(vec![seen], || handle.all().to_vec()))
        };
        assert_eq!(read(&[b"\x01\x02", b"\x03"]), (0, vec![3, 1]));
        assert_eq!(read(&[b"\x01\x02"]), (1, vec![2, 1]));
        assert_eq!(read(&[b"\x01\x02\x04"]), (2, vec![3, 1]));
        assert_eq!(read(&[b"\x01", b"\x02\x03"]).0, 0);
        assert_eq!(read(&[b"\x01\x02"]).0, 1);
    }

    #[test]
    fn handle_without_a_value_names_its_operation() {
        let handle = Broadcast::new("`broadcast` at src/main.rs:7".to_string(), |bytes: &[u8]| vec![bytes.len(); 2]);
        let text = |f: &dyn Fn()| {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
            *panicked.downcast::<String>().unwrap()
        };
        let none = text(&|| assert_eq!(handle.get(), &0));
        assert!(none.starts_with("the `broadcast` at src/main.rs:7 has no value here"), "{none}");
        let seen = handle.bound(Port { stage: StageId(0), output: 0 }).seen(&[vec![1]]);
        let two = text(&|| with_broadcasts(vec![seen], || assert_eq!(handle.get(), &0)));
        assert!(two.starts_with("the `broadcast` at src/main.rs:7 has 2 values"), "{two}");
    }
}
