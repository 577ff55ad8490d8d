//! Waits between retries: exponential with jitter (uniform between half and all of the step, so that many clients of
//! one restarted coordinator do not reconnect at the same instant).

use std::time::Duration;

/// The waits between the retries of one operation.
#[derive(Clone, Debug)]
pub struct Backoff {
    first_ms: u64,
    max_ms: u64,
    tries: u32,
}

impl Backoff {
    /// Waits start at about `first`, double with each retry, and never exceed `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        let first_ms = (first.as_millis() as u64).max(1);
        Backoff { first_ms, max_ms: (max.as_millis() as u64).max(first_ms), tries: 0 }
    }

    /// For a peer that is expected to return: 50 ms to 2 s.
    pub fn reconnect() -> Self {
        Backoff::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    /// The wait before the next retry.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.first_ms.saturating_mul(1 << self.tries.min(30)).min(self.max_ms);
        self.tries += 1;
        let half = step / 2;
        Duration::from_millis(half + random_u64() % (step - half + 1))
    }

    /// Resets the waits after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Number of retries since the start or the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // Without entropy there is no jitter, but the waits are still right.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1000));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_delay().as_millis();
            assert!(wait >= step / 2 && wait <= step, "{wait} for a step of {step}");
        }
        backoff.reset();
        assert!(backoff.next_delay().as_millis() <= 100);
    }

    #[test]
    fn no_number_of_tries_overflows() {
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(3));
        for _ in 0..200 {
            assert!(backoff.next_delay() <= Duration::from_secs(3));
        }
    }
}
