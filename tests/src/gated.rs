//! A job that waits in the middle for the test: word count with three lines at which a map stops until it may go on.

use crate::cluster::Cluster;
use crate::corpus;
use crate::output::parts;
use crate::program::{happens, local};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A job whose maps come to a gate at three places and wait there.
pub struct Gated {
    folder: TempDir,
    gate: PathBuf,
}

impl Gated {
    #[allow(clippy::new_without_default)] // It makes a folder.
    pub fn new() -> Gated {
        let folder = tempfile::tempdir().expect("a folder of the test's own");
        let gate = folder.path().join("gate");
        std::fs::create_dir(&gate).expect("a folder of the test's own");
        let text = corpus::text(20, 30_000);
        let mut line_ends = text.match_indices('\n').map(|(at, _)| at + 1);
        let cut = line_ends.nth(300).expect("it has so many lines");
        let text = format!("gate1 a\n{}gate2 b\n{}gate3 c\n", &text[..cut], &text[cut..]);
        std::fs::write(folder.path().join("in"), text).expect("a folder of the test's own");
        Gated { folder, gate }
    }
    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
    /// Of the job, with this output.
    pub fn args(&self, output: &str) -> Vec<String> {
        let gate = self.gate.to_str().expect("temporary folders have plain names");
        let mut args =
            vec!["gate", "in", "--output", output, "--gate", gate, "--chunk-size", "5kB", "--partitions", "3"];
        // Whoever waits at the gate is not slow.
        args.push("--no-backup-attempts");
        args.into_iter().map(str::to_string).collect()
    }
    /// Who has come to the gate: `WORD.PID`.
    pub fn there(&self) -> BTreeSet<String> {
        std::fs::read_dir(&self.gate)
            .expect("a folder of the test's own")
            .map(|e| {
                e.expect("a folder of the test's own").file_name().into_string().expect("a folder of the test's own")
            })
            .collect()
    }
    /// Waits until maps have come to so many places of the gate. More than one attempt of a task may be there: on a machine
    /// that is busy enough a lease of a second runs out by itself.
    #[track_caller]
    pub fn wait_for(&self, places: usize) {
        let mut there = BTreeSet::new();
        let all_are_there = || {
            there = self.there();
            let words: BTreeSet<&str> = there.iter().filter_map(|name| name.split('.').next()).collect();
            words.len() == places
        };
        assert!(happens(all_are_there), "never at {places} places of the gate, but {there:?}");
    }
    /// Lets everybody through.
    pub fn open(&self) {
        std::fs::write(self.gate.join("open"), "").expect("a folder of the test's own");
    }
    /// The same, and no task of the only job of the cluster has had a second attempt.
    pub fn check_ran_once(&self, cluster: &Cluster, output: &str) {
        let (attempts, tasks) = attempts(cluster);
        assert_eq!(attempts, tasks);
        self.check(output);
    }
    /// Opens the gate, and compares with a run of one process.
    pub fn check(&self, output: &str) {
        self.open();
        local(self.path(), "hostile", self.args("expected")).ok();
        assert!(parts(&self.path().join(output)) == parts(&self.path().join("expected")));
        let hidden =
            std::fs::read_dir(self.path()).expect("a folder of the test's own").flatten().map(|e| e.file_name());
        let hidden: Vec<_> = hidden.filter(|n| n.to_string_lossy().starts_with('.')).collect();
        assert!(hidden.is_empty(), "left behind: {hidden:?}");
    }
}

/// Attempts and tasks of the only job.
pub fn attempts(cluster: &Cluster) -> (u64, u64) {
    let job = &cluster.json(["job", "list"])[0];
    (job["attempts"].as_u64().expect("a number"), job["tasks"]["total"].as_u64().expect("a number"))
}
