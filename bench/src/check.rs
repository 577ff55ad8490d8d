//! Checks that two outputs hold the same result.

use std::path::Path;
use windrow::Escape;
use windrow_format::manifest;

/// Compares the plain program's output with Windrow's; the error describes the difference.
pub(crate) type Check = fn(&Path, &Path) -> Result<(), String>;

/// The bytes of all parts of an output, in order.
fn whole(output: &Path) -> Result<Vec<u8>, String> {
    let mut names: Vec<_> = std::fs::read_dir(output)
        .map_err(|e| format!("{}: {e}", output.escaped()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("part-")))
        .collect();
    names.sort();
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend(std::fs::read(&name).map_err(|e| format!("{}: {e}", name.escaped()))?);
    }
    Ok(bytes)
}

fn lines(output: &Path) -> Result<Vec<String>, String> {
    let text = String::from_utf8(whole(output)?).map_err(|e| e.to_string())?;
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    lines.sort_unstable();
    Ok(lines)
}

fn verify(output: &Path) -> Result<(), String> {
    manifest::verify(output).map(drop).map_err(|e| e.to_string())
}

/// The same lines in any partition.
pub(crate) fn same_lines(expected: &Path, output: &Path) -> Result<(), String> {
    verify(output)?;
    let (a, b) = (lines(expected)?, lines(output)?);
    match a.iter().zip(&b).find(|(a, b)| a != b) {
        Some((a, b)) => Err(format!("`{a}` against `{b}`")),
        None if a.len() != b.len() => Err(format!("{} lines against {}", a.len(), b.len())),
        None => Ok(()),
    }
}

/// The same lines, but numbers may differ in their last digits.
pub(crate) fn close_lines(expected: &Path, output: &Path) -> Result<(), String> {
    verify(output)?;
    let (a, b) = (lines(expected)?, lines(output)?);
    if a.len() != b.len() {
        return Err(format!("{} lines against {}", a.len(), b.len()));
    }
    let close = |a: &str, b: &str| {
        a == b
            || match (a.parse::<f64>(), b.parse::<f64>()) {
                (Ok(x), Ok(y)) => (x - y).abs() <= 1e-6 * x.abs().max(1.0),
                _ => false,
            }
    };
    // Lines are sorted by their first field, which is exact and ends with a tab.
    let differs = |a: &str, b: &str| {
        let (mut x, mut y) = (a.split('\t'), b.split('\t'));
        loop {
            match (x.next(), y.next()) {
                (None, None) => return false,
                (Some(x), Some(y)) if close(x, y) => {}
                _ => return true,
            }
        }
    };
    match a.iter().zip(&b).find(|(a, b)| differs(a, b)) {
        Some((a, b)) => Err(format!("`{a}` against `{b}`")),
        None => Ok(()),
    }
}

/// The same records of a hundred bytes, ordered by their first ten bytes over all parts.
pub(crate) fn sorted_records(expected: &Path, output: &Path) -> Result<(), String> {
    verify(output)?;
    let (a, b) = (whole(expected)?, whole(output)?);
    if a.len() != b.len() {
        return Err(format!("{} bytes against {}", a.len(), b.len()));
    }
    let keys = |bytes: &[u8]| bytes.chunks_exact(100).map(|r| r[..10].to_vec()).collect::<Vec<_>>();
    if !keys(&b).is_sorted() {
        return Err("the output is not in order".into());
    }
    let sum = |bytes: &[u8]| {
        bytes.chunks_exact(100).fold(0u64, |sum, r| sum.wrapping_add(u64::from(windrow_format::checksum::crc32c(r))))
    };
    if sum(&a) == sum(&b) { Ok(()) } else { Err("the output has other records".into()) }
}
