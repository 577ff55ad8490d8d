//! How long a sender of bytes is waited for: a balance that waiting spends and bytes earn.
//!
//! A deadline for each piece alone would let a peer that sends a byte now and then hold a stream for ever, and streams are few.
//! The balance begins at its limit. It is spent only while nothing is here to be read, so a slow disk of the receiver costs the
//! sender nothing, and what a fast sender has earned beyond the limit is lost, so it does not pay for a long silence later.

use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

/// Bytes that earn the time in which a silent sender is taken to be gone. At a deadline of 20 s, 13 KB/s are fast enough.
const BYTES_PER_DEADLINE: u64 = 256 << 10;
/// The balance is at most this many deadlines.
const DEADLINES_MAX: u32 = 3;

/// The balance of one sender.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    deadline: Duration,
    left: Duration,
}

/// A sender that was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing came for {:.1} s, or too little before", .0.as_secs_f32())]
pub struct Silent(pub Duration);

impl Patience {
    /// A full balance. A sender that sends nothing for `deadline`, or next to nothing for three of them, is taken to be gone.
    pub fn new(deadline: Duration) -> Patience {
        Patience { deadline, left: deadline * DEADLINES_MAX }
    }

    /// Waits for what comes next, of which `bytes` says how large it is.
    ///
    /// # Errors
    /// [`Silent`] if nothing comes within the deadline, or the rest of the balance.
    pub async fn wait<T>(
        &mut self,
        coming: impl Future<Output = T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Result<T, Silent> {
        let (began, limit) = (Instant::now(), self.next());
        let came = timeout(limit, coming).await;
        self.waited(began.elapsed(), came.as_ref().map_or(0, |came| bytes(came) as u64));
        came.map_err(|_| Silent(limit))
    }

    /// Waits for the next message of a stream, of which `bytes` says how large it is.
    ///
    /// # Errors
    /// As [`Patience::wait`].
    pub async fn message<T>(
        &mut self,
        stream: &mut Streaming<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Result<Result<Option<T>, Status>, Silent> {
        let size = |came: &Result<Option<T>, Status>| match came {
            Ok(Some(message)) => bytes(message),
            _ => 0,
        };
        self.wait(stream.message(), size).await
    }

    /// Whether nothing is left: another try with this sender is of no use.
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// Subtracts time that the sender took, and adds what `bytes` have earned.
    pub fn waited(&mut self, waited: Duration, bytes: u64) {
        // More would be beyond the limit.
        let counted = bytes.min(BYTES_PER_DEADLINE * u64::from(DEADLINES_MAX));
        let earned = self.deadline.mul_f64(counted as f64 / BYTES_PER_DEADLINE as f64);
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.deadline * DEADLINES_MAX);
    }

    fn next(&self) -> Duration {
        self.deadline.min(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// Pieces of `bytes` every `every`, up to `most` of them; how many came before the balance was spent.
    fn pieces(bytes: u64, every: Duration, most: u32) -> u32 {
        let mut patience = Patience::new(DEADLINE);
        for piece in 0..most {
            if every > patience.next() {
                return piece;
            }
            patience.waited(every, bytes);
        }
        most
    }

    #[test]
    fn dripping_peer_is_given_up() {
        assert_eq!(pieces(1, Duration::from_secs(19), 1_000), 3);
        assert_eq!(pieces(1, Duration::from_millis(100), 10_000), 600);
        assert_eq!(pieces(0, Duration::from_secs(21), 1), 0);
    }

    #[test]
    fn slow_link_is_waited_for() {
        assert_eq!(pieces(16 << 10, Duration::from_secs(1), 100_000), 100_000);
        // Bursts with pauses between them.
        assert_eq!(pieces(1 << 20, Duration::from_secs(19), 1_000), 1_000);
    }

    #[test]
    fn fast_peer_earns_no_long_silence() {
        let mut patience = Patience::new(DEADLINE);
        patience.waited(Duration::from_secs(1), u64::MAX);
        patience.waited(Duration::from_secs(1), 1 << 40);
        assert_eq!(patience.next(), DEADLINE);
        (0..3).for_each(|_| patience.waited(DEADLINE, 0));
        assert!(patience.is_over() && patience.next().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_drips_end_the_wait() {
        let mut patience = Patience::new(DEADLINE);
        let nothing = patience.wait(std::future::pending::<()>(), |()| 0).await;
        assert_eq!(nothing, Err(Silent(DEADLINE)));
        let mut came = 0;
        let drip = async || tokio::time::sleep(Duration::from_secs(7)).await;
        while patience.wait(drip(), |()| 1).await.is_ok() {
            came += 1;
        }
        assert_eq!(came, 5, "two deadlines of 20 s were left");
        assert!(patience.is_over());
    }
}
