//! Minimum, mean and maximum of a billion readings: lines `name;temperature` → `name<TAB>min<TAB>mean<TAB>max`.
//!
//! `stations INPUT... --output DIR`

use windrow::prelude::*;

/// Aggregate temperature readings by station.
#[derive(clap::Args, Serialize, Deserialize)]
struct Stations {
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

/// Name and reading of a line.
fn reading(line: &[u8]) -> Option<(&[u8], i32)> {
    let read = usual(line);
    if read.is_some() {
        return read;
    }
    let at = line.iter().position(|b| *b == b';')?;
    Some((&line[..at], tenths(&line[at + 1..])?))
}

/// The same for a reading with one or two digits before the point and one after it. The shape of a reading is random,
/// so it is computed: a branch would be mispredicted every other time.
fn usual(line: &[u8]) -> Option<(&[u8], i32)> {
    let [before, tens, ones, point, tenth] = *line.last_chunk::<5>()?;
    let digit = |byte: u8| byte.wrapping_sub(b'0');
    let has_tens = digit(tens) < 10;
    let negative = b'-' == if has_tens { before } else { tens };
    let end = line.len().checked_sub(4 + usize::from(has_tens) + usize::from(negative))?;
    let hundreds = if has_tens { 100 * i32::from(digit(tens)) } else { 0 };
    let value = hundreds + 10 * i32::from(digit(ones)) + i32::from(digit(tenth));
    let is_usual = (line[end] == b';') & (point == b'.') & (digit(ones) < 10) & (digit(tenth) < 10);
    is_usual.then_some((&line[..end], if negative { -value } else { value }))
}

/// A reading with one decimal as tenths of a degree: integers add up exactly.
fn tenths(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    let (whole, tenth) = match digits {
        [whole @ .., b'.', tenth] => (whole, *tenth),
        whole => (whole, b'0'),
    };
    let mut value = 0i32;
    for digit in whole.iter().chain([&tenth]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add((digit - b'0') as i32)?;
    }
    (!whole.is_empty()).then_some(if negative { -value } else { value })
}

impl Job for Stations {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(bytes_lines(&self.input))
            .map(|line, out| {
                let (name, value) = reading(line).ok_or_else(|| Error::msg("the line is not `name;temperature`"))?;
                out.emit(name, value);
                Ok(())
            })
            .combine((Min, Mean, Max))
            .map_values(|(min, mean, max)| {
                let decimal = |tenths: i32| format!("{:.1}", tenths as f64 / 10.0);
                (decimal(min), format!("{:.6}", mean / 10.0), decimal(max))
            })
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Stations>()
}

#[cfg(test)]
mod tests {
    use super::{reading, tenths};

    #[test]
    fn lines_are_names_and_readings() {
        let lines = ["a;1.2", "a;-1.2", "Oslo;34.5", "Oslo;-34.5", ";0.0", "x;7", "x;-123.4"];
        let names: Vec<_> = lines.iter().map(|l| reading(l.as_bytes()).unwrap()).map(|(n, t)| (n.len(), t)).collect();
        assert_eq!(names, [(1, 12), (1, -12), (4, 345), (4, -345), (0, 0), (1, 70), (1, -1234)]);
        assert!(["a", "a;", "a;x.1", "a;1.x", "a;-.1", ""].iter().all(|l| reading(l.as_bytes()).is_none()));
    }

    #[test]
    fn readings_are_tenths() {
        assert_eq!(tenths(b"-12.3"), Some(-123));
        assert_eq!(tenths(b"0.0"), Some(0));
        assert_eq!(tenths(b"7"), Some(70));
        assert_eq!(tenths(b"x"), None);
        assert_eq!(tenths(b""), None);
        assert_eq!(tenths(b"-"), None);
    }
}
