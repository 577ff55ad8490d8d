//! A task's inputs as local files, before it runs.
//!
//! Chunks are used in place, if this node sees the same file that was split; chunks of datasets come from this worker's
//! store, after a fetch if they are missing. Segments of this worker's own attempts and of its neighbours are used in
//! place, too; all others are fetched, into one file per source worker. Nothing is mapped or parsed here.

use crate::error::disk_failure;
use crate::fetch::{FetchError, Fetcher};
use crate::neighbours::{Files, Neighbours, Whereabouts};
use crate::outputs::Outputs;
use crate::replicas::{Replicas, Sources};
use crate::scratch::{AttemptFolder, Scratch};
use crate::stat_cache::Seen;
use futures_util::future::try_join_all;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use windrow_attempts::StageError;
use windrow_failpoint::failpoint;
use windrow_format::private;
use windrow_model::{Chunk, Code, Digest, Escape, Failure, FileRange, Home, SegmentRef, Task, TaskInput, WorkerId};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;
use windrow_store::{Progress, StorageCalls, identity};

/// The parts of the node that staging needs.
#[derive(Debug)]
pub(crate) struct Staging {
    pub worker: WorkerId,
    pub scratch: Arc<Scratch>,
    pub outputs: Outputs,
    pub fetcher: Fetcher,
    pub replicas: Replicas,
    pub seen: Arc<Seen>,
    pub neighbours: Arc<Neighbours>,
    /// Calls to storage of users: inputs and outputs.
    pub storage: StorageCalls,
}

/// Inputs as local files.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Staged {
    /// For each input that consists of segments, their locations.
    pub segments: Vec<v1::LocalSegments>,
    /// Whether files were made for it.
    pub fetched: bool,
    /// The task's chunk with local files for its contents, if it has any of a dataset.
    pub chunk: Option<Chunk>,
    /// Contents that were fetched.
    pub new_chunks: Vec<Digest>,
}

/// Segments of one peer, each with its position in the task.
type Wanted = Vec<((usize, usize), SegmentRef)>;

impl Staging {
    /// Like [`Staging::stage`], if that needs no waiting: everything is local and already verified.
    pub(crate) fn at_once(&self, task: &Task) -> Option<Result<Staged, StageError>> {
        let known = |range: &FileRange| range.content.is_none() && self.seen.has(range);
        let here = task.inputs.iter().all(|input| match input {
            TaskInput::Chunk(chunk) => chunk.ranges.iter().all(known),
            TaskInput::Segments(refs) => refs.iter().all(|s| s.worker == self.worker),
            TaskInput::Inline(_) => true,
        });
        here.then(|| self.place(task).map(|(staged, _)| staged))
    }

    /// Makes the attempt's folders and its inputs local. Cancel-safe.
    pub(crate) async fn stage(
        &self,
        task: &Task,
        peers: &HashMap<WorkerId, Whereabouts>,
        sources: &Sources,
    ) -> Result<Staged, StageError> {
        let folder = self.scratch.attempt(&task.attempt);
        let (mut staged, mut remote) = self.place(task)?;
        let mut chunks: Vec<Chunk> = Vec::new();
        for input in &task.inputs {
            if let TaskInput::Chunk(chunk) = input {
                chunks.push(self.localise(chunk, sources, &mut staged).await.map_err(StageError::Failed)?);
            }
        }
        let homes: Vec<(WorkerId, Home)> =
            remote.keys().filter_map(|w| Some((*w, peers.get(w)?.home.clone()?))).collect();
        let looked = tokio::task::spawn_blocking({
            let neighbours = self.neighbours.clone();
            move || {
                let mut here = Vec::new();
                for (worker, home) in homes {
                    if let Some(wanted) = remote.get(&worker)
                        && let Some(places) = neighbours.locate(worker, &home, wanted.iter().map(|(_, s)| s))
                        && let Some(wanted) = remote.remove(&worker)
                    {
                        here.extend(wanted.into_iter().map(|(at, _)| at).zip(places));
                    }
                }
                (here, remote)
            }
        });
        let looked = looked.await.map_err(|e| Failure::new(Code::Internal, e.to_string()));
        let (here, remote) = looked.map_err(StageError::Failed)?;
        self.check_chunks(chunks).await.map_err(StageError::Failed)?;
        staged.fetched = !remote.is_empty();
        // The writer of an output makes its folder: most tasks of a large grep write none. Not in a blocking thread:
        // this future is dropped if the job ends meanwhile, and a folder made after that would never be removed.
        if staged.fetched {
            let inputs = folder.inputs();
            let made = private::create_folders(&inputs).map_err(|e| disk_failure("make", &inputs, 0, &e));
            made.map_err(StageError::Failed)?;
        }
        for ((input, index), place) in here {
            staged.segments[input].segments[index] = place;
        }
        try_join_all(remote.iter().map(|(worker, wanted)| self.fetch(*worker, wanted, peers, &folder))).await?;
        for (worker, wanted) in &remote {
            let path = path_to_bytes(&peer_file(&folder, *worker));
            let mut offset = 0u64;
            for ((input, index), segment) in wanted {
                staged.segments[*input].segments[*index] = v1::LocalSegment { path: path.clone(), offset };
                offset = offset.saturating_add(segment.segment.length);
            }
        }
        Ok(staged)
    }

