//! A time of day for people, in UTC.

/// `2026-11-29 23:55:30Z` for milliseconds since 1970; later times than the year 9999 show its end.
///
/// The date follows from the day's number by the algorithm of Howard Hinnant ("chrono-compatible low-level date algorithms").
pub fn utc(unix_ms: u64) -> String {
    const LAST_MS: u64 = 253_402_300_800_000;
    let seconds = unix_ms.min(LAST_MS) / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, eras of 400 years at year 0.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// The same with milliseconds: `2026-11-29 23:55:30.250Z`.
pub fn utc_ms(unix_ms: u64) -> String {
    let to_the_second = utc(unix_ms);
    format!("{}.{:03}Z", to_the_second.trim_end_matches('Z'), unix_ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_709_164_800_000, "2024-02-29 00:00:00Z"),
            (1_735_689_599_999, "2024-12-31 23:59:59Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
            (u64::MAX, "10000-01-01 00:00:00Z"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
        assert_eq!(utc_ms(1_735_689_599_070), "2024-12-31 23:59:59.070Z");
    }
}
