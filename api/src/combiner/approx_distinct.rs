//! The number of different values, by HyperLogLog.
//!
//! As in HyperLogLog++ (Heule, Nunkesser, Hall 2013) hashes have 64 bits, and few values are kept as hashes. The estimator is
//! that of Ertl ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, algorithm 6): it has no bias that
//! tables must correct.

use super::fold::Combiner;
use crate::data::datum::Datum;
use crate::data::decode_error::DecodeError;
use windrow_engine::hash;

/// Bits of a hash that choose its register.
const INDEX_BITS: u32 = 14;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of a hash whose leading zeros a register keeps.
const RANK_BITS: usize = 64 - INDEX_BITS as usize;
/// Different hashes up to which all are kept; they then take as much memory as the registers.
const FEW_MAX: usize = REGISTERS / 8;

/// About how many different values each key has. Up to 2,048 the number is exact (as far as 64-bit hashes of the values
/// differ); beyond that its standard error is 0.8 %. It depends on the set of values alone, not on their order or on how often
/// each occurs. A key takes at most 16 KiB.
///
/// ```
/// use windrow::prelude::*;
/// fn visitors(visits: &Pairs<String, String>) -> Pairs<String, u64> {
///     visits.combine(ApproxDistinct)
/// }
/// # let got = windrow::testing::run(["u", "v", "u"], |l| visitors(&l.map(|l, out| out.emit("page", l))));
/// # assert_eq!(got.unwrap(), [("page".to_string(), 2)]);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ApproxDistinct;

/// The values of a key.
#[derive(Debug)]
pub enum DistinctAcc {
    /// The hash of a single value.
    One(u64),
    /// All hashes, ascending.
    Few(Vec<u64>),
    /// The largest rank of the hashes of each register.
    Many(Box<[u8; REGISTERS]>),
}

fn add_to_registers(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = (hash >> RANK_BITS) as usize;
    // The position of the first one among the other bits, from 1; behind the last if there is none.
    let rank = ((hash << INDEX_BITS).leading_zeros() as usize).min(RANK_BITS) as u8 + 1;
    registers[index] = registers[index].max(rank);
}

/// The union of two ascending lists.
fn union(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let Some(next) = match (a.peek(), b.peek()) {
        (Some(x), Some(y)) if y < x => b.next(),
        (None, _) => b.next(),
        _ => a.next(),
    } {
        if all.last() != Some(next) {
            all.push(*next);
        }
    }
    all
}

impl DistinctAcc {
    fn hashes(&self) -> &[u64] {
        match self {
            DistinctAcc::One(hash) => std::slice::from_ref(hash),
            DistinctAcc::Few(hashes) => hashes,
            DistinctAcc::Many(_) => &[],
        }
    }

    /// The form for these hashes, which are ascending.
    fn of(hashes: Vec<u64>) -> DistinctAcc {
        if hashes.len() <= FEW_MAX {
            return DistinctAcc::Few(hashes);
        }
        let mut registers = Box::new([0; REGISTERS]);
        hashes.iter().for_each(|hash| add_to_registers(&mut registers, *hash));
        DistinctAcc::Many(registers)
    }
}

/// The estimate of the number of values.
fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    let m = REGISTERS as f64;
    let mut counts = [0u32; RANK_BITS + 2];
    registers.iter().for_each(|rank| counts[(*rank as usize).min(RANK_BITS + 1)] += 1);
    let mut z = m * tau(1.0 - f64::from(counts[RANK_BITS + 1]) / m);
    for count in counts[1..=RANK_BITS].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(counts[0]) / m);
    m * m / (2.0 * std::f64::consts::LN_2) / z
}

/// The sum of `x^(2^k) * 2^(k-1)` over all k from 1, and `x`.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// A third of `1 - x` less the sum of `(1 - x^(2^-k))^2 * 2^-k` over all k from 1.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

const FEW: u8 = 0;
const MANY: u8 = 1;

impl<V: Datum> Combiner<V> for ApproxDistinct {
    type Acc = DistinctAcc;
    type Out = u64;

    #[inline]
    fn create(&self, value: V::Ref<'_>) -> DistinctAcc {
        DistinctAcc::One(V::with_bytes(value, &mut Vec::new(), hash))
    }

