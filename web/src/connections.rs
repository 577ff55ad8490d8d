//! The account of connections: their number is bounded, and those that do nothing make room for new ones.
//!
//! A connection is busy while a request of it is being answered, including a stream of patches. Otherwise it is idle:
//! during its handshake, between requests, and while it sends a head or a form or reads an answer, however slowly. An idle
//! connection is closed after a while, or at once when a new one needs its place. The while begins again with every byte
//! of an answer that its reader takes, within a bound for all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Most connections.
pub(crate) const CONNECTIONS_MAX: usize = 128;
/// How long a connection may be idle. A whole head of a request must come within this time.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(20);

/// How long a connection may be busy: the length of a stream of patches, whose reader then opens a new one. Also how long
/// the reader of a whole answer may take for it.
pub(crate) const BUSY_MAX: Duration = Duration::from_secs(600);

/// All connections of a page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    all: BTreeMap<u64, Arc<Connection>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    close: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests that are being answered, less those whose forms are being read.
    open: i64,
    /// When it became busy or idle.
    since: Instant,
    /// When it became busy or idle, or took bytes of an answer.
    active: Instant,
}

/// Takes a connection out of the account when it is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    table: Connections,
    number: u64,
    connection: Arc<Connection>,
}

/// Keeps a connection busy.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Connection>);

/// A busy connection that waits for bytes of its client: it may give way like an idle one.
#[derive(Debug)]
pub(crate) struct Awaiting(Arc<Connection>);

impl Connections {
    /// Counts a new connection. If there are too many, the one that has been idle for longest is closed; if all are busy,
    /// there is no room.
    pub(crate) fn enter(&self) -> Option<Entry> {
        let mut table = self.table();
        if table.all.len() >= CONNECTIONS_MAX {
            let idle = table.all.iter().filter_map(|(number, connection)| Some((connection.idle_since()?, *number)));
            let (_, longest) = idle.min()?;
            let closed = table.all.remove(&longest)?;
            closed.close.cancel();
        }
        let number = table.next;
        table.next += 1;
        let now = Instant::now();
        let state = Mutex::new(State { open: 0, since: now, active: now });
        let connection = Arc::new(Connection { close: CancellationToken::new(), state });
        table.all.insert(number, connection.clone());
        Some(Entry { table: self.clone(), number, connection })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.table().all.remove(&self.number);
    }
}

impl Connection {
    /// The connection is busy until the result is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.state().change(1);
        Busy(self.clone())
    }

    /// A request of this busy connection waits for its client until the result is dropped.
    pub(crate) fn awaiting(self: &Arc<Self>) -> Awaiting {
        self.state().change(-1);
        Awaiting(self.clone())
    }

    /// Its reader has taken bytes of an answer.
    pub(crate) fn progress(&self) {
        self.state().active = Instant::now();
    }

    /// Completes when the connection must be closed: it has been idle or busy for too long, or another needs its place.
    pub(crate) async fn must_close(&self) {
        loop {
            let end = {
                let state = self.state();
                let last = state.since + BUSY_MAX;
                if state.is_idle() { last.min(state.active + IDLE_MAX) } else { last }
            };
            let now = Instant::now();
            if now >= end {
                return;
            }
            // Its state may change meanwhile, so it is looked at again within the shorter time.
            let next = end.min(now + IDLE_MAX);
            tokio::select! {
                () = self.close.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        state.is_idle().then_some(state.since)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.open <= 0
    }

    fn change(&mut self, by: i64) {
        let was_idle = self.is_idle();
        self.open += by;
        if self.is_idle() != was_idle {
            self.since = Instant::now();
            self.active = self.since;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.state().change(-1);
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.state().change(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_connection_makes_room_and_busy_one_stays() {
        let all = Connections::default();
        let first = all.enter().unwrap();
        let busy = first.connection().busy();
        let second = all.enter().unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let others: Vec<Entry> = (2..CONNECTIONS_MAX).map(|_| all.enter().unwrap()).collect();
        let _new = all.enter().unwrap();
        second.connection().must_close().await;
        assert!(!first.connection().close.is_cancelled());
        let _busy: Vec<Busy> = others.iter().map(|entry| entry.connection().busy()).collect();
        let _newest = all.enter().unwrap();
        let _last = _newest.connection().busy();
        assert!(all.enter().is_none(), "all are busy");
        drop(busy);
        let entered = all.enter();
        assert!(entered.is_some());
        assert_eq!(all.table().all.len(), CONNECTIONS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_awaits_its_client_makes_room() {
        let all = Connections::default();
        let entries: Vec<Entry> = (0..CONNECTIONS_MAX).map(|_| all.enter().unwrap()).collect();
        let busy: Vec<Busy> = entries.iter().map(|entry| entry.connection().busy()).collect();
        assert!(all.enter().is_none());
        let awaiting = entries[7].connection().awaiting();
        assert!(all.enter().is_some());
        assert!(entries[7].connection().close.is_cancelled());
        // The order of the two does not matter.
        drop(busy);
        drop(awaiting);
        assert!(entries[7].connection().state().is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn reader_that_takes_bytes_stays_up_to_a_bound() {
        let all = Connections::default();
        let entry = all.enter().unwrap();
        let began = Instant::now();
        let reads = async {
            loop {
                tokio::time::sleep(IDLE_MAX / 2).await;
                entry.connection().progress();
            }
        };
        tokio::select! {
            () = reads => {}
            () = entry.connection().must_close() => {}
        }
        assert_eq!(began.elapsed(), BUSY_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_is_closed_after_a_while() {
        let all = Connections::default();
        let entry = all.enter().unwrap();
        let busy = entry.connection().busy();
        let closes = tokio::time::timeout(IDLE_MAX * 3, entry.connection().must_close());
        assert!(closes.await.is_err(), "a busy connection stays");
        let began = Instant::now();
        entry.connection().must_close().await;
        assert_eq!(began.elapsed(), BUSY_MAX - IDLE_MAX * 3);
        drop(busy);
        let began = Instant::now();
        entry.connection().must_close().await;
        assert_eq!(began.elapsed(), IDLE_MAX);
        drop(entry);
        assert!(all.table().all.is_empty());
    }
}
