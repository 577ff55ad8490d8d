//! Applies a regular expression to each line of a block by searching whole blocks.
//!
//! Each line is matched as a text of its own: `\A`, `\z`, `^`, `$` and `\b` see its ends, and no match crosses them.
//! Searching a block at once is much faster than matching each line, so the expression is rewritten for blocks (as
//! ripgrep does): classes and literals no longer match a line end, and the ends of the text become ends of lines. A
//! match then lies within one line. For lines without line ends both expressions match the same, with two exceptions
//! that the rewriting handles: with anchors of CRLF mode each line is matched by itself; and if lines lose the `\r` of
//! their end, the block search finds candidates and the line is matched to decide.
//!
//! Every byte is searched at most once for candidates and once for the decision, so the time is linear in the block.

use super::each_line::each_line;
use crate::error::{Error, Result};
use memchr::{memchr, memrchr};
use regex::bytes::{Regex, RegexBuilder};
use regex_automata::{Input, meta};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange};
use regex_syntax::hir::{Hir, HirKind, Look, Repetition};
use windrow_model::Code;

/// Maximum size of a compiled expression, in bytes, as in the `regex` crate.
const COMPILED_MAX: usize = 10 << 20;
/// Size of the search cache, in bytes, as in the `regex` crate.
const CACHE_BYTES: usize = 2 << 20;

/// Which bytes of a line's end do not belong to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineEnd {
    /// A line ends before its `\n`.
    Lf,
    /// A line ends before its `
    /// ` or `\r
    /// `. A `\r` at the end of the file is removed too.
    CrLf,
}

impl LineEnd {
    /// Returns the record of a line that has already lost its `
    /// `.
    #[inline]
    pub(super) fn record(self, line: &[u8]) -> &[u8] {
        match self {
            LineEnd::Lf => line,
            LineEnd::CrLf => line.strip_suffix(b"\r").unwrap_or(line),
        }
    }
}

/// A regular expression that selects lines.
#[derive(Debug)]
pub(super) struct LineRegex {
    /// Decides about one record.
    record: Regex,
    /// Finds exactly the lines of a block that match, if records end before `
    /// `.
    block: Option<meta::Regex>,
    /// Finds the lines of a block that may match, if records also lose a `\r`: all that do, and possibly others.
    candidates: Option<meta::Regex>,
    end: LineEnd,
}

impl LineRegex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// `BAD_REQUEST` with the position in the pattern, if the expression is invalid or too large.
    pub(super) fn new(pattern: &str, end: LineEnd) -> Result<Self> {
        let record = RegexBuilder::new(pattern).build().map_err(|e| invalid_regex(pattern, &e))?;
        let hir = ParserBuilder::new().utf8(false).build().parse(pattern).map_err(|e| invalid_regex(pattern, &e))?;
        let block = of_block(&hir, Look::EndLF);
        let candidates = match end {
            LineEnd::Lf => None,
            LineEnd::CrLf => of_block(&hir, Look::EndCRLF),
        };
        Ok(LineRegex { record, block, candidates, end })
    }

    /// Returns the pattern as given.
    pub(super) fn as_str(&self) -> &str {
        self.record.as_str()
    }

    /// Calls `f` with the offset and the record of every line that matches, until it returns `false`. The bytes are
    /// whole lines; the last one may lack its `
    /// `.
    pub(super) fn each_match(&self, bytes: &[u8], mut f: impl FnMut(usize, &[u8]) -> bool) {
        let keeps_cr = self.end == LineEnd::Lf || memchr(b'\r', bytes).is_none();
        let (search, is_sure) = if keeps_cr { (&self.block, true) } else { (&self.candidates, false) };
        match search {
            Some(search) => self.each_found(bytes, search, is_sure, f),
            None => each_line(bytes, |at, line| {
                let record = self.end.record(line);
                !self.record.is_match(record) || f(at, record)
            }),
        }
    }

    fn each_found(&self, bytes: &[u8], search: &meta::Regex, is_sure: bool, mut f: impl FnMut(usize, &[u8]) -> bool) {
        let mut from = 0;
        while from < bytes.len() {
            let input = Input::new(bytes).range(from..).earliest(true);
            let Some(found) = search.search_half(&input) else { return };
            // The match contains no line end, so it lies in the line in which it ends.
            let inside = found.offset();
            let start = memrchr(b'\n', &bytes[from..inside]).map_or(from, |i| from + i + 1);
            if start >= bytes.len() {
                // There is no line after the last line end.
                return;
            }
            let end = memchr(b'\n', &bytes[inside..]).map_or(bytes.len(), |i| inside + i);
            let record = self.end.record(&bytes[start..end]);
            if (is_sure || self.record.is_match(record)) && !f(start, record) {
                return;
            }
            from = end + 1;
        }
    }
}

