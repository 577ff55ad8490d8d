//! The slot array, with all unsafe code of the table.
//!
//! A slot holds two key words, length and table hash, and the accumulator. The key words of a short key (up to sixteen
//! bytes) are its bytes padded with zeros; those of a longer key are the address of its bytes and its hash. An all-zero
//! slot is empty.
//!
//! Invariants: a slot whose `meta` is not zero holds an initialised accumulator; the address in the slot of a long key
//! points to bytes that live until the slots are cleared or dropped (the caller keeps them in its arena); at least one
//! slot is empty.

use crate::hash::{hash_long, hash_short};
use crate::key::short;
use crate::region::{Plain, Region};
use std::mem::{MaybeUninit, needs_drop};
use std::num::NonZeroU64;
use windrow_format::prefetch;

/// Length in bytes of the longest key that is kept in its slot.
const SHORT_MAX: usize = 16;

/// A key in the form that the table compares.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    k0: u64,
    k1: u64,
    /// Low half: twice the length and 1. High half: low half of the table hash.
    meta: NonZeroU64,
    /// A long key's bytes; empty for a short one.
    bytes: &'a [u8],
}

impl<'a> Key<'a> {
    /// Splits and hashes a key.
    #[inline(always)]
    pub(crate) fn new(key: &'a [u8]) -> Self {
        if Self::is_short(key) { Self::new_short(key) } else { Self::new_long(key) }
    }

    /// Returns whether a key is kept in its slot: up to sixteen bytes.
    #[inline(always)]
    pub(crate) fn is_short(key: &[u8]) -> bool {
        key.len() <= SHORT_MAX
    }

    /// Hashes a key of up to sixteen bytes.
    #[inline(always)]
    pub(crate) fn new_short(key: &[u8]) -> Self {
        let (k0, k1) = short(key);
        Key { k0, k1, meta: meta(hash_short(k0, k1, key.len()), key.len()), bytes: &[] }
    }

    #[inline]
    fn new_long(key: &'a [u8]) -> Self {
        let hash = hash_long(key);
        Key { k0: 0, k1: hash, meta: meta(hash, key.len()), bytes: key }
    }

    /// The bytes of a key that does not fit into a slot.
    #[inline(always)]
    pub(crate) fn long(&self) -> Option<&'a [u8]> {
        if is_short(self.meta.get()) { None } else { Some(self.bytes) }
    }

    /// Length and hash in the form of a slot's `meta`.
    #[inline(always)]
    pub(crate) fn meta(&self) -> NonZeroU64 {
        self.meta
    }

    /// The key's term in an order-independent digest of many keys. It is a square because the hashes of similar short
    /// keys are nearly linear: with a plain sum, the pair n, n + 3 equals n + 1, n + 2 in one case of a hundred.
    #[inline(always)]
    pub(crate) fn digest(&self) -> u64 {
        let hash_first = self.meta.get().rotate_left(32);
        hash_first.wrapping_mul(hash_first)
    }

    /// The two key words of a short key; zero and the hash of a long one.
    #[inline(always)]
    pub(crate) fn words(&self) -> [u64; 2] {
        [self.k0, self.k1]
    }

    /// Rebuilds a key from [`words`](Self::words) and [`meta`](Self::meta); `bytes` are needed only for a long key.
    #[inline(always)]
    pub(crate) fn from_parts(words: [u64; 2], meta: NonZeroU64, bytes: &'a [u8]) -> Self {
        Key { k0: words[0], k1: words[1], meta, bytes }
    }

    /// The same long key, backed by the copy of its bytes at this address.
    pub(crate) fn stored_at<'b>(&self, bytes: &'b [u8]) -> Key<'b> {
        assert_eq!(bytes.len(), length(self.meta.get()), "the stored bytes are the key's");
        Key { k0: bytes.as_ptr().expose_provenance() as u64, k1: self.k1, meta: self.meta, bytes }
    }
}

#[inline(always)]
fn meta(hash: u64, length: usize) -> NonZeroU64 {
    NonZeroU64::MIN | (hash << 32 | (length as u64) << 1)
}

/// A key's length, from its slot's word.
#[inline(always)]
pub(crate) fn length(meta: u64) -> usize {
    meta as u32 as usize >> 1
}

#[inline(always)]
fn is_short(meta: u64) -> bool {
    length(meta) <= SHORT_MAX
}

/// One key and its accumulator.
#[repr(C)]
pub(crate) struct Slot<T> {
    k0: u64,
    k1: u64,
    meta: u64,
    acc: MaybeUninit<T>,
}

// SAFETY: three integers and memory that may hold anything.
unsafe impl<T> Plain for Slot<T> {}

