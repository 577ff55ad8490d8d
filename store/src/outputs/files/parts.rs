//! Parts of attempts in a staging folder.

use super::super::{PIECE_BYTES_MAX, PartFile};
use crate::error::{Result, StoreError};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use windrow_failpoint::{crashpoint, failpoint};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_format::{names, private};
use windrow_model::{Code, Escape};

/// Moves an attempt's part file into a staging folder under a name of its own; copies it from another file system. May be
/// repeated, even after the file has moved.
pub(super) fn place(
    staging_folder: &Path,
    part: PartFile<'_>,
    durability: Durability,
    progress: &dyn Fn(),
) -> Result<()> {
    let PartFile { attempt, suffix, file } = part;
    let folder = staging_folder.join(names::PARTS);
    let part = folder.join(names::attempt_part(attempt, suffix));
    let fail = |e: io::Error| StoreError::output(&part, "cannot place the part", &e);
    match move_part(file, &part, durability, progress) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if !folder.is_dir() {
                Err(StoreError::output(staging_folder, "the staging folder is gone", &e))
            } else if part.is_file() {
                // Moved by an earlier call whose answer was lost, perhaps before the folder was synced.
                durable::sync_folder(&folder, durability).map_err(fail)
            } else {
                let message = format!("{}: the attempt's part file is gone: {e}", file.escaped());
                Err(StoreError::new(Code::IoError, message))
            }
        }
        Err(e) => Err(fail(e)),
    }
}

fn move_part(source: &Path, part: &Path, durability: Durability, progress: &dyn Fn()) -> io::Result<()> {
    failpoint!("publish.place")?;
    // In the scratch folder the file was private.
    private::open_to_readers(source)?;
    durable::sync_path(source, durability)?;
    match fs::rename(source, part) {
        Ok(()) => {
            crashpoint!("publish.placed");
            durable::sync_folder(durable::parent(part), durability)
        }
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => copy_part(source, part, durability, progress),
        Err(e) => Err(e),
    }
}

fn copy_part(source: &Path, part: &Path, durability: Durability, progress: &dyn Fn()) -> io::Result<()> {
    let mut from = regular_file::open(source)?;
    durable::write_with(part, durability, |to| {
        // In pieces, which the kernel copies without this process.
        while io::copy(&mut from.by_ref().take(PIECE_BYTES_MAX), to)? > 0 {
            progress();
        }
        Ok(())
    })?;
    // The scratch folder is removed as a whole; until then the file only costs space.
    let _ = fs::remove_file(source);
    Ok(())
}
