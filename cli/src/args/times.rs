//! Lengths of time and time limits, as flags and settings have them.

use std::str::FromStr;

/// A length of time: `250ms`, `90s`, `15m`, `2h`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub ms: u64,
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Span, String> {
        match milliseconds(text)? {
            0 => Err("a time must be more than zero".to_string()),
            ms => Ok(Span { ms }),
        }
    }
}

/// A time limit; zero means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub ms: Option<u64>,
}

impl FromStr for Limit {
    type Err = String;
    fn from_str(text: &str) -> Result<Limit, String> {
        Ok(Limit { ms: Some(milliseconds(text)?).filter(|ms| *ms > 0) })
    }
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a time: write a number with ms, s, m or h, such as 90s");
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let (number, unit) = units
        .iter()
        .find_map(|(name, ms)| text.strip_suffix(name).map(|number| (number.trim_end(), *ms)))
        .unwrap_or((text, 1_000));
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, ms) in [("250ms", 250), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3", 3_000)] {
            assert_eq!(text.parse::<Span>().unwrap().ms, ms, "{text}");
        }
        for text in ["", "s", "-1s", "1d", "0s", "1.5h", "99999999999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn zero_limit_is_none_and_zero_time_is_invalid() {
        assert_eq!("0s".parse(), Ok(Limit { ms: None }));
        assert_eq!("90s".parse(), Ok(Limit { ms: Some(90_000) }));
        assert_eq!("2m".parse(), Ok(Span { ms: 120_000 }));
        assert!("0".parse::<Span>().is_err() && "soon".parse::<Limit>().is_err());
    }
}
