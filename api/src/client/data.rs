//! Puts, lists, gets and removes datasets. Chunks are sent directly to and from workers.

use super::chunk_transfer::{self, FETCH_PATIENCE, STORE_PATIENCE, fetch};
use super::cutting::cut_files;
use super::persist::until_answered;
use super::put_stream::{Holder, PutStream};
use super::{Cluster, answered, asking, failure};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use windrow_model::{Code, DatasetStatus, Digest, Failure, Framing, WorkerId};
use windrow_net::connect::channel_lazy;
use windrow_net::{Backoff, Connection, clients};
use windrow_proto::v1;
use windrow_store::{InputFile, Steps, list_inputs};

/// Bytes of one message.
const PIECE_BYTES: usize = 1 << 20;
/// Most chunks that are cut and not yet sent.
const CHUNKS_AHEAD: usize = 1;
/// Most times that the coordinator is asked again who holds a chunk.
const LOOKS_MAX: u32 = 6;
/// Most chunks that are sent at the same time.
const CHUNKS_AT_ONCE: usize = 3;

/// Options of a put.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Framing of the files' records; `Whole`: each file is a chunk.
    pub framing: Framing,
    /// Approximate size of a chunk in bytes.
    pub chunk_bytes: usize,
    /// Copies of each chunk; 0: two, or one if there is only one worker.
    pub replicas: u32,
    /// Whether to replace a dataset of this name.
    pub overwrite: bool,
    /// Whether to decompress compressed text.
    pub decompress: bool,
}

/// The result of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Version of the dataset.
    pub version: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Bytes of all chunks.
    pub bytes: u64,
    /// Copies of each chunk.
    pub replicas: u32,
}

/// The location of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPlace {
    /// Digest of the content.
    pub digest: Digest,
    /// Length in bytes.
    pub length: u64,
    /// Addresses of the workers that hold it.
    pub addresses: Vec<String>,
}

/// Why a put failed.
struct PutError {
    failure: Failure,
    /// The stream to the coordinator broke, and the coordinator may have had the chunks deleted since: another pass may help.
    chunks_may_be_gone: bool,
}

impl PutError {
    fn of(failure: Failure, stream: &PutStream<'_>) -> PutError {
        PutError { failure, chunks_may_be_gone: stream.broke() }
    }
}

impl From<Failure> for PutError {
    fn from(failure: Failure) -> PutError {
        PutError { failure, chunks_may_be_gone: false }
    }
}

/// Whether a put was refused because chunks are not where they were stored.
fn is_missing(code: Code) -> bool {
    matches!(code, Code::ChunkUnavailable | Code::BadRequest)
}

/// A chunk to send.
struct Content {
    digest: Digest,
    bytes: Bytes,
}

impl Cluster {
    /// Puts the contents of files into the cluster as a dataset. It becomes visible when every copy of every chunk is
    /// durable. `progress` gets the number of bytes stored so far. A lost connection to the coordinator is reopened, for about
    /// half a minute, and the put goes on; if its chunks have been deleted meanwhile, they are sent once more.
    ///
    /// # Errors
    /// Bad inputs; `DATASET_EXISTS`; a chunk that not enough workers accept; `UNREACHABLE`. A dataset of this name is then
    /// unchanged.
    pub async fn put_dataset(
        &self,
        inputs: Vec<String>,
        name: &str,
        options: PutOptions,
        mut progress: impl FnMut(u64),
    ) -> Result<Put, Failure> {
        let files = blocking(move || Ok(list_inputs(&inputs, &Steps::default())?)).await?;
        let files = Arc::new(files);
        let first = self.put_files(files.clone(), name, options.clone(), &mut progress).await;
        match first {
            Err(PutError { failure, chunks_may_be_gone: true }) if is_missing(failure.code) => {
                self.put_files(files, name, options, &mut progress).await.map_err(|error| error.failure)
            }
            other => other.map_err(|error| error.failure),
        }
    }

