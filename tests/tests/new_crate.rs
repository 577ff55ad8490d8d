//! `windrow new` makes a crate that builds and passes its test without a network. Its job runs in one process and,
//! without the feature `client`, on a cluster through the program `windrow`.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use windrow_tests::cluster::Cluster;
use windrow_tests::output::{concatenated, lines};
use windrow_tests::program::{binary, command, run};

const NAME: &str = "count-of-mine";

/// The same folder each time, so that a second run compiles only the new crate.
fn workshop() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new_crate");
    fs::create_dir_all(&folder).unwrap();
    let _ = fs::remove_dir_all(folder.join(NAME));
    folder
}

/// Runs cargo in the new crate, without a network.
fn cargo(folder: &Path, args: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(args).arg("--offline").current_dir(folder.join(NAME)).env("CARGO_TARGET_DIR", folder.join("target"));
    // Without debug information the build takes half of the time.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    let done = cargo.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "cargo {args:?}: {}{}", text(&done.stdout), text(&done.stderr));
}

/// The job with these folders as its `PATH`, and an otherwise empty environment.
fn job(program: &Path, home: &Path, path: &[&Path]) -> Command {
    let mut job = Command::new(program);
    job.env_clear().env("PATH", std::env::join_paths(path).unwrap()).env("HOME", home).env("WINDROW_HOME", home);
    job.stdin(Stdio::null()).process_group(0).current_dir(home);
    job
}

fn args(output: &str, more: &[&str]) -> Vec<OsString> {
    ["in", "--output", output].iter().chain(more).map(OsString::from).collect()
}

#[test]
fn new_crate_passes_its_test_and_runs_here_and_on_a_cluster() {
    let folder = workshop();
    let made = run(command("windrow", &folder).args(["new", NAME]).current_dir(&folder)).ok();
    let next: Vec<&str> = made.stdout.lines().collect();
    assert_eq!(next, ["cd count-of-mine", "cargo test", "cargo run --release -- README.md --output words"]);
    cargo(&folder, &["test"]);
    cargo(&folder, &["build"]);

    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("in"), "the cat\nthe dog\n").unwrap();
    // Without a `windrow` beside it.
    let program = home.join(NAME);
    fs::copy(folder.join("target/debug").join(NAME), &program).unwrap();
    run(job(&program, home, &[]).args(args("here", &[]))).ok();
    assert_eq!(lines(&home.join("here")), ["cat\t1", "dog\t1", "the\t2"]);

    let cluster = Cluster::start(1, 1);
    let token = cluster.token_file();
    let there = ["--cluster", &cluster.url, "--token-file", token.to_str().unwrap()];
    run(job(&program, home, &[]).args(args("there", &there))).with(2).shows_error("NO_CLIENT", &["`windrow`", "PATH"]);
    let json =
        run(job(&program, home, &[]).args(args("there", &[&there[..], &["-o", "json"]].concat()))).with(2).json();
    assert_eq!(json["error"]["code"], "NO_CLIENT");
    assert!(!home.join("there").exists());

    let windrow = binary("windrow");
    let beside_windrow = [windrow.parent().unwrap()];
    let done = run(job(&program, home, &beside_windrow).args(args("there", &there))).ok();
    assert!(done.stderr.starts_with("job job-"), "{}", done.stderr);
    assert_eq!(concatenated(&home.join("there")), concatenated(&home.join("here")));
    // `--overwrite` belongs to the job and is passed on; the output is one document, as without the hand-over.
    let again = args("there", &[&there[..], &["--overwrite", "-ojson"]].concat());
    let json = run(job(&program, home, &beside_windrow).args(again)).ok().json();
    assert_eq!((&json["name"], &json["state"]), (&NAME.into(), &"done".into()), "{json}");
    // A failure has the job's own exit code.
    run(job(&program, home, &beside_windrow).args(args("there", &there)))
        .with(1)
        .shows_error("OUTPUT_EXISTS", &["there"]);
    cluster.stop();
}

#[test]
fn existing_folder_and_invalid_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let new = |args: &[&str]| run(command("windrow", folder.path()).arg("new").args(args).current_dir(folder.path()));
    fs::create_dir(folder.path().join("there")).unwrap();
    fs::write(folder.path().join("there/mine"), "kept").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
    for name in ["there", "link"] {
        new(&[name]).with(2).shows_error("BAD_REQUEST", &[name, "exists"]);
    }
    new(&["../outside"]).with(2).shows_error("BAD_REQUEST", &["invalid crate name"]);
    new(&["job", "--path", "there"]).with(2).shows_error("BAD_REQUEST", &["not a checkout of Windrow"]);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["link", "there"], "nothing was made");
    assert_eq!(fs::read_to_string(folder.path().join("there/mine")).unwrap(), "kept");
}
