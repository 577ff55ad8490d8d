//! Memory of large arrays: on the heap while small, mapped with huge pages when large, and recycled.
//!
//! A large region costs nothing until it is touched, so a buffer can reserve its whole budget at once and never move
//! again. This module holds all unsafe views of raw memory that sorting and buffering need.

use crate::recycle::{self, Contents};
use memmap2::{Advice, MmapMut, MmapOptions};
use std::marker::PhantomData;
use std::mem::{align_of, size_of};

/// Size in bytes from which on memory is mapped.
const MAP_BYTES: usize = 256 << 10;
/// Size in bytes from which on huge pages are used. Below two huge pages, zeroing one costs more than it saves.
const HUGE_BYTES: usize = 4 << 20;

/// Types for which every bit pattern, including all zeros, is a valid value.
///
/// # Safety
/// Any bytes of the type's size are a valid value of it. Dropping a region drops no values.
pub(crate) unsafe trait Plain: Sized {}
// SAFETY: integers.
unsafe impl Plain for u8 {}
// SAFETY: integers.
unsafe impl Plain for u64 {}

/// An array of fixed length.
pub(crate) struct Region<T: Plain> {
    memory: Memory,
    length: usize,
    /// The contents when the region is dropped.
    contents: Contents,
    _type: PhantomData<T>,
}

enum Memory {
    Heap(Vec<Line>),
    Map(MmapMut),
}

/// A cache line: the heap's alignment for arrays.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

impl<T: Plain> Region<T> {
    /// `length` arbitrary values, for arrays that are written before they are read.
    pub(crate) fn arbitrary(length: usize) -> std::io::Result<Self> {
        Self::used(length, Contents::Arbitrary)
    }

    /// `length` values that are zero or were declared to be [empty slots](Self::declare_empty).
    pub(crate) fn empty_slots(length: usize) -> std::io::Result<Self> {
        Self::used(length, Contents::EmptySlots(size_of::<T>()))
    }

    /// Declares that the values are empty slots, so that a table of slots of this size may reuse them.
    pub(crate) fn declare_empty(&mut self) {
        self.contents = Contents::EmptySlots(size_of::<T>());
    }

    /// `length` zeroed values; a large region takes memory only when it is touched.
    pub(crate) fn untouched(length: usize) -> std::io::Result<Self> {
        Self::zeroed(length)
    }

    fn used(length: usize, contents: Contents) -> std::io::Result<Self> {
        let bytes = length * size_of::<T>();
        let kept = if bytes < MAP_BYTES { None } else { recycle::take_map(bytes, contents) };
        // Zeroing present pages costs less than getting zeroed pages from the system.
        let kept = kept.or_else(|| {
            let mut map = if bytes < MAP_BYTES { None } else { recycle::take_map(bytes, Contents::Arbitrary) }?;
            map[..bytes].fill(0);
            Some(map)
        });
        match kept {
            Some(map) => {
                Ok(Region { memory: Memory::Map(map), length, contents: Contents::Arbitrary, _type: PhantomData })
            }
            None => Self::zeroed(length),
        }
    }

    /// `length` zeroed values. A mapped region takes address space now and memory when it is touched.
    fn zeroed(length: usize) -> std::io::Result<Self> {
        const { assert!(align_of::<T>() <= 64) };
        let bytes = length * size_of::<T>();
        let memory = if bytes < MAP_BYTES || cfg!(miri) {
            Memory::Heap(vec![Line([0; 8]); bytes.div_ceil(64)])
        } else {
            let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon()?;
            if bytes >= HUGE_BYTES {
                // Only a hint.
                let _ = map.advise(Advice::HugePage);
            }
            Memory::Map(map)
        };
        Ok(Region { memory, length, contents: Contents::Arbitrary, _type: PhantomData })
    }

    /// The values.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the memory holds `length` values of a plain type, is aligned to a line or a page, and lives as long as the borrow.
        unsafe { std::slice::from_raw_parts(self.pointer().cast(), self.length) }
    }

    /// The values.
    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        let pointer = match &mut self.memory {
            Memory::Heap(v) => v.as_mut_ptr().cast::<T>(),
            Memory::Map(m) => m.as_mut_ptr().cast::<T>(),
        };
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(pointer, self.length) }
    }

    #[inline]
    fn pointer(&self) -> *const u8 {
        match &self.memory {
            Memory::Heap(v) => v.as_ptr().cast(),
            Memory::Map(m) => m.as_ptr(),
        }
    }
}

impl<T: Plain> Drop for Region<T> {
    fn drop(&mut self) {
        if let Memory::Map(map) = std::mem::replace(&mut self.memory, Memory::Heap(Vec::new())) {
            // If the mapping is larger than the region, only its start is known to be empty.
            let used = self.length * size_of::<T>();
            let whole = map.len() == used;
            recycle::give_map(map, used, if whole { self.contents } else { Contents::Arbitrary });
        }
    }
}

/// Words as bytes.
#[inline]
pub(crate) fn bytes(words: &[u64]) -> &[u8] {
    // SAFETY: any word is eight valid bytes.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 8) }
}

/// Words as bytes.
#[inline]
pub(crate) fn bytes_mut(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any word is eight valid bytes, and any eight bytes a valid word.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
}
