//! Chunks of datasets, by order of the coordinator: list, copy, delete.

use super::{Mail, Node};
use crate::chunks::{Doom, News};
use crate::replicas::Sources;
use windrow_attempts::Event;
use windrow_model::{AttemptId, Chunk, Code, Digest, Failure, TaskInput};
use windrow_proto::v1::{self, from_worker};

/// Digests in one message.
pub(super) const DIGESTS_MAX: usize = 10_000;

impl Node {
    /// Sends the list of chunks to the coordinator, as soon as it is known.
    pub(super) fn send_chunks(&self) {
        let Some(outgoing) = self.outgoing.clone() else { return };
        let chunks = self.staging.replicas.chunks.clone();
        self.background.spawn_blocking(move || {
            let (held, trashed) = match chunks.list() {
                Ok(listed) => listed,
                // The coordinator's wait for it is bounded.
                Err(e) => return tracing::error!("cannot list the chunks of datasets: {e}"),
            };
            let last = from_worker::Message::ChunksHeld(v1::ChunksHeld { last: true, ..Default::default() });
            let news = trashed.into_iter().map(|(digest, length)| News::Trashed(digest, length));
            let news: Vec<News> =
                news.chain(held.iter().map(|(digest, length)| News::Held(*digest, *length))).collect();
            // In this session or not at all: in the next one the list would be incomplete.
            let send = |message| _ = outgoing.send(v1::FromWorker { message: Some(message) });
            in_messages(&news).for_each(send);
            // The news of their loss may have been sent before the list.
            let lost = chunks.gone_since(held.iter().map(|(digest, _)| *digest));
            let lost: Vec<News> = lost.into_iter().map(News::Lost).collect();
            in_messages(&lost).chain([last]).for_each(send);
        });
    }

    /// Reports these chunks as held, except those that have gone meanwhile: their loss may be reported already.
    pub(super) fn chunks_held(&self, digests: &[Digest]) {
        let digests = self.staging.replicas.chunks.still_announced(digests);
        for some in digests.chunks(DIGESTS_MAX) {
            let digests = some.iter().map(|digest| (*digest).into()).collect();
            self.send(from_worker::Message::ChunksHeld(v1::ChunksHeld { digests, ..Default::default() }));
        }
    }

    /// Sends the news of chunks since the last call to the coordinator.
    pub(super) fn send_chunk_news(&self) {
        in_messages(&self.staging.replicas.chunks.take_news()).for_each(|message| self.send(message));
    }

