//! Monotonic time in milliseconds, from an origin that only the clock's owner knows.

use serde::{Deserialize, Serialize};

/// A point of monotonic time, in milliseconds. Pure code gets it as an argument and never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds since `earlier`; zero if `earlier` is later than this.
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// This time plus `ms` milliseconds, saturating.
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}
