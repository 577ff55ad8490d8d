//! Files of a crate import each other in one direction: there is no cycle.

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use windrow_tests::repository;

/// The modules of a crate by path (`a::b`), and the text of each.
fn modules(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        let name = if prefix.is_empty() { stem.clone() } else { format!("{prefix}::{stem}") };
        if entry.is_dir() {
            modules(&entry, &name, found);
        } else if entry.extension().is_some_and(|e| e == "rs") && stem != "lib" && stem != "main" {
            found.insert(name, fs::read_to_string(&entry).unwrap());
        }
    }
}

/// The single paths of a tree of imports: `a::{b, c::{d as e}}` gives `a::b` and `a::c::d`.
fn paths(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let (mut depth, mut from) = (0, 0);
    let ends = tree.char_indices().filter_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (c == ',' && depth == 0).then_some(at)
    });
    for end in ends.chain([tree.len()]).collect::<Vec<_>>() {
        let item = tree[from..end].trim();
        from = (end + 1).min(tree.len());
        match item.split_once('{') {
            _ if item.is_empty() => {}
            Some((head, rest)) => paths(&format!("{prefix}{head}"), rest.trim_end_matches('}'), found),
            None => found.push(format!("{prefix}{}", item.split(" as ").next().unwrap_or_default().trim())),
        }
    }
}

/// What each module imports from other modules of its crate, outside of its tests, by `use` or by a path within the code.
fn imports(modules: &BTreeMap<String, String>) -> BTreeMap<String, BTreeSet<String>> {
    let comment = Regex::new(r"//.*").unwrap();
    let import = Regex::new(r"\buse\s+((?:crate|super|self)::[^;]*);").unwrap();
    let inline = Regex::new(r"\b(?:crate|super)(?:::\w+)+").unwrap();
    let resolve = |path: &[&str]| {
        let ends = (1..=path.len()).rev().map(|n| path[..n].join("::"));
        ends.into_iter().find(|name| modules.contains_key(name))
    };
    let of = |(name, text): (&String, &String)| {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let text = comment.replace_all(text, "");
        let mut found = Vec::new();
        import.captures_iter(&text).for_each(|c| paths("", &c[1], &mut found));
        inline.find_iter(&text).for_each(|m| found.push(m.as_str().to_owned()));
        let own: Vec<&str> = name.split("::").collect();
        let targets = found.iter().filter_map(|path| {
            let parts: Vec<&str> = path.split("::").collect();
            let up = parts.iter().take_while(|p| **p == "super").count();
            let base = match parts[0] {
                "crate" => Vec::new(),
                _ => own[..own.len().saturating_sub(up)].to_vec(),
            };
            let rest = parts.iter().filter(|p| !["crate", "super", "self"].contains(p)).copied();
            resolve(&base.into_iter().chain(rest).collect::<Vec<_>>())
        });
        (name.clone(), targets.filter(|target| target != name).collect())
    };
    modules.iter().map(of).collect()
}

fn reachable(from: &str, imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(next) = waiting.pop() {
        for target in &imports[&next] {
            if found.insert(target.clone()) {
                waiting.push(target.clone());
            }
        }
    }
    found
}

#[test]
fn files_import_each_other_in_one_direction() {
    let (mut cycles, mut seen) = (BTreeSet::new(), 0);
    for entry in fs::read_dir(repository()).unwrap().map(|entry| entry.unwrap().path()) {
        let src = entry.join("src");
        if !entry.join("Cargo.toml").is_file() || !src.is_dir() {
            continue;
        }
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        let mut found = BTreeMap::new();
        modules(&src, "", &mut found);
        let imports = imports(&found);
        seen += imports.values().map(BTreeSet::len).sum::<usize>();
        let reach: BTreeMap<&String, BTreeSet<String>> =
            imports.keys().map(|module| (module, reachable(module, &imports))).collect();
        for (module, targets) in &reach {
            let group: BTreeSet<String> = targets.iter().filter(|t| reach[*t].contains(*module)).cloned().collect();
            if group.len() > 1 {
                cycles.insert((name.clone(), group));
            }
        }
    }
    assert!(seen > 500, "only {seen} imports were found: the patterns of this test are out of date");
    assert!(cycles.is_empty(), "files that import each other: {cycles:#?}");
}
