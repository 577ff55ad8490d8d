//! Failpoints: named points in the code at which a test can kill or delay the process, or inject a system error.
//!
//! ```text
//! WINDROW_FAILPOINTS="journal.written=kill@3;spill=enospc"
//!                     NAME=ACTION[@PASS][;…]
//! ```
//! The action runs at the given pass of the process through the point, counted from 1; with `@PASS+` at that pass and
//! all later ones; without either at every pass. Actions: `kill` (SIGKILL), `abort`, `panic`, `sleep(MS)`, `hang` (a
//! file system call that never returns), and system errors: `enospc`, `eio` or `error(NUMBER)`.
//!
//! Failpoints exist in builds with debug assertions, such as cargo's `dev` profile. In other builds both macros are
//! constants: the binary contains no code of them, not even the names, and the variable has no effect.

#![warn(unreachable_pub)]

#[cfg(debug_assertions)]
mod points;
#[cfg(debug_assertions)]
mod spec;

use std::ffi::OsString;

#[cfg(debug_assertions)]
pub use points::{Armed, arm, pass};

/// The environment variable that configures failpoints.
pub const VARIABLE: &str = "WINDROW_FAILPOINTS";

/// Whether this build has failpoints.
pub const ENABLED: bool = cfg!(debug_assertions);

/// The variables of this process that have these names, with their values, for a child that inherits only them; in builds with
/// failpoints also [`VARIABLE`], so that the child has the failpoints of its parent.
pub fn inherited(names: impl IntoIterator<Item = &'static str>) -> impl Iterator<Item = (&'static str, OsString)> {
    let names = names.into_iter().chain(ENABLED.then_some(VARIABLE));
    names.filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// A point that can fail: returns `Ok(())`, or the error that a test injects.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::pass($name)
    };
}
/// A point that can fail: always `Ok(())` in this build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        ::std::io::Result::Ok(())
    };
}

/// A point at which a process can die, but where no error can be returned: an injected error panics.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! crashpoint {
    ($name:literal) => {
        if let Err(e) = $crate::pass($name) {
            panic!("the failpoint {} cannot return an error: {e}", $name)
        }
    };
}
/// A point at which a process can die: does nothing in this build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! crashpoint {
    ($name:literal) => {};
}

/// Without debug assertions the macros work in constants, so they leave nothing at run time.
#[cfg(not(debug_assertions))]
const _: () = {
    assert!(!ENABLED);
    assert!(failpoint!("any").is_ok());
    crashpoint!("any");
};
