//! Chunks of datasets, as the coordinator orders: which there are, one more, some less.

use super::{Mail, Node};
use crate::attempts::Event;
use crate::replicas::Sources;
use windrow_model::{AttemptId, Chunk, Digest, Failure, TaskInput};
use windrow_proto::v1::{self, from_worker};

/// Digests in one message.
const HELD_MAX: usize = 10_000;

impl Node {
    /// Tells the coordinator which chunks are here, as soon as that is known.
    pub(super) fn tell_chunks(&self) {
        let Some(outgoing) = self.outgoing.clone() else { return };
        let chunks = self.staging.replicas.chunks.clone();
        self.background.spawn_blocking(move || {
            let held = match chunks.list() {
                Ok(held) => held,
                // The coordinator does not wait for it for ever.
                Err(e) => return tracing::error!("cannot list the chunks of datasets: {e}"),
            };
            // In this session or not at all: in the next one it would not be everything.
            for message in in_pieces(&held).chain([v1::ChunksHeld { digests: Vec::new(), last: true }]) {
                let _ = outgoing.send(v1::FromWorker { message: Some(from_worker::Message::ChunksHeld(message)) });
            }
        });
    }

    pub(super) fn chunks_held(&self, digests: &[Digest]) {
        in_pieces(digests).for_each(|message| self.send(from_worker::Message::ChunksHeld(message)));
    }

    /// Tells the coordinator which chunks turned out to be damaged: they are not here any more.
    pub(super) fn tell_damaged_chunks(&self) {
        let digests: Vec<_> = self.staging.replicas.chunks.take_damaged().into_iter().map(Into::into).collect();
        if !digests.is_empty() {
            self.send(from_worker::Message::ChunksLost(v1::ChunksLost { digests }));
        }
    }

    pub(super) fn copy_chunk(&self, order: v1::CopyChunk) {
        let Some((digest, addresses)) = order.chunk.and_then(source) else { return };
        let (replicas, post) = (self.staging.replicas.clone(), self.post.clone());
        let copying = async move {
            let copied = replicas.get(digest, &addresses).await;
            let _ = post.send(match copied {
                Ok(_) => Mail::ChunksHeld(vec![digest]),
                Err(failure) => Mail::ChunkNotCopied(digest, failure),
            });
        };
        self.background.spawn_on(copying, &self.parts.transfers);
    }

    pub(super) fn chunk_not_copied(&self, digest: Digest, failure: Failure) {
        let message = v1::ChunkNotCopied { digest: Some(digest.into()), failure: Some(failure.into()) };
        self.send(from_worker::Message::ChunkNotCopied(message));
    }

    /// Deletes chunks, except what is stored anew from now on.
    pub(super) fn drop_chunks(&self, order: v1::DropChunks) {
        let digests: Vec<Digest> = order.digests.into_iter().filter_map(|d| d.try_into().ok()).collect();
        let (chunks, post) = (self.staging.replicas.chunks.clone(), self.post.clone());
        // Here and now: what comes after this order is after it.
        chunks.doom(&digests);
        self.background.spawn_blocking(move || {
            for digest in digests {
                if let Err(e) = chunks.remove(digest) {
                    tracing::warn!("cannot delete chunk {digest}: {e}");
                }
            }
            let _ = post.send(Mail::ChunksDropped);
        });
    }

    /// A failure in a chunk is told with the dataset's name, not with that of the file which happens to hold it.
    pub(super) fn name_place(&self, event: &mut Event) {
        let (id, failure) = match event {
            Event::TaskFailed { attempt, failure, .. } => (Some(*attempt), failure),
            Event::ExecutorEnded { exit, .. } => (exit.guilty, &mut exit.failure),
            _ => return,
        };
        let Some(place) = &mut failure.place else { return };
        let ranges = id.and_then(|id| self.chunk_of(id)).map_or(&[][..], |chunk| &chunk.ranges);
        let is_it = |digest| self.parts.scratch.chunk(digest) == place.file;
        if let Some(range) = ranges.iter().find(|r| r.content.is_some_and(is_it)) {
            place.file.clone_from(&range.path);
        }
    }

    fn chunk_of(&self, id: AttemptId) -> Option<&Chunk> {
        self.attempts.task(id)?.inputs.iter().find_map(|input| match input {
            TaskInput::Chunk(chunk) => Some(chunk),
            _ => None,
        })
    }
}

fn in_pieces(digests: &[Digest]) -> impl Iterator<Item = v1::ChunksHeld> {
    let piece = |some: &[Digest]| v1::ChunksHeld { digests: some.iter().map(|d| (*d).into()).collect(), last: false };
    digests.chunks(HELD_MAX).map(piece)
}

/// Where the chunks of an assignment are.
pub(super) fn sources(wire: Vec<v1::ChunkSource>) -> Sources {
    wire.into_iter().filter_map(source).collect()
}

fn source(wire: v1::ChunkSource) -> Option<(Digest, Vec<String>)> {
    Some((wire.digest?.try_into().ok()?, wire.addresses))
}
