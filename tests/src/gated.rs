//! A job that waits for the test: word count with three lines at which a map stops until the gate opens.

use crate::cluster::Cluster;
use crate::corpus;
use crate::output::parts;
use crate::program::{happens, local};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A job whose maps stop at a gate at three places of the input.
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
        let cut = line_ends.nth(300).expect("the text has more than 300 lines");
        let text = format!("gate1 a\n{}gate2 b\n{}gate3 c\n", &text[..cut], &text[cut..]);
        std::fs::write(folder.path().join("in"), text).expect("a folder of the test's own");
        Gated { folder, gate }
    }
    /// The folder with its input and outputs.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
    /// Arguments of the job, with this output.
    pub fn args(&self, output: &str) -> Vec<String> {
        let gate = self.gate.to_str().expect("temporary folders have plain names");
        let mut args =
            vec!["gate", "in", "--output", output, "--gate", gate, "--chunk-size", "5kB", "--partitions", "3"];
        // An attempt at the gate is not slow.
        args.push("--no-backup-attempts");
        args.into_iter().map(str::to_string).collect()
    }
    /// The attempts at the gate: `WORD.PID`.
    pub fn there(&self) -> BTreeSet<String> {
        std::fs::read_dir(&self.gate)
            .expect("a folder of the test's own")
            .map(|e| {
                e.expect("a folder of the test's own").file_name().into_string().expect("a folder of the test's own")
            })
            .collect()
    }
    /// Waits until attempts have come to this many places of the gate. A task may have several attempts there: on a
    /// busy machine a lease of a second expires by itself.
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
    /// Opens the gate.
    pub fn open(&self) {
        std::fs::write(self.gate.join("open"), "").expect("a folder of the test's own");
    }
    /// The same, and checks that no task of the cluster's only job has had a second attempt.
    pub fn check_ran_once(&self, cluster: &Cluster, output: &str) {
        let (attempts, tasks) = attempts(cluster);
        assert_eq!(attempts, tasks);
        self.check(output);
    }
    /// Opens the gate, and compares the output with a run in one process.
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
