//! The clock of the control plane: the only caller of `Instant::now` there. All other code takes time as an argument
//! and can be simulated.

use std::time::Instant;
use windrow_model::Time;

/// A monotonic clock in milliseconds since its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Creates a clock that reads zero now.
    #[allow(clippy::new_without_default)] // A default that reads the time would hide the only place that does.
    pub fn new() -> Self {
        Clock { start: Instant::now() }
    }

    /// Milliseconds since this clock was created.
    pub fn now(&self) -> Time {
        Time(self.start.elapsed().as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
