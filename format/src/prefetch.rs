//! Hints to the processor that memory will be read or written soon. Does nothing on machines other than x86-64.

/// Bytes of a cache line on most machines; a wrong value only wastes hints.
pub const LINE: usize = 64;

/// Prefetches the cache line at `pointer`, which need not be valid.
#[inline(always)]
pub fn read<T>(pointer: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no visible effect and ignores unmapped addresses. SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = pointer;
}

/// Prefetches the cache line at `pointer`, which need not be valid, for a store: no other core keeps a copy.
#[inline(always)]
pub fn write<T>(pointer: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: as in `read`. A processor without this instruction ignores it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_ET0>(pointer.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = pointer;
}
