//! How long orphans are kept, and what the journal has of their waits: plain data.

use windrow_model::Digest;

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// How long orphans are kept, and how fast they go then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanRule {
    /// From when a coordinator finds that nothing refers to a chunk, to the trash.
    pub kept_ms: u64,
    /// Chunks that go to the trash in an hour, over the whole cluster.
    pub per_hour: u32,
}

impl Default for OrphanRule {
    fn default() -> Self {
        OrphanRule { kept_ms: 24 * HOUR_MS, per_hour: 1_000 }
    }
}

/// How long an orphan has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Since this time of the orphans' clock.
    Since(u64),
    /// For so many milliseconds; it does not wait now, since no worker that is there holds it.
    Paused(u64),
}

/// What the journal has of orphans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphanWaits {
    /// The orphans' clock when this was recorded, in milliseconds.
    pub clock_ms: u64,
    /// When, on that clock, a chunk last went to the trash, and how many went in the hour up to then.
    pub hour: Option<(u64, u32)>,
    pub waits: Vec<(Digest, Wait)>,
}

/// What has changed since the journal was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanChanges {
    /// As in [`OrphanWaits`].
    pub clock_ms: u64,
    pub hour: Option<(u64, u32)>,
    /// `None`: it is no orphan any more.
    pub waits: Vec<(Digest, Option<Wait>)>,
}
