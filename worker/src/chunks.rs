//! Chunks of datasets: files named by the digest of their content.
//!
//! ```text
//! chunks/DIGEST              a chunk that this worker holds
//! chunks-trash/DIGEST-TIME   unreferenced for long; deleted after its time (`trash.rs`), or restored
//! chunks-damaged/DIGEST      content did not match the name; kept until a whole copy is here, since disks also err for a while
//! ```
//! An acknowledged chunk is whole and survives a power cut: it is verified, synced and renamed, and its folder is synced,
//! before the answer.
//!
//! A deletion takes a while, and the same chunk may be stored again meanwhile. So an order to delete only *dooms* chunks.
//! Storing or finding a doomed chunk redeems it, and [`Chunks::remove`] deletes it only if it is still doomed.
//!
//! Every change of the chunks here is *news* for the coordinator, which counts on the copies that were announced to it.

use crate::error::disk_failure;
use crate::finished_part;
use crate::scratch::Scratch;
use crate::temporary::TemporaryFile;
use crate::trash;
use crate::writer::Writer;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::{Code, Digest, Failure, PartReport};
use windrow_store::identity;

/// Folders beside `chunks`.
const TRASH: &str = "chunks-trash";
const DAMAGED: &str = "chunks-damaged";

/// Chunks that callers store at a time. Each holds a blocking thread until its last piece has come, and reads for other
/// workers need threads, too.
pub(crate) const ARRIVALS_MAX: usize = 128;

/// A chunk's digest and length in bytes.
pub(crate) type Measured = (Digest, u64);

/// The chunks of this node.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    scratch: Arc<Scratch>,
    shelf: Shelf,
    arrivals: Arc<Semaphore>,
}

/// A change that is announced to the coordinator, in the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The chunk is held, with this length in bytes.
    Held(Digest, u64),
    /// The same, stored just now by a client, and not held before.
    Stored(Digest, u64),
    /// The chunk was announced, and is damaged or gone.
    Lost(Digest),
    /// The chunk is in the trash.
    Trashed(Digest, u64),
}

/// State of the chunk files. Files get or lose a chunk's name only while it is locked.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Separate from the rest, which is locked during renames: the control thread takes this lock and must not wait for
    /// a disk.
    news: Mutex<Vec<News>>,
    /// There is news.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Chunks to delete or to move to the trash.
    doomed: HashMap<Digest, Doom>,
    /// Chunks that the coordinator counts as held here.
    announced: HashSet<Digest>,
    /// When each chunk in the trash came there, in unix milliseconds.
    trash: HashMap<Digest, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Delete,
    Trash,
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code leaves the state half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a chunk's file its name and redeems the chunk.
    fn redeem(&self, digest: Digest, length: u64, store: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.redeem_as(News::Held(digest, length), digest, store)
    }

    /// The same, announced as `news`.
    fn redeem_as(&self, news: News, digest: Digest, store: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        state.doomed.remove(&digest);
        store()?;
        let was_here = state.announced.contains(&digest) || state.trash.contains_key(&digest);
        match news {
            News::Stored(digest, length) if was_here => self.held(&mut state, News::Held(digest, length), digest),
            news => self.held(&mut state, news, digest),
        }
        Ok(())
    }

    fn held(&self, state: &mut State, news: News, digest: Digest) {
        state.announced.insert(digest);
        self.announce(news);
    }

    /// Announces the loss of a chunk that the coordinator counts on.
    fn lost(&self, state: &mut State, digest: Digest) {
        if state.announced.remove(&digest) {
            self.announce(News::Lost(digest));
        }
    }

    /// Called while the state is locked, so that news has the order of events.
    fn announce(&self, news: News) {
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        self.0.changed.notify_one();
    }
}

/// A chunk that is arriving. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Put {
    digest: Digest,
    path: PathBuf,
    damaged: PathBuf,
    writer: Writer<TemporaryFile>,
    shelf: Shelf,
    /// Stored by a client, for a put that may fail.
    for_client: bool,
}

