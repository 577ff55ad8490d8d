//! Intermediate results of a session: where they lie, and their removal.

#[cfg(feature = "client")]
use super::kept_there::Claim;
#[cfg(not(feature = "client"))]
use super::no_client::Remote;
#[cfg(feature = "client")]
use super::remote::Remote;
use crate::error::{Error, Result};
use crate::report::warning::warn;
use crate::run::job_id::new_job_id;
use crate::run::leftovers;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use windrow_format::names;
use windrow_model::{Code, Escape, Failure, Location};

/// Results of a name that stay: one to read and one to write.
const STAY: usize = 2;
/// Most bytes of a name.
const NAME_MAX: usize = 64;

/// Checks the name of an intermediate result.
pub(super) fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_MAX && name.chars().all(fits) {
        return Ok(());
    }
    let message = format!(
        "invalid name `{}` of an intermediate result: use up to {NAME_MAX} letters, digits, `.`, `_` and `-`, starting with a letter or digit",
        name.escaped()
    );
    Err(Error::new(Code::BadRequest, message))
}

/// The intermediate results of a session. Dropping them removes them.
pub(super) struct Kept {
    area: Area,
    /// The cluster, if they lie there.
    remote: Option<Rc<Remote>>,
    /// By name: how many places it had, and those that stay, the oldest first.
    names: BTreeMap<String, (u32, Vec<String>)>,
}

/// Where the results of a session lie.
enum Area {
    Here(Folder),
    #[cfg(feature = "client")]
    There(Claim),
}

/// A folder that is locked as long as its session lives.
struct Folder {
    path: PathBuf,
    /// Marks it as in use.
    _lock: Option<File>,
}

impl Kept {
    /// Results of runs in one process, in a new folder in `parent`. Removes those of dead sessions there.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub(super) fn here(parent: PathBuf) -> Result<Kept> {
        leftovers::remove_in(&parent);
        let path = parent.join(names::local_run_folder(new_job_id()?));
        crate::run::supervise::remove_on_crash(&path);
        windrow_format::private::create_folders(&path).map_err(|e| {
            let message = format!("cannot make the folder for intermediate results {}: {e}", path.escaped());
            Error::new(Code::IoError, message)
        })?;
        let lock = leftovers::lock(&path);
        Ok(Kept { area: Area::Here(Folder { path, _lock: lock }), remote: None, names: BTreeMap::new() })
    }

    /// Results on a cluster. Removes those of dead sessions of this user and machine.
    ///
    /// # Errors
    /// `UNREACHABLE`; the system gives no random bytes.
    pub(super) fn there(remote: Rc<Remote>) -> Result<Kept> {
        #[cfg(feature = "client")]
        return Ok(Kept { area: Area::There(Claim::new(&remote)?), remote: Some(remote), names: BTreeMap::new() });
        #[cfg(not(feature = "client"))]
        match *remote {}
    }

    /// A new place under this name. Removes the places that no longer stay.
    ///
    /// # Errors
    /// The path of the folder is not UTF-8.
    pub(super) fn place(&mut self, name: &str) -> Result<String> {
        let (count, places) = self.names.entry(name.to_string()).or_default();
        *count += 1;
        let place = match &self.area {
            Area::Here(folder) => {
                let path = folder.path.join(format!("{name}-{count}"));
                path.into_os_string().into_string().map_err(|path| {
                    let path = PathBuf::from(path);
                    Error::new(Code::BadRequest, format!("{} is not UTF-8: give another --scratch", path.escaped()))
                })?
            }
            #[cfg(feature = "client")]
            Area::There(claim) => Location::Dataset(&claim.dataset(name, *count)).to_string(),
        };
        places.push(place.clone());
        while places.len() > STAY {
            let oldest = places.remove(0);
            if let Err(e) = remove(&oldest, self.remote.as_deref()) {
                warn(&format!("an intermediate result stays until the end of the session: {}", e.message));
            }
        }
        Ok(place)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        match &self.area {
            Area::Here(folder) => {
                if let Err(e) = windrow_store::remove_tree(&folder.path) {
                    warn(&format!("intermediate results stay in {}: {e}", folder.path.escaped()));
                }
            }
            #[cfg(feature = "client")]
            Area::There(claim) => {
                if let Some(remote) = &self.remote {
                    claim.remove(remote);
                }
            }
        }
    }
}

/// Removes one result, which may not have been written.
fn remove(place: &str, remote: Option<&Remote>) -> Result<(), Failure> {
    match (Location::of(place), remote) {
        (Location::Dataset(name), Some(remote)) => remote.remove_dataset(name),
        (Location::Path(path), _) => remove_folder(path),
        _ => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<(), Failure> {
    match windrow_store::remove_tree(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(Code::IoError, format!("{}: {e}", path.escaped())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_two_results_of_a_name_stay_until_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let mut kept = Kept::here(parent.path().to_path_buf()).unwrap();
        let mut write = |name: &str| {
            let place = PathBuf::from(kept.place(name).unwrap());
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("part"), "x").unwrap();
            place
        };
        let links = write("links");
        let ranks: Vec<PathBuf> = (0..4).map(|_| write("ranks")).collect();
        assert_eq!(ranks.iter().map(|place| place.exists()).collect::<Vec<_>>(), [false, false, true, true]);
        assert!(links.exists());
        let area = links.parent().unwrap().to_path_buf();
        // Another session leaves the results of a living one.
        let age = std::time::SystemTime::now() - 2 * leftovers::UNLOCKED_FOR;
        File::open(&area).unwrap().set_modified(age).unwrap();
        let other = Kept::here(parent.path().to_path_buf()).unwrap();
        assert!(links.exists());
        drop(kept);
        assert!(!area.exists());
        // Those of a killed one are removed.
        let mut killed = std::mem::ManuallyDrop::new(other);
        #[allow(irrefutable_let_patterns, reason = "there is another area with the feature `client`")]
        if let Area::Here(folder) = &mut killed.area {
            drop(folder._lock.take());
            File::open(&folder.path).unwrap().set_modified(age).unwrap();
        }
        drop(Kept::here(parent.path().to_path_buf()).unwrap());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn names_of_results_are_checked() {
        assert!(check_name("ranks-2.a_b").is_ok());
        for bad in ["", ".ranks", "a/b", "-a", "é", &"x".repeat(65)] {
            assert_eq!(check_name(bad).unwrap_err().code(), Code::BadRequest, "{bad}");
        }
    }
}