    /// One pass over the files.
    async fn put_files(
        &self,
        files: Arc<Vec<InputFile>>,
        name: &str,
        options: PutOptions,
        progress: &mut impl FnMut(u64),
    ) -> Result<Put, PutError> {
        let begin = v1::BeginPut {
            name: name.to_string(),
            overwrite: options.overwrite,
            replicas: options.replicas,
            framing: Some(options.framing.into()),
        };
        let mut stream = PutStream::begin(self, begin).await?;
        let holders = Mutex::new(Arc::new(stream.holders()?));
        let (replicas, cluster) = (stream.replicas(), stream.cluster());

        let (give, chunks) = mpsc::channel::<Content>(CHUNKS_AHEAD);
        let cutting = tokio::task::spawn_blocking(move || {
            cut_files(&files, options.framing, options.decompress, options.chunk_bytes, &mut |chunk| {
                let content = Content { digest: Digest::of(&chunk), bytes: chunk.into() };
                // If the receiver has gone, it already has its error.
                give.blocking_send(content).map_err(|_| Failure::new(Code::Interrupted, "the put was broken off"))
            })
        });
        let present = || holders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut stored = ReceiverStream::new(chunks)
            .enumerate()
            .map(|(number, content)| store(content, cluster.clone(), number, replicas as usize, present()))
            .buffered(CHUNKS_AT_ONCE);
        let mut put = Put { version: 0, chunks: 0, bytes: 0, replicas };
        while let Some(placed) = stored.next().await {
            let placed = placed?;
            put.chunks += 1;
            put.bytes = put.bytes.saturating_add(placed.length);
            progress(put.bytes);
            if stream.place(placed).await.map_err(|failure| PutError::of(failure, &stream))? {
                *holders.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(stream.holders()?);
            }
        }
        drop(stored);
        cutting.await.map_err(|e| Failure::new(Code::Internal, format!("cutting ended early: {e}")))??;
        match stream.commit().await {
            Ok(version) => Ok(Put { version, ..put }),
            Err(failure) => Err(PutError::of(failure, &stream)),
        }
    }

    /// All datasets, by name.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn datasets(&self) -> Result<Vec<DatasetStatus>, Failure> {
        Ok(self.datasets_and_notices().await?.0)
    }

    /// All datasets, and notices for operators: workers that were refused, an old journal.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn datasets_and_notices(&self) -> Result<(Vec<DatasetStatus>, Vec<String>), Failure> {
        let mut client = clients::data(self.connection.clone());
        let reply = answered(client.list(asking(v1::ListDatasetsRequest {})).await)?;
        let datasets = reply.datasets.into_iter().map(DatasetStatus::try_from).collect::<Result<_, _>>()?;
        Ok((datasets, reply.notices))
    }

    /// A dataset and the locations of its chunks, in order. A lost connection is reopened.
    ///
    /// # Errors
    /// `DATASET_NOT_FOUND`, `UNREACHABLE`.
    pub async fn dataset(&self, name: &str) -> Result<(DatasetStatus, Vec<ChunkPlace>), Failure> {
        until_answered(async || self.places_of(name).await).await
    }

    /// [`Cluster::dataset`] with one try.
    pub(super) async fn places_of(&self, name: &str) -> Result<(DatasetStatus, Vec<ChunkPlace>), Failure> {
        let mut client = clients::data(self.connection.clone());
        let mut stream = answered(client.get(v1::GetDatasetRequest { name: name.to_string() }).await)?;
        let incomplete = || Failure::new(Code::BadRequest, "an incomplete answer about a dataset");
        let first = stream.message().await.map_err(failure)?.and_then(|m| m.status).ok_or_else(incomplete)?;
        let mut places = Vec::new();
        while let Some(message) = stream.message().await.map_err(failure)? {
            let chunk = message.chunk.ok_or_else(incomplete)?;
            let digest = chunk.digest.ok_or_else(incomplete)?.try_into()?;
            places.push(ChunkPlace { digest, length: message.length, addresses: chunk.addresses });
        }
        Ok((first.try_into()?, places))
    }

    /// The content of one chunk from any worker that holds it, verified against its digest.
    ///
    /// # Errors
    /// `CHUNK_UNAVAILABLE` with the error of each worker.
    pub async fn chunk(&self, place: &ChunkPlace) -> Result<Vec<u8>, Failure> {
        let mut said = Vec::new();
        for address in &place.addresses {
            match self.chunk_from(address, place).await {
                Ok(bytes) if Digest::of(&bytes) == place.digest => return Ok(bytes),
                Ok(_) => said.push(format!("{address}: the bytes do not match the digest")),
                Err(failure) => said.push(format!("{address}: {}", failure.message)),
            }
        }
        let said = if said.is_empty() { "no live worker has it".to_string() } else { said.join("; ") };
        Err(Failure::new(Code::ChunkUnavailable, format!("chunk {}: {said}", place.digest)))
    }

    /// The content of one chunk of the dataset `name`, as [`Cluster::chunk`] gives it. If no worker gives it, the coordinator is
    /// asked again who holds it, for a few seconds: a worker that restarts has another address.
    ///
    /// # Errors
    /// `CHUNK_UNAVAILABLE` with the error of each worker.
    pub async fn chunk_of(&self, name: &str, place: &ChunkPlace) -> Result<Vec<u8>, Failure> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut got = self.chunk(place).await;
        while got.is_err() && backoff.tries() < LOOKS_MAX {
            tokio::time::sleep(backoff.next_delay()).await;
            let (_, places) = self.dataset(name).await?;
            let Some(now) = places.iter().find(|now| now.digest == place.digest) else { break };
            got = self.chunk(now).await;
        }
        got
    }

    async fn chunk_from(&self, address: &str, place: &ChunkPlace) -> Result<Vec<u8>, Failure> {
        let client = clients::transfer(channel_lazy(address, &self.access)?);
        fetch(client, place.digest, place.length, FETCH_PATIENCE).await
    }

    /// Removes a dataset's name. Jobs that read it go on; then its chunks are deleted.
    ///
    /// # Errors
    /// `DATASET_NOT_FOUND`, `UNREACHABLE`.
    pub async fn remove_dataset(&self, name: &str) -> Result<(), Failure> {
        let mut client = clients::data(self.connection.clone());
        answered(client.remove(asking(v1::RemoveDatasetRequest { name: name.to_string() })).await)?;
        Ok(())
    }
}

