//! Block buffers that outlive their task, so that the next one does not have to be given zeroed pages by the system.
//!
//! A slot's share of the memory is its own whether a task uses it or not; what waits here is a small part of it.

use std::sync::{Mutex, PoisonError};

static BUFFERS: Mutex<Buffers> = Mutex::new(Buffers { list: Vec::new(), bytes: 0 });

struct Buffers {
    list: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer, empty or used before.
pub fn take() -> Vec<u8> {
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    let buffer = buffers.list.pop().unwrap_or_default();
    buffers.bytes -= buffer.capacity();
    buffer
}

/// Keeps a buffer unless more than `bytes_max` wait already.
pub fn give(buffer: Vec<u8>, bytes_max: usize) {
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    if buffers.bytes + buffer.capacity() <= bytes_max {
        buffers.bytes += buffer.capacity();
        buffers.list.push(buffer);
    }
}
