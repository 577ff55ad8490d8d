//! How long orphans are kept, and the journal's record of their waits: plain data.

use windrow_model::Digest;

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// Retention and rate of orphans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanRule {
    /// Time from the discovery that a chunk is unreferenced to the trash.
    pub kept_ms: u64,
    /// Chunks that move to the trash in an hour, over the whole cluster.
    pub per_hour: u32,
}

impl Default for OrphanRule {
    fn default() -> Self {
        OrphanRule { kept_ms: 24 * HOUR_MS, per_hour: 1_000 }
    }
}

/// The name of a reservation for moves of orphans to the trash, in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservationId(pub(crate) u64);

/// How long an orphan has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Since this time of the orphans' clock.
    Since(u64),
    /// For this many milliseconds; paused while no connected worker holds it.
    Paused(u64),
}

/// The journal's record of orphans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrphanWaits {
    /// The orphans' clock when this was recorded, in milliseconds.
    pub clock_ms: u64,
    /// When, on that clock, the last chunk moved to the trash or the last reservation for such moves ends, and how many
    /// moved or may move in the hour up to then.
    pub hour: Option<(u64, u32)>,
    pub waits: Vec<(Digest, Wait)>,
}

/// Changes since the last record in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanChanges {
    /// As in [`OrphanWaits`].
    pub clock_ms: u64,
    pub hour: Option<(u64, u32)>,
    /// `None`: it is no longer an orphan.
    pub waits: Vec<(Digest, Option<Wait>)>,
    /// `hour` has a new reservation: `Datasets::reservation_recorded` is called when this is durable.
    pub reserves: Option<ReservationId>,
}
