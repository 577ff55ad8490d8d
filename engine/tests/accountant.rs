//! Checks the accountant of memory against a simple model, and with threads that want more than there is.

use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use windrow_engine::memory::Refused;
use windrow_engine::{Claim, Memory, Share};

const LIMIT: usize = 64_000;
const SLOTS: usize = 3;
const CONSUMERS: usize = 4;
/// A quarter of the limit, for each consumer of each slot.
const FLOOR: usize = LIMIT / 4 / SLOTS / CONSUMERS;

#[derive(Clone, Debug)]
enum Step {
    Begin,
    End(usize),
    Open {
        task: usize,
        is_input: bool,
    },
    Grow {
        claim: usize,
        to: usize,
    },
    Shrink {
        claim: usize,
        to: usize,
    },
    /// What a consumer does when it has been asked to spill.
    Look(usize),
    MarkUnspillable(usize),
    Drop(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    let at = 0usize..16;
    prop_oneof![
        2 => Just(Step::Begin),
        1 => at.clone().prop_map(Step::End),
        3 => (at.clone(), any::<bool>()).prop_map(|(task, is_input)| Step::Open { task, is_input }),
        9 => (at.clone(), 0usize..LIMIT).prop_map(|(claim, to)| Step::Grow { claim, to }),
        5 => (at.clone(), 0usize..2 * FLOOR).prop_map(|(claim, to)| Step::Grow { claim, to }),
        2 => (at.clone(), 0usize..LIMIT).prop_map(|(claim, to)| Step::Shrink { claim, to }),
        2 => at.clone().prop_map(Step::Look),
        1 => at.clone().prop_map(Step::MarkUnspillable),
        1 => at.prop_map(Step::Drop),
    ]
}

/// A claim with the state of the model.
struct Known {
    claim: Claim,
    task: usize,
    is_input: bool,
    unspillable: bool,
}

impl Known {
    fn of_pool(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.claim.floor())
    }
}

