//! Time as a number: monotonic milliseconds since some start that only its owner knows.

use serde::{Deserialize, Serialize};

/// A point of monotonic time, in milliseconds. Pure cores get it as an argument and never read a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds since `earlier`; zero if that lies ahead.
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    pub fn plus_ms(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}
