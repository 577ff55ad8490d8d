//! Limits of the bytes in a block before compression.

/// Most bytes of a key.
pub const KEY_MAX: usize = 16 << 20;
/// Most bytes of a value.
pub const VALUE_MAX: usize = 1 << 30;
/// Target size of a raw block in bytes: a block is closed before it grows beyond this, unless it is a single larger
/// record.
pub const RAW_TARGET: usize = 64 << 10;
/// Most bytes of a raw block: one record of the largest key and value with both lengths.
pub const RAW_MAX: usize = KEY_MAX + VALUE_MAX + 10;
