//! The crates that a job crate compiles: the dependencies of an empty crate with `windrow`, `clap` and `serde`, with
//! and without the default features of `windrow`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use windrow_tests::repository;

/// Upper bound on the crates that a job crate compiles, including itself.
const CRATES_MAX: usize = 85;

/// Crates that only clients of clusters and daemons need.
const NOT_FOR_JOBS: [&str; 9] =
    ["tonic", "rustls", "aws-lc-sys", "hyper", "h2", "tokio", "windrow-net", "prost-build", "protox"];

/// A crate outside of the workspace, with the workspace's versions of all dependencies.
fn job_crate(windrow_features: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"job\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         windrow = {{ path = {:?}, {windrow_features} }}\n\
         clap = {{ version = \"4\", default-features = false, features = [\"derive\"] }}\n\
         serde = {{ version = \"1\", features = [\"derive\"] }}\n",
        repository().join("api")
    );
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), "fn main() {}\n").unwrap();
    fs::copy(repository().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    folder
}

/// The names and versions of all crates in its build.
fn compiled(folder: &Path) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "-e", "normal,build", "--prefix", "none", "--format", "{p}"]).current_dir(folder);
    let done = cargo.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    // `name v1.2.3 (path or proc-macro) (*)`; a line in brackets is a heading.
    let named = text.lines().filter(|line| !line.is_empty() && !line.starts_with('['));
    named.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

fn names(crates: &BTreeSet<String>) -> BTreeSet<&str> {
    crates.iter().map(|name| name.split(' ').next().unwrap_or_default()).collect()
}

#[test]
fn job_crate_compiles_few_crates_and_no_grpc() {
    let crates = compiled(job_crate("default-features = false").path());
    assert!(names(&crates).contains("windrow-engine"), "{crates:?}");
    for unwanted in NOT_FOR_JOBS {
        assert!(!names(&crates).contains(unwanted), "`{unwanted}` is for clients and daemons: {crates:?}");
    }
    assert!(crates.len() <= CRATES_MAX, "{} crates: {crates:?}", crates.len());
}

#[test]
fn default_features_bring_the_client() {
    let crates = compiled(job_crate("features = []").path());
    for wanted in ["tonic", "rustls", "tokio", "windrow-net", "regex"] {
        assert!(names(&crates).contains(wanted), "{wanted} of {crates:?}");
    }
}
