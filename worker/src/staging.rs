//! A task's inputs as local files, before it runs.
//!
//! Chunks are used in place, if this node sees the same file that was split; chunks of datasets come from this worker's
//! store, after a fetch if they are missing. Outputs of this worker's own attempts and of its neighbours are used in
//! place, too; of all others the task's partition is fetched, into one file per holder. Nothing is mapped or parsed here.

use crate::error::disk_failure;
use crate::fetch::{FetchError, Fetcher};
use crate::find_places::FindPlaces;
use crate::made_files::{MadeFiles, NewFile};
use crate::neighbours::Whereabouts;
use crate::replicas::{Replicas, Sources};
use crate::scratch::Scratch;
use crate::stat_cache::Seen;
use crate::tables::{Places, Table};
use crate::wanted::WantedOutputs;
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use windrow_attempts::StageError;
use windrow_failpoint::failpoint;
use windrow_format::private;
use windrow_model::{Chunk, Code, Digest, EdgePort, Escape, Failure, FileRange, OutputRef, Task, TaskInput, WorkerId};
use windrow_proto::v1;
use windrow_store::{Progress, StorageCalls, identity};

/// The parts of the node that staging needs.
#[derive(Debug)]
pub(crate) struct Staging {
    pub scratch: Arc<Scratch>,
    pub find: FindPlaces,
    pub fetcher: Arc<Fetcher>,
    pub replicas: Replicas,
    pub seen: Arc<Seen>,
    /// Calls to storage of users: inputs and outputs.
    pub storage: StorageCalls,
}

/// Inputs as local files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staged {
    /// Every port of every edge that the task reads.
    pub ports: Vec<StagedPort>,
    /// Files that were made for it.
    pub made: Vec<PathBuf>,
    /// The task's chunk with local files for its contents, if it has any of a dataset.
    pub chunk: Option<Chunk>,
    /// Contents that were fetched.
    pub new_chunks: Vec<Digest>,
}

/// An output of a stage that a task reads.
#[derive(Clone, Debug)]
pub(crate) struct StagedPort {
    /// Position of the input in the task, and of the port in the input.
    pub input: u32,
    pub at: u32,
    pub port: EdgePort,
    pub table: Arc<Table>,
    pub places: Arc<Places>,
    pub fetched: Vec<v1::FetchedFile>,
}

/// An output that a task reads, with its table.
#[derive(Clone, Debug)]
pub(crate) struct WantedPort {
    /// Position of the input in the task, and of the port in the input.
    pub input: u32,
    pub at: u32,
    pub port: EdgePort,
    pub table: Arc<Table>,
}

impl Staging {
    /// Like [`Staging::stage`], if that needs no waiting: everything is local and already verified.
    pub(crate) fn at_once(&self, task: &Task, wanted: &[WantedPort]) -> Option<Staged> {
        let known = |range: &FileRange| range.content.is_none() && self.seen.has(range);
        let here = task.inputs.iter().all(|input| match input {
            TaskInput::Chunk(chunk) => chunk.ranges.iter().all(known),
            TaskInput::Edge(_) | TaskInput::Inline(_) => true,
        });
        let ports = wanted.iter().map(|wanted| {
            let found = wanted.table.places(wanted.port.port.output);
            let places = found.get().filter(|places| places.remote.is_empty())?;
            Some(wanted.staged(places.clone(), Vec::new()))
        });
        let ports = ports.collect::<Option<Vec<StagedPort>>>()?;
        here.then(|| Staged { ports, ..Staged::default() })
    }

    /// Makes the attempt's inputs local. Cancel-safe: `made` knows the files that were made, also after an error.
    pub(crate) async fn stage(
        &self,
        task: &Task,
        wanted: &[WantedPort],
        peers: &HashMap<WorkerId, Whereabouts>,
        sources: &Sources,
        made: &Arc<MadeFiles>,
    ) -> Result<Staged, StageError> {
        let files = self.scratch.attempt(&task.attempt);
        let mut staged = Staged::default();
        let mut chunks: Vec<Chunk> = Vec::new();
        for input in &task.inputs {
            if let TaskInput::Chunk(chunk) = input {
                chunks.push(self.localise(chunk, sources, &mut staged).await.map_err(StageError::Failed)?);
            }
        }
        self.check_chunks(chunks).await.map_err(StageError::Failed)?;
        for port in wanted {
            // A task that reads an output twice has one message about its places.
            let same = staged.ports.iter().find(|staged| staged.port.port == port.port.port);
            let places = match same.map(|staged| staged.places.clone()) {
                Some(places) => places,
                None => self.find.places(&port.table, &port.port, peers).await?,
            };
            staged.ports.push(port.staged(places, Vec::new()));
        }
        // Not in a blocking thread: this future is dropped if the job ends meanwhile, and a folder made after that would never
        // be removed.
        if staged.ports.iter().any(|port| !port.places.remote.is_empty()) {
            let folder = files.folder();
            private::create_folders(folder).map_err(|e| StageError::Failed(disk_failure("make", folder, 0, &e)))?;
        }
        let partition = task.attempt.task.index;
        let fetches = staged.ports.iter().enumerate().flat_map(|(n, port)| {
            let files = &files;
            let fetch = move |(holder, outputs): &(WorkerId, Arc<WantedOutputs>)| {
                let (holder, outputs) = (*holder, outputs.clone());
                let to = NewFile { path: files.fetched(holder, port.input, port.at), made: made.clone() };
                async move { Ok((n, self.fetch(holder, &outputs, partition, peers, &to).await?)) }
            };
            port.places.remote.iter().map(fetch)
        });
        let fetched: Vec<(usize, v1::FetchedFile)> = try_join_all(fetches).await?;
        for (n, file) in fetched.into_iter().filter(|(_, file)| !file.task.is_empty()) {
            staged.ports[n].fetched.push(file);
        }
        staged.made = made.take();
        Ok(staged)
    }

    async fn fetch(
        &self,
        holder: WorkerId,
        outputs: &WantedOutputs,
        partition: u32,
        peers: &HashMap<WorkerId, Whereabouts>,
        to: &NewFile,
    ) -> Result<v1::FetchedFile, StageError> {
        let lost = |at: u32, failure| {
            let attempt = outputs.attempts[(at as usize).min(outputs.attempts.len() - 1)];
            let lost = OutputRef { worker: holder, attempt, output: outputs.output };
            StageError::SegmentLost(Box::new(lost), failure)
        };
        let Some(Whereabouts { address, .. }) = peers.get(&holder) else {
            return Err(lost(0, Failure::new(Code::FetchFailed, format!("no address is known for {holder}"))));
        };
        self.fetcher.fetch(address, outputs, partition, to).await.map_err(|e| match e {
            FetchError::Lost(at, failure) => lost(at, failure),
            FetchError::Disk(failure) => StageError::Failed(failure),
        })
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
}

impl WantedPort {
    fn staged(&self, places: Arc<Places>, fetched: Vec<v1::FetchedFile>) -> StagedPort {
        StagedPort { input: self.input, at: self.at, port: self.port, table: self.table.clone(), places, fetched }
    }
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
