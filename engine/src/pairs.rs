//! Sequences of pairs of bytes, as merges, sorts and tables read them.

use crate::error::{EngineError, Result};
use crate::memory::Claim;
use windrow_format::block::FormatError;

/// A sequence of pairs that are lent one at a time.
pub trait Pairs {
    /// The current pair; none at the end.
    fn peek(&self) -> Option<(&[u8], &[u8])>;
    /// Steps to the next pair. Does nothing at the end.
    fn advance(&mut self) -> Result<()>;
}

/// Pairs together with the memory that they use.
pub(crate) struct Claimed<P> {
    pub pairs: P,
    pub _claim: Claim,
}

impl<P: Pairs> Pairs for Claimed<P> {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.pairs.peek()
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        self.pairs.advance()
    }
}

/// The reason why a loop over pairs has ended early.
pub(crate) enum Stop {
    /// The segment is damaged.
    Format(FormatError),
    /// The function that was called with the pairs has failed.
    Function(EngineError),
}

impl From<EngineError> for Stop {
    fn from(e: EngineError) -> Self {
        Stop::Function(e)
    }
}

impl From<FormatError> for Stop {
    fn from(e: FormatError) -> Self {
        Stop::Format(e)
    }
}
