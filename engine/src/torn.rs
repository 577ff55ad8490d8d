//! Mapped files that have become shorter than their mapping, or whose disk cannot read them.
//!
//! A read of such a page raises SIGBUS, which would end the process and every task in it, for a fault outside of their
//! code. A [`watch`]ed mapping reads as zeros instead, from that page to its end, and records where. Its readers check
//! [`Watched::torn_at`] after their last read, and discard results made from the zeros.
//!
//! Watched mappings are in tables that the handler reads without a lock; they are made as they are needed, and stay. A
//! mapping that does not fit into the last one is not protected, but a system lets a process have no more than they hold,
//! unless it was set up for that. SIGBUS for any other address goes to the previous handler.

use crate::signal_action::{Handler, pass_on};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Mappings in a table.
const TABLE_PLACES: usize = 1 << 12;
/// Mappings that are watched at a time: as many as Linux lets a process have by default.
const PLACES: usize = 1 << 16;

/// A table is made with the first mapping in it.
static TABLES: [OnceLock<Box<[Place]>>; PLACES / TABLE_PLACES] = [const { OnceLock::new() }; PLACES / TABLE_PLACES];
/// Places below this have been used.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Places that were given back.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// What SIGBUS did before; absent if the handler could not be set.
static BEFORE: OnceLock<Option<libc::sigaction>> = OnceLock::new();

/// A mapping. The version is odd while the others change.
#[derive(Debug)]
struct Place {
    version: AtomicU64,
    start: AtomicUsize,
    end: AtomicUsize,
    /// Offset of the first byte that was replaced, plus one; 0 if none was.
    torn: AtomicUsize,
}

impl Place {
    const fn new() -> Place {
        Place {
            version: AtomicU64::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            torn: AtomicUsize::new(0),
        }
    }

    fn set(&self, start: usize, end: usize) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.torn.store(0, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Start and end, if the address lies between them.
    fn holds(&self, address: usize) -> Option<(usize, usize)> {
        let version = self.version.load(Ordering::Acquire);
        let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let is_stable = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        (is_stable && (start..end).contains(&address)).then_some((start, end))
    }
}

/// The place with this number, if its table exists. Async-signal-safe: an atomic load.
fn place(index: usize) -> Option<&'static Place> {
    TABLES.get(index / TABLE_PLACES)?.get()?.get(index % TABLE_PLACES)
}

/// A mapping whose missing pages read as zeros. Drop it before the mapping.
#[derive(Debug)]
pub(crate) struct Watched {
    index: usize,
    place: &'static Place,
}

impl Watched {
    /// Offset of the first byte that could not be read, if there was one.
    pub(crate) fn torn_at(&self) -> Option<u64> {
        self.place.torn.load(Ordering::Acquire).checked_sub(1).map(|offset| offset as u64)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.place.set(0, 0);
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
    }
}

/// Watches a mapping of a file, which begins on a page. `None` if the tables are full or the system lets no handler be set.
pub(crate) fn watch(mapping: &[u8]) -> Option<Watched> {
    (*BEFORE.get_or_init(set_handler))?;
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let index = match free {
        Some(index) => index,
        None => {
            let next = |used| (used < PLACES).then_some(used + 1);
            USED.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?
        }
    };
    // The mapping is not read before this function returns, so the handler does not look for a place whose table is missing.
    let table = TABLES[index / TABLE_PLACES].get_or_init(|| (0..TABLE_PLACES).map(|_| Place::new()).collect());
    let place = &table[index % TABLE_PLACES];
    let start = mapping.as_ptr().addr();
    place.set(start, start + mapping.len());
    Some(Watched { index, place })
}

fn set_handler() -> Option<libc::sigaction> {
    // Asked here, since a handler may not.
    page_bytes();
    let handler: Handler = on_bus_error;
    // SAFETY: all fields are set or zero, which is valid; the handler is async-signal-safe (see there) and has the signature that
    // SA_SIGINFO asks for. The system fills `before`.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let mut before: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        (libc::sigaction(libc::SIGBUS, &action, &mut before) == 0).then_some(before)
    }
}

