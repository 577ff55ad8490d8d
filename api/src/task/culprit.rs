//! Records which operation failed, and at which key or record, for the message of a failure of user code.
//!
//! Operations are fused, so a stage has one location in the program and many functions. Recording the operation in a
//! loop would cost time for each record. Instead every call of user code has a guard on the stack that does nothing
//! unless a panic unwinds through it. The innermost guard comes first, and its operation is the right one.

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use std::cell::RefCell;
use std::fmt::{self, Write};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use windrow_model::{Digest, KeyPlace};

/// Bytes of a key or record that are shown.
const SHOWN_MAX: usize = 120;

/// An operation of a plan: its name, and where the user's program calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Op {
    pub name: &'static str,
    pub at: &'static Location<'static>,
}

impl Op {
    /// The operation whose method the user's program calls.
    #[track_caller]
    pub(crate) fn here(name: &'static str) -> Op {
        Op { name, at: Location::caller() }
    }
}

/// What is known about a failure.
#[derive(Default)]
pub(crate) struct Culprit {
    op: Option<Op>,
    /// `key "a"`, `record 7`
    at: Option<String>,
    /// The key, or the record without a key, that the task reads from other tasks.
    key: Option<KeyPlace>,
}

impl Culprit {
    /// The key, or the record without a key, that user code has failed at.
    pub(crate) fn key(&self) -> Option<KeyPlace> {
        self.key.clone()
    }

    fn note_key(&mut self, bytes: &[u8], shown: impl FnOnce() -> String) {
        if self.key.is_none() {
            self.key = Some(KeyPlace { digest: Digest::of(bytes), shown: shown() });
        }
    }

    /// Returns the end of a message about the failure; empty if nothing is known.
    pub(crate) fn suffix(&self) -> String {
        let Some(Op { name, at }) = self.op else { return String::new() };
        let key = self.at.as_ref().map(|at| format!(", {at}")).unwrap_or_default();
        format!(" (in `{name}` at {}:{}{key})", at.file(), at.line())
    }
}

/// A guard that acts if a panic unwinds through it, unless it is [kept](Self::keep) from it. Made of plain values, and all in line,
/// so that the path without a panic has nothing to do, not even to store them. What it holds stays in registers or on the stack
/// during the call, so in a loop over records it should be one reference.
pub(crate) struct Passing<P: Passed>(P);

/// What happens when a panic unwinds through a [`Passing`].
pub(crate) trait Passed: Copy {
    fn passed(self);
}

/// What is noted when a panic passes.
pub(crate) trait Note: Copy {
    fn note(self, culprit: &mut Culprit);
}

impl<P: Passed> Passing<P> {
    #[inline(always)]
    pub(crate) fn new(passed: P) -> Self {
        Passing(passed)
    }
    /// No panic has come.
    #[inline(always)]
    pub(crate) fn keep(self) {
        std::mem::forget(self)
    }
}

impl<P: Passed> Drop for Passing<P> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.passed()
    }
}

impl<N: Note> Passed for (&RefCell<Culprit>, N) {
    #[inline(always)]
    fn passed(self) {
        change(self.0, self.1)
    }
}

/// Runs `f` with a guard.
#[inline(always)]
pub(crate) fn guarded<X>(passed: impl Passed, f: impl FnOnce() -> X) -> X {
    let passing = Passing::new(passed);
    let result = f();
    passing.keep();
    result
}

/// Notes something, whatever state a panic has left things in.
#[cold]
#[inline(never)]
pub(crate) fn change<N: Note>(culprit: &RefCell<Culprit>, note: N) {
    if let Ok(mut culprit) = culprit.try_borrow_mut() {
        note.note(&mut culprit)
    }
}

/// By reference: a guard that held the operation itself would copy it to the stack for each record.
impl Note for &Op {
    fn note(self, culprit: &mut Culprit) {
        culprit.op.get_or_insert(*self);
    }
}

/// The bytes of a key, and the record that is worked on: noted unless something further inside is. Without an operation the failure is
/// none of user code.
pub(crate) struct AtKey<'k, K>(pub &'k [u8], pub PhantomData<fn() -> K>);
/// By reference: a record may be several words, which would be copied for each record.
pub(crate) struct AtRecord<'a, 'r, R: Datum>(pub &'a R::Ref<'r>);

