//! The pace of the scrub: one pass over everything in a period, within a limit on bytes per second. Pure.

/// The rate of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Everything is read once in this period, if the rate allows it.
    pub period_ms: u64,
    /// Upper bound on bytes per second.
    pub bytes_per_s_max: u64,
}

/// A pass aims at this percentage of its period, so that it ends in time on busy disks.
const AIM_PERCENT: u64 = 90;

impl Pace {
    /// The pause in milliseconds after `done` of `total` bytes were read in `elapsed_ms`.
    pub(crate) fn pause_ms(&self, done: u64, total: u64, elapsed_ms: u64) -> u64 {
        let share = |whole_ms: u64| (u128::from(whole_ms) * u128::from(done)).checked_div(total.into()).unwrap_or(0);
        let by_period = share(self.period_ms.saturating_mul(AIM_PERCENT) / 100);
        let by_rate = u128::from(done) * 1_000 / u128::from(self.bytes_per_s_max.max(1));
        let due = by_period.max(by_rate).saturating_sub(elapsed_ms.into());
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pass_is_spread_over_its_period() {
        let pace = Pace { period_ms: 1_000, bytes_per_s_max: u64::MAX };
        assert_eq!(pace.pause_ms(500, 1_000, 0), 450);
        assert_eq!(pace.pause_ms(500, 1_000, 400), 50);
        assert_eq!(pace.pause_ms(500, 1_000, 500), 0);
        assert_eq!(pace.pause_ms(0, 0, 0), 0);
    }

    proptest! {
        #[test]
        fn reading_rate_is_bounded(
            pieces in prop::collection::vec(1u64..5_000_000, 1..50), rate in 1u64..10_000_000, period_ms in 0u64..100_000,
        ) {
            let pace = Pace { period_ms, bytes_per_s_max: rate };
            let total: u64 = pieces.iter().sum();
            let (mut done, mut now) = (0, 0);
            for piece in pieces {
                done += piece;
                now += pace.pause_ms(done, total, now);
                prop_assert!(u128::from(done) * 1_000 <= u128::from(rate) * u128::from(now + 1), "{} in {} ms", done, now);
            }
        }
    }
}
