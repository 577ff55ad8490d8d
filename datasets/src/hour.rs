//! How many orphans may move to the trash in an hour, over all epochs of a journal. Pure.
//!
//! Orders are sent only under a *reservation* that the journal has: a number of chunks, and the time until which they may
//! be ordered. The journal's number of the hour includes the reservation. So the next epoch counts all of it as used, at
//! the end of its time, whatever was ordered before a crash: a crash can lower the number of an hour, never raise it.
//! Removals are recorded afterwards, which takes back what was reserved and not used.

use crate::planted::{self, Planted};
use crate::waits::{HOUR_MS, OrphanRule, ReservationId};
use std::collections::VecDeque;

/// Orders under a reservation are sent within this time. A journal that takes longer to record it is asked again.
pub(crate) const RESERVED_MS: u64 = 60_000;

#[derive(Debug)]
struct Reservation {
    id: ReservationId,
    /// Chunks that may still be ordered under it.
    chunks: usize,
    /// The last time on the orphans' clock for such an order.
    until: u64,
    is_durable: bool,
}

/// The removals of the last hour, and those that are reserved.
#[derive(Debug)]
pub(crate) struct Hour {
    per_hour: usize,
    /// When chunks moved to the trash, on the orphans' clock, oldest first.
    gone: VecDeque<u64>,
    reserved: Option<Reservation>,
    last_id: u64,
    /// The reservation is new: the journal gets it with the next record.
    is_asked: bool,
}

impl Default for Hour {
    fn default() -> Hour {
        Hour::new(OrphanRule::default().per_hour, None)
    }
}

impl Hour {
    /// Begins an epoch. `recorded`: the journal's last time of a removal or reservation, and their number in the hour up
    /// to then. All count as if they were at that time.
    pub(crate) fn new(per_hour: u32, recorded: Option<(u64, u32)>) -> Hour {
        let gone =
            recorded.map_or(VecDeque::new(), |(last, n)| std::iter::repeat_n(last, n.min(per_hour) as usize).collect());
        Hour { per_hour: per_hour as usize, gone, reserved: None, last_id: 0, is_asked: false }
    }

    /// How many more may move at this time, reserved ones included.
    pub(crate) fn room(&mut self, clock: u64) -> usize {
        while self.gone.front().is_some_and(|at| at.saturating_add(HOUR_MS) <= clock) {
            self.gone.pop_front();
        }
        if planted::has(Planted::HourUnbounded) { usize::MAX } else { self.per_hour.saturating_sub(self.gone.len()) }
    }

    /// When there is room again.
    pub(crate) fn room_at(&self) -> Option<u64> {
        self.gone.front().map(|at| at.saturating_add(HOUR_MS))
    }

    /// How many of these chunks may be ordered to move now. None without a durable reservation, which is asked for.
    pub(crate) fn claim(&mut self, clock: u64, chunks: usize) -> usize {
        if chunks == 0 {
            return 0;
        }
        match self.reserved.as_ref().filter(|reserved| clock <= reserved.until && reserved.chunks > 0) {
            Some(reserved) if reserved.is_durable => return chunks.min(reserved.chunks),
            Some(_) => return 0,
            None => {}
        }
        self.last_id += 1;
        let (id, until) = (ReservationId(self.last_id), clock.saturating_add(RESERVED_MS));
        self.reserved = Some(Reservation { id, chunks, until, is_durable: false });
        self.is_asked = true;
        if planted::has(Planted::Unreserved) { chunks } else { 0 }
    }

    /// A chunk has moved.
    pub(crate) fn went(&mut self, clock: u64) {
        // A time that an earlier epoch had reserved may be later.
        self.gone.push_back(self.gone.back().map_or(clock, |last| clock.max(*last)));
        self.reserved.iter_mut().for_each(|reserved| reserved.chunks = reserved.chunks.saturating_sub(1));
    }

    /// The journal has this reservation.
    pub(crate) fn recorded(&mut self, id: ReservationId) {
        self.reserved.iter_mut().filter(|reserved| reserved.id == id).for_each(|reserved| reserved.is_durable = true);
    }

