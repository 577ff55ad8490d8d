//! The buffers of batches that are sent, which are used again.
//!
//! Memory for a megabyte comes from the system and goes back to it each time, and its pages cost as much as copying the
//! megabyte.

use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers that are kept for later batches.
const KEPT_MAX: usize = 8;
/// Bytes of a buffer that is worth keeping, at least and at most.
const KEPT_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=2 << 20;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<Vec<u8>>> {
    // Every change is one call.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty buffer with a capacity of `bytes`.
pub(super) fn with_capacity(bytes: usize) -> Vec<u8> {
    let mut buffer = match KEPT_BYTES.contains(&bytes) {
        true => free().pop().unwrap_or_default(),
        false => Vec::new(),
    };
    buffer.reserve_exact(bytes);
    buffer
}

/// The bytes of a buffer. The buffer is free again when they are dropped.
pub(super) fn into_bytes(buffer: Vec<u8>) -> Bytes {
    match KEPT_BYTES.contains(&buffer.capacity()) {
        true => Bytes::from_owner(Lent(buffer)),
        false => buffer.into(),
    }
}

struct Lent(Vec<u8>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut free = free();
        if free.len() < KEPT_MAX {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_buffers_are_kept_and_come_back_empty() {
        let all: Vec<Bytes> = (0..3 * KEPT_MAX)
            .map(|n| {
                let mut buffer = with_capacity(1 << 20);
                assert!(buffer.is_empty() && buffer.capacity() >= 1 << 20);
                buffer.extend([n as u8; 100]);
                into_bytes(buffer)
            })
            .collect();
        assert!(all.iter().enumerate().all(|(n, bytes)| bytes[..] == [n as u8; 100]));
        drop(all);
        assert!(free().len() <= KEPT_MAX && free().iter().all(Vec::is_empty));
        assert_eq!(into_bytes(with_capacity(10)).len(), 0);
    }
}