/// Sends a chunk to as many workers as it should have copies; a worker that does not accept it is replaced by the next.
async fn store(
    content: Content,
    cluster: Option<v1::ClusterId>,
    number: usize,
    replicas: usize,
    workers: Arc<Vec<Holder>>,
) -> Result<v1::PlacedChunk, Failure> {
    let mut untried = (0..workers.len()).map(|i| &workers[(number + i) % workers.len()]);
    let mut holders: Vec<v1::WorkerId> = Vec::new();
    let mut said: HashMap<WorkerId, Failure> = HashMap::new();
    while holders.len() < replicas {
        let wave: Vec<_> = untried.by_ref().take(replicas - holders.len()).collect();
        if wave.is_empty() {
            return Err(too_few_copies(holders.len(), replicas, &said));
        }
        let sent = wave
            .into_iter()
            .map(async |(worker, connection)| (*worker, send(&content, cluster.clone(), connection).await));
        for (worker, sent) in futures_util::future::join_all(sent).await {
            match sent {
                Ok(()) => holders.push(worker.into()),
                Err(failure) => drop(said.insert(worker, failure)),
            }
        }
    }
    Ok(v1::PlacedChunk { digest: Some(content.digest.into()), length: content.bytes.len() as u64, holders })
}

/// The failure of a put that found no further worker for a copy. If every refusal was one of a disk, it has that code.
fn too_few_copies(copies: usize, replicas: usize, said: &HashMap<WorkerId, Failure>) -> Failure {
    let mut codes = said.values().map(|failure| failure.code);
    let first = codes.next().filter(|code| matches!(code, Code::NoSpace | Code::IoError));
    let code = first.filter(|first| codes.all(|code| code == *first)).unwrap_or(Code::ChunkUnavailable);
    let said: Vec<String> = said.iter().map(|(worker, failure)| format!("{worker}: {failure}")).collect();
    let fewer = match copies {
        0 => String::new(),
        n => format!(" (`--replicas {n}` asks for fewer)"),
    };
    Failure::new(code, format!("a chunk has {copies} of {replicas} copies{fewer}: {}", said.join("; ")))
}

async fn send(content: &Content, mut cluster: Option<v1::ClusterId>, connection: &Connection) -> Result<(), Failure> {
    let mut digest = Some(content.digest.into());
    let bytes = content.bytes.clone();
    let pieces = (0..bytes.len()).step_by(PIECE_BYTES).map(move |from| {
        let data = bytes.slice(from..bytes.len().min(from + PIECE_BYTES));
        v1::ChunkPiece { digest: digest.take(), data, cluster: cluster.take() }
    });
    let pieces: Vec<v1::ChunkPiece> = pieces.collect();
    chunk_transfer::store(clients::transfer(connection.clone()), pieces, STORE_PATIENCE).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Failure::new(Code::Internal, e.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_without_room_has_the_code_of_the_disk() {
        let said = |codes: &[Code]| {
            let said = codes.iter().enumerate();
            said.map(|(n, code)| (WorkerId::from_bytes([n as u8; 16]), Failure::new(*code, "no"))).collect()
        };
        let code = |codes: &[Code]| too_few_copies(1, 2, &said(codes)).code;
        assert_eq!(code(&[Code::NoSpace]), Code::NoSpace);
        assert_eq!(code(&[Code::IoError, Code::IoError]), Code::IoError);
        assert_eq!(code(&[Code::NoSpace, Code::Unreachable]), Code::ChunkUnavailable);
        assert_eq!(code(&[Code::Unreachable]), Code::ChunkUnavailable);
        assert_eq!(code(&[]), Code::ChunkUnavailable);
        let message = too_few_copies(1, 2, &said(&[Code::NoSpace])).message;
        assert!(message.contains("1 of 2 copies (`--replicas 1` asks for fewer)"), "{message}");
    }
}
