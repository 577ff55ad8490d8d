//! Deletes a folder with all its contents, whatever a user's program has left in it.
//!
//! The work is iterative and uses descriptors. A folder below the first level is renamed into the root of the tree,
//! which thereby becomes a flat queue: depth costs one rename for each folder, but no stack, no open descriptors and no
//! growing path. The queue's names are numbers, so no list of entries is kept in memory. No link is followed and no
//! other file system is entered. A folder without permissions is given them first.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, chmod, fchmod, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use windrow_format::durable;

/// Flags for opening a folder: for listing, and never through a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Permissions that the owner needs to empty a folder.
const OWNER_ALL: u32 = 0o700;
/// Bytes of directory entries that are read at a time.
const ENTRIES_BYTES: usize = 32 << 10;
/// Greatest depth at which a folder that cannot be renamed is emptied in place. Each level holds one descriptor.
const IN_PLACE_DEPTH_MAX: u32 = 32;
/// Most times that a folder is read again because entries are left after all seen ones were deleted.
const PASSES_MAX: u32 = 100;

/// Deletes a file, a symbolic link, or a folder with all its contents.
///
/// Holds at most 36 descriptors and 2 MiB for any depth and number of entries, and makes a few system calls for each
/// entry. An entry that cannot be deleted does not keep the others from being deleted. A mount point is not entered.
///
/// # Errors
/// `NotFound` if the path does not exist. `DirectoryNotEmpty` if entries keep appearing. Otherwise the first error of
/// an entry.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    let parent_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, durable::parent(path), parent_flags, Mode::empty())?;
    let name = terminated(name)?;
    let not_unlinked = match unlinkat(&parent, &name, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        Err(e @ (Errno::ISDIR | Errno::PERM)) => e,
        Err(e) => return Err(e.into()),
    };
    let root = match open_folder(parent.as_fd(), &name) {
        // A file that may not be deleted.
        Err(Errno::NOTDIR) => return Err(not_unlinked.into()),
        opened => opened?,
    };
    let mut removal = Removal::of(&root)?;
    for _ in 0..PASSES_MAX {
        let removed = removal.pass()?;
        match unlinkat(&parent, &name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if removed > 0 => {}
            Err(e) => return Err(removal.first_error.take().unwrap_or_else(|| e.into())),
        }
    }
    Err(removal.first_error.take().unwrap_or_else(|| io::ErrorKind::DirectoryNotEmpty.into()))
}

fn terminated(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

/// Opens a folder for listing, after making sure that the owner may list and change it.
fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let folder = match openat(parent, name, FOLDER, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // The mode of a folder that cannot be opened is changed through a path descriptor: by name, another process
            // could replace the folder with a link meanwhile.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let handle = openat(parent, name, flags, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::from_raw_mode(OWNER_ALL))?;
            return openat(&handle, c".", FOLDER, Mode::empty());
        }
        opened => opened?,
    };
    if fstat(&folder)?.st_mode & OWNER_ALL != OWNER_ALL {
        // If this fails, the call that needs the mode reports an error.
        let _ = fchmod(&folder, Mode::from_raw_mode(OWNER_ALL));
    }
    Ok(folder)
}

/// One tree that is being deleted.
struct Removal<'a> {
    root: BorrowedFd<'a>,
    device: u64,
    /// Prefix of the names of queued folders: random, so that no name in the tree has it.
    queue_prefix: String,
    /// Number of folders queued and taken so far: the queue consists of the numbers in between.
    queued: u64,
    taken: u64,
    first_error: Option<io::Error>,
}