fn of_pool(claims: &[Known]) -> usize {
    claims.iter().map(|known| known.of_pool(known.claim.held())).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn claims_fit_the_limit_and_refusals_have_a_reason(steps in prop::collection::vec(steps(), 1..200)) {
        let memory = Memory::new(LIMIT, SLOTS);
        let mut tasks: Vec<(usize, Share)> = Vec::new();
        let mut claims: Vec<Known> = Vec::new();
        let mut begun = 0;
        for step in steps {
            match step {
                Step::Begin if tasks.len() < SLOTS => {
                    tasks.push((begun, memory.begin(CONSUMERS)));
                    begun += 1;
                }
                Step::End(at) if !tasks.is_empty() => {
                    let (task, _) = tasks.remove(at % tasks.len());
                    claims.retain(|known| known.task != task);
                }
                Step::Open { task, is_input } if !tasks.is_empty() => {
                    let (task, share) = &tasks[task % tasks.len()];
                    let others = claims.iter().filter(|known| known.task == *task).count();
                    let claim = if is_input { share.input() } else { share.output() };
                    if others < CONSUMERS {
                        prop_assert_eq!(claim.floor(), FLOOR);
                        claims.push(Known { claim, task: *task, is_input, unspillable: false });
                    }
                }
                Step::Grow { claim, to } if !claims.is_empty() => {
                    let at = claim % claims.len();
                    let (free, before) = (memory.free(), claims[at].claim.held());
                    let result = claims[at].claim.grow(to);
                    let known = &claims[at];
                    let more = known.of_pool(to).saturating_sub(known.of_pool(before));
                    match result {
                        Ok(()) => {
                            prop_assert!(known.claim.held() >= to.max(before));
                            prop_assert!(known.claim.held() <= before.max(to + LIMIT / 64), "about what it asked for");
                            prop_assert!(more <= free);
                        }
                        Err(reason) => {
                            prop_assert_eq!(known.claim.held(), before);
                            prop_assert!(to > FLOOR, "a claim is never refused its floor");
                            let mine = known.of_pool(to);
                            let others = || claims.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, k)| k);
                            let spills = others().filter(|k| !k.unspillable);
                            let largest = spills.max_by_key(|k| k.of_pool(k.claim.held()));
                            let larger = largest.filter(|k| k.of_pool(k.claim.held()) > mine);
                            match reason {
                                Refused::Largest => prop_assert!(more > free && larger.is_none()),
                                Refused::AnotherIsAsked => {
                                    let most = larger.map(|k| k.of_pool(k.claim.held()));
                                    let asked = others()
                                        .filter(|k| Some(k.of_pool(k.claim.held())) == most)
                                        .any(|k| k.claim.is_asked());
                                    prop_assert!(more > free && asked);
                                }
                                Refused::Due => {
                                    let of_task = others().filter(|k| k.is_input && k.task == known.task);
                                    let held: usize = of_task.map(|k| k.of_pool(k.claim.held())).sum();
                                    prop_assert!(known.is_input && held + mine > memory.pool() / tasks.len());
                                }
                            }
                        }
                    }
                }
                Step::Shrink { claim, to } if !claims.is_empty() => {
                    let at = claim % claims.len();
                    let before = claims[at].claim.held();
                    claims[at].claim.shrink(to);
                    prop_assert_eq!(claims[at].claim.held(), before.min(to));
                }
                Step::Look(at) if !claims.is_empty() => {
                    let at = at % claims.len();
                    let claim = &mut claims[at].claim;
                    if claim.is_asked() {
                        let share = &tasks.iter().find(|(task, _)| *task == claims[at].task).unwrap().1;
                        let yielded = share.yielded();
                        let claim = &mut claims[at].claim;
                        prop_assert!(!claim.cover(0), "a claim that was asked to spill does not cover");
                        claim.shrink(0);
                        claim.answer();
                        prop_assert!(claim.cover(0));
                        prop_assert_eq!(share.yielded(), yielded + 1);
                    }
                }
                Step::MarkUnspillable(at) if !claims.is_empty() => {
                    let at = at % claims.len();
                    claims[at].claim.mark_unspillable();
                    claims[at].unspillable = true;
                }
                Step::Drop(at) if !claims.is_empty() => drop(claims.remove(at % claims.len())),
                _ => {}
            }
            prop_assert_eq!(of_pool(&claims) + memory.free(), memory.pool());
            prop_assert!(claims.iter().all(|known| !(known.unspillable && known.claim.is_asked())));
        }
        drop((claims, tasks));
        prop_assert_eq!(memory.free(), memory.pool());
        // All slots have their guaranteed parts again.
        let shares: Vec<Share> = (0..SLOTS).map(|_| memory.begin(CONSUMERS)).collect();
        prop_assert!(shares.iter().all(|share| share.output().floor() == FLOOR));
        prop_assert_eq!(memory.begin(CONSUMERS).output().floor(), 0, "there are no more slots");
    }
}

#[test]
fn one_task_may_hold_all_but_the_guaranteed_parts() {
    let memory = Memory::new(1 << 30, 2);
    let share = memory.begin(1);
    let mut claim = share.output();
    let most = (1usize << 30) / 8 * 7;
    assert!(claim.cover(most));
    assert_eq!(claim.grow(most + 1), Err(Refused::Largest));

    let other = memory.begin(1);
    let mut small = other.output();
    assert!(small.cover((1 << 30) / 8), "the other slot's part is not lent");
    assert_eq!(small.grow((1 << 30) / 8 + 1), Err(Refused::AnotherIsAsked));
    assert!(!claim.cover(1), "the largest sees it");
    claim.shrink(0);
    claim.answer();
    assert!(small.cover(1 << 29));
    assert_eq!((share.yielded(), other.yielded()), (1, 0));
}

