//! The documents and the tree agree: a path or a test named in a document exists, and crates depend on each other only
//! as the table in `docs/ARCHITECTURE.md` allows.

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use windrow_model::Escape;
use windrow_tests::program::{binary, isolated, run};
use windrow_tests::repository;

/// All Markdown files at the top, in `docs/` and directly inside a folder of the top level.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().to_path_buf()];
    folders.extend(top_level_folders().iter().map(|name| repository().join(name)));
    for folder in folders {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 6, "the documents were not found: {found:?}");
    found
}

fn top_level_folders() -> BTreeSet<String> {
    fs::read_dir(repository())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "target" && name != ".git")
        .collect()
}

/// Paths in back quotes that begin with a folder of the top level, without patterns, placeholders and line numbers.
fn paths_in_quotes(text: &str, folders: &BTreeSet<String>) -> Vec<String> {
    let quoted = Regex::new(r"`([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+/?)(?::\d+)?`").unwrap();
    quoted
        .captures_iter(text)
        .map(|c| c[1].to_owned())
        .filter(|path| folders.contains(path.split('/').next().unwrap_or_default()))
        .collect()
}

/// Targets of Markdown links that are neither URLs nor anchors of the same page.
fn links(text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    link.captures_iter(text)
        .map(|c| c[1].split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:"))
        .collect()
}

#[test]
fn every_path_named_in_a_document_exists() {
    let folders = top_level_folders();
    let (mut missing, mut seen) = (Vec::new(), 0);
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(repository()).unwrap().escaped().to_string();
        for path in paths_in_quotes(&text, &folders) {
            seen += 1;
            if !repository().join(&path).exists() {
                missing.push(format!("{name}: {path}"));
            }
        }
        for target in links(&text) {
            seen += 1;
            if !document.parent().unwrap().join(&target).exists() {
                missing.push(format!("{name}: link to {target}"));
            }
        }
    }
    assert!(seen > 100, "only {seen} paths were found: the patterns of this test are out of date");
    assert!(missing.is_empty(), "named but not there:\n{}", missing.join("\n"));
}

/// The names of all functions in the Rust files below `folder`.
fn functions_below(folder: &Path, declared: &Regex, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            functions_below(&path, declared, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(declared.captures_iter(&text).map(|c| c[1].to_owned()));
        }
    }
}

/// Names of four words and more: of code, only tests have such.
#[test]
fn every_test_named_in_reliability_exists() {
    let declared = Regex::new(r"\bfn ([a-z0-9_]+)").unwrap();
    let mut functions = BTreeSet::new();
    for folder in top_level_folders() {
        functions_below(&repository().join(folder), &declared, &mut functions);
    }
    let text = fs::read_to_string(repository().join("docs/RELIABILITY.md")).unwrap();
    let named = Regex::new(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`").unwrap();
    let named: BTreeSet<String> = named.captures_iter(&text).map(|c| c[1].to_owned()).collect();
    assert!(named.len() > 100, "only {} names were found: the pattern of this test is out of date", named.len());
    let missing: Vec<&String> = named.difference(&functions).collect();
    assert!(missing.is_empty(), "named but not there: {missing:#?}");
}

/// The crates of this workspace that `manifest` names in `section`.
fn own_dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if inside && line.starts_with("windrow") {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.insert(name.strip_prefix("windrow-").unwrap_or("api").to_owned());
        }
    }
    found
}

/// The rows of the crates' table: crate, and what it may import.
fn allowed_imports() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(repository().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, table) = text.split_once("| Crate | Imports |").expect("the table of crates");
    let name = Regex::new(r"[a-z]+").unwrap();
    table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let owner = name.find(cells[1]).expect("a crate's name").as_str().to_owned();
            let imports = name.find_iter(cells[2]).map(|m| m.as_str().to_owned()).filter(|n| n != "none").collect();
            (owner, imports)
        })
        .collect()
}

#[test]
fn crates_import_only_what_the_table_allows() {
    let allowed = allowed_imports();
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find_map(|l| l.strip_prefix("members = [")).expect("the list of members");
    let members: BTreeSet<String> = members.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(allowed.keys().cloned().collect::<BTreeSet<_>>(), members, "the table and the workspace differ");
    for crate_name in &members {
        let manifest = fs::read_to_string(repository().join(crate_name).join("Cargo.toml")).unwrap();
        let used = own_dependencies(&manifest, "dependencies");
        let excess: Vec<_> = used.difference(&allowed[crate_name]).filter(|name| *name != "failpoint").collect();
        assert!(excess.is_empty(), "{crate_name} imports {excess:?}, which the table does not allow");
    }
}

/// The lines of the fenced blocks of a document that are marked `console`.
fn console_blocks(text: &str) -> Vec<String> {
    text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn examples_print_what_their_readme_shows() {
    let text = fs::read_to_string(repository().join("examples/README.md")).unwrap();
    let blocks = console_blocks(&text);
    let manifest = fs::read_to_string(repository().join("examples/Cargo.toml")).unwrap();
    let names: BTreeSet<&str> =
        manifest.split("[[bin]]\nname = \"").skip(1).map(|s| s.split('"').next().unwrap()).collect();
    let mut unused = names.clone();
    let folder = binary("windrow").parent().unwrap().to_path_buf();
    for block in blocks {
        let scratch = tempfile::tempdir().unwrap();
        let mut commands: Vec<(&str, String)> = Vec::new();
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(line) => commands.push((line, String::new())),
                None => *commands.last_mut().map(|(_, output)| output).expect("a command") += &format!("{line}\n"),
            }
        }
        for (line, expected) in commands {
            if let Some(name) = line.strip_prefix("$EXAMPLES/") {
                unused.remove(name.split(' ').next().unwrap());
            }
            let mut shell = isolated(Command::new("/bin/sh"), scratch.path());
            shell.args(["-c", line]).current_dir(scratch.path()).env("EXAMPLES", &folder);
            let ended = run(&mut shell).ok();
            assert_eq!(ended.stdout, expected, "{line}");
        }
    }
    assert!(unused.is_empty(), "examples/README.md has no command for {unused:?}");
}

#[test]
fn documents_state_the_minimum_rust_version() {
    let workspace = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let version =
        workspace.lines().find_map(|l| l.strip_prefix("rust-version = ")).expect("rust-version").trim_matches('"');
    let pattern = Regex::new(r"(?:Rust|toolchain) \(?(1\.\d+)").unwrap();
    for document in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        let stated = pattern.captures(&text).map(|c| c[1].to_owned());
        assert_eq!(stated.as_deref(), Some(version), "the minimum Rust version in {document}");
    }
}
