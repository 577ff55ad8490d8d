//! One line for each stage, redrawn in place on a terminal.
//!
//! The terminal cuts lines at its width (line wrapping is off while they are drawn), and no more lines are drawn than it has
//! rows: the cursor goes back over all of them for the next drawing.

use std::fmt::Write as _;
use std::io::Write;

/// Columns between the brackets of a bar.
const BAR_COLUMNS: u64 = 20;

const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";
const CLEAR_BELOW: &str = "\x1b[J";

/// The lines on the terminal.
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// Lines of the last drawing, above the cursor.
    drawn: usize,
}

impl Bars {
    /// Draws `lines` in the place of the last drawing; at most `rows` less one, the row of the cursor.
    pub(super) fn draw(&mut self, lines: &[String], rows: usize, out: &mut dyn Write) {
        let shown = &lines[..lines.len().min(rows.saturating_sub(1))];
        let mut text = self.back();
        text.push_str(WRAP_OFF);
        for line in shown {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(WRAP_ON);
        self.drawn = shown.len();
        write(&text, out);
    }

    /// Removes the last drawing.
    pub(super) fn clear(&mut self, out: &mut dyn Write) {
        if self.drawn > 0 {
            write(&self.back(), out);
            self.drawn = 0;
        }
    }

    /// Puts the cursor where the last drawing begins, and removes what is below.
    fn back(&self) -> String {
        match self.drawn {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r{CLEAR_BELOW}"),
        }
    }
}

/// A closed stderr must not end the job, so errors are dropped.
fn write(text: &str, out: &mut dyn Write) {
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// `  name  [====>     ] text`: so much of `total` is done.
pub(super) fn line(name: &str, done: u64, total: u64, text: &str) -> String {
    let total = total.max(1);
    let full = (u128::from(done.min(total)) * u128::from(BAR_COLUMNS) / u128::from(total)) as usize;
    let head = usize::from(done > 0 && done < total);
    let empty = BAR_COLUMNS as usize - full - head;
    let mut line = format!("  {name}  [");
    let _ = write!(line, "{:=<full$}{:><head$}{:empty$}] {text}", "", "", "");
    line
}

/// Rows of the terminal behind stderr; 24 if it does not say.
pub(super) fn rows() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(24)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_shows_how_much_is_done() {
        assert_eq!(line("map", 0, 10, "0/10"), format!("  map  [{}] 0/10", " ".repeat(20)));
        assert_eq!(line("map", 1, 1000, "x"), format!("  map  [>{}] x", " ".repeat(19)));
        assert_eq!(line("map", 5, 10, "x"), format!("  map  [{}>{}] x", "=".repeat(10), " ".repeat(9)));
        assert_eq!(line("map", 999, 1000, "x"), format!("  map  [{}>] x", "=".repeat(19)));
        for done in [10, 11, u64::MAX] {
            assert_eq!(line("map", done, 10, "x"), format!("  map  [{}] x", "=".repeat(20)));
        }
        assert_eq!(line("none", 0, 0, "x"), format!("  none  [{}] x", " ".repeat(20)));
    }

    #[test]
    fn drawing_replaces_the_last_one_and_fits_the_rows() {
        let lines: Vec<String> = ["one", "two", "three"].map(String::from).to_vec();
        let (mut bars, mut out) = (Bars::default(), Vec::new());
        let mut drawn = |bars: &mut Bars, lines: &[String], rows| {
            out.clear();
            bars.draw(lines, rows, &mut out);
            String::from_utf8(out.clone()).unwrap()
        };
        assert_eq!(drawn(&mut bars, &lines, 24), "\x1b[?7lone\ntwo\nthree\n\x1b[?7h");
        assert_eq!(drawn(&mut bars, &lines, 3), "\x1b[3A\r\x1b[J\x1b[?7lone\ntwo\n\x1b[?7h");
        assert_eq!(drawn(&mut bars, &lines[..1], 3), "\x1b[2A\r\x1b[J\x1b[?7lone\n\x1b[?7h");
        let mut cleared = Vec::new();
        bars.clear(&mut cleared);
        bars.clear(&mut cleared);
        assert_eq!(cleared, b"\x1b[1A\r\x1b[J");
        assert_eq!(drawn(&mut bars, &lines, 0), "\x1b[?7l\x1b[?7h");
    }
}
