//! `windrow coordinator backup` and `restore`.

mod partial;

use super::{connect, path_failure};
use crate::args::CoordinatorVerb;
use crate::exit::Exit;
use crate::output::{Format, put_json, say};
use crate::settings::Settings;
use partial::PartialBackup;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use windrow::client::{BackupPart, Cluster};
use windrow_coordinator::DUMP;
use windrow_format::durable::{Durability, sync_folder};
use windrow_format::private;
use windrow_model::view::{BackupView, RestoredView};
use windrow_model::{Code, Digest, Escape, Failure, path_text};

/// Runs one of them.
pub(crate) async fn run(verb: CoordinatorVerb, settings: Settings, format: Format) -> Result<Exit, Failure> {
    match verb {
        CoordinatorVerb::Backup { client, to } => {
            let cluster = connect(client, settings.client).await?;
            let bytes = backup(&cluster, &to).await?;
            match format {
                Format::Json => put_json(&BackupView { folder: path_text(&to), journal_bytes: bytes })?,
                Format::Table => {
                    say(&format!("{} has the journal ({bytes} bytes) and what running jobs need", to.escaped()))
                }
            }
        }
        CoordinatorVerb::Restore { data_dir, cluster, from } => {
            let restored = windrow_coordinator::restore(&data_dir, from.as_deref(), cluster).map_err(Failure::from)?;
            match format {
                Format::Json => put_json(&RestoredView {
                    datasets: restored.datasets,
                    jobs: restored.jobs,
                    running: restored.running,
                })?,
                Format::Table => say(&format!(
                    "{} has {} datasets and {} jobs, {} of which had not ended: start the coordinator on it",
                    data_dir.escaped(),
                    restored.datasets,
                    restored.jobs,
                    restored.running,
                )),
            }
        }
    }
    Ok(Exit::Done)
}

/// Writes everything into a folder beside `to`, which gets its name when it is complete and durable. Returns the bytes
/// of the journal.
async fn backup(cluster: &Cluster, to: &Path) -> Result<u64, Failure> {
    if to.symlink_metadata().is_ok() {
        return Err(Failure::new(Code::OutputExists, format!("{} exists", to.escaped())));
    }
    let partial = PartialBackup::begin(to)?;
    let bytes = write_all(cluster, &partial.folder).await?;
    partial.complete(to)?;
    Ok(bytes)
}

async fn write_all(cluster: &Cluster, folder: &Path) -> Result<u64, Failure> {
    let artifacts = folder.join("artifacts");
    private::create_new_folder(&artifacts).map_err(|e| failed(&artifacts, &e))?;
    let dump = folder.join(DUMP);
    let mut journal = private::create_new(&dump).map_err(|e| failed(&dump, &e))?;
    let mut bytes = 0;
    let mut artifact: Option<(Digest, PathBuf, File)> = None;
    let taken = cluster.backup(|part| match part {
        BackupPart::Journal(data) => {
            bytes += data.len() as u64;
            journal.write_all(&data).map_err(|e| failed(&dump, &e))
        }
        BackupPart::Artifact(digest, data) => {
            if artifact.as_ref().is_none_or(|(open, ..)| *open != digest) {
                if let Some((_, path, file)) = artifact.take() {
                    file.sync_all().map_err(|e| failed(&path, &e))?;
                }
                let path = artifacts.join(digest.to_string());
                let file = private::create_new(&path).map_err(|e| failed(&path, &e))?;
                artifact = Some((digest, path, file));
            }
            let (_, path, file) =
                artifact.as_mut().ok_or_else(|| Failure::new(Code::Internal, "no artifact is open"))?;
            file.write_all(&data).map_err(|e| failed(path, &e))
        }
    });
    taken.await?;
    if let Some((_, path, file)) = artifact {
        file.sync_all().map_err(|e| failed(&path, &e))?;
    }
    journal.sync_all().map_err(|e| failed(&dump, &e))?;
    if let Some(token) = cluster.token() {
        let path = folder.join("token");
        let written = private::create_new(&path).and_then(|mut file| {
            writeln!(file, "{}", token.secret())?;
            file.sync_all()
        });
        written.map_err(|e| failed(&path, &e))?;
    }
    for made in [&artifacts, folder] {
        sync_folder(made, Durability::Sync).map_err(|e| failed(made, &e))?;
    }
    Ok(bytes)
}

/// A file of a backup cannot be written. Everything in it is private: it holds jobs and the token.
fn failed(path: &Path, e: &io::Error) -> Failure {
    path_failure(Code::OutputFailed, path, e)
}