    /// Whether a reservation is to be recorded at once.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// No order follows in this epoch.
    pub(crate) fn end(&mut self) {
        (self.reserved, self.is_asked) = (None, false);
    }

    /// The reservation to record, if it is new, and the journal's record of the hour.
    pub(crate) fn take_record(&mut self, clock: u64) -> (Option<ReservationId>, Option<(u64, u32)>) {
        self.room(clock);
        self.reserved.take_if(|reserved| reserved.chunks == 0 || clock > reserved.until);
        let reserved = self.reserved.as_ref().filter(|_| !planted::has(Planted::ReservationUncounted));
        let last = self.gone.back().copied().into_iter().chain(reserved.map(|reserved| reserved.until)).max();
        let n = self.gone.len() + reserved.map_or(0, |reserved| reserved.chunks);
        let asked = std::mem::take(&mut self.is_asked);
        let id = self.reserved.as_ref().filter(|_| asked).map(|reserved| reserved.id);
        (id, last.map(|last| (last, u32::try_from(n).unwrap_or(u32::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claims chunks, with a journal that records at once. Returns the number of those that may go, and the record.
    fn take(hour: &mut Hour, clock: u64, wanted: usize) -> (usize, Option<(u64, u32)>) {
        let wanted = wanted.min(hour.room(clock));
        assert_eq!(hour.claim(clock, wanted), 0, "not before it is recorded");
        let (id, record) = hour.take_record(clock);
        id.into_iter().for_each(|id| hour.recorded(id));
        let may = hour.claim(clock, wanted);
        (0..may).for_each(|_| hour.went(clock));
        (may, record)
    }

    #[test]
    fn reservation_counts_in_the_next_epoch_after_a_crash() {
        let mut hour = Hour::new(3, None);
        let (may, record) = take(&mut hour, 5, 2);
        assert_eq!((may, record), (2, Some((5 + RESERVED_MS, 2))));
        // A crash before the removals are recorded: the hour of the two ends after the time of their reservation.
        let mut next = Hour::new(3, record);
        assert_eq!(
            (next.room(5), next.room(4 + RESERVED_MS + HOUR_MS), next.room(5 + RESERVED_MS + HOUR_MS)),
            (1, 1, 3)
        );
        // Without a crash it is the hour of the removals.
        assert_eq!(hour.take_record(6), (None, Some((5, 2))));
        assert_eq!(hour.room(5 + HOUR_MS), 3);
    }

    #[test]
    fn reservation_ends_with_its_time_and_gives_back_the_rest() {
        let mut hour = Hour::new(9, None);
        assert_eq!(hour.claim(0, 4), 0);
        assert_eq!(hour.claim(1, 4), 0, "asked for once");
        let (Some(first), Some((until, 4))) = hour.take_record(1) else { panic!("it is asked for") };
        assert_eq!(hour.take_record(2), (None, Some((until, 4))), "no other record takes it back");
        hour.recorded(first);
        assert_eq!(hour.claim(3, 1), 1);
        hour.went(3);
        assert_eq!(hour.take_record(4), (None, Some((until, 4))), "three are still reserved");
        assert_eq!((hour.claim(until, 9), hour.claim(until + 1, 2)), (3, 0));
        let (Some(second), _) = hour.take_record(until + 1) else { panic!("it is asked for again") };
        hour.recorded(first);
        assert_eq!(hour.claim(until + 2, 2), 0, "an answer to the earlier one");
        hour.recorded(second);
        assert_eq!(hour.claim(until + 2, 2), 2);
        hour.end();
        assert_eq!(hour.take_record(until + 3), (None, Some((3, 1))));
    }

    /// Epochs that each end between a reservation and its orders: the hour has room again in the end.
    #[test]
    fn crashes_before_orders_do_not_fill_every_hour() {
        let (mut record, mut clock, mut went) = (None, 0, 0);
        for _ in 0..12 {
            let mut hour = Hour::new(2, record);
            let wanted = hour.room(clock).min(2);
            hour.claim(clock, wanted);
            record = hour.take_record(clock).1;
            went += wanted;
            clock += HOUR_MS / 2;
        }
        assert_eq!(went, 8, "two in each 1.5 hours");
    }
}