impl Chunks {
    /// Chunks in this data folder. Blocks.
    pub(crate) fn new(scratch: Arc<Scratch>) -> Self {
        let chunks = Chunks { scratch, shelf: Shelf::default(), arrivals: Arc::new(Semaphore::new(ARRIVALS_MAX)) };
        let mut state = chunks.shelf.lock();
        let entries = fs::read_dir(chunks.trash_folder()).into_iter().flatten().flatten();
        state.trash.extend(entries.filter_map(|entry| trash::parse(entry.file_name().to_str()?)));
        // The chunks that are here now will be announced by `list`; chunks that appear later are verified first.
        state.announced.extend(digests_in(&chunks.scratch.chunks()).into_iter().flatten());
        drop(state);
        chunks
    }

    /// A permit to receive a chunk from a caller of this worker's port, held until the chunk is stored or dropped.
    pub(crate) async fn arrival(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.arrivals.clone().acquire_owned().await
    }

    /// Begins to receive the chunk with this digest from a client that puts a dataset.
    pub(crate) fn begin_for_client(&self, digest: Digest) -> Put {
        Put { for_client: true, ..self.begin(digest) }
    }

    /// Begins to receive the chunk with this digest.
    pub(crate) fn begin(&self, digest: Digest) -> Put {
        let path = self.scratch.chunk(digest);
        let place = path.clone();
        let writer = Writer::start(true, move || TemporaryFile::beside(&place));
        Put { digest, path, damaged: self.damaged(digest), writer, shelf: self.shelf.clone(), for_client: false }
    }

    /// Opens a chunk that is here.
    pub(crate) async fn open(&self, digest: Digest) -> Result<File, Failure> {
        let chunks = self.clone();
        let open = move || {
            let opened = regular_file::open(&chunks.path(digest));
            if opened.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                chunks.note_missing(digest);
            }
            opened
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(io::Error::other);
        opened.flatten().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Failure::new(Code::FetchFailed, format!("chunk {digest} is not on this worker")),
            _ => Failure::new(Code::IoError, format!("cannot open chunk {digest}: {e}")),
        })
    }

    /// Announces that a chunk is missing.
    fn note_missing(&self, digest: Digest) {
        let mut state = self.shelf.lock();
        // Checked again under the lock: it may have been stored meanwhile.
        if !self.path(digest).exists() {
            if state.announced.contains(&digest) {
                tracing::error!("chunk {digest} is gone from this disk, and nothing has ordered that");
            }
            self.shelf.lost(&mut state, digest);
        }
    }
}