impl<T> Slot<T> {
    #[inline(always)]
    fn matches(&self, key: &Key<'_>) -> bool {
        if self.meta != key.meta.get() || self.k1 != key.k1 {
            return false;
        }
        if is_short(self.meta) { self.k0 == key.k0 } else { self.key() == key.bytes }
    }

    #[inline(always)]
    fn prefetch_bytes(&self) {
        if !is_short(self.meta) {
            prefetch::read(std::ptr::without_provenance::<u8>(self.k0 as usize));
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.key_of(length(self.meta))
    }

    /// The key, given its length; also works for a slot whose `meta` has just been taken.
    #[inline]
    fn key_of(&self, length: usize) -> &[u8] {
        let start = if length <= SHORT_MAX {
            // The two words stand side by side in the slot.
            std::ptr::from_ref(self).cast::<u8>()
        } else {
            std::ptr::with_exposed_provenance(self.k0 as usize)
        };
        // SAFETY: a short key's bytes are the first `length` of the slot's first sixteen, a long key's lie in the arena (see above).
        unsafe { std::slice::from_raw_parts(start, length) }
    }
}

/// Empties a slot that is not empty.
#[inline]
fn take_out<T, X>(slot: &mut Slot<T>, f: impl FnOnce(&[u8], T) -> X) -> X {
    let length = length(std::mem::replace(&mut slot.meta, 0));
    let acc = std::mem::replace(&mut slot.acc, MaybeUninit::uninit());
    // SAFETY: the slot was not empty, so its accumulator was initialised; it is no longer reached from the slot.
    let acc = unsafe { acc.assume_init() };
    f(slot.key_of(length), acc)
}

/// Most slots of a table: they are chosen by 32 bits of a hash.
pub(crate) const SLOTS_MAX: u64 = 1 << 32;

/// A power-of-two array of slots. Owns the accumulators in them, but not the bytes of long keys.
pub(crate) struct Slots<T> {
    region: Region<Slot<T>>,
    mask: usize,
    /// Number of slots that are not empty. At zero the memory may serve another table.
    used: usize,
}

impl<T> Slots<T> {
    /// Creates `count` empty slots; `count` is a power of two up to [`SLOTS_MAX`].
    pub(crate) fn new(count: usize) -> std::io::Result<Self> {
        assert!(count.is_power_of_two() && count as u64 <= SLOTS_MAX);
        Ok(Slots { region: Region::empty_slots(count)?, mask: count - 1, used: 0 })
    }

    /// Number of slots.
    pub(crate) fn len(&self) -> usize {
        self.mask + 1
    }

    /// Number of keys.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    #[inline(always)]
    fn home(&self, meta: u64) -> usize {
        (meta >> 32) as usize & self.mask
    }

    #[inline(always)]
    fn slot(&self, i: usize) -> &Slot<T> {
        // SAFETY: every index is masked, and the region holds `mask + 1` slots.
        unsafe { self.region.as_slice().get_unchecked(i & self.mask) }
    }

    /// The index of the slot that `matches` accepts, among those a key with this `meta` may be in.
    #[inline(always)]
    fn position(&self, meta: u64, matches: impl Fn(&Slot<T>) -> bool) -> Option<usize> {
        let mut i = self.home(meta);
        loop {
            let slot = self.slot(i);
            if matches(slot) {
                return Some(i);
            }
            if slot.meta == 0 {
                return None;
            }
            i = (i + 1) & self.mask;
        }
    }

    /// The accumulator of a key of up to sixteen bytes, given the key's parts.
    #[inline(always)]
    pub(crate) fn find_short(&mut self, words: [u64; 2], meta: NonZeroU64) -> Option<&mut T> {
        let matches = |slot: &Slot<T>| slot.meta == meta.get() && slot.k1 == words[1] && slot.k0 == words[0];
        let i = self.position(meta.get(), matches)?;
        // SAFETY: the index is masked; a slot that matches is not empty, so its accumulator is initialised.
        unsafe { Some(self.region.as_mut_slice().get_unchecked_mut(i).acc.assume_init_mut()) }
    }

    /// The accumulator of a key.
    #[inline(always)]
    pub(crate) fn find(&mut self, key: Key<'_>) -> Option<&mut T> {
        let i = self.position(key.meta.get(), |slot| slot.matches(&key))?;
        // SAFETY: the index is masked; a slot that matches is not empty, so its accumulator is initialised.
        unsafe { Some(self.region.as_mut_slice().get_unchecked_mut(i).acc.assume_init_mut()) }
    }

