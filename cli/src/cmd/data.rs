//! `windrow data`: put, ls, get, rm.

mod incoming;

use super::{connect, orphans, path_failure};
use crate::args::{Data, DataVerb};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::settings::Settings;
use incoming::Incoming;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;
use windrow::client::{ChunkPlace, Cluster, PutOptions};
use windrow_format::names;
use windrow_model::view::PutView;
use windrow_model::{ByteSize, Code, Escape, Failure, Framing, Location};

/// Runs one of them.
pub(crate) async fn run(args: Data, settings: Settings, format: Format) -> Result<Exit, Failure> {
    let client = settings.client;
    match args.verb {
        DataVerb::Put { client: flags, framing, chunk_size, replicas, overwrite, compression, mut files_and_name } => {
            let name = files_and_name.pop().unwrap_or_default();
            windrow_model::dataset::check_dataset_name(&name)?;
            let chunk_bytes = chunk_size.0.min(1 << 30) as usize;
            let decompress = compression == windrow::InputCompression::Auto;
            let options = PutOptions { framing, chunk_bytes, replicas: replicas.unwrap_or(0), overwrite, decompress };
            let cluster = connect(flags, client).await?;
            put(&cluster, files_and_name, &name, options, format).await?;
        }
        DataVerb::Ls { client: flags, orphans: true } => {
            orphans::list(&connect(flags, client).await?.orphans().await?, format)?;
        }
        DataVerb::Ls { client: flags, orphans: false } => {
            let (datasets, notices) = connect(flags, client).await?.datasets_and_notices().await?;
            notices.iter().for_each(|notice| output::say(&format!("note: {}", notice.escaped())));
            output::datasets(&datasets, format)?;
        }
        DataVerb::Adopt { client: flags, worker: Some(worker), .. } => {
            connect(flags, client).await?.adopt_worker(worker).await?;
            output::say(&format!("the data folder of {worker} joins when the worker registers next"));
        }
        DataVerb::Adopt { client: flags, worker: None, framing, name_and_chunks } => {
            orphans::adopt(&connect(flags, client).await?, framing, &name_and_chunks).await?;
        }
        DataVerb::Scrub { client: flags } => orphans::scrubs(&connect(flags, client).await?.scrubs().await?, format)?,
        DataVerb::Get { client: flags, name, to } => {
            get(&connect(flags, client).await?, &name, &to).await?;
        }
        DataVerb::Rm { client: flags, name } => {
            connect(flags, client).await?.remove_dataset(&name).await?;
            output::say(&format!("{} is removed", name.escaped()));
        }
    }
    Ok(Exit::Done)
}

async fn put(
    cluster: &Cluster,
    files: Vec<String>,
    name: &str,
    options: PutOptions,
    format: Format,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut said = 0;
    let put = cluster
        .put_dataset(files, name, options, |bytes| {
            // One line for every GiB.
            if bytes >> 30 > said {
                said = bytes >> 30;
                output::say(&format!("{} stored", ByteSize(bytes)));
            }
        })
        .await?;
    match format {
        Format::Json => output::put_json(&PutView {
            name,
            version: put.version,
            chunks: put.chunks,
            bytes: put.bytes,
            replicas: put.replicas,
        })?,
        Format::Table => output::say(&format!(
            "{} (version {}): {} in {} chunks, {} on workers' disks, {:.1} s",
            Location::Dataset(name),
            put.version,
            ByteSize(put.bytes),
            put.chunks,
            match put.replicas {
                1 => "one copy".to_string(),
                n => format!("{n} copies"),
            },
            began.elapsed().as_secs_f64(),
        )),
    }
    Ok(())
}

async fn get(cluster: &Cluster, name: &str, to: &Path) -> Result<(), Failure> {
    let (status, places) = cluster.dataset(name).await?;
    if to == Path::new("-") {
        return to_stdout(cluster, name, &places).await;
    }
    let mut incoming = Incoming::begin(to, status.framing == Framing::Whole)?;
    match status.framing {
        Framing::Whole => {
            let folder = incoming.path().to_path_buf();
            let write = |number: usize, bytes: &[u8]| {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                fs::write(folder.join(names::numbered(number, places.len())), bytes)
            };
            copy(cluster, name, &places, write, to).await?;
        }
        _ => copy(cluster, name, &places, |_, bytes| incoming.file().write_all(bytes), to).await?,
    }
    incoming.complete(to)
}

/// Stops when the reader has closed the pipe.
async fn to_stdout(cluster: &Cluster, name: &str, places: &[ChunkPlace]) -> Result<(), Failure> {
    for place in places {
        if !output::put_bytes(&cluster.chunk_of(name, place).await?)? {
            break;
        }
    }
    Ok(())
}

async fn copy(
    cluster: &Cluster,
    name: &str,
    places: &[ChunkPlace],
    mut write: impl FnMut(usize, &[u8]) -> io::Result<()>,
    to: &Path,
) -> Result<(), Failure> {
    for (number, place) in places.iter().enumerate() {
        let bytes = cluster.chunk_of(name, place).await?;
        write(number, &bytes).map_err(|e| failed(to, &e))?;
    }
    Ok(())
}

fn failed(path: &Path, e: &io::Error) -> Failure {
    path_failure(Code::OutputFailed, path, e)
}
