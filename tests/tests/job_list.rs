//! `windrow job list` with its filters.

use windrow_tests::cluster::Cluster;
use windrow_tests::program::{binary, run};

#[test]
fn job_list_filters_by_state_name_age_and_number() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a b\n").unwrap();
    let cluster = Cluster::start(1, 1);
    for (name, input, code) in [("first one", "in", 0), ("second", "in", 0), ("third one", "missing", 1)] {
        let mut submit = cluster.windrow(["submit", "--coordinator", &cluster.url, "--name", name]);
        let output = format!("out {name}");
        submit.arg(binary("wordcount")).args(["--", input, "--output", &output]);
        run(submit.current_dir(folder.path())).with(code);
    }
    let list = |more: &[&str]| {
        let all = ["job", "list", "--coordinator", &cluster.url, "-o", "json"];
        run(cluster.windrow(all).args(more)).ok()
    };
    let names = |more: &[&str]| {
        let jobs = list(more).json();
        let names = jobs.as_array().unwrap().iter().map(|job| job["name"].as_str().unwrap().to_string());
        names.collect::<Vec<String>>()
    };
    // The latest comes first.
    assert_eq!(names(&[]), ["third one", "second", "first one"]);
    assert_eq!(names(&["--state", "failed"]), ["third one"]);
    assert_eq!(names(&["--state", "done"]), ["second", "first one"]);
    assert_eq!(names(&["--state", "done", "--state", "failed"]).len(), 3);
    assert_eq!(names(&["--state", "running"]), Vec::<String>::new());
    assert_eq!(names(&["--name", " one"]), ["third one", "first one"]);
    assert_eq!(names(&["--name", " one", "--state", "done"]), ["first one"]);
    assert_eq!(names(&["--since", "1h"]).len(), 3);
    assert_eq!(names(&["--since", "1ms"]), Vec::<String>::new());
    assert_eq!(names(&["--limit", "2"]), ["third one", "second"]);
    let limited = list(&["--limit", "1", "--name", " one"]);
    assert!(limited.stderr.contains("1 earlier jobs are not listed"), "{}", limited.stderr);
    assert!(!list(&["--limit", "3"]).stderr.contains("not listed"));
    run(&mut cluster.windrow(["job", "list", "--coordinator", &cluster.url, "--limit", "0"])).with(2);
    cluster.stop();
}