/// A record without a key that other tasks have made, and its bytes.
pub(crate) struct AtRead<'a, 'r, R: Datum>(pub AtRecord<'a, 'r, R>, pub &'a [u8]);

impl<R: Datum> Clone for AtRead<'_, '_, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R: Datum> Copy for AtRead<'_, '_, R> {}

impl<R: Datum> Note for AtRead<'_, '_, R> {
    fn note(self, culprit: &mut Culprit) {
        self.0.note(culprit);
        if culprit.op.is_some() {
            culprit.note_key(self.1, || shown::<R>(R::shorten(*self.0.0)));
        }
    }
}

impl<K> Clone for AtKey<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for AtKey<'_, K> {}
impl<R: Datum> Clone for AtRecord<'_, '_, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R: Datum> Copy for AtRecord<'_, '_, R> {}

impl<K: Datum> Note for AtKey<'_, K> {
    fn note(self, culprit: &mut Culprit) {
        if culprit.op.is_some() {
            culprit.at.get_or_insert_with(|| format!("key {}", key::<K>(self.0)));
            culprit.note_key(self.0, || key::<K>(self.0));
        }
    }
}
impl<R: Datum> Note for AtRecord<'_, '_, R> {
    fn note(self, culprit: &mut Culprit) {
        if culprit.op.is_some() && culprit.at.is_none() {
            culprit.at = Some(record::<R>(R::shorten(*self.0)));
        }
    }
}

/// Formats a key for a message, from its bytes.
#[cold]
fn key<K: Datum>(bytes: &[u8]) -> String {
    let arena = Arena::new();
    match K::decode::<false>(&mut Reader::new(bytes, &arena))
        .or_else(|_| K::decode::<true>(&mut Reader::new(bytes, &arena)))
    {
        Ok(k) => shown::<K>(k),
        Err(_) => bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii().to_string(),
    }
}

/// Formats a record for a message.
#[cold]
fn record<R: Datum>(r: R::Ref<'_>) -> String {
    format!("record {}", shown::<R>(r))
}

/// Formats a value up to the limit. A type that panics while it is formatted, possibly for the second time, is
/// formatted no further.
fn shown<R: Datum>(r: R::Ref<'_>) -> String {
    let mut excerpt = Excerpt { text: String::new(), is_cut: false };
    let _ = catch_unwind(AssertUnwindSafe(|| R::show(r, &mut excerpt)));
    if excerpt.is_cut {
        excerpt.text.push('…');
    }
    excerpt.text
}

/// Text up to a limit. Writing more is an error, which ends the formatting.
struct Excerpt {
    text: String,
    is_cut: bool,
}

impl Write for Excerpt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = SHOWN_MAX.saturating_sub(self.text.len());
        let fitting = text.floor_char_boundary(left);
        self.text.push_str(&text[..fitting]);
        if fitting == text.len() {
            return Ok(());
        }
        self.is_cut = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::datum::encoded;
    use crate::data::datum::serde::Serde;
    use std::cmp::Reverse;

    fn shows<R: Datum>(r: R::Ref<'_>, text: &str) {
        assert_eq!(record::<R>(r), format!("record {text}"));
        assert_eq!(key::<R>(&encoded::<R>(r)), text);
    }

    #[test]
    fn keys_and_records_are_shown_escaped_and_bounded() {
        shows::<String>("a\"\u{1b}[31m\né", r#""a\"\u{1b}[31m\né""#);
        shows::<(Vec<u8>, [u8; 2])>((b"a\xff\n", b"\0b"), r#"(b"a\xff\n", b"\x00b")"#);
        shows::<(i64, (f64, Reverse<u8>))>((-1, (1.5, Reverse(2))), "(-1, (1.5, 2))");
        shows::<(Option<bool>, Option<()>, Vec<u16>)>((None, Some(()), &[1, 2]), "(None, Some(()), [1, 2])");
        shows::<(u8, Serde<Vec<String>>)>((1, &vec!["x".to_string()]), r#"(1, ["x"])"#);
        let long = record::<String>(&"x".repeat(1000));
        assert!(long.len() < 140 && long.ends_with("x…"), "{long}");
        let many: Vec<u64> = (0..100_000).collect();
        assert!(record::<Vec<u64>>(&many).len() < 140);
        assert!(record::<Serde<Vec<u64>>>(&many).len() < 140);
    }

    #[test]
    fn innermost_operation_is_named() {
        let culprit = RefCell::new(Culprit::default());
        let (inner, outer) = (Op::here("map"), Op::here("reduce"));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _key = Passing::new((&culprit, AtKey::<u8>(&[1], PhantomData)));
            let _outer = Passing::new((&culprit, &outer));
            let _inner = Passing::new((&culprit, &inner));
            std::panic::resume_unwind(Box::new(()))
        }));
        let caught: Result<(), _> = caught;
        assert!(caught.is_err());
        let suffix = culprit.borrow().suffix();
        assert!(suffix.starts_with(" (in `map` at ") && suffix.ends_with(", key 1)"), "{suffix}");
    }
}
