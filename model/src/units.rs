//! Parses and formats sizes in bytes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A number of bytes. In text form, `kB`/`MB`/`GB`/`TB` are powers of 1000 and `KiB`/`MiB`/`GiB`/`TiB` powers of 1024;
/// a number without a unit is bytes. Zero is refused, because no flag or setting has a use for it.
///
/// ```
/// use windrow_model::ByteSize;
/// assert_eq!("256MB".parse::<ByteSize>().unwrap(), ByteSize(256_000_000));
/// assert_eq!("1.5 GiB".parse::<ByteSize>().unwrap(), ByteSize(3 << 29));
/// assert_eq!(ByteSize(3 << 29).to_string(), "1.5 GiB");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteSize(pub u64);

/// A text that is not a valid size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// Not a number with a unit.
    #[error("`{0}` is not a size: write a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 256MB")]
    NoSize(String),
    /// Less than one byte.
    #[error("`{0}` is less than one byte: give a size of at least 1 B")]
    Nothing(String),
}

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ParseSizeError;
    fn from_str(s: &str) -> Result<Self, ParseSizeError> {
        let bad = || ParseSizeError::NoSize(s.to_string());
        let some = |bytes: u64| match bytes {
            0 => Err(ParseSizeError::Nothing(s.to_string())),
            bytes => Ok(ByteSize(bytes)),
        };
        let (number, unit) =
            UNITS.iter().find_map(|(name, size)| s.strip_suffix(name).map(|n| (n.trim_end(), *size))).unwrap_or((s, 1));
        if let Ok(n) = number.parse::<u64>() {
            return n.checked_mul(unit).ok_or_else(bad).and_then(some);
        }
        let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value = number.parse::<f64>().ok().filter(|_| digits).ok_or_else(bad)? * unit as f64;
        if value > u64::MAX as f64 {
            return Err(bad());
        }
        some(value as u64)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, size) = UNITS[..4].iter().find(|(_, size)| self.0 >= *size).unwrap_or(&("B", 1));
        let tenths = (self.0 as u128 * 10 / *size as u128) as u64;
        if tenths.is_multiple_of(10) || *size == 1 {
            write!(f, "{} {name}", tenths / 10)
        } else {
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_sizes_are_refused() {
        for s in ["", "MB", "-1MB", "1e3", "99999999999TiB", "12 Mb", "nan", "1.2.3MB"] {
            assert!(s.parse::<ByteSize>().is_err(), "{s}");
        }
    }

    #[test]
    fn size_of_zero_is_refused() {
        for s in ["0", "0B", "0 MiB", "0.0GB", "0.4B"] {
            assert_eq!(s.parse::<ByteSize>(), Err(ParseSizeError::Nothing(s.to_string())));
        }
    }
}