#[test]
fn unspillable_input_leaves_an_equal_part_to_others() {
    let memory = Memory::new(1 << 20, 2);
    let first = memory.begin(1);
    let mut alone = first.input();
    assert!(alone.cover(memory.pool()), "no other task runs");
    alone.shrink(0);
    let second = memory.begin(1);
    assert_eq!(alone.grow(memory.pool()), Err(Refused::Due));
    alone.grow_towards(usize::MAX);
    let mut other = second.input();
    assert!(other.cover(memory.pool() / 2));
}

#[test]
fn forced_claim_may_exceed_the_limit() {
    let memory = Memory::new(1000, 1);
    let share = memory.begin(1);
    let (mut claim, mut other) = (share.output(), share.output());
    claim.force(5000);
    assert_eq!((claim.held(), memory.free()), (5000, 0));
    assert!(!other.cover(1));
    claim.shrink(500);
    assert!(other.cover(500));
}

/// Threads that all want everything, and return memory when they are asked to.
#[test]
fn greedy_threads_stay_below_the_limit_together() {
    const THREADS: usize = 4;
    const LIMIT: usize = 1 << 20;
    let memory = Memory::new(LIMIT, THREADS);
    let held = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(std::sync::Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|seed| {
            let (memory, held, start) = (memory.clone(), held.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                let mut random = seed as u64;
                for _ in 0..20 {
                    let share = memory.begin(2);
                    let mut claims = [share.output(), share.input()];
                    for _ in 0..500 {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        let claim = &mut claims[(random >> 63) as usize];
                        let before = claim.held();
                        let wanted = before + (random >> 40) as usize % (LIMIT / 16);
                        if claim.cover(wanted) {
                            // Count bytes after they are granted, and stop counting before they are returned.
                            held.fetch_add(claim.held() - before, SeqCst);
                        } else {
                            held.fetch_sub(before, SeqCst);
                            // The claim may have been granted the bytes and asked to spill at once.
                            claim.shrink(0);
                            claim.answer();
                        }
                        assert!(held.load(SeqCst) <= LIMIT);
                    }
                    held.fetch_sub(claims.iter().map(Claim::held).sum(), SeqCst);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!((held.load(SeqCst), memory.free()), (0, memory.pool()));
}

#[test]
fn fixed_memory_holds_an_equal_part_of_the_pool() {
    for slots in [1, 2, 3, 8] {
        for held in [20u64 << 20, 129 << 20, 2 << 30] {
            let refused = Memory::of_process(16 << 20, slots).begin(1).fixed().hold(held);
            let needed = refused.unwrap_err();
            assert_eq!(needed % (1 << 20), 0, "rounded to whole MiB");
            let memory = Memory::of_process(needed, slots);
            let shares: Vec<_> = (0..slots).map(|_| memory.begin(1)).collect();
            let claims: Vec<_> = shares.iter().map(|share| (share.fixed(), share.output())).collect();
            let mut all = claims;
            for (fixed, _) in &mut all {
                fixed.hold(held).expect("with the memory that was named");
            }
            for (_, output) in &mut all {
                assert!(output.cover(output.floor()), "floors are not lent");
            }
            let less = needed - needed / 8;
            Memory::of_process(less, slots).begin(1).fixed().hold(held).unwrap_err();
        }
    }
}

#[test]
fn fixed_memory_is_taken_from_the_pool_and_returned() {
    let memory = Memory::new(64 << 20, 1);
    let share = memory.begin(1);
    let mut fixed = share.fixed();
    let free = memory.free();
    fixed.hold(40 << 20).unwrap();
    assert_eq!(free - memory.free(), 40 << 20);
    fixed.hold(1 << 20).unwrap();
    assert_eq!(free - memory.free(), 1 << 20);
    drop(fixed);
    assert_eq!(memory.free(), free);
    // A small amount is never refused, because a decoder needs it.
    Memory::new(1 << 20, 4).begin(1).fixed().hold(16 << 20).unwrap();
}