    /// Checks that this node sees the files that were split. Their storage may not answer.
    async fn check_chunks(&self, chunks: Vec<Chunk>) -> Result<(), Failure> {
        // Ranges with a content have been compared with its digest.
        let is_file = |range: &FileRange| range.content.is_none() && !self.seen.has(range);
        let ranges: Vec<FileRange> = chunks.into_iter().flat_map(|c| c.ranges).filter(is_file).collect();
        let Some(first) = ranges.first().map(|range| range.path.clone()) else { return Ok(()) };
        let seen = self.seen.clone();
        let check = move |progress: &Progress| {
            let look = |range: &FileRange| {
                check_range(range)?;
                seen.add(range);
                progress.tick();
                Ok(())
            };
            ranges.iter().try_for_each(look)
        };
        self.storage.run(&first, check).await
    }

    /// The chunk with a local file for each content of a dataset.
    async fn localise(&self, chunk: &Chunk, sources: &Sources, staged: &mut Staged) -> Result<Chunk, Failure> {
        let mut local = chunk.clone();
        for range in &mut local.ranges {
            let Some(digest) = range.content else { continue };
            let holders = sources.get(&digest).map_or(&[][..], Vec::as_slice);
            if self.replicas.get(digest, holders).await? {
                staged.new_chunks.push(digest);
            }
            range.local = Some(self.replicas.chunks.path(digest));
        }
        if local != *chunk {
            staged.chunk = Some(local.clone());
        }
        Ok(local)
    }

    /// Locates local segments, and groups the others by their holder.
    fn place(&self, task: &Task) -> Result<(Staged, BTreeMap<WorkerId, Wanted>), StageError> {
        let mut staged = Staged::default();
        let mut remote: BTreeMap<WorkerId, Wanted> = BTreeMap::new();
        let mut own = Files::default();
        for (number, input) in (0u32..).zip(&task.inputs) {
            let TaskInput::Segments(refs) = input else { continue };
            let mut local = Vec::with_capacity(refs.len());
            for (index, segment) in refs.iter().enumerate() {
                if segment.worker != self.worker {
                    remote.entry(segment.worker).or_default().push(((staged.segments.len(), index), *segment));
                    local.push(v1::LocalSegment::default());
                    continue;
                }
                let holder = || Some(self.outputs.get(&segment.attempt)?.edge(segment.output));
                local.push(own.place(segment, holder).ok_or_else(|| {
                    let message = format!("attempt {} is not on this worker any more", segment.attempt);
                    StageError::SegmentLost((*segment).into(), Failure::new(Code::FetchFailed, message))
                })?);
            }
            staged.segments.push(v1::LocalSegments { input: number, segments: local });
        }
        Ok((staged, remote))
    }

    async fn fetch(
        &self,
        worker: WorkerId,
        wanted: &Wanted,
        peers: &HashMap<WorkerId, Whereabouts>,
        folder: &AttemptFolder,
    ) -> Result<(), StageError> {
        let segments: Vec<SegmentRef> = wanted.iter().map(|w| w.1).collect();
        let lost = |at: usize, failure| StageError::SegmentLost(segments[at.min(segments.len() - 1)].into(), failure);
        let Some(Whereabouts { address, .. }) = peers.get(&worker) else {
            return Err(lost(0, Failure::new(Code::FetchFailed, format!("no address is known for {worker}"))));
        };
        let fetched = self.fetcher.fetch(address, &segments, &peer_file(folder, worker)).await;
        fetched.map_err(|e| match e {
            FetchError::Lost(at, failure) => lost(at, failure),
            FetchError::Disk(failure) => StageError::Failed(failure),
        })
    }
}

/// The file for segments that came from this worker.
fn peer_file(folder: &AttemptFolder, worker: WorkerId) -> PathBuf {
    folder.inputs().join(worker.to_string())
}

fn check_range(range: &FileRange) -> Result<(), Failure> {
    let path = range.path.escaped();
    failpoint!("input.look").map_err(|e| Failure::new(Code::InputUnreadable, format!("cannot look at {path}: {e}")))?;
    let now = match identity::of_path(&range.path) {
        Ok(now) => now,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Failure::new(Code::InputNotShared, format!("{path} is not on this worker")));
        }
        Err(e) => return Err(Failure::new(Code::InputUnreadable, format!("cannot look at {path}: {e}"))),
    };
    let then = range.identity;
    if now.is_same_anywhere(&then) {
        return Ok(());
    }
    let code = match now.inode == then.inode {
        true => Code::InputChanged,
        // Another file under the same name: replaced since, or local to this machine.
        false if now.device == then.device => Code::InputChanged,
        false => Code::InputNotShared,
    };
    Err(Failure::new(code, format!("{path} is not the file that the job was split from")))
}