fn page_bytes() -> usize {
    static BYTES: AtomicUsize = AtomicUsize::new(0);
    match BYTES.load(Ordering::Relaxed) {
        0 => {
            let bytes = rustix::param::page_size();
            BYTES.store(bytes, Ordering::Relaxed);
            bytes
        }
        bytes => bytes,
    }
}

/// Puts zeros in the place of what cannot be read, if the signal says so of a watched mapping. Async-signal-safe: atomic loads and
/// stores, and the system call `mmap`, which takes no lock of this process.
pub(crate) fn mend(signal: i32, info: *mut libc::siginfo_t) -> bool {
    if signal != libc::SIGBUS {
        return false;
    }
    // SAFETY: `info` is valid in a handler that was set with SA_SIGINFO. A positive code is a fault of this thread, with its address.
    let address = match unsafe { (*info).si_code > 0 } {
        // SAFETY: as above.
        true => unsafe { (*info).si_addr() }.addr(),
        false => return false,
    };
    let used = USED.load(Ordering::Acquire).min(PLACES);
    let held = (0..used).filter_map(place).find_map(|place| Some((place, place.holds(address)?)));
    let Some((place, (start, end))) = held else { return false };
    // Below the page there may be bytes that were read.
    let page = address - address % page_bytes();
    // SAFETY: the range lies in a mapping that this thread is reading, so it is not unmapped meanwhile, and nothing else is mapped
    // between its last byte and the end of its page. References to its bytes stay valid: they read other values, as they do of any file
    // that is changed, and readers of watched mappings take no value for granted.
    let zeros = unsafe {
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(ptr::with_exposed_provenance_mut(page), end - page, libc::PROT_READ, flags, -1, 0)
    };
    if zeros == libc::MAP_FAILED {
        return false;
    }
    // Whichever thread came first tells the offset; the smallest would not say more.
    let _ = place.torn.compare_exchange(0, address - start + 1, Ordering::AcqRel, Ordering::Relaxed);
    true
}

/// The handler.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if mend(signal, info) {
        return;
    }
    let before = BEFORE.get().and_then(Option::as_ref);
    // SAFETY: `set_handler` set this handler with SA_SIGINFO, and `before` came from the system for SIGBUS.
    unsafe { pass_on(signal, info, before) }
}

#[cfg(test)]
mod tests {
    use crate::MappedFile;

    const PAGE: usize = 1 << 12;

    #[test]
    fn page_that_is_gone_reads_as_zeros_and_is_noted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 64 * PAGE]).unwrap();
        let [map, other] = [(); 2].map(|()| MappedFile::open(file.path()).unwrap());
        assert_eq!((map[0], map.torn_at()), (7, None));
        file.as_file().set_len(10 * PAGE as u64 + 5).unwrap();
        let sums: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| map.iter().map(|b| u64::from(*b)).sum::<u64>())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(sums, 4 * 7 * (10 * PAGE as u64 + 5));
        assert_eq!(map.torn_at().map(|at| at as usize / PAGE), Some(11));
        assert_eq!((other[9 * PAGE], other.torn_at()), (7, None), "each mapping is on its own");
    }

    #[test]
    fn thousands_of_mappings_are_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 2 * PAGE]).unwrap();
        let maps: Vec<_> = (0..3 * super::TABLE_PLACES).map(|_| MappedFile::open(file.path()).unwrap()).collect();
        file.as_file().set_len(PAGE as u64).unwrap();
        for map in maps.iter().step_by(1_000).chain(maps.last()) {
            assert!(map.is_watched() && map[PAGE] == 0 && map.torn_at().is_some());
        }
        assert!(maps[1].torn_at().is_none(), "each mapping is on its own");
    }

    #[test]
    fn place_of_a_closed_file_is_used_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 8]).unwrap();
        for _ in 0..2 * super::PLACES {
            let map = MappedFile::open(file.path()).unwrap();
            assert!(map.is_watched() && map.torn_at().is_none());
        }
    }
}