    /// Puts a key that is not in the table into its first empty slot. The bytes of a long key must be stored already
    /// and outlive the slots.
    pub(crate) fn insert(&mut self, key: Key<'_>, acc: T) {
        self.place(Slot { k0: key.k0, k1: key.k1, meta: key.meta.get(), acc: MaybeUninit::new(acc) });
    }

    #[inline]
    fn place(&mut self, slot: Slot<T>) {
        let mut i = self.home(slot.meta);
        while self.slot(i).meta != 0 {
            i = (i + 1) & self.mask;
        }
        self.region.as_mut_slice()[i] = slot;
        self.used += 1;
    }

    /// Moves all keys to `larger`, which then replaces these slots.
    pub(crate) fn move_to(&mut self, mut larger: Slots<T>) {
        for slot in self.region.as_mut_slice() {
            if slot.meta != 0 {
                let acc = std::mem::replace(&mut slot.acc, MaybeUninit::uninit());
                larger.place(Slot { k0: slot.k0, k1: slot.k1, meta: slot.meta, acc });
                // The accumulator has moved: this slot must not drop it.
                slot.meta = 0;
            }
        }
        self.used = 0;
        *self = larger;
    }

    /// All keys with their slot indexes.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let slots = self.region.as_slice();
        slots.iter().enumerate().filter(|(_, s)| s.meta != 0).map(|(i, s)| {
            if let Some(ahead) = slots.get(i + 16) {
                ahead.prefetch_bytes();
            }
            (i as u32, s.key())
        })
    }

    /// The key at an index that [`keys`](Self::keys) has returned.
    #[inline]
    pub(crate) fn key_at(&self, at: u32) -> &[u8] {
        self.region.as_slice()[at as usize].key()
    }

    /// Removes the key at an index that [`keys`](Self::keys) has returned. The bytes of a long key stay in the arena.
    #[inline]
    pub(crate) fn take<X>(&mut self, at: u32, f: impl FnOnce(&[u8], T) -> X) -> X {
        let slot = &mut self.region.as_mut_slice()[at as usize];
        assert!(slot.meta != 0, "place {at} was named by `keys`");
        self.used -= 1;
        take_out(slot, f)
    }

    /// Removes all keys in any order. After an error the remaining keys are still there.
    pub(crate) fn drain<E>(&mut self, mut f: impl FnMut(&[u8], T) -> Result<(), E>) -> Result<(), E> {
        let slots = self.region.as_mut_slice();
        for i in 0..slots.len() {
            if let Some(ahead) = slots.get(i + 16) {
                ahead.prefetch_bytes();
            }
            if slots[i].meta != 0 {
                self.used -= 1;
                take_out(&mut slots[i], &mut f)?;
            }
        }
        Ok(())
    }

    /// The accumulator of a key, for reading.
    #[inline(always)]
    pub(crate) fn get(&self, key: Key<'_>) -> Option<&T> {
        let i = self.position(key.meta.get(), |slot| slot.matches(&key))?;
        // SAFETY: a slot that matches is not empty, so its accumulator is initialised.
        Some(unsafe { self.slot(i).acc.assume_init_ref() })
    }

    /// Prefetches the cache line that a probe of this key reads first.
    #[inline(always)]
    pub(crate) fn prefetch(&self, key: Key<'_>) {
        prefetch::read(std::ptr::from_ref(self.slot(self.home(key.meta.get()))));
    }

    /// Prefetches the bytes of the long key in this key's home slot. The slot should be in the cache already.
    #[inline(always)]
    pub(crate) fn prefetch_bytes(&self, meta: u64) {
        let slot = self.slot(self.home(meta));
        if slot.meta == meta {
            slot.prefetch_bytes();
        }
    }

    /// Prefetches the bytes of the long key at an index. The slot should be in the cache already.
    #[inline(always)]
    pub(crate) fn prefetch_bytes_at(&self, at: u32) {
        self.slot(at as usize).prefetch_bytes();
    }

    /// Prefetches the cache line of a slot.
    #[inline(always)]
    pub(crate) fn prefetch_at(&self, at: u32) {
        prefetch::read(std::ptr::from_ref(self.slot(at as usize)));
    }

    /// Drops the accumulators and empties all slots.
    pub(crate) fn clear(&mut self) {
        if self.used == 0 {
            return;
        }
        for slot in self.region.as_mut_slice() {
            if slot.meta != 0 {
                slot.meta = 0;
                if needs_drop::<T>() {
                    // SAFETY: the slot was not empty, and is now: the accumulator is dropped once.
                    unsafe { slot.acc.assume_init_drop() };
                }
            }
        }
        self.used = 0;
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() {
            self.clear();
        }
        if self.used == 0 {
            self.region.declare_empty();
        }
    }
}
