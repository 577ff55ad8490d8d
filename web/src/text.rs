//! Text on pages. Every text from outside becomes a [`Text`], which shows control characters and marks of text
//! direction as escapes; the templates then escape HTML. Templates take no `String`, so neither step can be left out.

use std::borrow::Cow;
use std::fmt;
use windrow_model::Escape;

/// Text in which nothing moves a cursor, changes colours or turns the direction of what follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    /// Text on one line.
    pub(crate) fn line(text: impl AsRef<[u8]>) -> Text {
        Text(text.as_ref().escaped().to_string())
    }

    /// Text of several lines, for preformatted blocks. Tabs are kept.
    pub(crate) fn lines(text: impl AsRef<[u8]>) -> Text {
        let lines = text.as_ref().split(|byte| *byte == b'\n');
        let shown = lines.map(|line| {
            let parts = line.split(|byte| *byte == b'\t').map(|part| part.escaped().to_string());
            parts.collect::<Vec<_>>().join("\t")
        });
        Text(shown.collect::<Vec<_>>().join("\n"))
    }

    /// The same within `max`, if each character takes `width` of it; otherwise its beginning with a mark of the cut.
    pub(crate) fn fitted(&self, max: usize, width: impl Fn(char) -> usize) -> Text {
        let (mut used, mut cut) = (0, 0);
        for (at, c) in self.0.char_indices() {
            if used + width(CUT) <= max {
                cut = at;
            }
            used += width(c);
            if used > max {
                return Text(format!("{}{CUT}", &self.0[..cut]));
            }
        }
        self.clone()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Stands for what is cut off.
const CUT: char = '…';

/// The first `max` characters, and a mark if there are more.
pub(crate) fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max) {
        Some((at, _)) => Cow::Owned(format!("{}{CUT}", &text[..at])),
        None => Cow::Borrowed(text),
    }
}

/// A name that users gave: short, and never invisible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub shown: Text,
    /// The whole name, if it is longer than what is shown.
    pub full: Option<Text>,
}

impl Name {
    /// Most characters that are shown.
    const CHARS_MAX: usize = 80;

    pub(crate) fn of(name: &str) -> Name {
        if name.chars().all(is_invisible) {
            return Name { shown: Text::line("(no name)"), full: None };
        }
        match shortened(name, Name::CHARS_MAX) {
            // The part that is left may be invisible, too.
            Cow::Owned(short) if !short.chars().all(|c| c == CUT || is_invisible(c)) => {
                Name { shown: Text::line(short), full: Some(Text::line(name)) }
            }
            Cow::Owned(_) => Name { shown: Text::line("(long name)"), full: Some(Text::line(name)) },
            Cow::Borrowed(name) => Name { shown: Text::line(name), full: None },
        }
    }
}

/// Whether a character takes no ink and is not shown as an escape.
fn is_invisible(c: char) -> bool {
    let escaped = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    !escaped
        && (c.is_whitespace()
            || matches!(
                c,
                '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            )
            || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{2800}')
            || matches!(c, '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{e0000}'..='\u{e0fff}'))
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number of bytes with a binary unit and three digits: `1.25 GiB`.
pub(crate) fn bytes(n: u64) -> Text {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return Text(format!("{n} B"));
    }
    let (mut value, mut unit) = (n as f64 / 1024.0, 0);
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    Text(format!("{value:.digits$} {}", UNITS[unit]))
}

/// A duration with the two units that matter: `40 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`.
pub(crate) fn duration(ms: u64) -> Text {
    let seconds = ms / 1000;
    Text(match seconds {
        _ if ms < 100 => format!("{ms} ms"),
        0..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    })
}

/// A time of day in UTC; see [`windrow_model::utc`].
pub(crate) fn time(unix_ms: u64) -> Text {
    Text(windrow_model::utc(unix_ms))
}

/// A number with a thin gap between groups of three digits.
pub(crate) fn number(n: u64) -> Text {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    Text(text)
}

/// `part` of `whole` in per cent, rounded down; 0 of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    match whole {
        0 => 0,
        _ => (u128::from(part.min(whole)) * 100 / u128::from(whole)) as u64,
    }
}

/// `1 task`, `2 tasks`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_directions_are_visible() {
        assert_eq!(Text::line("a\u{1b}[31m\u{202e}b\n").as_str(), r"a\x1b[31m\u{202e}b\n");
        assert_eq!(Text::lines("a\tb\n\u{7}c\r\n").as_str(), "a\tb\n\\x07c\\r\n");
        assert_eq!(Text::line(b"\xff").as_str(), r"\xff");
    }

    #[test]
    fn names_are_short_and_visible() {
        for invisible in ["", "  ", "\u{200b}\u{2060}\u{a0}", "\u{3164}", "\u{2800}\u{fe0f}"] {
            assert_eq!(Name::of(invisible).shown.as_str(), "(no name)");
        }
        assert_eq!(Name::of("\u{202e}").shown.as_str(), r"\u{202e}");
        let long = "é".repeat(81);
        let name = Name::of(&long);
        assert_eq!(name.shown.as_str(), format!("{}…", "é".repeat(80)));
        assert_eq!(name.full.unwrap().as_str(), long);
        assert_eq!(Name::of(&long[2..]).full, None);
    }

    #[test]
    fn fitted_text_stays_within_its_width() {
        let width = |c: char| if c == 'W' { 3 } else { 1 };
        for (text, shown) in [("abcdef", "abcdef"), ("abcdefg", "abcde…"), ("WW", "WW"), ("WWW", "W…"), ("", "")] {
            assert_eq!(Text::line(text).fitted(6, width).as_str(), shown);
        }
    }

    #[test]
    fn sizes_and_times_have_few_digits() {
        for (n, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (1 << 30, "1.00 GiB"), (1_048_000, "1.00 MiB")]
        {
            assert_eq!(bytes(n).as_str(), shown);
        }
        assert_eq!(bytes(u64::MAX).as_str(), "16.0 EiB");
        for (ms, shown) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (100, "0.1 s"),
            (3_250, "3.2 s"),
            (250_000, "4 min 10 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(ms).as_str(), shown);
        }
        assert_eq!(number(1_234_567).as_str(), "1\u{202f}234\u{202f}567");
        assert_eq!((percent(1, 3), percent(5, 0), percent(9, 3)), (33, 0, 100));
        assert_eq!(counted(1, "task"), "1 task");
    }
}
