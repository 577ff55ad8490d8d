//! Failpoints: named places in the code at which a test lets a process die, wait, or see an error of the system.
//!
//! ```text
//! WINDROW_FAILPOINTS="journal.written=kill@3;spill=enospc"
//!                     NAME=ACTION[@PASS][;…]
//! ```
//! The action is done at the given pass of the process through the place, counted from 1; with `@PASS+` at that one and
//! all later ones; without either at every one. Actions: `kill` (SIGKILL), `abort`, `panic`, `sleep(MS)`, `hang` (a call of a
//! file system that never returns), and errors of
//! the system: `enospc`, `eio` or `error(NUMBER)`.
//!
//! They exist where debug assertions do, so in binaries of cargo's `dev` profile. Elsewhere both macros are constants: no
//! code, not even the names, is in such a binary, and the variable means nothing.

#[cfg(debug_assertions)]
mod points;
#[cfg(debug_assertions)]
mod spec;

#[cfg(debug_assertions)]
pub use points::{Armed, arm, pass};

/// The environment variable that says what happens where.
pub const VARIABLE: &str = "WINDROW_FAILPOINTS";

/// Whether this build has failpoints.
pub const ENABLED: bool = cfg!(debug_assertions);

/// A place that can fail: `Ok(())`, or the error that a test asked for.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::pass($name)
    };
}
/// A place that can fail: `Ok(())` in this build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        ::std::io::Result::Ok(())
    };
}

/// A place at which a process can die, but where nothing can fail: an error that a test asks for here ends the process.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! crashpoint {
    ($name:literal) => {
        if let Err(e) = $crate::pass($name) {
            panic!("nothing can fail at the failpoint {}: {e}", $name)
        }
    };
}
/// A place at which a process can die: nothing in this build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! crashpoint {
    ($name:literal) => {};
}

/// Without debug assertions the macros are usable where only constants are: nothing of them is left at run time.
#[cfg(not(debug_assertions))]
const _: () = {
    assert!(!ENABLED);
    assert!(failpoint!("any").is_ok());
    crashpoint!("any");
};
