//! In any order of events, referenced chunks stay, chunks whose deletion a recorded change has ordered may go, and all
//! others stay for their time and go at most at the allowed rate.

use crate::testing::*;
use crate::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Incarnation, Time};

const RULE: OrphanRule = OrphanRule { kept_ms: 1_000, per_hour: 3 };

#[derive(Clone, Debug)]
enum Op {
    Join(u8, bool),
    Leave(u8),
    /// Chunks appear on a worker without a put.
    Appear(u8, Vec<u8>),
    Put(u8, Vec<u8>),
    OpenPut(bool),
    Remove(u8),
    Pin(u8, u8),
    Unpin(u8),
    Freeze(bool),
    Later(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let chunks = || prop::collection::vec(0u8..8, 1..4);
    prop_oneof![
        (1u8..4, any::<bool>()).prop_map(|(w, lists)| Op::Join(w, lists)),
        (1u8..4).prop_map(Op::Leave),
        (1u8..4, chunks()).prop_map(|(w, chunks)| Op::Appear(w, chunks)),
        (0u8..3, chunks()).prop_map(|(name, chunks)| Op::Put(name, chunks)),
        any::<bool>().prop_map(Op::OpenPut),
        (0u8..3).prop_map(Op::Remove),
        (0u8..3, 0u8..3).prop_map(|(job, name)| Op::Pin(job, name)),
        (0u8..3).prop_map(Op::Unpin),
        any::<bool>().prop_map(Op::Freeze),
        (1u64..2_000_000).prop_map(Op::Later),
    ]
}

#[derive(Default)]
struct World {
    disks: BTreeMap<u8, BTreeSet<u8>>,
    live: BTreeMap<u8, bool>,
    named: BTreeMap<String, Vec<u8>>,
    pins: BTreeMap<u8, Vec<Vec<u8>>>,
    /// Chunks whose last reference was removed by a recorded change.
    was_referenced: BTreeSet<u8>,
    first_seen: BTreeMap<u8, Time>,
    open: Option<PutId>,
    frozen: bool,
    trashed_at: Vec<Time>,
    incarnations: u64,
}

impl World {
    fn referenced(&self) -> BTreeSet<u8> {
        let pinned = self.pins.values().flatten().flatten();
        self.named.values().flatten().chain(pinned).copied().collect()
    }

    fn apply(&mut self, table: &mut Datasets, op: Op, now: &mut Time) {
        match op {
            Op::Join(w, lists) => {
                self.incarnations += 1;
                table.worker_joined(worker(w), Incarnation(self.incarnations), *now);
                table.held(worker(w), self.disks.entry(w).or_default().iter().map(|c| digest(*c)));
                if lists {
                    table.inventory_complete(worker(w));
                }
                self.live.insert(w, lists);
            }
            Op::Leave(w) => {
                table.worker_left(worker(w), *now);
                self.live.remove(&w);
            }
            Op::Appear(w, chunks) if self.live.contains_key(&w) => {
                table.held(worker(w), chunks.iter().map(|c| digest(*c)));
                self.disks.entry(w).or_default().extend(chunks);
            }
            Op::Put(name, chunks) if !self.live.is_empty() && !table.is_dropping() => {
                let name = format!("n{name}");
                let (put, ..) = table.begin_put(&name, true, 0).unwrap();
                let w = *self.live.keys().next().unwrap();
                table.held(worker(w), chunks.iter().map(|c| digest(*c)));
                self.disks.entry(w).or_default().extend(&chunks);
                commit(table, put, dataset(&chunks));
                self.named.insert(name, chunks);
            }
            Op::OpenPut(true) if self.open.is_none() && !self.live.is_empty() => {
                self.open = table.begin_put("open", true, 0).ok().map(|(put, ..)| put);
            }
            Op::OpenPut(false) => self.open.take().into_iter().for_each(|put| table.end_put(put, NOW)),
            Op::Remove(name) => {
                let name = format!("n{name}");
                assert_eq!(table.remove(&name).is_ok(), self.named.remove(&name).is_some());
            }
            Op::Pin(j, name) => {
                let name = format!("n{name}");
                if table.pin(job(j), [name.as_str()].into_iter()).is_ok() {
                    self.pins.entry(j).or_default().push(self.named[&name].clone());
                }
            }
            Op::Unpin(j) => {
                table.unpin(job(j));
                self.pins.remove(&j);
            }
            Op::Freeze(frozen) => {
                table.set_frozen(frozen);
                self.frozen = frozen;
            }
            Op::Later(ms) => *now = now.plus_ms(ms),
            Op::Appear(..) | Op::Put(..) | Op::OpenPut(true) => {}
        }
    }

    /// Workers carry out the orders at once.
    fn obey(&mut self, table: &mut Datasets, now: Time) {
        let referenced = self.referenced();
        let mut trashed = BTreeSet::new();
        for order in orders(table, now) {
            let (worker, digests, ordered) = match order {
                Order::Copy { .. } => continue,
                Order::Drop { worker, digests } => (worker, digests, true),
                Order::Trash { worker, digests } => (worker, digests, false),
            };
            assert!(self.open.is_none() && !self.frozen);
            let w = worker.as_bytes()[0];
            for chunk in digests.iter().map(|digest| digest.0[0]) {
                assert!(!referenced.contains(&chunk), "{chunk} is referred to");
                assert_eq!(self.was_referenced.contains(&chunk), ordered, "{chunk}");
                if !ordered {
                    assert!(self.first_seen[&chunk].plus_ms(RULE.kept_ms) <= now);
                    trashed.insert(chunk);
                }
                assert!(self.disks.get_mut(&w).unwrap().remove(&chunk), "{chunk} is not there");
            }
            table.dropped(worker);
        }
        self.trashed_at.extend(trashed.iter().map(|_| now));
        let hour = self.trashed_at.iter().filter(|at| at.plus_ms(3_600_000) > now);
        assert!(hour.count() <= RULE.per_hour as usize);
    }
}

proptest! {
    #[test]
    fn only_deletable_chunks_are_deleted(ops in prop::collection::vec(op(), 1..80)) {
        let mut table = Datasets::new(Vec::new(), Vec::new(), Orphans::new(RULE, OrphanWaits::default()));
        let (mut world, mut now) = (World::default(), Time(0));
        for op in ops {
            let before = world.referenced();
            world.apply(&mut table, op, &mut now);
            world.was_referenced.extend(before.union(&world.referenced()));
            for chunk in world.disks.values().flatten() {
                world.first_seen.entry(*chunk).or_insert(now);
            }
            table.give_up_silent(now);
            world.obey(&mut table, now);
        }
    }
}
