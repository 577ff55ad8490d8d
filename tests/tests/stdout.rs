//! Standard output holds only the result, and a result that cannot be written is a failure.

use std::fs::File;
use std::process::Command;
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::program::{Ended, binary, command, run};

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a\nb\n").unwrap();
    folder
}

/// Exit code and stderr of a command with this stdout.
fn into(command: &mut Command, stdout: File) -> (Option<i32>, String) {
    let output = command.stdout(stdout).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A device without space.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that has lost its reader.
fn closed() -> File {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    File::from(std::os::fd::OwnedFd::from(writer))
}

#[test]
fn help_of_a_submitted_program_is_its_own() {
    let folder = folder();
    for asks in ["--help", "-h", "--version"] {
        let alone = run(command("wordcount", folder.path()).arg(asks)).ok();
        let mut submit = command("windrow", folder.path());
        submit.args(["--no-config", "submit"]).arg(binary("wordcount")).args(["--", asks]);
        assert_eq!(run(&mut submit).ok().stdout, alone.stdout);
    }
}

#[test]
fn unwritable_result_exits_with_one() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let windrow = |args: &[&str]| {
        let mut command = cluster.windrow(args);
        command.current_dir(folder.path());
        command
    };
    let asking = |args: &[&str]| {
        let mut command = windrow(args);
        command.args(["--coordinator", &cluster.url]);
        command
    };
    run(&mut asking(&["data", "put", "in", "kept"])).ok();
    let id = cluster.detach(folder.path(), "wordcount", ["in", "--output", "first"]);
    run(&mut asking(&["job", "wait", &id])).ok();
    let job = |name: &str, args: &[&str]| {
        let mut command = command(name, folder.path());
        command.current_dir(folder.path()).args(args);
        command
    };
    let submit = |args: &[&str]| {
        let mut command = asking(&["submit", "--overwrite"]);
        command.args(args).arg(binary("wordcount")).args(["--", "in", "--output", "there"]);
        command
    };
    let commands: Vec<Command> = vec![
        windrow(&["--help"]),
        windrow(&["--version"]),
        windrow(&["submit", "--help"]),
        windrow(&["completion", "bash"]),
        asking(&["job", "list"]),
        asking(&["job", "list", "-o", "json"]),
        asking(&["job", "get", &id]),
        asking(&["job", "wait", "-o", "json", &id]),
        asking(&["worker", "list"]),
        asking(&["worker", "list", "-o", "json"]),
        asking(&["data", "ls"]),
        asking(&["data", "get", "kept", "-"]),
        asking(&["data", "put", "in", "again", "--overwrite", "-o", "json"]),
        submit(&["-o", "json"]),
        submit(&["--detach"]),
        job("wordcount", &["--help"]),
        job("wordcount", &["in", "--output", "x", "--explain"]),
        job("wordcount", &["in", "--output", "here", "--overwrite", "-o", "json"]),
        job("printer", &["rounds", "in", "--output", "r", "--overwrite", "--marker", "m"]),
        job("printer", &["rounds", "in", "--output", "r", "--overwrite", "--marker", "m", "-o", "json"]),
    ];
    for mut command in commands {
        let (code, stderr) = into(&mut command, full());
        assert_eq!(code, Some(1), "{command:?}: {stderr}");
        assert!(stderr.contains("No space left"), "{command:?}: {stderr}");
    }
    for mut command in
        [windrow(&["completion", "bash"]), asking(&["job", "list"]), asking(&["data", "get", "kept", "-"])]
    {
        assert_eq!(into(&mut command, closed()), (Some(0), String::new()), "{command:?}");
    }
    // A coordinator that cannot print its address would never be found.
    let mut coordinator = windrow(&["coordinator", "--listen", "127.0.0.1:0", "--data-dir", "coordinator"]);
    assert_eq!(into(&mut coordinator, full()).0, Some(1));
    let mut worker = windrow(&["worker", "--coordinator", &cluster.url, "--data-dir", "worker", "--slots", "1"]);
    assert_eq!(into(worker.args(["--memory", "64MiB"]), full()).0, Some(1));
    cluster.stop();
}

/// Checks that the output of the job's code, from planning and both records, is on stderr.
#[track_caller]
fn printed_to_stderr(ended: &Ended) {
    for printed in ["planning {", "at a", "at b"] {
        assert!(ended.stderr.contains(printed), "no `{printed}` in {}", ended.stderr);
    }
}

#[test]
fn prints_of_user_code_are_no_part_of_a_result() {
    let folder = folder();
    let cluster = Cluster::start(1, 1);
    let printer = |args: &[&str]| run(command("printer", &cluster.home()).current_dir(folder.path()).args(args));
    let done = printer(&["chatty", "in", "--output", "o1", "-o", "json"]).ok();
    assert_eq!(done.json()["state"], "done");
    printed_to_stderr(&done);
    let plain = printer(&["chatty", "in", "--output", "o2"]).ok();
    assert!(plain.stdout.starts_with("planning {\n"), "where the code prints it: {}", plain.stdout);
    let there = printer(&["chatty", "in", "--output", "o3", "--cluster", &cluster.url, "-o", "json"]).ok();
    assert_eq!(there.json()["state"], "done");
    for output in ["o4", "o5"] {
        let mut submit = cluster.windrow(["submit", "--coordinator", &cluster.url]);
        if output == "o5" {
            submit.args(["-o", "json"]);
        }
        submit.arg(binary("printer")).args(["--", "chatty", "in", "--output", output]).current_dir(folder.path());
        let submitted = run(&mut submit).ok();
        assert!(submitted.stderr.contains("planning {"), "{}", submitted.stderr);
        match output {
            "o5" => assert_eq!(submitted.json()["state"], "done"),
            _ => assert_eq!(submitted.stdout, ""),
        }
    }
    for more in [&[][..], &["--cluster", &cluster.url]] {
        let args = ["rounds", "in", "--output", "r", "--overwrite", "--marker", "m", "-o", "json"];
        let driven = printer(&[&args[..], more].concat()).ok();
        let document = driven.json();
        assert_eq!((&document["state"], &document["error"]), (&"done".into(), &serde_json::Value::Null));
        assert_eq!(document["jobs"].as_array().unwrap().len(), 2);
        assert!(driven.stderr.contains("two rounds"), "{}", driven.stderr);
    }
    let failed = printer(&["rounds", "missing", "--output", "f", "--marker", "m", "-o", "json"]).with(1).json();
    assert_eq!((&failed["state"], &failed["error"]["code"]), (&"failed".into(), &"INPUT_NOT_FOUND".into()), "{failed}");
    cluster.stop();
}
