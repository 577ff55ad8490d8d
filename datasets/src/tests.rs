//! The table of datasets.

use crate::copies::{COPY_PAUSE_MS, TRIES_MAX};
use crate::holders::{ABSENCE_MS, LISTING_MAX_MS};
use crate::hour::RESERVED_MS;
use crate::inventories::UNREFERRED_MAX;
use crate::puts::LATE_MS;
use crate::testing::*;
use crate::*;
use windrow_model::{Code, Dataset, DatasetChunk, Digest, Failure, Framing, Incarnation, Time};

#[test]
fn damaged_copy_is_restored_from_the_other() {
    let mut table = cluster(2);
    put(&mut table, "set", &[1, 2], false);
    assert_eq!(table.orders(NOW), []);
    table.pin(job(5), ["set"].into_iter()).unwrap();
    assert_eq!(table.lost(worker(1), &[digest(1), digest(9)]), [digest(1)]);
    assert_eq!(table.take_lacking(), []);
    assert_eq!(names(&table), [("set".to_string(), 1, 1)]);
    assert_eq!(table.orders(NOW), [copy(1, 1, 2)]);
    table.held(worker(1), [digest(1)]);
    assert_eq!(names(&table), [("set".to_string(), 1, 2)]);
    table.lost(worker(2), &[digest(1)]);
    assert_eq!(table.take_lacking(), []);
    table.lost(worker(1), &[digest(1)]);
    assert_eq!(table.take_lacking(), [(job(5), digest(1))], "its reader would wait in vain");
    assert_eq!(table.take_lacking(), [], "reported once");
}

#[test]
fn name_appears_when_it_is_recorded() {
    let mut table = cluster(2);
    let (id, workers, replicas) = table.begin_put("a", false, 0).unwrap();
    assert_eq!((workers, replicas), (vec![worker(1), worker(2)], 2));
    table.held(worker(1), [digest(1)]);
    let recorded = table.commit_put(id, dataset(&[1])).unwrap();
    assert_eq!(names(&table), []);
    assert_eq!(table.begin_put("a", true, 0).unwrap_err().code, Code::DatasetExists, "two at once");
    table.recorded(recorded, true);
    assert_eq!(names(&table), [("a".to_string(), 1, 1)]);
    assert_eq!(table.begin_put("a", false, 0).unwrap_err().code, Code::DatasetExists);
    assert_eq!(table.begin_put("../a", false, 0).unwrap_err().code, Code::BadRequest);
    assert_eq!(table.begin_put("b", false, 3).unwrap_err().code, Code::BadRequest, "more copies than workers");
    assert_eq!(cluster(0).begin_put("b", false, 0).unwrap_err().code, Code::ChunkUnavailable);
}

#[test]
fn unrecorded_dataset_leaves_only_orphans() {
    let mut table = cluster(1);
    let (id, ..) = table.begin_put("a", false, 1).unwrap();
    table.held(worker(1), [digest(1)]);
    let lost = table.commit_put(id, dataset(&[1])).unwrap();
    assert_eq!(table.orders(NOW), [], "never while the put is open");
    table.recorded(lost, false);
    table.end_put(id, NOW);
    assert_eq!(names(&table), []);
    assert_eq!(table.orders(NOW), [], "no change that is recorded orders it");
    let over = NOW.plus_ms(OrphanRule::default().kept_ms);
    assert_eq!(table.next_deadline(), Some(over));
    assert_eq!(orders(&mut table, over), [Order::Trash { worker: worker(1), digests: vec![digest(1)] }]);
    assert!(table.is_dropping());
    table.dropped(worker(1));
    assert!(!table.is_dropping());
}

