//! Exit codes and messages of the real binary for usage errors, and without a cluster.

use assert_cmd::Command;
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// `windrow` with a state folder of its own and none of the caller's settings.
fn windrow(home: &TempDir) -> Command {
    let mut command = Command::cargo_bin("windrow").unwrap();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WINDROW_") {
            command.env_remove(name);
        }
    }
    command.env("WINDROW_HOME", home.path()).env("XDG_CONFIG_HOME", home.path().join("config"));
    command
}

/// Exit code, stdout, stderr.
fn run(home: &TempDir, args: &[&str]) -> (i32, String, String) {
    let output = windrow(home).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A URL without a server.
fn dead_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A copy of this test's own binary that claims to be a job of some version.
fn marked(folder: &Path, version: &str) -> String {
    let path = folder.join(format!("marked-{version}"));
    let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    bytes.extend_from_slice(b"windrow-job-marker:v");
    bytes.extend_from_slice(version.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn unreachable_coordinator_exits_with_three() {
    let home = tempfile::tempdir().unwrap();
    let url = dead_url();
    let id = "job-00000000000000000000000000000007";
    for args in [
        &["job", "list", "--coordinator", &url][..],
        &["job", "get", id, "--coordinator", &url],
        &["job", "wait", id, "--coordinator", &url],
        &["worker", "list", "--coordinator", &url],
    ] {
        let (code, stdout, stderr) = run(&home, args);
        assert_eq!((code, stdout.as_str()), (3, ""), "{args:?}");
        assert!(stderr.contains("UNREACHABLE") && stderr.contains(&url), "{stderr}");
    }
    let (code, _, stderr) = run(&home, &["job", "list"]);
    assert_eq!(code, 3, "no coordinator is named, and none recorded");
    assert!(stderr.contains("windrow up"), "{stderr}");
}

#[test]
fn a_failure_is_json_for_scripts() {
    let home = tempfile::tempdir().unwrap();
    let (code, stdout, _) = run(&home, &["-o", "json", "job", "list", "--coordinator", &dead_url()]);
    let value: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 3);
    assert_eq!(value["error"]["code"], "UNREACHABLE");
    assert!(value["error"]["hint"].is_string());
}

#[test]
fn usage_errors_exit_with_two() {
    let home = tempfile::tempdir().unwrap();
    for args in [
        &["frobnicate"][..],
        &["job", "get", "no-id"],
        &["submit"],
        &["worker", "--coordinator", "http://127.0.0.1:1"],
        &["worker", "--slots", "0"],
        &["coordinator"],
        &["up", "--memory", "lots"],
        &["up", "--memory", "0"],
        &["worker", "--memory", "0", "--coordinator", "http://127.0.0.1:1", "--data-dir", "d"],
        &["submit", "--chunk-size", "0", "/bin/ls"],
    ] {
        let (code, stdout, stderr) = run(&home, args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        assert!(!stderr.is_empty(), "{args:?}");
    }
    assert_eq!(run(&home, &["--help"]).0, 0);
}

#[test]
fn non_job_binary_exits_with_two_before_any_call() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let other = marked(home.path(), "99");
    for (binary, code) in [
        (script.to_str().unwrap(), "BAD_BINARY"),
        ("/no/such/binary", "BAD_BINARY"),
        ("/bin", "BAD_BINARY"),
        ("/bin/ls", "NOT_A_JOB"),
        (&other, "VERSION_MISMATCH"),
    ] {
        let (exit, stdout, stderr) = run(&home, &["submit", "--coordinator", &dead_url(), binary, "--", "x"]);
        assert_eq!((exit, stdout.as_str()), (2, ""), "{binary}: {stderr}");
        assert!(stderr.contains(code) && stderr.contains(binary), "{stderr}");
    }
}

#[test]
fn an_address_that_others_reach_needs_tls() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for (verb, more) in [("coordinator", &[][..]), ("worker", &["--coordinator", "http://127.0.0.1:1"][..])] {
        let mut args = vec![verb, "--listen", "0.0.0.0:0", "--data-dir", data.to_str().unwrap()];
        args.extend(more);
        let (code, stdout, stderr) = run(&home, &args);
        assert_eq!((code, stdout.as_str()), (2, ""), "{verb}: {stderr}");
        assert!(stderr.contains("INSECURE") && stderr.contains("--insecure"), "{stderr}");
    }
}

#[test]
fn flag_beats_environment_beats_named_file_beats_user_file() {
    let home = tempfile::tempdir().unwrap();
    let urls: Vec<String> = (0..4).map(|_| dead_url()).collect();
    let section = |url: &str| format!("[client]\ncoordinator = '{url}'\n");
    let user = home.path().join("config/windrow/config.toml");
    std::fs::create_dir_all(user.parent().unwrap()).unwrap();
    std::fs::write(&user, section(&urls[3])).unwrap();
    let named = home.path().join("named.toml");
    std::fs::write(&named, section(&urls[2])).unwrap();
    let says = |used: &str, command: &mut Command| {
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3));
        for url in &urls {
            assert_eq!(stderr.contains(url.as_str()), url == used, "{used}: {stderr}");
        }
    };
    says(&urls[3], windrow(&home).args(["job", "list"]));
    says(&urls[2], windrow(&home).args(["job", "list", "--config"]).arg(&named));
    says(&urls[1], windrow(&home).args(["job", "list", "--config"]).arg(&named).env("WINDROW_COORDINATOR", &urls[1]));
    says(
        &urls[0],
        windrow(&home)
            .args(["job", "list", "--coordinator", &urls[0], "--config"])
            .arg(&named)
            .env("WINDROW_COORDINATOR", &urls[1]),
    );
    std::fs::write(&named, "[client]\ncoordinater = 'x'\n").unwrap();
    let output = windrow(&home).args(["job", "list", "--config"]).arg(&named).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("line 2") && stderr.contains("coordinater"), "{stderr}");
}

#[test]
fn a_completion_script_is_data() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, stderr) = run(&home, &["completion", shell]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("submit"));
    }
}
