//! Converts what a worker reports in a session, with a bound on its size.

use super::super::{field, refuse};
use crate::mailbox::{ChunkReport, PublishedParts, Report};
use tonic::Status;
use windrow_model::{AttemptId, Code, DatasetChunk, Digest, Failure, OutputReport, TaskReport, WorkerId};
use windrow_proto::v1::{self, from_worker::Message as Said};
use windrow_scheduler::{Event, Progress};
use windrow_store::Receipt;

/// Attempts that one beat lists: a worker has no more threads.
const PROGRESS_MAX: usize = 100_000;
/// Most names of chunks that a worker reports in one session. A worker with more registers again.
const CHUNK_NAMES_MAX: usize = 4_000_000;

/// Checks that a report is no larger than a worker's can be. Adds the names of chunks in it to `named`.
pub(super) fn check_size(said: &Said, named: &mut usize) -> Result<(), Status> {
    let too_much = |what: String| Err(refuse(Failure::new(Code::BadRequest, what)));
    let chunks = match said {
        Said::Beat(beat) if beat.progress.len() > PROGRESS_MAX => {
            return too_much(format!("a beat with {} attempts, more than {PROGRESS_MAX}", beat.progress.len()));
        }
        Said::ChunksHeld(held) => held.digests.len(),
        Said::ChunksTrashed(trashed) => trashed.digests.len(),
        Said::ChunksLost(lost) => lost.digests.len(),
        _ => 0,
    };
    *named += chunks;
    match *named > CHUNK_NAMES_MAX {
        true => too_much(format!("more than {CHUNK_NAMES_MAX} chunks were named in this session: register again")),
        false => Ok(()),
    }
}

/// Only the coordinator itself makes such reports.
pub(super) fn claims_storage(report: &TaskReport) -> bool {
    report.outputs.iter().any(|output| matches!(output, OutputReport::Stored(_)))
}

/// What the driver gets for a message of a worker.
pub(super) fn report(worker: WorkerId, said: Said) -> Result<Report, Status> {
    let attempt = |a: Option<v1::AttemptId>| field::<_, AttemptId>(a, "attempt");
    let failure = |f: Option<v1::Failure>| field::<_, Failure>(f, "failure");
    let event = match said {
        Said::Register(_) | Said::Inventory(_) => {
            return Err(refuse(Failure::new(Code::BadRequest, "a session registers once")));
        }
        Said::Beat(beat) => {
            let one = |p: v1::AttemptProgress| {
                let v1::AttemptProgress { attempt: named, permille, mark, waits, records } = p;
                Ok(Progress { attempt: attempt(named)?, permille, mark, waits, records })
            };
            let progress = beat.progress.into_iter().map(one).collect::<Result<_, Status>>()?;
            return Ok(Report::Beat { progress, lists_all: beat.lists_all, full: beat.no_room, scrub: beat.scrub });
        }
        Said::Draining(said) => return Ok(Report::Draining(said)),
        Said::Done(done) => {
            let attempt = attempt(done.attempt)?;
            match field(done.report, "report") {
                Ok(report) if claims_storage(&report) => {
                    let what = "its report says that the coordinator has stored its results";
                    Event::AttemptFailed { worker, attempt, failure: Failure::new(Code::ExecutorProtocol, what) }
                }
                Ok(report) => Event::AttemptDone { worker, attempt, report },
                // The attempt is charged for it. Without an end it would run and report the same for ever.
                Err(status) => {
                    let what = format!("its report is not valid: {}", windrow_net::from_status(&status).message);
                    Event::AttemptFailed { worker, attempt, failure: Failure::new(Code::ExecutorProtocol, what) }
                }
            }
        }
        Said::Failed(failed) => {
            Event::AttemptFailed { worker, attempt: attempt(failed.attempt)?, failure: failure(failed.failure)? }
        }
        Said::Published(published) => {
            let chunk = |c: v1::PublishedChunk| {
                Ok((c.sink, DatasetChunk { digest: field(c.digest, "digest")?, length: c.length }))
            };
            let chunks = published.chunks.into_iter().map(chunk).collect::<Result<_, Status>>()?;
            let attempt = attempt(published.attempt)?;
            let receipt = |part: v1::PlacedPart| Some((part.sink, Receipt::new(part.receipt)?));
            match published.parts.into_iter().map(receipt).collect() {
                Some(receipts) => return Ok(Report::Published { attempt, parts: PublishedParts { chunks, receipts } }),
                None => {
                    let failure = Failure::new(Code::BadRequest, "the receipt of a part is too long");
                    Event::PublishFailed { worker, attempt, failure }
                }
            }
        }
        Said::PublishFailed(failed) => {
            Event::PublishFailed { worker, attempt: attempt(failed.attempt)?, failure: failure(failed.failure)? }
        }
        Said::SegmentLost(lost) => Event::SegmentLost {
            worker,
            reader: attempt(lost.reader)?,
            lost: field(lost.lost, "lost")?,
            failure: failure(lost.failure)?,
        },
        Said::ChunksHeld(held) => {
            let digests = digests(held.digests)?;
            return Ok(Report::Chunks(ChunkReport::Held {
                digests,
                lengths: held.lengths,
                all: held.last,
                stored: held.stored,
            }));
        }
        Said::ChunksTrashed(trashed) => {
            let digests = digests(trashed.digests)?;
            return Ok(Report::Chunks(ChunkReport::Trashed { digests, lengths: trashed.lengths }));
        }
        Said::ChunksLost(lost) => {
            return Ok(Report::Chunks(ChunkReport::Lost(digests(lost.digests)?)));
        }
        Said::ChunksDropped(_) => return Ok(Report::Chunks(ChunkReport::Dropped)),
        Said::ChunkNotCopied(not) => {
            return Ok(Report::Chunks(ChunkReport::NotCopied(field(not.digest, "digest")?, failure(not.failure)?)));
        }
        Said::StagingChecked(checked) => {
            let failure = checked.failure.map(|f| failure(Some(f))).transpose()?;
            return Ok(Report::StagingChecked { request: checked.request, failure });
        }
    };
    Ok(Report::Event(Box::new(event)))
}

fn digests(wire: Vec<v1::Digest>) -> Result<Vec<Digest>, Status> {
    wire.into_iter().map(|digest| field(Some(digest), "digest")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_absurd_sizes_are_refused() {
        let mut named = 0;
        let beat =
            |attempts| Said::Beat(v1::Beat { progress: vec![Default::default(); attempts], ..Default::default() });
        assert!(check_size(&beat(PROGRESS_MAX), &mut named).is_ok());
        assert!(check_size(&beat(PROGRESS_MAX + 1), &mut named).is_err());
        let chunks =
            |n| Said::ChunksHeld(v1::ChunksHeld { digests: vec![Default::default(); n], ..Default::default() });
        // An inventory of 200,000 chunks, as often as it fits.
        for _ in 0..CHUNK_NAMES_MAX / 200_000 {
            check_size(&chunks(200_000), &mut named).unwrap();
        }
        assert!(check_size(&chunks(1), &mut named).is_err());
    }
}
