//! `windrow data ls --orphans`, `data adopt` and `data scrub`: operators' view of chunks.

use crate::output::{Format, plain, put, put_json, say, table};
use windrow::client::Cluster;
use windrow_model::view::{OrphansView, ScrubView};
use windrow_model::{ByteSize, Code, Digest, Escape, Failure, Framing, Location, Orphans, ScrubStatus, WorkerId};

/// Unreferenced chunks, and workers that wait to join.
pub(crate) fn list(orphans: &Orphans, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => put_json(&OrphansView::from(orphans)),
        Format::Table => {
            let mut lines = table(&["CHUNK", "SIZE", "HELD BY", "IN TRASH OF", "FOR", "KEPT FOR"]);
            for chunk in &orphans.chunks {
                lines.add_row([
                    chunk.digest.to_string(),
                    ByteSize(chunk.length).to_string(),
                    workers(&chunk.holders),
                    workers(&chunk.trashed),
                    hours(chunk.for_ms),
                    hours(chunk.kept_ms),
                ]);
            }
            put(&plain(&lines))?;
            if orphans.left_off > 0 {
                say(&format!("{} more chunks are not listed", orphans.left_off));
            }
            for worker in &orphans.unjoined {
                say(&format!(
                    "{} on {} waits to join with {} chunks: `windrow data adopt --worker {}`",
                    worker.worker,
                    worker.host.escaped(),
                    worker.chunks,
                    worker.worker
                ));
            }
            Ok(())
        }
    }
}

fn workers(ids: &[WorkerId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn hours(ms: u64) -> String {
    format!("{:.1} h", ms as f64 / 3_600_000.0)
}

/// A dataset of orphans: its name, and digests in order.
pub(crate) async fn adopt(cluster: &Cluster, framing: Framing, name_and_chunks: &[String]) -> Result<(), Failure> {
    let Some((name, chunks)) = name_and_chunks.split_first() else {
        return Err(Failure::new(Code::BadRequest, "neither a name nor chunks are given"));
    };
    let digest = |text: &String| {
        text.parse::<Digest>()
            .map_err(|_| Failure::new(Code::BadRequest, format!("`{text}` is not the digest of a chunk")))
    };
    let digests = chunks.iter().map(digest).collect::<Result<Vec<_>, _>>()?;
    let version = cluster.adopt_chunks(name, framing, &digests).await?;
    let dataset = Location::Dataset(name);
    say(&format!("{dataset} (version {version}) has {} chunks that were orphans", digests.len()));
    Ok(())
}

/// Progress of the workers' scrubs.
pub(crate) fn scrubs(scrubs: &[ScrubStatus], format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => put_json(&scrubs.iter().map(ScrubView::from).collect::<Vec<_>>()),
        Format::Table => {
            let mut lines = table(&["WORKER", "READ", "OF", "PASSES", "DAMAGED", "GONE"]);
            for s in scrubs {
                lines.add_row([
                    s.worker.to_string(),
                    ByteSize(s.bytes_done).to_string(),
                    ByteSize(s.bytes_total).to_string(),
                    s.passes.to_string(),
                    s.damaged.to_string(),
                    s.gone.to_string(),
                ]);
            }
            put(&plain(&lines))
        }
    }
}
