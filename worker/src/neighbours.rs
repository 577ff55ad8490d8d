//! Workers on the same machine: their finished outputs are used in place, like this worker's own.
//!
//! At its registration a worker says on which machine it runs and where its data folder is; the coordinator passes that
//! on with its address. Containers of one machine have file systems of their own, so the folder must hold the worker's
//! id before it is trusted. Nothing here fails: files that cannot be found or read are fetched.

use crate::scratch::{self, AttemptFolder};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use windrow_format::regular_file;
use windrow_model::{AttemptId, Home, SegmentRef, WorkerId};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;

/// Changes with every boot, and is the same in all containers.
const MACHINE: &str = "/proc/sys/kernel/random/boot_id";

/// How to reach another worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// URL of its service.
    pub address: String,
    /// Present if it lets others use its files in place.
    pub home: Option<Home>,
}

/// Shuffle files that were found; each holds many segments.
#[derive(Debug, Default)]
pub(crate) struct Files(HashMap<(AttemptId, u32), Vec<u8>>);

impl Files {
    /// The segment's location in its file, which is looked up once.
    pub(crate) fn place(
        &mut self,
        segment: &SegmentRef,
        find: impl FnOnce() -> Option<PathBuf>,
    ) -> Option<v1::LocalSegment> {
        let path = match self.0.entry((segment.attempt, segment.output)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(path_to_bytes(&find()?)),
        };
        Some(v1::LocalSegment { path: path.clone(), offset: segment.segment.offset })
    }
}

/// Which workers are neighbours.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// `None` on a machine without an id, or if everything is to be fetched.
    machine: Option<String>,
    /// Folders that were probed.
    seen: Mutex<HashMap<WorkerId, (Home, bool)>>,
}

impl Neighbours {
    /// All workers on this machine that let others use their files.
    pub(crate) fn here() -> Neighbours {
        let machine = regular_file::read_note(MACHINE).ok().map(|text| text.trim().to_string());
        Neighbours { machine: machine.filter(|m| !m.is_empty()), seen: Mutex::default() }
    }

    /// The location that neighbours get for a worker with this data folder.
    pub(crate) fn home(&self, folder: PathBuf) -> Option<Home> {
        Some(Home { machine: self.machine.clone()?, folder })
    }

    /// The location of these segments of a worker, if it is a neighbour and all of them can be read. Reads the file
    /// system.
    pub(crate) fn locate<'s>(
        &self,
        worker: WorkerId,
        home: &Home,
        segments: impl Iterator<Item = &'s SegmentRef>,
    ) -> Option<Vec<v1::LocalSegment>> {
        if !self.is_neighbour(worker, home) {
            return None;
        }
        let mut files = Files::default();
        segments
            .map(|segment| {
                files.place(segment, || {
                    let path = AttemptFolder::below(&home.folder, &segment.attempt).edge(segment.output);
                    rustix::fs::access(&path, rustix::fs::Access::READ_OK).ok().map(|()| path)
                })
            })
            .collect()
    }

    fn is_neighbour(&self, worker: WorkerId, home: &Home) -> bool {
        if self.machine.as_ref() != Some(&home.machine) {
            return false;
        }
        let seen = |known: &HashMap<_, (Home, bool)>| known.get(&worker).filter(|(h, _)| h == home).map(|(_, is)| *is);
        if let Some(known) = seen(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)) {
            return known;
        }
        let is = scratch::worker_of(&home.folder) == Some(worker);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(worker, (home.clone(), is));
        is
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::fs;
    use windrow_model::Segment;
    use windrow_sim::samples::attempt;

    fn segment(worker: WorkerId, n: u32, offset: u64) -> SegmentRef {
        let segment = Segment { partition: 0, offset, length: 3, records: 1, raw_length: 3, digest: 0 };
        SegmentRef { worker, attempt: attempt(1, n), output: 0, segment }
    }

    fn finished(scratch: &Scratch, n: u32) {
        let folder = scratch.attempt(&attempt(1, n));
        fs::create_dir_all(folder.outputs()).unwrap();
        fs::write(folder.edge(0), "abcdef").unwrap();
    }

    #[test]
    fn only_files_of_a_neighbour_are_found() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (scratch, stranger) = (Scratch::open(folder.path()).unwrap(), Scratch::open(other.path()).unwrap());
        finished(&scratch, 0);
        finished(&stranger, 0);
        let worker = scratch.worker();
        let neighbours = Neighbours::here();
        let home = neighbours.home(scratch.root().to_path_buf()).expect("Linux names every boot");
        let locate = |home: &Home, wanted: &[SegmentRef]| Neighbours::here().locate(worker, home, wanted.iter());

        let found = locate(&home, &[segment(worker, 0, 3), segment(worker, 0, 0)]).unwrap();
        assert_eq!(found.iter().map(|s| s.offset).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(found[0].path, path_to_bytes(&scratch.attempt(&attempt(1, 0)).edge(0)));

        assert_eq!(locate(&home, &[segment(worker, 0, 0), segment(worker, 1, 0)]), None, "one of them is not there");
        let elsewhere = Home { machine: "another".into(), ..home.clone() };
        assert_eq!(locate(&elsewhere, &[segment(worker, 0, 0)]), None);
        let of_another = Home { folder: stranger.root().to_path_buf(), ..home.clone() };
        assert_eq!(locate(&of_another, &[segment(worker, 0, 0)]), None, "the folder is another worker's");
        let unseen = Home { folder: "/nowhere".into(), ..home.clone() };
        assert_eq!(locate(&unseen, &[segment(worker, 0, 0)]), None);
        assert_eq!(Neighbours::default().locate(worker, &home, [segment(worker, 0, 0)].iter()), None);
    }

    #[test]
    fn moved_neighbour_is_probed_again() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (scratch, stranger) = (Scratch::open(folder.path()).unwrap(), Scratch::open(other.path()).unwrap());
        finished(&scratch, 0);
        let (worker, neighbours) = (scratch.worker(), Neighbours::here());
        let home = |scratch: &Scratch| neighbours.home(scratch.root().to_path_buf()).unwrap();
        let is_found = |home| neighbours.locate(worker, &home, [segment(worker, 0, 0)].iter()).is_some();
        assert!(!is_found(home(&stranger)));
        assert!(is_found(home(&scratch)));
        assert!(!is_found(home(&stranger)));
    }
}