/// The fault: they stayed for two days, a day as orphans and a day in the trash.
#[test]
fn copies_of_a_failed_put_are_deleted_where_it_stored_them() {
    let mut table = with_one_dataset(&[]);
    join(&mut table, 1, &[1, 7]);
    join(&mut table, 2, &[]);
    table.orders(NOW);
    table.held(worker(2), [digest(1)]);
    let (failed, ..) = table.begin_put("b", false, 0).unwrap();
    let (other, ..) = table.begin_put("c", false, 0).unwrap();
    // Its own; those of a dataset and an orphan that existed before; one that the other put stores, too.
    store(&mut table, 1, &[2, 1, 7, 3], NOW);
    store(&mut table, 2, &[2, 7, 3], NOW);
    table.end_put(failed, NOW);
    assert_eq!(table.take_unrecorded(), [], "it holds for these copies alone");
    assert_eq!(table.orders(NOW), [], "never while a put is open");
    commit(&mut table, other, dataset(&[3]));
    assert_eq!(table.orders(NOW), [drop_of(1, &[2]), drop_of(2, &[2])]);
    assert_eq!(table.orphans(NOW).iter().map(|o| o.digest).collect::<Vec<_>>(), [digest(7)]);
    // A folder that joins later keeps its copies.
    table.dropped(worker(1));
    table.dropped(worker(2));
    join(&mut table, 3, &[2]);
    assert_eq!(table.orders(NOW), []);
    assert_eq!(table.orphans(NOW).iter().map(|o| o.digest).collect::<Vec<_>>(), [digest(2), digest(7)]);
}

#[test]
fn chunk_of_a_failed_put_found_elsewhere_is_an_orphan() {
    for joins_before_the_end in [true, false] {
        let mut table = cluster(2);
        let (failed, ..) = table.begin_put("a", false, 0).unwrap();
        let (open, ..) = table.begin_put("b", false, 0).unwrap();
        [1, 2].into_iter().for_each(|n| store(&mut table, n, &[1, 2], NOW));
        if !joins_before_the_end {
            table.end_put(failed, NOW);
        }
        join(&mut table, 3, &[1]);
        table.end_put(failed, NOW);
        table.end_put(open, NOW);
        assert_eq!(table.orders(NOW), [drop_of(1, &[2]), drop_of(2, &[2])], "{joins_before_the_end}");
        assert_eq!(table.orphans(NOW).iter().map(|o| o.digest).collect::<Vec<_>>(), [digest(1)]);
    }
}

#[test]
fn worker_that_was_away_keeps_copies_of_a_failed_put() {
    for leaves in [true, false] {
        let mut table = cluster(2);
        let (failed, ..) = table.begin_put("a", false, 0).unwrap();
        store(&mut table, 1, &[1], NOW);
        if leaves {
            table.worker_left(worker(1), NOW);
        }
        table.worker_joined(worker(1), Incarnation(2), NOW);
        table.held(worker(1), [digest(1)]);
        table.inventory_complete(worker(1));
        table.end_put(failed, NOW);
        assert_eq!((table.orders(NOW), table.orphans(NOW).len()), (vec![], 1), "{leaves}");
    }
}

#[test]
fn late_chunk_of_a_failed_put_is_deleted() {
    let mut table = cluster(1);
    let (failed, ..) = table.begin_put("a", false, 0).unwrap();
    table.end_put(failed, NOW);
    store(&mut table, 1, &[1], NOW.plus_ms(LATE_MS - 1));
    assert_eq!(table.orders(NOW), [drop_of(1, &[1])]);
    table.dropped(worker(1));
    // Later it is an orphan.
    store(&mut table, 1, &[2], NOW.plus_ms(LATE_MS));
    assert_eq!((table.orders(NOW), table.orphans(NOW).len()), (vec![], 1));
    // A committed put takes no chunk with it.
    let (id, ..) = table.begin_put("b", false, 0).unwrap();
    store(&mut table, 1, &[3, 4], NOW.plus_ms(LATE_MS));
    let recorded = table.commit_put(id, dataset(&[3])).unwrap();
    table.recorded(recorded, true);
    table.end_put(id, NOW.plus_ms(LATE_MS));
    assert_eq!((table.orders(NOW.plus_ms(LATE_MS)), table.orphans(NOW).len()), (vec![], 2));
}

/// A chunk that arrives during an inventory cannot be recognised as new.
#[test]
fn chunk_that_arrives_during_an_inventory_is_an_orphan() {
    let mut table = cluster(2);
    let (failed, ..) = table.begin_put("a", false, 0).unwrap();
    table.worker_joined(worker(3), Incarnation(1), NOW);
    store(&mut table, 1, &[1], NOW);
    table.inventory_complete(worker(3));
    table.end_put(failed, NOW);
    assert_eq!((table.orders(NOW), table.orphans(NOW).len()), (vec![], 1));
}

