//! Parses the text of the variable.

use std::time::Duration;

/// The action of a failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Kill,
    Abort,
    Panic,
    Sleep(Duration),
    /// Never returns.
    Hang,
    /// A system error number.
    Error(i32),
}

/// One failpoint with its action and the passes at which it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub name: String,
    pub act: Act,
    /// The first pass at which the action runs, counted from 1.
    pub first: u64,
    /// The last pass at which the action runs.
    pub last: u64,
}

/// Parses all failpoints of the text.
pub(crate) fn parse(text: &str) -> Result<Vec<Point>, String> {
    text.split(';').map(str::trim).filter(|one| !one.is_empty()).map(point).collect()
}

fn point(text: &str) -> Result<Point, String> {
    let wrong =
        |what: &str| format!("`{text}` {what}; a failpoint is NAME=ACTION, NAME=ACTION@PASS or NAME=ACTION@PASS+");
    let (name, rest) = text.split_once('=').ok_or_else(|| wrong("has no action"))?;
    let (action, pass) = rest.split_once('@').map_or((rest, None), |(action, pass)| (action, Some(pass)));
    let (first, last) = match pass {
        None => (1, u64::MAX),
        Some(pass) => {
            let (number, open) = pass.strip_suffix('+').map_or((pass, false), |number| (number, true));
            let first = number.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong("has no such pass"))?;
            (first, if open { u64::MAX } else { first })
        }
    };
    let argument = |of: &str| action.strip_prefix(of)?.strip_prefix('(')?.strip_suffix(')')?.parse::<u32>().ok();
    let act = match action {
        "kill" => Act::Kill,
        "abort" => Act::Abort,
        "panic" => Act::Panic,
        "hang" => Act::Hang,
        "enospc" => Act::Error(rustix::io::Errno::NOSPC.raw_os_error()),
        "eio" => Act::Error(rustix::io::Errno::IO.raw_os_error()),
        _ => match (argument("sleep"), argument("error")) {
            (Some(ms), _) => Act::Sleep(Duration::from_millis(ms.into())),
            (_, Some(number)) => Act::Error(i32::try_from(number).map_err(|_| wrong("has no such error"))?),
            _ => return Err(wrong("has no such action")),
        },
    };
    Ok(Point { name: name.to_string(), act, first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_actions_and_passes_are_parsed() {
        let points = parse("a.b=kill@3; c=sleep(20) ;d=error(5)@2+;").unwrap();
        let expected = [("a.b", Act::Kill, 3, 3), ("c", Act::Sleep(Duration::from_millis(20)), 1, u64::MAX)];
        for (point, (name, act, first, last)) in points.iter().zip(expected) {
            assert_eq!(*point, Point { name: name.into(), act, first, last });
        }
        assert_eq!((points[2].act, points[2].first, points[2].last), (Act::Error(5), 2, u64::MAX));
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn invalid_failpoints_are_refused() {
        for wrong in ["a", "a=", "a=kil", "a=kill@0", "a=kill@x", "a=sleep()", "a=error(-1)"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
