//! The error of bytes that do not decode.

/// The error for bytes that are not an encoding of the expected type: they are damaged, or another program wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode a {kind}: {what}")]
pub struct DecodeError {
    /// The expected kind of value.
    pub kind: &'static str,
    /// What is wrong with the bytes.
    pub what: String,
}

impl DecodeError {
    /// Creates an error for a kind of value.
    pub fn new(kind: &'static str, what: impl Into<String>) -> Self {
        DecodeError { kind, what: what.into() }
    }
}
