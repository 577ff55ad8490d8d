//! Chunks on a disk: stored, checked, deleted and restored.

use super::*;
use crate::finished_part;
use bytes::Bytes;

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
    assert_eq!(here.lost(), [all[3]], "its removal is reported after all earlier reports of it");
    assert_eq!(here.chunks.still_announced(&all), all[..3]);
    assert_eq!(here.chunks.gone_since(all.into_iter()), all[3..], "a list that was made before does not count it");
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
    let gone = |digest, length| [News::Lost(digest), News::Trashed(digest, length)];
    assert_eq!(here.chunks.take_news(), [gone(back, 4), gone(over, 5)].concat());
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

/// The fault: the coordinator had forgotten the copy in the trash when the chunk was stored again.
#[tokio::test]
async fn copy_in_the_trash_is_announced_when_the_other_is_lost() {
    let here = Here::new();
    let digest = here.keep("twice");
    let move_to_trash = || {
        here.chunks.doom(&[digest], Doom::Trash);
        here.chunks.remove(digest).unwrap();
    };
    move_to_trash();
    here.put("twice").await;
    here.chunks.take_news();
    fs::remove_file(here.chunks.path(digest)).unwrap();
    assert!(!here.chunks.is_whole(digest).await);
    assert_eq!(here.chunks.take_news(), [News::Trashed(digest, 5), News::Lost(digest)]);
    assert_eq!(here.chunks.keep_if_here(digest).await, Some(true));
    assert!(here.chunks.is_whole(digest).await);
    // Moved there twice, it is there once.
    move_to_trash();
    here.put("twice").await;
    move_to_trash();
    assert_eq!(fs::read_dir(here.chunks.trash_folder()).unwrap().count(), 1);
}