    /// Recorded in the folder, so that later incarnations recognise an older journal, too.
    pub(super) fn learn_revision(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
        let membership = self.parts.membership.clone();
        membership.hear(revision);
        self.background.spawn_blocking(move || {
            if let Err(failure) = membership.learn() {
                tracing::warn!("how far the journal is cannot be noted: {failure}");
            }
        });
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

    /// Deletes chunks, or moves them to the trash, except those that are stored anew from now on. Refuses the order of
    /// a journal that is behind the one this worker has seen.
    pub(super) fn drop_chunks(&mut self, order: v1::DropChunks) {
        let digests: Vec<Digest> = order.digests.into_iter().filter_map(|d| d.try_into().ok()).collect();
        let (chunks, post) = (self.staging.replicas.chunks.clone(), self.post.clone());
        let (revision, count) = (order.revision, digests.len());
        if revision < self.revision {
            tracing::error!(
                revision,
                known = self.revision,
                "an older journal orders {count} chunks to be deleted: they stay"
            );
            self.chunks_held(&digests);
            let _ = post.send(Mail::ChunksDropped);
            return;
        }
        self.revision = revision;
        let doom = if order.ordered { Doom::Delete } else { Doom::Trash };
        tracing::info!("{count} chunks: {}", if order.ordered { "deleted, as ordered" } else { "into the trash" });
        // Synchronously: what comes after this order is after it.
        chunks.doom(&digests, doom);
        let membership = self.parts.membership.clone();
        membership.hear(revision);
        self.background.spawn_blocking(move || {
            match membership.learn() {
                // The disk is full: the deletion makes space.
                Err(failure) if !order.ordered => {
                    tracing::error!("{count} chunks stay, since how far the journal is cannot be noted: {failure}");
                    chunks.forgive(&digests);
                    let _ = post.send(Mail::ChunksHeld(digests));
                }
                learned => {
                    if let Err(failure) = learned {
                        tracing::warn!("how far the journal is cannot be noted: {failure}");
                    }
                    for digest in digests {
                        if let Err(e) = chunks.remove(digest) {
                            tracing::warn!("cannot delete chunk {digest}: {e}");
                        }
                    }
                }
            }
            let _ = post.send(Mail::ChunksDropped);
        });
    }

    /// A task that could not read its input, or found another file, may have lost a chunk after staging. Then the job
    /// is not at fault, and another copy may do: the failure is `CHUNK_UNAVAILABLE`, and the coordinator is informed.
    /// The verification takes a while; the event comes back as mail.
    pub(super) fn look_at_chunks_first(&self, event: Event) -> Option<Event> {
        let Event::TaskFailed { attempt, failure, .. } = &event else { return Some(event) };
        let ranges = self.chunk_of(*attempt).map_or(&[][..], |chunk| &chunk.ranges);
        let digests: Vec<Digest> = ranges.iter().filter_map(|range| range.content).collect();
        if digests.is_empty() || !matches!(failure.code, Code::InputChanged | Code::InputUnreadable) {
            return Some(event);
        }
        let (chunks, post, mut event) = (self.staging.replicas.chunks.clone(), self.post.clone(), event);
        self.name_place(&mut event);
        self.background.spawn_blocking(move || {
            let lost = digests.into_iter().find(|digest| !chunks.check(*digest, |file| file));
            if let (Some(digest), Event::TaskFailed { failure, .. }) = (lost, &mut event) {
                failure.code = Code::ChunkUnavailable;
                failure.message = format!("chunk {digest} went while a task read it: {}", failure.message);
            }
            let _ = post.send(Mail::ChunksLookedAt(Box::new(event)));
        });
        None
    }

    /// Reports a failure in a chunk with the dataset's name instead of the name of the chunk's file.
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

/// As messages, in order; adjacent news of one kind share a message.
fn in_messages(news: &[News]) -> impl Iterator<Item = from_worker::Message> {
    let is_alike = |a: &News, b: &News| std::mem::discriminant(a) == std::mem::discriminant(b);
    news.chunk_by(is_alike).flat_map(|alike| alike.chunks(DIGESTS_MAX)).map(|alike| {
        let digest = |news: &News| match *news {
            News::Held(digest, _) | News::Stored(digest, _) | News::Lost(digest) | News::Trashed(digest, _) => {
                digest.into()
            }
        };
        let length = |news: &News| match *news {
            News::Held(_, length) | News::Stored(_, length) | News::Trashed(_, length) => length,
            News::Lost(_) => 0,
        };
        let digests = alike.iter().map(digest).collect();
        let lengths = alike.iter().map(length).collect();
        match alike.first() {
            Some(News::Lost(_)) => from_worker::Message::ChunksLost(v1::ChunksLost { digests }),
            Some(News::Trashed(..)) => from_worker::Message::ChunksTrashed(v1::ChunksTrashed { digests, lengths }),
            first => {
                let stored = matches!(first, Some(News::Stored(..)));
                from_worker::Message::ChunksHeld(v1::ChunksHeld { digests, last: false, lengths, stored })
            }
        }
    })
}

/// Locations of the chunks of an assignment.
pub(super) fn sources(wire: Vec<v1::ChunkSource>) -> Sources {
    wire.into_iter().filter_map(source).collect()
}

fn source(wire: v1::ChunkSource) -> Option<(Digest, Vec<String>)> {
    Some((wire.digest?.try_into().ok()?, wire.addresses))
}
