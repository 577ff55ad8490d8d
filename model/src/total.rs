//! Sums of numbers that other processes or files tell.
//!
//! Lengths and counts in reports, inventories, tasks, manifests and frames may be any number. They are added here, so that no
//! sum wraps round (a release build) or panics (any other): a sum that does not fit is the largest number. What a sum is used
//! for must be right for that number, too: a larger claim on memory, or a line in a list.

/// The sum of `numbers`, at most `u64::MAX`.
pub fn total(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_that_does_not_fit_is_the_largest_number() {
        assert_eq!(total([]), 0);
        assert_eq!(total([1, 2, 3]), 6);
        assert_eq!(total([u64::MAX, 1]), u64::MAX);
        assert_eq!(total([1 << 63, 1 << 63, 5]), u64::MAX);
    }
}
