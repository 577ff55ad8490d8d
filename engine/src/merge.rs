//! The loser tree (Knuth, TAOCP 3, 5.4.1): merges sorted cursors, comparing key prefixes first.
//!
//! Ties go to the earlier cursor in the list, so a merge of runs in order of arrival is stable. One step costs about
//! log2(k) comparisons of eight bytes. The merge knows nothing of files or memory limits.

use crate::key::prefix;

/// A sorted sequence of records with a current one.
pub(crate) trait Cursor {
    /// The error of a step.
    type Error;

    /// Steps to the next record, or to the first one at the first call. Returns false at the end.
    fn advance(&mut self) -> Result<bool, Self::Error>;
    /// The current record. Valid only after `advance` has returned true.
    fn record(&self) -> (&[u8], &[u8]);
}

/// The error of a cursor, with its position in the list.
#[derive(Debug)]
pub(crate) struct At<E> {
    /// Position in the list that was given.
    pub cursor: usize,
    /// The error of that cursor.
    pub source: E,
}

/// Merges sorted cursors into one sequence.
pub(crate) struct Merge<C> {
    cursors: Vec<C>,
    /// Prefix of the current key of each cursor; the largest value for a finished one.
    heads: Vec<u64>,
    live: Vec<bool>,
    /// The cursor that lost at each inner node of a heap-shaped tree.
    losers: Vec<u32>,
    winner: usize,
}

impl<C: Cursor> Merge<C> {
    /// Steps every cursor to its first record.
    pub(crate) fn new(cursors: Vec<C>) -> Result<Self, At<C::Error>> {
        let k = cursors.len();
        let mut merge =
            Merge { cursors, heads: vec![u64::MAX; k], live: vec![false; k], losers: vec![0; k.max(1)], winner: 0 };
        for i in 0..k {
            merge.step(i)?;
        }
        let mut winners: Vec<u32> = (0..2 * k).map(|i| i.saturating_sub(k) as u32).collect();
        for node in (1..k).rev() {
            let (a, b) = (winners[2 * node], winners[2 * node + 1]);
            let (win, lose) = if merge.before(a as usize, b as usize) { (a, b) } else { (b, a) };
            (winners[node], merge.losers[node]) = (win, lose);
        }
        merge.winner = winners.get(1).map_or(0, |w| *w as usize);
        Ok(merge)
    }

    /// The cursor with the smallest record, if there is one.
    #[inline]
    pub(crate) fn current(&self) -> Option<&C> {
        if self.live.get(self.winner) == Some(&true) { Some(&self.cursors[self.winner]) } else { None }
    }

    /// Steps past the current record, if there is one.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<(), At<C::Error>> {
        let mut winner = self.winner;
        if self.live.get(winner) != Some(&true) {
            return Ok(());
        }
        self.step(winner)?;
        let mut node = (winner + self.cursors.len()) / 2;
        while node > 0 {
            let loser = self.losers[node] as usize;
            if self.before(loser, winner) {
                self.losers[node] = winner as u32;
                winner = loser;
            }
            node /= 2;
        }
        self.winner = winner;
        Ok(())
    }

    #[inline]
    fn step(&mut self, i: usize) -> Result<(), At<C::Error>> {
        let more = self.cursors[i].advance().map_err(|source| At { cursor: i, source })?;
        self.live[i] = more;
        self.heads[i] = if more { prefix(self.cursors[i].record().0) } else { u64::MAX };
        Ok(())
    }

    #[inline]
    fn before(&self, a: usize, b: usize) -> bool {
        let (x, y) = (self.heads[a], self.heads[b]);
        if x != y { x < y } else { self.before_by_key(a, b) }
    }

    #[inline(never)]
    fn before_by_key(&self, a: usize, b: usize) -> bool {
        if !self.live[a] || !self.live[b] {
            return self.live[a];
        }
        let (x, y) = (self.cursors[a].record().0, self.cursors[b].record().0);
        x.cmp(y).then(a.cmp(&b)).is_lt()
    }
}