#[test]
fn job_keeps_its_version_until_it_ends() {
    let mut table = cluster(2);
    put(&mut table, "a", &[1, 2], false);
    let pinned = table.pin(job(1), ["a"].into_iter()).unwrap();
    assert_eq!(put(&mut table, "a", &[2, 3], true), 2);
    table.remove("a").unwrap();
    assert_eq!(table.remove("a").unwrap_err().code, Code::DatasetNotFound);
    assert_eq!(pinned["a"].version, 1);
    assert_eq!(table.orders(NOW), [drop_of(1, &[3]), drop_of(2, &[3])]);
    table.unpin(job(1));
    assert_eq!(table.orders(NOW), [drop_of(1, &[1, 2]), drop_of(2, &[1, 2])]);
}

#[test]
fn lost_copy_is_restored_on_a_worker_without_one() {
    let mut table = cluster(3);
    put(&mut table, "a", &[1, 2], false);
    assert_eq!(table.orders(NOW), []);
    table.worker_left(worker(2), NOW);
    assert_eq!(table.orders(NOW), [copy(3, 1, 1), copy(3, 2, 1)]);
    assert_eq!(table.orders(NOW), [], "ordered once");
    table.held(worker(3), [digest(1)]);
    table.not_copied(worker(3), digest(2), Code::ChunkUnavailable, NOW);
    assert_eq!(table.orders(NOW), [], "not at once");
    assert_eq!(table.next_deadline(), Some(NOW.plus_ms(COPY_PAUSE_MS)));
    assert_eq!(table.orders(NOW.plus_ms(COPY_PAUSE_MS)), [copy(3, 2, 1)]);
    table.held(worker(3), [digest(2)]);
    assert_eq!((names(&table)[0].2, table.next_deadline()), (2, Some(NOW.plus_ms(ABSENCE_MS))));
    table.give_up_silent(NOW.plus_ms(ABSENCE_MS));
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn returning_worker_offers_its_copies() {
    let mut table = with_one_dataset(&[9]);
    assert_eq!(names(&table), [("a".to_string(), 4, 0)]);
    assert_eq!(table.pin(job(1), ["a"].into_iter()).unwrap_err().code, Code::ChunkUnavailable);
    join(&mut table, 1, &[1, 9]);
    assert!(table.pin(job(1), ["a"].into_iter()).is_ok());
    assert_eq!(table.orders(NOW), [drop_of(1, &[9])], "a deletion that the journal has goes on");
    join(&mut table, 2, &[]);
    assert_eq!(table.orders(NOW), [copy(2, 1, 1)], "with a second worker there can be a second copy");
    table.worker_joined(worker(1), Incarnation(2), NOW);
    assert_eq!(table.list()[0].copies_min, 0, "in another incarnation it must list its chunks again");
    assert!(table.may_be_incomplete(["a"].into_iter()));
    table.inventory_complete(worker(1));
    assert!(!table.may_be_incomplete(["a"].into_iter()), "now it is known to be");
}

#[test]
fn broken_session_keeps_copies_until_the_inventory_is_complete() {
    let mut table = cluster(2);
    put(&mut table, "a", &[1, 2, 3], false);
    table.worker_joined(worker(1), Incarnation(1), NOW);
    assert_eq!(table.list()[0].copies_min, 2);
    assert!(table.inventory_pending());
    table.held(worker(1), [digest(1)]);
    // Meanwhile it gets another one.
    table.held(worker(1), [digest(3)]);
    table.inventory_complete(worker(1));
    assert!(!table.inventory_pending());
    let copies = [1, 2, 3].map(|n| table.copies(digest(n)));
    assert_eq!(copies, [2, 1, 2]);
    assert_eq!(table.orders(NOW), [copy(1, 2, 2)]);
}

#[test]
fn incomplete_inventory_is_not_awaited_for_ever() {
    let mut table = cluster(1);
    table.worker_joined(worker(1), Incarnation(1), NOW);
    table.held(worker(1), [digest(1)]);
    assert_eq!(table.orders(NOW), [], "it might list a chunk that it is about to delete");
    table.keep_inputs(job(1), vec![DatasetChunk { digest: digest(1), length: 10 }]);
    table.unpin(job(1));
    assert_eq!(table.orders(NOW), []);
    let until = NOW.plus_ms(LISTING_MAX_MS);
    assert_eq!(table.next_deadline(), Some(until));
    table.give_up_silent(until);
    assert_eq!(table.orders(until), [drop_of(1, &[1])]);
    assert_eq!((table.inventory_pending(), table.next_deadline()), (false, None));
}

/// The fault: a worker that was full, or could not reach the holder, was asked repeatedly although others could make
/// the copy.
#[test]
fn copy_that_one_worker_cannot_make_is_made_by_another() {
    let mut table = cluster(3);
    table.held(worker(3), [digest(1)]);
    keep(&mut table, 3, 1);
    assert_eq!(table.orders(NOW), [copy(1, 1, 3)]);
    table.not_copied(worker(1), digest(1), Code::ChunkUnavailable, NOW);
    assert_eq!(table.orders(NOW), [copy(2, 1, 3)]);
    assert!(!table.is_settled(digest(1)));
    table.held(worker(2), [digest(1)]);
    assert!(table.is_settled(digest(1)));
    // A worker that has reported a full disk is not asked.
    table.note_room(worker(1), true);
    keep(&mut table, 3, 2);
    assert_eq!(table.orders(NOW), [copy(2, 2, 3)]);
}

#[test]
fn chunk_that_cannot_be_copied_is_settled_and_copied_later() {
    let mut table = cluster(2);
    keep(&mut table, 1, 1);
    assert_eq!(table.orders(NOW), [copy(2, 1, 1)]);
    table.not_copied(worker(2), digest(1), Code::NoSpace, NOW);
    assert!(table.is_settled(digest(1)), "it will have no room in a moment either");
    assert_eq!(table.orders(NOW), []);
    let later = table.next_deadline().unwrap();
    assert!(later > NOW);
    assert_eq!(table.orders(later), [copy(2, 1, 1)]);
    table.held(worker(2), [digest(1)]);
    assert_eq!((table.copies(digest(1)), table.next_deadline()), (2, None));

    keep(&mut table, 1, 2);
    let mut now = later;
    for tries in 1..=TRIES_MAX {
        assert!(!table.is_settled(digest(2)), "{tries}");
        assert_eq!(table.orders(now), [copy(2, 2, 1)]);
        table.not_copied(worker(2), digest(2), Code::ChunkUnavailable, now);
        assert_eq!(table.orders(now), []);
        now = table.next_deadline().unwrap();
    }
    assert!(table.is_settled(digest(2)));

    keep(&mut table, 1, 3);
    table.note_room(worker(2), true);
    assert!(table.is_settled(digest(3)));
    assert!(!table.is_settled(digest(4)), "no worker has it");
    table.note_room(worker(2), false);
    assert!(!table.is_settled(digest(3)));
}

#[test]
fn copies_that_a_task_waits_for_come_first() {
    let mut table = cluster(1);
    let (id, ..) = table.begin_put("a", false, 0).unwrap();
    let many = dataset(&[1, 2, 3, 4, 5, 6, 7, 8]);
    table.held(worker(1), many.chunks.iter().map(|c| c.digest));
    commit(&mut table, id, many);
    join(&mut table, 2, &[]);
    keep(&mut table, 1, 9);
    assert_eq!(table.orders(NOW), [copy(2, 9, 1), copy(2, 1, 1), copy(2, 2, 1), copy(2, 3, 1)]);
}

/// The fault: a coordinator on another data folder had every chunk of every worker deleted within two seconds.
#[test]
fn chunks_that_no_recorded_change_deletes_stay_for_a_day() {
    let mut table = with_one_dataset(&[]);
    join(&mut table, 1, &[1, 7, 8, 9]);
    assert_eq!(table.orders(NOW), []);
    assert_eq!(table.orphans(NOW).iter().map(|o| o.digest).collect::<Vec<_>>(), [7, 8, 9].map(digest));
    let over = NOW.plus_ms(OrphanRule::default().kept_ms);
    // A chunk that is referenced meanwhile is not an orphan.
    put(&mut table, "b", &[8], false);
    assert_eq!(table.orders(Time(over.0 - 1)), []);
    assert_eq!(orders(&mut table, over), [trash_of(1, &[7, 9])]);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn nothing_is_deleted_while_a_worker_knows_a_newer_journal() {
    let mut table = with_one_dataset(&[8]);
    table.set_frozen(true);
    join(&mut table, 1, &[1, 8, 9]);
    let over = NOW.plus_ms(OrphanRule::default().kept_ms);
    table.remove("a").unwrap();
    assert_eq!(table.orders(NOW), []);
    assert_eq!(table.orders(over), []);
    assert_eq!(table.next_deadline(), None);
    table.set_frozen(false);
    assert_eq!(orders(&mut table, over), [drop_of(1, &[1, 8]), trash_of(1, &[9])]);
}

#[test]
fn deletions_are_recorded_once_and_a_reference_ends_them() {
    let mut table = cluster(2);
    put(&mut table, "a", &[1, 2], false);
    put(&mut table, "b", &[2, 3], false);
    table.remove("a").unwrap();
    assert_eq!((table.take_unrecorded(), table.take_unrecorded()), (vec![digest(1)], vec![]));
    // It is stored again before its deletion.
    put(&mut table, "a", &[1], false);
    assert_eq!(table.orders(NOW), []);
    table.remove("a").unwrap();
    assert_eq!(table.orders(NOW), [drop_of(1, &[1]), drop_of(2, &[1])]);
    // A worker that was away brings it back: the order still stands.
    join(&mut table, 3, &[1]);
    assert_eq!(table.orders(NOW), [drop_of(3, &[1])]);
}

#[test]
fn chunk_in_a_trash_comes_back_when_a_dataset_needs_it() {
    let mut table = with_one_dataset(&[]);
    table.worker_joined(worker(1), Incarnation(1), NOW);
    table.trashed(worker(1), [digest(1), digest(5)]);
    table.inventory_complete(worker(1));
    let back = Order::Copy { worker: worker(1), digest: digest(1), from: vec![] };
    assert_eq!(table.orders(NOW), [back]);
    table.held(worker(1), [digest(1)]);
    assert_eq!(names(&table)[0].2, 1);
    let orphans = table.orphans(NOW);
    assert_eq!(
        orphans.iter().map(|o| (o.digest, o.trashed.clone())).collect::<Vec<_>>(),
        [(digest(5), vec![worker(1)])]
    );
}

#[test]
fn lengths_of_orphans_go_with_their_last_copy() {
    let mut table = cluster(3);
    table.held(worker(1), [digest(1), digest(2), digest(3)]);
    table.held(worker(2), [digest(2)]);
    table.trashed(worker(3), [digest(3), digest(4)]);
    table.note_lengths((1..=4).map(|n| (digest(n), 7)));
    table.worker_left(worker(1), NOW);
    assert_eq!(table.lengths_known(), 3, "a copy of all but the first is left, or lies in a trash");
    table.lost(worker(2), &[digest(2)]);
    assert_eq!(table.lengths_known(), 2);
    table.worker_left(worker(3), NOW);
    assert_eq!(table.lengths_known(), 0);
}

#[test]
fn orphans_are_adopted_with_their_lengths() {
    let mut table = cluster(1);
    table.held(worker(1), [digest(1), digest(2), digest(3)]);
    table.note_lengths([(digest(1), 11), (digest(2), 22)]);
    let adopt = |table: &mut Datasets, chunks: &[u8]| {
        let digests: Vec<Digest> = chunks.iter().map(|n| digest(*n)).collect();
        table.adopt("found", Framing::Whole, &digests)
    };
    assert_eq!(adopt(&mut table, &[1, 3]).unwrap_err().code, Code::ChunkUnavailable, "its length is not known");
    assert_eq!(adopt(&mut table, &[9]).unwrap_err().code, Code::ChunkUnavailable);
    assert_eq!(adopt(&mut table, &[]).unwrap_err().code, Code::BadRequest);
    let found = adopt(&mut table, &[2, 1]).unwrap();
    assert_eq!(found.chunks.iter().map(|c| c.length).collect::<Vec<_>>(), [22, 11]);
    assert_eq!(adopt(&mut table, &[1]).unwrap_err().code, Code::DatasetExists);
    table.recorded(found, true);
    assert_eq!(names(&table), [("found".to_string(), 1, 1)]);
    assert_eq!(table.orphans(NOW).len(), 1);
}

/// The fault: a job that reads a chunk whose files are gone tried for ever.
#[test]
fn job_lacks_a_chunk_only_when_no_worker_may_still_have_it() {
    let mut table = cluster(2);
    put(&mut table, "a", &[1], false);
    table.pin(job(1), ["a"].into_iter()).unwrap();
    // One worker restarts, and the file of the other one is gone.
    table.worker_left(worker(2), NOW);
    table.lost(worker(1), &[digest(1)]);
    assert_eq!(table.take_lacking(), []);
    let later = NOW.plus_ms(ABSENCE_MS);
    assert_eq!(table.next_deadline(), Some(later));
    table.give_up_silent(later);
    assert_eq!(table.take_lacking(), [(job(1), digest(1))]);
    // It is back, and lists its chunks.
    table.worker_joined(worker(2), Incarnation(2), later);
    assert_eq!(table.take_lacking(), []);
    join(&mut table, 2, &[1]);
    assert_eq!(table.take_lacking(), []);
    table.lost(worker(2), &[digest(1)]);
    assert_eq!(table.take_lacking(), [(job(1), digest(1))]);
}

/// The fault: a worker sent a report just before it read the order to delete, so a copy that was gone counted for ever.
#[test]
fn report_that_crosses_a_deletion_leaves_no_copy() {
    let mut table = cluster(1);
    let (failed, ..) = table.begin_put("a", false, 0).unwrap();
    store(&mut table, 1, &[1], NOW);
    table.end_put(failed, NOW);
    assert_eq!(table.orders(NOW), [drop_of(1, &[1])]);
    table.held(worker(1), [digest(1)]);
    assert_eq!(table.lost(worker(1), &[digest(1)]), [digest(1)], "the worker has carried out the order");
    table.dropped(worker(1));
    assert_eq!((table.copies(digest(1)), table.orders(NOW), table.orphans(NOW)), (0, vec![], vec![]));
}

/// The fault: a list that took longer than it is awaited removed nothing, so copies that were gone counted for ever.
#[test]
fn late_end_of_a_list_still_removes_lost_copies() {
    let mut table = cluster(3);
    put(&mut table, "a", &[1, 2], false);
    // The session of worker 1 breaks, and the report that chunk 1 is lost with it.
    table.worker_joined(worker(1), Incarnation(1), NOW);
    let late = NOW.plus_ms(LISTING_MAX_MS);
    table.give_up_silent(late);
    assert!(!table.inventory_pending(), "it is not awaited any more");
    table.held(worker(1), [digest(2)]);
    table.inventory_complete(worker(1));
    assert_eq!((table.copies(digest(1)), table.copies(digest(2))), (1, 2));
    assert_eq!(table.orders(late), [copy(1, 1, 2)]);
}

#[test]
fn put_with_misplaced_copies_is_refused() {
    let mut table = cluster(2);
    let (put, ..) = table.begin_put("a", false, 2).unwrap();
    let placed = |workers: &[u8]| vec![(digest(1), workers.iter().map(|n| worker(*n)).collect::<Vec<_>>())];
    let code = |checked: Option<Result<(), Failure>>| checked.map(|c| c.map_err(|failure| failure.code));
    let mut strange = Placed::new(placed(&[1, 9]));
    assert_eq!(code(table.check_placed(put, &mut strange)), Some(Err(Code::BadRequest)), "there is no such worker");
    let mut placed = Placed::new(placed(&[1, 2]));
    assert_eq!(code(table.check_placed(put, &mut placed)), None);
    assert_eq!(table.not_there(&placed), Some((digest(1), worker(1))));
    table.held(worker(1), [digest(1)]);
    assert_eq!(code(table.check_placed(put, &mut placed)), None);
    table.held(worker(2), [digest(1)]);
    assert_eq!(code(table.check_placed(put, &mut placed)), Some(Ok(())));
    // A worker that dies after it has stored the chunk leaves one copy less.
    table.worker_left(worker(2), NOW);
    assert_eq!(code(table.check_placed(put, &mut placed)), Some(Ok(())));
    table.worker_left(worker(1), NOW);
    assert_eq!(code(table.check_placed(put, &mut placed)), Some(Err(Code::ChunkUnavailable)));
    table.end_put(put, NOW);
    assert_eq!(code(table.check_placed(put, &mut Placed::new(Vec::new()))), Some(Err(Code::BadRequest)));
}

/// The fault: every turn of the coordinator looked at every chunk of every put that waited.
#[test]
fn waiting_put_looks_at_each_chunk_a_few_times() {
    let mut table = cluster(2);
    let (put, ..) = table.begin_put("a", false, 2).unwrap();
    let name = |n: usize| Digest::of(&n.to_le_bytes());
    let most = 500;
    let mut placed = Placed::new((0..most).map(|n| (name(n), vec![worker(1), worker(2)])).collect());
    for n in 0..most {
        // Two turns for each report.
        for w in [1, 2] {
            assert!(table.check_placed(put, &mut placed).is_none());
            table.held(worker(w), [name(n)]);
        }
    }
    // A copy that was reported is lost before the last one comes: the put does not commit without it.
    table.lost(worker(2), &[name(3)]);
    assert!(table.check_placed(put, &mut placed).is_none());
    assert_eq!(table.not_there(&placed), Some((name(3), worker(2))));
    table.held(worker(2), [name(3)]);
    assert!(table.check_placed(put, &mut placed).is_some_and(|checked| checked.is_ok()));
    assert!(placed.looks.get() < 7 * most, "{} looks at {most} chunks in {} turns", placed.looks.get(), 2 * most);
}

/// The fault: orders went out before the journal had them, so a crash gave the next epoch the whole hour again.
#[test]
fn orphans_move_only_under_a_recorded_reservation() {
    let rule = OrphanRule { kept_ms: 0, per_hour: 2 };
    let begin = |waits| {
        let mut table = Datasets::new(Vec::new(), Vec::new(), Orphans::new(rule, waits));
        join(&mut table, 1, &[1, 2, 3, 4]);
        table
    };
    let mut table = begin(OrphanWaits::default());
    assert_eq!(table.orders(NOW), []);
    let changes = table.take_orphan_changes(NOW, false).unwrap();
    let until = NOW.0 + RESERVED_MS;
    assert_eq!(changes.hour, Some((until, 2)));
    table.dropped(worker(1));
    assert_eq!((table.orders(NOW), table.take_orphan_changes(NOW, false)), (vec![], None), "it is not recorded yet");
    table.reservation_recorded(changes.reserves.unwrap());
    assert_eq!(table.orders(NOW), [trash_of(1, &[1, 2])]);
    // The coordinator crashes before the removals are recorded: the next epoch counts them.
    let mut next = begin(OrphanWaits { clock_ms: changes.clock_ms, hour: changes.hour, waits: Vec::new() });
    let room_at = Time(until + 3_600_000 - changes.clock_ms);
    assert_eq!((orders(&mut next, NOW), next.next_deadline()), (vec![], Some(room_at)));
    assert_eq!(orders(&mut next, Time(room_at.0 - 1)), []);
    assert_eq!(orders(&mut next, room_at), [trash_of(1, &[1, 2])]);
}

#[test]
fn put_with_a_wrong_chunk_length_is_refused() {
    let mut table = cluster(1);
    table.held(worker(1), [digest(1)]);
    table.note_lengths([(digest(1), 11)]);
    let chunk = |length| [DatasetChunk { digest: digest(1), length }];
    let code = |table: &Datasets, length| table.check_lengths(&chunk(length)).map_err(|failure| failure.code);
    assert_eq!((code(&table, 11), code(&table, 12)), (Ok(()), Err(Code::BadRequest)));
    let (put, ..) = table.begin_put("a", false, 1).unwrap();
    commit(&mut table, put, Dataset { chunks: chunk(11).to_vec(), ..dataset(&[]) });
    assert_eq!((code(&table, 11), code(&table, 10)), (Ok(()), Err(Code::BadRequest)));
}

#[test]
fn unreferenced_chunks_of_a_worker_are_bounded() {
    let name = |n: u32| Digest::of(&n.to_le_bytes());
    let mut table = Datasets::new(vec![dataset(&[1, 2])], Vec::new(), Orphans::default());
    table.worker_joined(worker(1), Incarnation(1), NOW);
    let most = UNREFERRED_MAX + 2;
    // It reports them repeatedly, in an inventory and later.
    for _ in 0..2 {
        let passed_over = table.held(worker(1), (0..most as u32 + 1_000).map(name));
        assert_eq!(passed_over, 1_000);
        table.inventory_complete(worker(1));
    }
    assert_eq!(table.held(worker(1), [digest(1), digest(2)]), 0, "what is referred to is always taken");
    assert_eq!(table.orphans(NOW).len(), most);
    assert_eq!(table.trashed(worker(1), (0..most as u32).map(|n| name(n + 1_000_000))), 2);
    // It has fewer now, so there is space for others.
    table.lost(worker(1), &(0..12).map(name).collect::<Vec<_>>());
    assert_eq!(table.held(worker(1), (0..11).map(|n| name(n + 2_000_000))), 1);
    table.worker_left(worker(1), NOW);
    table.worker_joined(worker(1), Incarnation(2), NOW);
    assert_eq!(table.held(worker(1), [name(7)]), 0);
}