impl Chunks {
    /// The path of a chunk that is here.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.scratch.chunk(digest)
    }

    /// The folder of all chunks.
    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.chunks()
    }

    fn trash_folder(&self) -> PathBuf {
        self.scratch.root().join(TRASH)
    }

    fn damaged(&self, digest: Digest) -> PathBuf {
        self.scratch.root().join(DAMAGED).join(digest.to_string())
    }

    /// Keeps the file of a finished part as a chunk, durable when this returns; the file itself stays. `None` if it is
    /// empty. Idempotent. Blocks.
    ///
    /// # Errors
    /// The file is not as its task has written it, or those of the disk.
    pub(crate) fn keep(&self, file: &Path, part: &PartReport) -> Result<Option<(Digest, u64)>, Failure> {
        let keep = || -> io::Result<Option<(Digest, u64)>> {
            let (opened, digest) = finished_part::open(file, part)?;
            let length = part.bytes;
            if length == 0 {
                return Ok(None);
            }
            durable::sync_file(&opened, Durability::Sync)?;
            let link = || match fs::hard_link(file, self.scratch.chunk(digest)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            };
            self.shelf.redeem(digest, length, link)?;
            durable::sync_folder(&self.scratch.chunks(), Durability::Sync)?;
            Ok(Some((digest, length)))
        };
        keep().map_err(|e| disk_failure("keep", file, 0, &e))
    }

    /// Redeems a chunk that is here, and restores one from the trash. True if the chunk was doomed.
    pub(crate) async fn keep_if_here(&self, digest: Digest) -> Option<bool> {
        let chunks = self.clone();
        let look = move || {
            let mut state = chunks.shelf.lock();
            if chunks.path(digest).is_file() {
                return Some(state.doomed.remove(&digest).is_some());
            }
            if let Some(since) = state.trash.remove(&digest) {
                let from = chunks.trash_folder().join(trash::name(digest, since));
                match durable::rename(&from, &chunks.path(digest), Durability::Sync) {
                    Ok(()) => {
                        tracing::info!("chunk {digest} comes back from the trash");
                        let length = chunks.path(digest).metadata().map_or(0, |metadata| metadata.len());
                        chunks.shelf.held(&mut state, News::Held(digest, length), digest);
                        return Some(true);
                    }
                    Err(e) => tracing::warn!("chunk {digest} cannot be taken out of the trash: {e}"),
                }
            }
            drop(state);
            chunks.note_missing(digest);
            None
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Reads a chunk that is here and compares it with its digest. A damaged or unreadable chunk is set aside: disks
    /// lose bits, and a job must not read bytes that were last verified when they were written.
    pub(crate) async fn is_whole(&self, digest: Digest) -> bool {
        let chunks = self.clone();
        tokio::task::spawn_blocking(move || chunks.check(digest, |file| file)).await.unwrap_or(false)
    }

    /// The same, read through the reader that `wrap` makes of the file. Blocks.
    pub(crate) fn check<R: Read>(&self, digest: Digest, wrap: impl FnOnce(File) -> R) -> bool {
        let path = self.path(digest);
        let file = match regular_file::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.note_missing(digest);
                return false;
            }
            Err(e) => {
                tracing::error!("chunk {digest} cannot be opened: {e}");
                self.shelf.lost(&mut self.shelf.lock(), digest);
                return false;
            }
        };
        let opened = identity::of_file(&file);
        let read = Digest::of_reader(wrap(file));
        if read.as_ref().is_ok_and(|(found, _)| *found == digest) {
            return true;
        }
        let mut state = self.shelf.lock();
        // Another thread may have set it aside meanwhile, and a good copy may have arrived.
        let is_it = opened.and_then(|opened| identity::same(&path, &opened));
        if is_it.unwrap_or(false) {
            let why = read.map_or_else(|e| e.to_string(), |(found, _)| format!("it reads as {found}"));
            tracing::error!("chunk {digest} is damaged on this disk and set aside: {why}");
            // It is kept: without another copy, most of a chunk is better than nothing.
            let aside = self.damaged(digest);
            if let Err(e) = make_parent(&aside).and_then(|()| fs::rename(&path, &aside)) {
                tracing::error!("chunk {digest} cannot be set aside: {e}");
            }
            self.shelf.lost(&mut state, digest);
        }
        false
    }

    /// Reads the chunks that were set aside once more: a disk may err only for a while. Blocks.
    pub(crate) fn check_damaged(&self) -> io::Result<()> {
        for digest in digests_in(&self.scratch.root().join(DAMAGED))? {
            let path = self.damaged(digest);
            let Ok((found, length)) = regular_file::open(&path).and_then(|file| Digest::of_reader(&file)) else {
                continue;
            };
            if found != digest || self.path(digest).exists() {
                continue;
            }
            self.shelf.redeem(digest, length, || durable::rename(&path, &self.path(digest), Durability::Sync))?;
            tracing::info!("chunk {digest} reads as it should again");
        }
        Ok(())
    }

    /// The news since the last call, in order.
    pub(crate) fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut *self.shelf.0.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for news.
    pub(crate) async fn has_news(&self) {
        self.shelf.0.changed.notified().await;
    }

    /// Every held chunk with its length, and those in the trash. From then on the coordinator counts on them. Blocks.
    pub(crate) fn list(&self) -> io::Result<(Vec<Measured>, Vec<Measured>)> {
        // Read first: chunks that are deleted during the listing are left out. A chunk that is redeemed meanwhile is
        // announced by the code that stores it.
        let doomed: HashSet<Digest> = self.shelf.lock().doomed.keys().copied().collect();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.scratch.chunks())? {
            let entry = entry?;
            // Chunks that are still arriving have other names.
            if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok())
                && !doomed.contains(&digest)
                && let Ok(metadata) = entry.metadata()
            {
                found.push((digest, metadata.len()));
            }
        }
        let mut state = self.shelf.lock();
        state.announced.extend(found.iter().map(|(digest, _)| *digest));
        let trashed: Vec<(Digest, u64)> = state.trash.iter().map(|(digest, since)| (*digest, *since)).collect();
        drop(state);
        let length = |(digest, since): (Digest, u64)| {
            let file = self.trash_folder().join(trash::name(digest, since));
            Some((digest, file.metadata().ok()?.len()))
        };
        Ok((found, trashed.into_iter().filter_map(length).collect()))
    }

    /// Compares the files with the announced chunks: announces missing ones, and new ones whose content matches.
    /// Returns every chunk with its length, by digest. Blocks.
    pub(crate) fn compare(&self) -> io::Result<Vec<(Digest, u64)>> {
        let before: HashSet<Digest> = self.shelf.lock().announced.clone();
        let mut here = Vec::new();
        for digest in digests_in(&self.scratch.chunks())? {
            if let Ok(metadata) = self.path(digest).metadata() {
                here.push((digest, metadata.len()));
            }
        }
        let listed: HashSet<Digest> = here.iter().map(|(digest, _)| *digest).collect();
        before.difference(&listed).for_each(|digest| self.note_missing(*digest));
        for (digest, length) in &here {
            let is_new = {
                let state = self.shelf.lock();
                !state.announced.contains(digest) && !state.doomed.contains_key(digest)
            };
            if is_new && self.check(*digest, |file| file) {
                let state = self.shelf.lock();
                if !state.doomed.contains_key(digest) && !state.announced.contains(digest) {
                    drop(state);
                    self.shelf.redeem(*digest, *length, || Ok(()))?;
                }
            }
        }
        here.sort_unstable();
        Ok(here)
    }

    /// Marks chunks for deletion; each goes with `remove`, unless it is stored again before.
    pub(crate) fn doom(&self, digests: &[Digest], doom: Doom) {
        self.shelf.lock().doomed.extend(digests.iter().map(|digest| (*digest, doom)));
    }

    /// Takes back `doom`.
    pub(crate) fn forgive(&self, digests: &[Digest]) {
        let mut state = self.shelf.lock();
        digests.iter().for_each(|digest| _ = state.doomed.remove(digest));
    }

    /// Deletes a chunk, or moves it to the trash, if it is still doomed. Blocks.
    pub(crate) fn remove(&self, digest: Digest) -> io::Result<()> {
        let mut state = self.shelf.lock();
        let Some(doom) = state.doomed.remove(&digest) else { return Ok(()) };
        state.announced.remove(&digest);
        let path = self.path(digest);
        match doom {
            Doom::Delete => {
                if let Some(since) = state.trash.remove(&digest) {
                    gone(fs::remove_file(self.trash_folder().join(trash::name(digest, since))))?;
                }
                gone(fs::remove_file(self.damaged(digest)))?;
                gone(fs::remove_file(path))
            }
            Doom::Trash => {
                let Ok(metadata) = path.metadata() else { return Ok(()) };
                let since = unix_ms();
                let place = self.trash_folder().join(trash::name(digest, since));
                make_parent(&place)?;
                gone(durable::rename(&path, &place, Durability::Sync))?;
                state.trash.insert(digest, since);
                self.shelf.announce(News::Trashed(digest, metadata.len()));
                Ok(())
            }
        }
    }

    /// Deletes chunks that have been in the trash for `kept_ms`, if this process has been up long enough to trust its
    /// clock. Returns their number. Blocks.
    pub(crate) fn empty_trash(&self, up_ms: u64, kept_ms: u64) -> usize {
        self.empty_trash_while(up_ms, kept_ms, || true)
    }

    /// The same, oldest first, while `goes_on` returns true before each one. Touches nothing but the trash. Blocks.
    pub(crate) fn empty_trash_while(&self, up_ms: u64, kept_ms: u64, mut goes_on: impl FnMut() -> bool) -> usize {
        let now = unix_ms();
        let mut deleted = 0;
        let mut all: Vec<(Digest, u64)> = self.shelf.lock().trash.iter().map(|(d, since)| (*d, *since)).collect();
        all.sort_unstable_by_key(|(digest, since)| (*since, *digest));
        for (digest, since) in all {
            if !trash::is_over(since, now, up_ms, kept_ms) {
                // The rest is younger.
                break;
            }
            if !goes_on() {
                break;
            }
            let mut state = self.shelf.lock();
            // It may have been restored meanwhile.
            if state.trash.get(&digest) != Some(&since) {
                continue;
            }
            match gone(fs::remove_file(self.trash_folder().join(trash::name(digest, since)))) {
                Ok(()) => {
                    state.trash.remove(&digest);
                    deleted += 1;
                }
                Err(e) => tracing::warn!("chunk {digest} cannot be deleted from the trash: {e}"),
            }
        }
        deleted
    }
}

