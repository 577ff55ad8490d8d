//! Divides long integers by a count and rounds once to a double: schoolbook division, then round to nearest, ties to
//! even.

/// Returns `magnitude * 2^exponent / count`, for a magnitude in 64-bit limbs, the lowest first. `count` is not zero.
pub(super) fn quotient(negative: bool, magnitude: &[u64], exponent: i32, count: u64) -> f64 {
    let Some(top) = magnitude.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let (head, sticky, exponent) = match (top, count) {
        // The usual case: nothing to divide.
        (0 | 1, 1) => {
            let high = magnitude.get(1).copied().unwrap_or(0);
            (u128::from(high) << 64 | u128::from(magnitude[0]), false, exponent)
        }
        _ => divided(&magnitude[..=top], exponent, count),
    };
    let value = scaled(head, sticky, exponent);
    if negative { -value } else { value }
}

/// Returns the highest limbs of a quotient, whether any bit below them is set, and their exponent.
fn divided(magnitude: &[u64], exponent: i32, count: u64) -> (u128, bool, i32) {
    // Two limbs of fraction, so that the quotient has at least 65 bits for every count.
    const FRACTION: usize = 2;
    let mut limbs = vec![0; magnitude.len() + FRACTION];
    limbs[FRACTION..].copy_from_slice(magnitude);
    let mut rest = 0u128;
    for limb in limbs.iter_mut().rev() {
        let part = rest << 64 | u128::from(*limb);
        // The remainder is below `count`, so the part's quotient is below 2^64.
        *limb = (part / u128::from(count)) as u64;
        rest = part % u128::from(count);
    }
    let top = limbs.iter().rposition(|limb| *limb != 0).unwrap_or(0).max(1);
    let head = u128::from(limbs[top]) << 64 | u128::from(limbs[top - 1]);
    let sticky = rest != 0 || limbs[..top - 1].iter().any(|limb| *limb != 0);
    (head, sticky, exponent + 64 * (top as i32 - 1 - FRACTION as i32))
}

/// Returns `head * 2^exponent` (plus less than one unit if `sticky`), rounded once.
#[inline]
pub(super) fn scaled(head: u128, sticky: bool, exponent: i32) -> f64 {
    if head == 0 {
        return 0.0;
    }
    let top = 127 - head.leading_zeros() as i32;
    // The unit of the result is 53 bits below the top, but at least the smallest subnormal.
    let unit = (top + exponent - 52).max(-1074);
    let drop = unit - exponent;
    let (mut kept, above, tie) = match drop {
        // An exact shift to the left fits into 53 bits.
        ..=0 => ((head << -drop) as u64, false, false),
        1..=128 => {
            let (kept, rest) = if drop == 128 { (0, head) } else { (head >> drop, head & ((1u128 << drop) - 1)) };
            let half = 1u128 << (drop - 1);
            (kept as u64, rest > half || (rest == half && sticky), rest == half && !sticky)
        }
        // Less than half of the smallest subnormal.
        _ => (0, false, false),
    };
    if above || (tie && kept & 1 == 1) {
        kept += 1;
    }
    // In three steps, so that no power of two leaves the range of a double.
    let first = unit.clamp(-500, 500);
    let second = (unit - first).clamp(-600, 600);
    let third = unit - first - second;
    kept as f64 * power_of_two(third) * power_of_two(second) * power_of_two(first)
}

/// Returns 2^exponent, for exponents of normal doubles.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotients_are_rounded_once() {
        // Their sum rounds to 2^55, a third of which is not 2^53 + 1 rounded.
        let sum = 3 * ((1u64 << 53) + 1);
        assert_eq!(quotient(false, &[sum], 0, 3), 9007199254740992.0);
        assert_eq!(quotient(true, &[sum + 3], 0, 3), -9007199254740994.0);
        assert_eq!(quotient(false, &[u64::MAX, u64::MAX], 0, u64::MAX), 18446744073709551616.0);
        assert_eq!(quotient(false, &[1], 0, 3), 1.0 / 3.0);
        // Half of the smallest subnormal is a tie with zero, but three quarters of it are not.
        assert_eq!(quotient(false, &[1], -1074, 2), 0.0);
        assert_eq!(quotient(false, &[3], -1074, 4), f64::from_bits(1));
        assert_eq!(quotient(false, &[1], -1074, u64::MAX), 0.0);
        assert_eq!(quotient(false, &[0, 0], 0, 7), 0.0);
    }

    proptest! {
        #[test]
        fn small_quotients_equal_those_of_the_processor(a in 0..1u64 << 53, b in 1..1u64 << 53) {
            prop_assert_eq!(quotient(false, &[a], 0, b), a as f64 / b as f64);
        }

        #[test]
        fn integers_are_rounded_like_a_cast(n in any::<u128>(), shift in 0..128u32) {
            let n = n >> shift;
            prop_assert_eq!(quotient(false, &[n as u64, (n >> 64) as u64], 0, 1), n as f64);
        }
    }
}
