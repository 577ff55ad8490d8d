//! The ways in which the records of a file lie in it.

/// How the records of a part lie in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PartForm {
    /// As [`Sink::write`](crate::Sink::write) appends them, one after the other.
    #[default]
    Appended,
    /// In checked blocks behind a description of their type, as `records_sink` writes them and `records` reads them:
    /// [`Sink::write`](crate::Sink::write) appends the encoding of one record ([`Datum`](crate::Datum)) and nothing
    /// else, and the engine decodes it, without a call of [`Source::read`](crate::Source::read).
    Blocks {
        /// Whether blocks are compressed by LZ4 where that makes them smaller.
        lz4: bool,
    },
}
