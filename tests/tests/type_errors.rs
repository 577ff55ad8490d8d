//! What the compiler says of the mistakes that users of the library make.
//!
//! The crate `trybuild` does the same with a copy of the workspace's dependencies, which it compiles anew. Here the compiler gets
//! the library that the tests are linked with: a second or two for all mistakes.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use windrow_tests::repository;

/// The mark of an expectation.
const MARK: &str = "//~ ";
/// End of the mark of a mistake that has several errors.
const ERRORS: &str = " errors";

/// The libraries of this name that are built, the newest first.
fn libraries(folder: &Path, name: &str) -> Vec<PathBuf> {
    let prefix = format!("lib{name}-");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        name.starts_with(&prefix) && (name.ends_with(".rlib") || name.ends_with(".so"))
    };
    let mut found: Vec<_> =
        entries.filter(is).map(|path| (path.metadata().unwrap().modified().unwrap(), path)).collect();
    found.sort();
    found.into_iter().rev().map(|(_, path)| path).collect()
}

/// The errors of the compiler in a file, in which no other crate than `windrow`, `clap` and `serde` is named.
fn errors(file: &Path) -> Vec<Value> {
    let test = std::env::current_exe().unwrap();
    let libraries_folder = test.parent().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    // Several builds of the library may lie there, and some without their dependencies by now.
    for library in libraries(libraries_folder, "windrow") {
        let mut rustc = Command::new(Path::new(env!("CARGO")).with_file_name("rustc"));
        rustc.args(["--edition", "2024", "--crate-type", "bin", "--emit", "metadata", "--error-format", "json"]);
        rustc.arg("--out-dir").arg(scratch.path()).arg("-L").arg(format!("dependency={}", libraries_folder.display()));
        rustc.arg("--extern").arg(format!("windrow={}", library.display())).arg(file);
        let done = rustc.output().unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        let messages =
            text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{text}")));
        let errors: Vec<Value> =
            messages.filter(|m| m["level"] == "error" && m["spans"] != Value::Array(vec![])).collect();
        // The library itself cannot be used.
        if errors.iter().any(|e| ["E0460", "E0463", "E0514"].contains(&e["code"]["code"].as_str().unwrap_or_default()))
        {
            continue;
        }
        return errors;
    }
    panic!("no library in {} can be used", libraries_folder.display());
}

/// Where an error is: the first line of its main place in this file.
fn line_of(error: &Value) -> u64 {
    let spans = error["spans"].as_array().unwrap();
    spans.iter().find(|s| s["is_primary"] == true).unwrap_or(&spans[0])["line_start"].as_u64().unwrap()
}

/// Each mistake with the line where its part of the file begins: the expectations before it, and the errors up to the next one.
fn mistakes(text: &str, errors: &[Value]) -> Vec<(u64, Vec<String>, Vec<String>)> {
    let mut mistakes: BTreeMap<u64, (Vec<String>, Vec<String>)> = BTreeMap::new();
    let (mut begin, mut was_mark) = (0, false);
    for (line, text) in (1..).zip(text.lines()) {
        let mark = text.trim_start().strip_prefix(MARK);
        if let Some(expected) = mark {
            if !was_mark {
                begin = line;
            }
            mistakes.entry(begin).or_default().0.push(expected.to_string());
        }
        was_mark = mark.is_some();
    }
    for error in errors {
        let begin = mistakes.range(..=line_of(error)).next_back().map(|(begin, _)| *begin).unwrap_or(0);
        mistakes.entry(begin).or_default().1.push(error["rendered"].as_str().unwrap_or_default().to_string());
    }
    mistakes.into_iter().map(|(line, (expected, errors))| (line, expected, errors)).collect()
}

fn check(name: &str, count: usize) {
    let file = repository().join("tests/fixtures").join(name);
    let mistakes = mistakes(&fs::read_to_string(&file).unwrap(), &errors(&file));
    assert_eq!(mistakes.len(), count, "{mistakes:?}");
    let mut wrong = String::new();
    for (line, expected, errors) in mistakes {
        // One mistake, one message: the others would hide the one that helps.
        let errors_of_mark = |mark: &String| mark.strip_suffix(ERRORS)?.parse().ok();
        if errors.len() != expected.iter().find_map(errors_of_mark).unwrap_or(1) {
            wrong += &format!("line {line}: {} errors:\n{}\n", errors.len(), errors.concat());
        }
        for expected in expected.iter().filter(|e| !e.ends_with(ERRORS) && !errors.concat().contains(*e)) {
            wrong += &format!("line {line}: no `{expected}` in:\n{}\n", errors.concat());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn type_errors_say_what_to_do() {
    check("type_errors.rs", 12);
}

#[test]
fn errors_of_borrowed_values_say_what_to_do() {
    check("borrow_errors.rs", 2);
}