fn invalid_regex(pattern: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(Code::BadRequest, format!("invalid regular expression `{pattern}`: {e}"))
}

/// Compiles the expression for blocks. `None` means that each line must be matched by itself.
fn of_block(hir: &Hir, end: Look) -> Option<meta::Regex> {
    let config =
        meta::Config::new().utf8_empty(false).nfa_size_limit(Some(COMPILED_MAX)).hybrid_cache_capacity(CACHE_BYTES);
    // An expression that is too large only in this form is not an error: each line is matched by itself.
    meta::Builder::new().configure(config).build_from_hir(&in_lines(hir, end)?).ok()
}

/// Rewrites the expression for a text of many lines: its ends are those of a line, and no part of it matches a line
/// end. The parser's nesting limit bounds the recursion.
fn in_lines(hir: &Hir, end: Look) -> Option<Hir> {
    let all = |parts: &[Hir]| parts.iter().map(|part| in_lines(part, end)).collect::<Option<Vec<Hir>>>();
    Some(match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => Hir::fail(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Look(Look::Start | Look::StartLF) => Hir::look(Look::StartLF),
        HirKind::Look(Look::End | Look::EndLF) => Hir::look(end),
        // Between `\r` and `
        // ` they match in a line that keeps its `\r`, but not in a block.
        HirKind::Look(Look::StartCRLF | Look::EndCRLF) => return None,
        // Neither a line end nor the end of the text is a part of a word.
        HirKind::Look(word) => Hir::look(*word),
        HirKind::Repetition(repetition) => {
            Hir::repetition(Repetition { sub: Box::new(in_lines(&repetition.sub, end)?), ..repetition.clone() })
        }
        HirKind::Capture(capture) => in_lines(&capture.sub, end)?,
        HirKind::Concat(parts) => Hir::concat(all(parts)?),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lines that a filter after the source would keep.
    fn by_filter(pattern: &str, end: LineEnd, bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let regex = Regex::new(pattern).unwrap();
        let mut kept = Vec::new();
        each_line(bytes, |at, line| {
            let record = end.record(line);
            if regex.is_match(record) {
                kept.push((at, record.to_vec()));
            }
            true
        });
        kept
    }

    fn by_search(pattern: &str, end: LineEnd, bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let regex = LineRegex::new(pattern, end).unwrap();
        let mut kept = Vec::new();
        regex.each_match(bytes, |at, record| {
            kept.push((at, record.to_vec()));
            true
        });
        kept
    }

    /// Patterns with everything that could look beyond a line.
    fn pattern() -> impl Strategy<Value = String> {
        let atoms = vec![
            "a",
            "b",
            "\\r",
            "\\n",
            "\\s",
            "\\S",
            "[^a]",
            ".",
            "(?s:.)",
            "(?-u:[^b])",
            "(?-u:\\xff)",
            "é",
            "\\w",
            "^",
            "$",
            "(?m:^)",
            "(?m:$)",
            "(?-m:^)",
            "(?-m:$)",
            "(?R:$)",
            "(?mR:^)",
            "(?mR:$)",
            "(?R:.)",
            "\\A",
            "\\z",
            "\\b",
            "\\B",
            "\\b{start}",
            "\\b{end-half}",
            "(?-u:\\b)",
            "a|b",
            "[ab\\n]",
            "\\n\\r",
            "x{0}",
        ];
        let atom = prop::sample::select(atoms).prop_map(str::to_string);
        atom.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                prop::collection::vec(inner.clone(), 1..3).prop_map(|parts| format!("(?:{})", parts.join("|"))),
                (inner, prop::sample::select(vec!["*", "+", "?", "{2}", "*?"]))
                    .prop_map(|(p, n)| format!("(?:{p}){n}")),
            ]
        })
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![b"a", b"b", b" ", b"\n", b"\r\n", b"\r", "é".as_bytes(), b"\xff", b"\xc3"];
        prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn search_keeps_the_lines_that_a_filter_keeps(pattern in pattern(), text in text()) {
            for end in [LineEnd::Lf, LineEnd::CrLf] {
                prop_assert_eq!(
                    by_search(&pattern, end, &text), by_filter(&pattern, end, &text), "/{}/ {:?}", pattern, end
                );
            }
        }

        #[test]
        fn search_does_not_depend_on_blocks(pattern in pattern(), text in text()) {
            // Each line is a block of its own: the finest split possible.
            let (mut by_line, mut at) = (Vec::new(), 0);
            for line in text.split_inclusive(|b| *b == b'\n') {
                by_line.extend(by_search(&pattern, LineEnd::CrLf, line).into_iter().map(|(i, l)| (at + i, l)));
                at += line.len();
            }
            prop_assert_eq!(by_search(&pattern, LineEnd::CrLf, &text), by_line, "/{}/", pattern);
        }
    }

    #[test]
    fn text_anchors_match_at_the_ends_of_a_line() {
        let animals = b"cat\ndog\ncat\nbird\ncat\n";
        for pattern in ["\\Acat", "cat\\z", "(?-m)^cat$", "\\bcat\\b", "^cat$"] {
            assert_eq!(by_search(pattern, LineEnd::Lf, animals).len(), 3, "{pattern}");
        }
    }

    #[test]
    fn no_match_crosses_a_line_end() {
        assert_eq!(by_search(r"a\s*b", LineEnd::Lf, b"xa\nb\nab\n"), [(5, b"ab".to_vec())]);
        assert_eq!(by_search("^$", LineEnd::Lf, b"a\n\nb\n"), [(2, vec![])]);
        assert_eq!(by_search("a\nb", LineEnd::Lf, b"a\nb\n"), []);
    }

    #[test]
    fn carriage_return_of_a_line_end_is_not_matched() {
        assert_eq!(
            by_search("foo$", LineEnd::CrLf, b"foo\r\nbar\r\nfoo\r"),
            [(0, b"foo".to_vec()), (10, b"foo".to_vec())]
        );
        assert_eq!(by_search(r"foo\s", LineEnd::CrLf, b"foo\r\nfoo \n"), [(5, b"foo ".to_vec())]);
        assert_eq!(by_search("foo$", LineEnd::Lf, b"foo\r\nfoo\n"), [(5, b"foo".to_vec())]);
    }

    #[test]
    fn only_crlf_anchors_need_a_match_per_line() {
        for pattern in ["cat", "^a.*b$", r"\Aa\s+\z", "(?i)k", r"\bé\B"] {
            assert!(LineRegex::new(pattern, LineEnd::CrLf).unwrap().block.is_some(), "{pattern}");
        }
        assert!(LineRegex::new("(?mR)^a$", LineEnd::Lf).unwrap().block.is_none());
    }

    /// Blocks of 1 MiB in which a match could begin at every line and extend to the end. A search whose matches cross
    /// lines would take minutes for each.
    #[test]
    fn patterns_that_could_cross_lines_take_linear_time() {
        let mut blank = vec![b'\n'; 1 << 20];
        blank.extend_from_slice(b"x \n");
        assert_eq!(by_search(r"\s+$", LineEnd::Lf, &blank), [(1 << 20, b"x ".to_vec())]);
        let tags = "<div class=a\n".repeat(1 << 16) + ">\n";
        assert_eq!(by_search("<[^>]+>", LineEnd::Lf, tags.as_bytes()), []);
    }

    #[test]
    fn invalid_patterns_are_bad_requests() {
        for pattern in ["(", "a{1000}{1000}{1000}"] {
            assert_eq!(LineRegex::new(pattern, LineEnd::Lf).unwrap_err().code(), Code::BadRequest, "{pattern}");
        }
    }
}