/// Digests of the chunks in a folder, which may be missing.
fn digests_in(folder: &Path) -> io::Result<Vec<Digest>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
    }
    Ok(found)
}

fn make_parent(path: &Path) -> io::Result<()> {
    windrow_format::private::create_folders(durable::parent(path))
}

/// A missing file counts as removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

impl Put {
    /// Writes a piece; false if the disk failed, which `finish` reports.
    pub(crate) async fn write(&self, piece: Bytes) -> bool {
        self.writer.write(vec![piece]).await
    }

    /// Verifies the content and makes it durable.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        let Put { digest, path, damaged, writer, shelf, for_client } = self;
        let written = writer.finish().await.map_err(|e| disk_failure("write", &path, 0, &e))?;
        if written.digest != digest {
            let message = format!("chunk {digest} arrived with digest {}", written.digest);
            return Err(Failure::new(Code::BadRequest, message));
        }
        let place = path.clone();
        let placed = tokio::task::spawn_blocking(move || {
            durable::sync_file(written.file.file(), Durability::Sync)?;
            let length = written.file.file().metadata()?.len();
            let news = if for_client { News::Stored(digest, length) } else { News::Held(digest, length) };
            shelf.redeem_as(news, digest, || written.file.place(&place, Durability::NoSync))?;
            // A whole copy is here, so the damaged one is of no use.
            gone(fs::remove_file(damaged))?;
            place.parent().map_or(Ok(()), |folder| durable::sync_folder(folder, Durability::Sync))
        });
        placed.await.map_err(io::Error::other).flatten().map_err(|e| disk_failure("write", &path, 0, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Here {
        folder: tempfile::TempDir,
        chunks: Chunks,
    }

    impl Here {
        fn new() -> Here {
            let folder = tempfile::tempdir().unwrap();
            let chunks = Chunks::new(Arc::new(Scratch::open(&folder.path().join("data")).unwrap()));
            Here { folder, chunks }
        }
        /// Keeps a task's file as a chunk.
        fn keep(&self, text: &str) -> Digest {
            let file = self.folder.path().join("part");
            // A new file: the last one is linked as a chunk.
            let _ = fs::remove_file(&file);
            fs::write(&file, text).unwrap();
            self.chunks.keep(&file, &finished_part::tests::part(0, text)).unwrap().unwrap().0
        }
        async fn put(&self, text: &'static str) -> Digest {
            let digest = Digest::of(text.as_bytes());
            let put = self.chunks.begin(digest);
            assert!(put.write(Bytes::from_static(text.as_bytes())).await);
            put.finish().await.unwrap();
            digest
        }
        fn listed(&self) -> Vec<Digest> {
            self.chunks.list().unwrap().0.into_iter().map(|(digest, _)| digest).collect()
        }
        fn lost(&self) -> Vec<Digest> {
            let lost = |news| if let News::Lost(digest) = news { Some(digest) } else { None };
            self.chunks.take_news().into_iter().filter_map(lost).collect()
        }
        fn is_here(&self, digest: Digest) -> bool {
            self.chunks.path(digest).is_file()
        }
    }

    /// A job writes the content of a dataset that is being deleted: the order came first, so the chunk stays.
    #[tokio::test]
    async fn chunk_stored_after_a_delete_order_stays() {
        let here = Here::new();
        let all = [here.keep("kept"), here.keep("put"), here.keep("found"), here.keep("gone")];
        here.chunks.doom(&all, Doom::Delete);
        assert_eq!(here.listed(), [], "a doomed chunk is not listed");
        here.keep("kept");
        here.put("put").await;
        assert_eq!(here.chunks.keep_if_here(all[2]).await, Some(true));
        all.iter().for_each(|digest| here.chunks.remove(*digest).unwrap());
        assert_eq!(all.map(|digest| here.is_here(digest)), [true, true, true, false]);
        assert_eq!(here.chunks.keep_if_here(all[3]).await, None);
        assert_eq!(here.chunks.keep_if_here(all[0]).await, Some(false));
        assert_eq!(here.listed().len(), 3);
        // The next order is another one.
        here.chunks.doom(&all, Doom::Delete);
        all.iter().for_each(|digest| here.chunks.remove(*digest).unwrap());
        assert_eq!(here.listed(), []);
    }

    #[tokio::test]
    async fn mismatched_chunk_is_removed_and_reported_once() {
        let here = Here::new();
        let [good, bad] = [here.keep("good"), here.put("bad").await];
        assert!(here.chunks.is_whole(good).await && here.chunks.is_whole(bad).await);
        let path = here.chunks.path(bad);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "bat").unwrap();
        assert!(!here.chunks.is_whole(bad).await);
        assert!(!here.is_here(bad) && here.is_here(good));
        assert_eq!((here.lost(), here.lost()), (vec![bad], vec![]));
        assert_eq!(fs::read_to_string(here.chunks.damaged(bad)).unwrap(), "bat", "set aside, not deleted");
        assert!(!here.chunks.is_whole(bad).await, "it is not here");
        here.put("bad").await;
        assert!(here.chunks.is_whole(bad).await);
        assert!(here.lost().is_empty());
        assert!(!here.chunks.damaged(bad).exists(), "a whole copy is here");
    }

    /// The chunk is there after any interleaving of a deletion and a publication.
    #[test]
    fn chunk_kept_during_its_deletion_stays() {
        let here = Here::new();
        let digest = here.keep("same bytes again");
        for _ in 0..200 {
            here.chunks.doom(&[digest], Doom::Delete);
            std::thread::scope(|scope| {
                scope.spawn(|| here.chunks.remove(digest).unwrap());
                here.keep("same bytes again");
            });
            assert!(here.is_here(digest));
        }
    }

    #[tokio::test]
    async fn missing_chunk_is_reported_by_every_lookup() {
        let here = Here::new();
        let all = ["opened", "kept", "checked", "compared", "there"].map(|text| here.keep(text));
        here.chunks.take_news();
        all[..4].iter().for_each(|digest| fs::remove_file(here.chunks.path(*digest)).unwrap());
        assert!(here.chunks.open(all[0]).await.is_err());
        assert_eq!(here.lost(), [all[0]]);
        assert_eq!(here.chunks.keep_if_here(all[1]).await, None);
        assert_eq!(here.lost(), [all[1]]);
        assert!(!here.chunks.is_whole(all[2]).await);
        assert_eq!(here.lost(), [all[2]]);
        assert_eq!(here.chunks.compare().unwrap(), [(all[4], 5)]);
        assert_eq!(here.lost(), [all[3]]);
        here.chunks.compare().unwrap();
        assert!(here.chunks.open(all[0]).await.is_err());
        assert_eq!(here.chunks.take_news(), [], "each once");
        // A file that an operator puts back is announced if its content matches.
        fs::write(here.chunks.path(all[3]), "compared").unwrap();
        fs::write(here.chunks.path(all[2]), "other").unwrap();
        here.chunks.compare().unwrap();
        assert_eq!(here.chunks.take_news(), [News::Held(all[3], 8)]);
    }

    #[tokio::test]
    async fn trash_keeps_a_chunk_until_its_time_and_gives_it_back() {
        let here = Here::new();
        let [back, over] = [here.keep("back"), here.keep("over!")];
        here.chunks.take_news();
        here.chunks.doom(&[back, over], Doom::Trash);
        [back, over].iter().for_each(|digest| here.chunks.remove(*digest).unwrap());
        assert_eq!(here.chunks.take_news(), [News::Trashed(back, 4), News::Trashed(over, 5)]);
        assert!(!here.is_here(back) && !here.is_here(over));
        // The next incarnation of the worker knows it.
        let chunks = Chunks::new(here.chunks.scratch.clone());
        let (held, mut trashed) = chunks.list().unwrap();
        trashed.sort_by_key(|(_, length)| *length);
        assert_eq!((held, trashed), (vec![], vec![(back, 4), (over, 5)]));
        assert_eq!(chunks.keep_if_here(back).await, Some(true));
        assert!(here.is_here(back) && chunks.is_whole(back).await);
        assert_eq!(chunks.empty_trash(u64::MAX, 1 << 40), 0);
        assert_eq!(chunks.empty_trash(u64::MAX, 0), 1);
        assert_eq!(chunks.keep_if_here(over).await, None);
        assert!(here.is_here(back));
    }

    #[test]
    fn full_disk_takes_the_oldest_trash_and_nothing_else() {
        let here = Here::new();
        let texts = ["first", "second", "third", "young"];
        let kept = here.keep("referred to by nothing, and not in the trash");
        let all = texts.map(|text| here.keep(text));
        here.chunks.doom(&all, Doom::Trash);
        all.iter().for_each(|digest| here.chunks.remove(*digest).unwrap());
        // One hour apart.
        const HOUR: u64 = 3_600_000;
        let now = unix_ms();
        for (hours, digest) in [5, 4, 3, 0].into_iter().zip(all) {
            let since = here.chunks.shelf.lock().trash.insert(digest, now - hours * HOUR).unwrap();
            let name = |since| here.chunks.trash_folder().join(trash::name(digest, since));
            fs::rename(name(since), name(now - hours * HOUR)).unwrap();
        }
        let left = || {
            let state = here.chunks.shelf.lock();
            all.iter().map(|digest| state.trash.contains_key(digest)).collect::<Vec<_>>()
        };
        // Two deletions make enough space.
        let mut full = [true, true, false].into_iter();
        assert_eq!(here.chunks.empty_trash_while(u64::MAX, HOUR, || full.next().unwrap()), 2);
        assert_eq!(left(), [false, false, true, true]);
        // Chunks of the last hour, and chunks outside of the trash, stay on a full disk.
        assert_eq!(here.chunks.empty_trash_while(u64::MAX, HOUR, || true), 1);
        assert_eq!(left(), [false, false, false, true]);
        assert!(here.is_here(kept));
        // A process that has just started does not trust its clock.
        assert_eq!(here.chunks.empty_trash_while(0, HOUR, || true), 0);
    }

    #[tokio::test]
    async fn stored_chunk_is_announced_unless_it_was_held() {
        let here = Here::new();
        let store = async |text: &'static str| {
            let digest = Digest::of(text.as_bytes());
            let put = here.chunks.begin_for_client(digest);
            assert!(put.write(Bytes::from_static(text.as_bytes())).await);
            put.finish().await.unwrap();
            here.chunks.take_news()
        };
        let [new, trashed] = ["new", "trashed"].map(|text| Digest::of(text.as_bytes()));
        assert_eq!(store("new").await, [News::Stored(new, 3)]);
        assert_eq!(store("new").await, [News::Held(new, 3)], "it was here");
        here.keep("trashed");
        here.chunks.doom(&[trashed], Doom::Trash);
        here.chunks.remove(trashed).unwrap();
        here.chunks.take_news();
        assert_eq!(store("trashed").await, [News::Held(trashed, 7)], "it was in the trash");
        here.put("fetched").await;
        assert_eq!(here.chunks.take_news(), [News::Held(Digest::of(b"fetched"), 7)]);
    }

    #[test]
    fn chunk_set_aside_comes_back_when_it_reads_again() {
        let here = Here::new();
        let digest = here.keep("flaky");
        let path = here.chunks.path(digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "fla").unwrap();
        assert!(!here.chunks.check(digest, |file| file));
        here.chunks.check_damaged().unwrap();
        assert!(!here.is_here(digest));
        fs::write(here.chunks.damaged(digest), "flaky").unwrap();
        here.chunks.take_news();
        here.chunks.check_damaged().unwrap();
        assert_eq!(here.chunks.take_news(), [News::Held(digest, 5)]);
        assert!(here.is_here(digest));
    }
}
