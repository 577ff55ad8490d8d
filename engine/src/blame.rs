//! Records which thread was at which record when a fatal signal arrived.
//!
//! [`install`] maps a region for [crumbs] and sets handlers for the signals that a process raises by its own fault. A
//! handler notes the signal and the slot of its thread, restores the previous action and lets the signal be raised
//! again, so the standard library's message about a stack overflow, core dumps and the exit status stay unchanged.
//! Handlers run on the alternative stack that the standard library gives to each of its threads, so a stack overflow is
//! recorded too.

use crate::signal_action::{Handler, pass_on};
use crate::torn;
use memmap2::{MmapOptions, MmapRaw};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use windrow_format::crumbs::{self, Crumbs, Slot};

/// Signals that a process raises by its own fault.
const FATAL: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// The words of the region, once it is installed.
static REGION: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// The previous actions of the `FATAL` signals.
static BEFORE: OnceLock<[libc::sigaction; FATAL.len()]> = OnceLock::new();
/// Slots returned by threads that have ended. `TAKEN` counts all slots ever taken.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Returned slots that are outside of a region.
static FREE_PRIVATE: Mutex<Vec<Slot<'static>>> = Mutex::new(Vec::new());
static TAKEN: AtomicUsize = AtomicUsize::new(0);

const NO_SLOT: usize = usize::MAX;

thread_local! {
    /// Read by the signal handler; needs no lazy initialisation.
    static INDEX: Cell<usize> = const { Cell::new(NO_SLOT) };
    static MINE: SlotGuard = SlotGuard::new();
}

/// Maps the region and sets the handlers for fatal signals. Only the first call of a process has an effect.
///
/// # Errors
/// The file does not have the size of a region, or a system call fails.
pub fn install(region: impl AsFd) -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    let length = rustix::fs::fstat(&region)?.st_size;
    if length as usize != crumbs::BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a region of {length} bytes")));
    }
    let map: MmapRaw = MmapOptions::new().len(crumbs::BYTES).map_raw(&region.as_fd())?;
    let words: *mut AtomicU64 = map.as_mut_ptr().cast();
    // The mapping is never dropped: a handler may run at any time.
    std::mem::forget(map);
    REGION.store(words, Ordering::Release);
    let _ = shared();

    let mut before = [const { MaybeUninit::<libc::sigaction>::zeroed() }; FATAL.len()];
    for (signal, before) in FATAL.into_iter().zip(&mut before) {
        // SAFETY: a pure question about the process's own state, answered into memory of the right type.
        let asked = unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) };
        if asked != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: each one was zeroed, which is a valid `sigaction`, and then filled by the system.
    let before = before.map(|b| unsafe { b.assume_init() });
    if BEFORE.set(before).is_err() {
        return Ok(());
    }
    let handler: Handler = note;
    for signal in FATAL {
        // SAFETY: all fields are set or zero, which is valid; the handler is async-signal-safe (see there) and has the signature
        // that SA_SIGINFO asks for.
        let set = unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(signal, &action, ptr::null_mut())
        };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Records that the following exit is intended.
pub fn ended() {
    if let Some(crumbs) = shared() {
        crumbs.ended();
    }
}

/// This thread's slot. Other processes can read it only if a region is installed.
pub fn slot() -> Slot<'static> {
    MINE.with(|claim| claim.slot)
}

fn shared() -> Option<Crumbs<'static>> {
    let words = REGION.load(Ordering::Acquire);
    if words.is_null() {
        return None;
    }
    // SAFETY: `install` stored it: the start of a page-aligned mapping of `WORDS` words that is never unmapped and of which every
    // bit pattern is a valid atomic word.
    Crumbs::new(unsafe { std::slice::from_raw_parts(words, crumbs::WORDS) })
}

/// Holds the slot of a thread and returns it when the thread ends.
struct SlotGuard {
    slot: Slot<'static>,
}

impl SlotGuard {
    fn new() -> SlotGuard {
        if let Some(crumbs) = shared() {
            let free = lock(&FREE).pop();
            let index = free.unwrap_or_else(|| TAKEN.fetch_add(1, Ordering::Relaxed));
            if let Some(slot) = crumbs.slot(index) {
                INDEX.set(index);
                return SlotGuard { slot };
            }
        }
        SlotGuard { slot: lock(&FREE_PRIVATE).pop().unwrap_or_else(crumbs::private_slot) }
    }
}

impl Drop for SlotGuard {
    /// Runs at the end of the thread, and also when the thread calls `exit`; in that case the slot is still active.
    fn drop(&mut self) {
        if let (Some(crumbs), true) = (shared(), self.slot.is_active() && INDEX.get() != NO_SLOT) {
            return crumbs.crashed(0, Some(INDEX.get()));
        }
        self.slot.end();
        match INDEX.replace(NO_SLOT) {
            NO_SLOT => lock(&FREE_PRIVATE).push(self.slot),
            index => lock(&FREE).push(index),
        }
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The handler. Async-signal-safe: atomic loads and stores, a thread-local without lazy initialisation, then what
/// `torn::mend` and `pass_on` do.
extern "C" fn note(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if torn::mend(signal, info) {
        return;
    }
    if let Some(crumbs) = shared() {
        let index = INDEX.get();
        crumbs.crashed(signal as u32, (index != NO_SLOT).then_some(index));
    }
    let before = FATAL.iter().position(|s| *s == signal).zip(BEFORE.get()).map(|(i, before)| &before[i]);
    // SAFETY: `install` set this handler with SA_SIGINFO, and `before` came from the system for this signal.
    unsafe { pass_on(signal, info, before) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_without_a_region_have_slots_of_their_own() {
        let other = std::thread::spawn(|| {
            slot().file(std::path::Path::new("/other"), 1);
            slot().record(2);
            slot().place()
        });
        slot().no_record();
        assert_eq!(other.join().unwrap().unwrap().offset, 2);
        assert_eq!(slot().place(), None);
    }

    #[test]
    fn install_refuses_a_file_of_another_size() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(install(&file).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