    fn merge(&self, into: &mut DistinctAcc, other: DistinctAcc) {
        match (&mut *into, other) {
            (DistinctAcc::Many(registers), DistinctAcc::Many(others)) => {
                registers.iter_mut().zip(others.iter()).for_each(|(a, b)| *a = (*a).max(*b))
            }
            (DistinctAcc::Many(registers), other) => {
                other.hashes().iter().for_each(|hash| add_to_registers(registers, *hash))
            }
            (_, DistinctAcc::Many(mut registers)) => {
                into.hashes().iter().for_each(|hash| add_to_registers(&mut registers, *hash));
                *into = DistinctAcc::Many(registers)
            }
            (DistinctAcc::Few(hashes), DistinctAcc::One(hash)) if hashes.len() < FEW_MAX => {
                if let Err(at) = hashes.binary_search(&hash) {
                    hashes.insert(at, hash)
                }
            }
            (few, other) => *into = DistinctAcc::of(union(few.hashes(), other.hashes())),
        }
    }

    fn finish(&self, acc: DistinctAcc) -> u64 {
        match acc {
            DistinctAcc::One(_) => 1,
            DistinctAcc::Few(hashes) => hashes.len() as u64,
            DistinctAcc::Many(registers) => estimate(&registers).round() as u64,
        }
    }

    fn encode(&self, acc: &DistinctAcc, out: &mut Vec<u8>) {
        match acc {
            DistinctAcc::Many(registers) => {
                out.push(MANY);
                out.extend_from_slice(&registers[..]);
            }
            few => {
                out.push(FEW);
                few.hashes().iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<DistinctAcc, DecodeError> {
        let invalid = || DecodeError::new("distinct values", "invalid length or form");
        match bytes.split_first() {
            Some((&MANY, registers)) => {
                let registers: Box<[u8]> = registers.into();
                registers.try_into().map(DistinctAcc::Many).map_err(|_| invalid())
            }
            Some((&FEW, hashes)) => match hashes.as_chunks::<8>() {
                (hashes, []) if !hashes.is_empty() => {
                    let mut hashes: Vec<u64> = hashes.iter().map(|h| u64::from_le_bytes(*h)).collect();
                    hashes.sort_unstable();
                    Ok(DistinctAcc::of(hashes))
                }
                _ => Err(invalid()),
            },
            _ => Err(invalid()),
        }
    }

    fn heap_bytes(&self, acc: &DistinctAcc) -> usize {
        match acc {
            DistinctAcc::One(_) => 0,
            DistinctAcc::Few(hashes) => hashes.capacity() * 8,
            DistinctAcc::Many(_) => REGISTERS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(values: impl IntoIterator<Item = u64>) -> u64 {
        let mut all = None;
        for value in values {
            let new = Combiner::<u64>::create(&ApproxDistinct, value);
            match &mut all {
                None => all = Some(new),
                Some(all) => Combiner::<u64>::merge(&ApproxDistinct, all, new),
            }
        }
        Combiner::<u64>::finish(&ApproxDistinct, all.unwrap())
    }

    #[test]
    fn few_values_are_counted_exactly() {
        for n in [1, 2, 100, 2047, 2048] {
            assert_eq!(count((0..n).chain(0..n)), n);
        }
    }

    #[test]
    fn estimate_is_within_four_standard_errors() {
        for n in [2049, 3_000, 10_000, 40_000, 70_000, 300_000, 1_000_000] {
            let got = count(0..n) as f64;
            assert!((got / n as f64 - 1.0).abs() < 4.0 * 1.04 / 128.0, "{got} for {n}");
        }
    }

    #[test]
    fn result_does_not_depend_on_the_grouping() {
        let merged = |sizes: &[u64]| {
            let (mut all, mut from) = (None::<DistinctAcc>, 0);
            for size in sizes {
                let part = (from..from + size).map(|v| Combiner::<u64>::create(&ApproxDistinct, v));
                let part = part.reduce(|mut a, b| {
                    Combiner::<u64>::merge(&ApproxDistinct, &mut a, b);
                    a
                });
                let mut bytes = Vec::new();
                Combiner::<u64>::encode(&ApproxDistinct, &part.unwrap(), &mut bytes);
                let part = Combiner::<u64>::decode(&ApproxDistinct, &bytes).unwrap();
                match &mut all {
                    None => all = Some(part),
                    Some(all) => Combiner::<u64>::merge(&ApproxDistinct, all, part),
                }
                from += size;
            }
            let mut bytes = Vec::new();
            Combiner::<u64>::encode(&ApproxDistinct, &all.unwrap(), &mut bytes);
            bytes
        };
        for sizes in [[2047, 1], [2048, 1], [1, 2048], [1024, 1025], [5000, 7], [7, 5000], [3000, 3000]] {
            assert_eq!(merged(&sizes), merged(&[sizes.iter().sum()]), "{sizes:?}");
        }
    }
}
