//! A hint to the processor that some memory is read soon. Nothing happens on machines other than x86-64.

/// Bytes of a cache line on most machines; a wrong number costs nothing but hints.
pub const LINE: usize = 64;

/// Asks for the cache line at `pointer`, which need not be valid.
#[inline(always)]
pub fn read<T>(pointer: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing that the program can see and ignores addresses that are not mapped. SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = pointer;
}