impl Removal<'_> {
    fn of(root: &OwnedFd) -> io::Result<Removal<'_>> {
        let random = u128::from_ne_bytes(durable::random()?);
        Ok(Removal {
            root: root.as_fd(),
            device: fstat(root)?.st_dev,
            queue_prefix: format!(".removed-{random:032x}-"),
            queued: 0,
            taken: 0,
            first_error: None,
        })
    }

    /// Deletes the current contents of the root and everything that is queued meanwhile; returns the number of entries
    /// that have gone from the root.
    fn pass(&mut self) -> io::Result<u64> {
        let root = openat(self.root, c".", FOLDER, Mode::empty())?;
        let mut removed = self.empty(root.as_fd(), true, 0);
        while self.taken < self.queued {
            let name = self.queue_name(self.taken)?;
            self.taken += 1;
            removed += u64::from(self.remove_folder(self.root, &name, 0));
        }
        Ok(removed)
    }

    fn queue_name(&self, number: u64) -> io::Result<CString> {
        terminated(OsStr::new(&format!("{}{number}", self.queue_prefix)))
    }

    /// Reads a folder once and removes every entry: files are deleted; folders are queued, or emptied and deleted if
    /// `folder` is the root. Returns the number of entries that have gone.
    fn empty(&mut self, folder: BorrowedFd<'_>, is_root: bool, depth: u32) -> u64 {
        let mut buffer = vec![MaybeUninit::<u8>::uninit(); ENTRIES_BYTES];
        let mut entries = RawDir::new(folder, &mut buffer);
        let mut gone = 0;
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(e) => {
                    self.note(e, c".");
                    break;
                }
            };
            let name = entry.file_name();
            let is_queued = is_root && name.to_bytes().starts_with(self.queue_prefix.as_bytes());
            if name == c"." || name == c".." || is_queued {
                continue;
            }
            if entry.file_type() != FileType::Directory {
                match unlinkat(folder, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {
                        gone += 1;
                        continue;
                    }
                    // Not every file system reports the type of an entry in a listing.
                    Err(Errno::ISDIR) => {}
                    Err(e) => {
                        self.note(e, name);
                        continue;
                    }
                }
            }
            let is_gone = match is_root {
                true => self.remove_folder(folder, name, depth),
                false => self.queue(folder, name, depth),
            };
            gone += u64::from(is_gone);
        }
        gone
    }

    /// Moves a folder into the root; if that fails, empties and deletes it in place. Returns whether it has gone from
    /// its parent.
    fn queue(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> bool {
        let Ok(place) = self.queue_name(self.queued) else { return false };
        let mut moved = renameat(parent, name, self.root, &place);
        if moved == Err(Errno::ACCESS) {
            // A folder must be writable to be moved, because its entry `..` changes.
            moved = open_folder(parent, name).and_then(|_| renameat(parent, name, self.root, &place));
        }
        match moved {
            Ok(()) => {
                self.queued += 1;
                true
            }
            Err(Errno::NOENT) => true,
            Err(_) if depth < IN_PLACE_DEPTH_MAX => self.remove_folder(parent, name, depth + 1),
            Err(e) => {
                self.note(e, name);
                false
            }
        }
    }

    /// Empties a folder and deletes it. Returns whether it has gone.
    fn remove_folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> bool {
        let removed = self.try_remove_folder(parent, name, depth);
        removed.map_err(|e| self.note(e, name)).unwrap_or(false)
    }

    fn try_remove_folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> rustix::io::Result<bool> {
        let mut folder = match open_folder(parent, name) {
            Err(Errno::NOENT) => return Ok(true),
            opened => opened?,
        };
        if fstat(&folder)?.st_dev != self.device {
            return Err(Errno::XDEV);
        }
        for _ in 0..PASSES_MAX {
            let gone = self.empty(folder.as_fd(), false, depth);
            match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(true),
                // Some file systems omit entries while others are being deleted.
                Err(Errno::NOTEMPTY | Errno::EXIST) if gone > 0 => {
                    folder = openat(&folder, c".", FOLDER, Mode::empty())?;
                }
                Err(e) => return Err(e),
            }
        }
        Err(Errno::NOTEMPTY)
    }

    fn note(&mut self, e: Errno, name: &CStr) {
        let named = |e: Errno| {
            let source = io::Error::from(e);
            io::Error::new(source.kind(), format!("`{}` in it: {source}", name.to_bytes().escape_ascii()))
        };
        self.first_error.get_or_insert_with(|| named(e));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    /// Number of levels of the deepest tree, which would overflow the stack of a thread in a recursive deletion.
    const DEEP: u32 = 20_000;

    /// Creates a chain of folders in `root`, with a file at each thousandth level.
    fn deep(root: &Path, levels: u32) {
        let mut at = openat(CWD, root, FOLDER, Mode::empty()).unwrap();
        for level in 0..levels {
            rustix::fs::mkdirat(&at, c"d", Mode::from_raw_mode(0o755)).unwrap();
            at = openat(&at, c"d", FOLDER, Mode::empty()).unwrap();
            if level % 1_000 == 0 {
                openat(&at, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
            }
        }
    }

    fn descriptors() -> usize {
        fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// A temporary folder in memory if possible: some disks take milliseconds to delete a folder.
    fn folder_in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
    }

    #[test]
    fn tree_deeper_than_any_stack_is_removed() {
        let dir = folder_in_memory();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        deep(&tree, DEEP);
        fs::create_dir(tree.join("beside")).unwrap();
        deep(&tree.join("beside"), 50);
        let small_stack = std::thread::Builder::new().stack_size(128 << 10);
        small_stack.spawn(move || remove_tree(&tree).unwrap()).unwrap().join().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn wide_tree_is_removed_without_open_folders_left() {
        let dir = folder_in_memory();
        let tree = dir.path().join("tree");
        for folder in 0..40 {
            for below in 0..10 {
                let at = tree.join(format!("{folder}/{below}"));
                fs::create_dir_all(&at).unwrap();
                (0..20).for_each(|file| fs::write(at.join(format!("{file}")), "").unwrap());
            }
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        let before = descriptors();
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        remove_tree(&tree).unwrap();
        // Other tests of this process open files too, but not hundreds.
        assert!(descriptors() < before + 100);
    }

    #[test]
    fn links_are_removed_and_their_targets_stay() {
        let dir = tempfile::tempdir().unwrap();
        let [outside, tree] = ["outside", "tree"].map(|name| dir.path().join(name));
        fs::create_dir_all(outside.join("precious")).unwrap();
        fs::create_dir_all(tree.join("a/b")).unwrap();
        for place in ["link", "a/link", "a/b/link"] {
            symlink(&outside, tree.join(place)).unwrap();
        }
        symlink("nowhere", tree.join("a/dangling")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("precious").is_dir());
        symlink(&outside, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err() && outside.join("precious").is_dir());
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        remove_tree(&file).unwrap();
        assert_eq!(remove_tree(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    /// Runs `work` as a user for whom file modes hold, which the superuser is not.
    fn as_ordinary_user<T: Send>(tree: &Path, work: impl FnOnce() -> T + Send) -> T {
        const ORDINARY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return work();
        }
        let mut folders = vec![tree.to_path_buf()];
        while let Some(folder) = folders.pop() {
            chown(&folder, Some(ORDINARY), Some(ORDINARY)).unwrap();
            let entries = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
            folders.extend(entries.filter(|path| path.is_dir()));
        }
        let thread = move || {
            // The system call changes only this thread; the C library's function would change all.
            let uid = rustix::process::Uid::from_raw(ORDINARY);
            rustix::thread::set_thread_uid(uid).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(thread).join().unwrap())
    }

    #[test]
    fn folders_without_permissions_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let tree = dir.path().join("tree");
        for below in ["closed/a/b", "listable/c", "a/closed/d", "a/readonly/e"] {
            fs::create_dir_all(tree.join(below)).unwrap();
            fs::write(tree.join(below).join("file"), "").unwrap();
        }
        let modes = [("a/closed", 0), ("a/readonly", 0o500), ("listable", 0o400), ("closed", 0)];
        as_ordinary_user(&tree, || {
            for (below, mode) in modes {
                fs::set_permissions(tree.join(below), PermissionsExt::from_mode(mode)).unwrap();
            }
            remove_tree(&tree).unwrap();
        });
        assert!(!tree.exists());
    }

    #[test]
    fn entry_that_cannot_go_leaves_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b/mount")).unwrap();
        (0..5).for_each(|n| fs::write(tree.join(format!("a/{n}")), "").unwrap());
        let mount = tree.join("a/b/mount");
        let tmpfs = rustix::mount::mount("none", &mount, "tmpfs", rustix::mount::MountFlags::empty(), None);
        if let Err(e) = tmpfs {
            return eprintln!("skipped: no file system can be mounted here: {e}");
        }
        fs::write(mount.join("precious"), "").unwrap();
        let refused = remove_tree(&tree);
        // Its name has changed: the folder is in the queue now.
        let left: Vec<_> = fs::read_dir(&tree).unwrap().map(|e| e.unwrap().path()).collect();
        let found = left.iter().map(|folder| folder.join("mount")).find(|path| path.join("precious").exists());
        rustix::mount::unmount(found.as_ref().unwrap(), rustix::mount::UnmountFlags::empty()).unwrap();
        assert!(refused.is_err());
        assert_eq!(left.len(), 1);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
