//! Workers on the same machine: their finished outputs are used in place, like this worker's own.
//!
//! At its registration a worker says on which machine it runs and where its data folder is; the coordinator passes that
//! on with its address. Containers of one machine have file systems of their own, so the folder must hold the worker's
//! id before it is trusted. Nothing here fails: files that cannot be found or read are fetched.

use crate::scratch;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use windrow_format::regular_file;
use windrow_format::stage_index::OutputImage;
use windrow_model::{Home, WorkerId};
use windrow_proto::convert::path_from_bytes;
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

    /// Where the outputs lie that a neighbour with this data folder has located, if all their files can be read. `outputs` is
    /// the number of outputs that were asked for. Reads the file system.
    pub(crate) fn images(
        &self,
        home: &Home,
        reply: v1::LocateOutputsReply,
        outputs: usize,
    ) -> Option<Vec<OutputImage>> {
        let v1::LocateOutputsReply { files, file, base, length, .. } = reply;
        if [file.len(), base.len(), length.len()] != [outputs; 3] {
            return None;
        }
        let readable = |bytes: Vec<u8>| {
            let path = path_from_bytes(bytes, "files").ok()?;
            // Nothing outside of the neighbour's folder is opened on its word.
            let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
            let path = home.folder.join(path);
            (is_below && rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_ok()).then(|| Arc::from(path))
        };
        let files: Vec<Arc<Path>> = files.into_iter().map(readable).collect::<Option<_>>()?;
        let none: Arc<Path> = Path::new("").into();
        let images = file.into_iter().zip(base).zip(length).map(|((file, base), length)| match file.checked_sub(1) {
            // All three numbers must say so: one that is damaged on its way does not make an output empty.
            None => (base == 0 && length == 0).then(|| OutputImage { file: none.clone(), base: 0, length: 0 }),
            // Without bytes it would count as an output without records.
            Some(at) => (length > 0).then_some(OutputImage { file: files.get(at as usize)?.clone(), base, length }),
        });
        images.collect()
    }

    /// Whether a worker whose data folder should be there is on this machine. Reads the file system once.
    pub(crate) fn is_neighbour(&self, worker: WorkerId, home: &Home) -> bool {
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

    fn reply(files: &[&str]) -> v1::LocateOutputsReply {
        v1::LocateOutputsReply {
            files: files.iter().map(|file| file.as_bytes().to_vec()).collect(),
            file: vec![1, 0, files.len() as u32],
            base: vec![0, 0, 7],
            length: vec![3, 0, 4],
            ..v1::LocateOutputsReply::default()
        }
    }

    #[test]
    fn only_files_of_a_neighbour_are_found() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (scratch, stranger) = (Scratch::open(folder.path()).unwrap(), Scratch::open(other.path()).unwrap());
        fs::write(scratch.root().join("jobs/a"), "abc").unwrap();
        fs::write(scratch.root().join("jobs/b"), "0123456789a").unwrap();
        let worker = scratch.worker();
        let neighbours = Neighbours::here();
        let home = neighbours.home(scratch.root().to_path_buf()).expect("Linux names every boot");
        assert!(neighbours.is_neighbour(worker, &home));
        let images = |reply| neighbours.images(&home, reply, 3);

        let found = images(reply(&["jobs/a", "jobs/b"])).unwrap();
        let place = |image: &OutputImage| (image.file.to_path_buf(), image.base, image.length);
        let jobs = scratch.root().join("jobs");
        assert_eq!(
            found.iter().map(place).collect::<Vec<_>>(),
            [(jobs.join("a"), 0, 3), (PathBuf::new(), 0, 0), (jobs.join("b"), 7, 4),]
        );
        assert_eq!(images(reply(&["jobs/a", "jobs/c"])), None, "one of them is not there");
        for outside in ["/etc/hostname", "../b", "jobs/../../b"] {
            assert_eq!(images(reply(&["jobs/a", outside])), None, "{outside}");
        }
        assert_eq!(neighbours.images(&home, reply(&["jobs/a"]), 2), None);
        assert_eq!(images(v1::LocateOutputsReply { file: vec![1, 0, 9], ..reply(&["jobs/a"]) }), None);
        assert_eq!(images(v1::LocateOutputsReply { length: vec![3, 0, 0], ..reply(&["jobs/a"]) }), None);
        assert_eq!(images(v1::LocateOutputsReply { file: vec![0, 0, 1], ..reply(&["jobs/a"]) }), None, "it has bytes");

        let is_neighbour = |home: &Home| Neighbours::here().is_neighbour(worker, home);
        let elsewhere = Home { machine: "another".into(), ..home.clone() };
        let of_another = Home { folder: stranger.root().to_path_buf(), ..home.clone() };
        let unseen = Home { folder: "/nowhere".into(), ..home.clone() };
        assert!(is_neighbour(&home) && ![elsewhere, of_another, unseen].iter().any(is_neighbour));
        assert!(!Neighbours::default().is_neighbour(worker, &home));
    }

    #[test]
    fn moved_neighbour_is_probed_again() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (scratch, stranger) = (Scratch::open(folder.path()).unwrap(), Scratch::open(other.path()).unwrap());
        let (worker, neighbours) = (scratch.worker(), Neighbours::here());
        let home = |scratch: &Scratch| neighbours.home(scratch.root().to_path_buf()).unwrap();
        let is_found = |home| neighbours.is_neighbour(worker, &home);
        assert!(!is_found(home(&stranger)));
        assert!(is_found(home(&scratch)));
        assert!(!is_found(home(&stranger)));
    }
}
