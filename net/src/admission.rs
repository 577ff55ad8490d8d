//! Limits the connections of callers that have proven nothing: their number in total and from one address, their
//! duration, and which one is closed for the next.
//!
//! A connection without a proof counts in one of two accounts: during its handshake, and after it. Handshakes have more
//! places, so that a flood of handshakes does not push a caller out before it can prove the token. A new connection is
//! never refused in favour of old ones: another one is closed, of the same address if that has reached its share, so a
//! caller that proves the token within moments gets through a flood from its own machine or from behind its own address
//! translation. Handshakes that have not sent a whole `ClientHello` are closed first, then the oldest. So no number of
//! connections that send nothing, send a byte now and then, or reconnect pushes out a handshake that makes progress. Each
//! `ClientHello` costs the server a key exchange before the next one is read, which limits how many others can be greeted
//! between the two messages of a caller.
//!
//! Connections with a proof take no room from the others, but are counted: when there are too many, those without an open
//! call are closed, so that a program which leaves connections open does not use up the descriptors of the process. This
//! module opens no socket.

use crate::activity::Activity;
use crate::refusals::Refusals;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection with a proof is closed for others only if it had no open call for this long.
const PROVEN_IDLE: Duration = Duration::from_secs(1);

/// The limits of callers that have proven nothing, and of connections with a proof.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections in their handshake, in total.
    pub handshakes_max: usize,
    /// Most of them from one address.
    pub handshakes_per_address_max: usize,
    /// Connections with a proof beyond which those without open calls are closed, idle ones first.
    pub proven_max: usize,
    /// Most connections without a proof after the handshake, in total.
    pub connections_max: usize,
    /// Most of their connections from one address (of IPv6: from one network of 64 bits).
    pub connections_per_address_max: usize,
    /// Time from the accept to the end of the TLS handshake, or to the first byte.
    pub handshake: Duration,
    /// Time without a new call.
    pub idle: Duration,
    /// Total time of a connection.
    pub lifetime: Duration,
    /// Most bytes that are read from a connection after its handshake: frames that open no call cost processor time, too.
    pub bytes_max: u64,
}

impl Limits {
    /// Limits for this process: an eighth of its descriptors for handshakes (at most 2,048), an eighth for other connections
    /// without a proof (at most 512), half of them for connections with one.
    pub fn of_this_process() -> Limits {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let Some(descriptors) = descriptors else { return Limits::default() };
        let share = |part: u64, least: u64, most: u64| (descriptors / part).clamp(least, most) as usize;
        let (connections_max, handshakes_max) = (share(8, 4, 512), share(8, 4, 2_048));
        Limits {
            handshakes_max,
            handshakes_per_address_max: (handshakes_max / 4 * 3).max(2),
            proven_max: share(2, 8, 1 << 20),
            connections_max,
            connections_per_address_max: (connections_max / 2).max(2),
            ..Limits::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handshakes_max: 2_048,
            handshakes_per_address_max: 1_536,
            proven_max: 16_384,
            connections_max: 512,
            connections_per_address_max: 256,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            lifetime: Duration::from_secs(60),
            bytes_max: 256 << 10,
        }
    }
}

/// The connection accounts of one server.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    limits: Limits,
    accounts: Arc<Mutex<Accounts>>,
    refusals: Refusals,
}

#[derive(Debug)]
struct Accounts {
    next: u64,
    handshaking: Unproven,
    unproven: Unproven,
    proven: BTreeMap<u64, Arc<Activity>>,
    proven_max: usize,
}

impl Accounts {
    fn new(limits: &Limits) -> Accounts {
        Accounts {
            next: 0,
            handshaking: Unproven::new(limits.handshakes_max, limits.handshakes_per_address_max),
            unproven: Unproven::new(limits.connections_max, limits.connections_per_address_max),
            proven: BTreeMap::new(),
            proven_max: limits.proven_max,
        }
    }

    /// Counts a connection with a proof, and closes an idle one if there are too many.
    fn insert_proven(&mut self, number: u64, activity: Arc<Activity>) {
        self.remove(number);
        if self.proven.len() >= self.proven_max {
            self.close_idle();
        }
        self.proven.insert(number, activity);
    }

    fn remove(&mut self, number: u64) {
        self.handshaking.remove(number);
        self.unproven.remove(number);
        self.proven.remove(&number);
    }

    /// Closes the connection with a proof that has had no open call for longest. Returns false if there is none, or each had
    /// a call within `PROVEN_IDLE`.
    fn close_idle(&mut self) -> bool {
        let idle = self.proven.iter().filter_map(|(number, activity)| Some((activity.idle()?, *number)));
        let longest =
            idle.filter(|(idle, _)| *idle >= PROVEN_IDLE).max_by_key(|(idle, number)| (*idle, Reverse(*number)));
        let closed = longest.and_then(|(_, number)| self.proven.remove(&number));
        closed.map(|activity| activity.hang_up()).is_some()
    }
}

/// An account of connections without a proof, and its limits.
#[derive(Debug)]
struct Unproven {
    max: usize,
    per_address_max: usize,
    /// Connections by age.
    all: BTreeMap<u64, Place>,
    per_address: HashMap<IpAddr, usize>,
}

/// The place of one connection.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    close: CancellationToken,
    /// It has sent its greeting: a whole `ClientHello`.
    has_greeted: bool,
}

impl Unproven {
    fn new(max: usize, per_address_max: usize) -> Unproven {
        Unproven { max, per_address_max, all: BTreeMap::new(), per_address: HashMap::new() }
    }

    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let Place { address, close, .. } = self.all.remove(&number)?;
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(close)
    }

    /// Adds a connection, and closes another one if there are too many.
    fn insert(&mut self, number: u64, address: IpAddr, close: CancellationToken) {
        if self.per_address.get(&address).is_some_and(|n| *n >= self.per_address_max) {
            self.close_one(Some(address));
        } else if self.all.len() >= self.max {
            self.close_one(None);
        }
        self.all.insert(number, Place { address, close, has_greeted: false });
        *self.per_address.entry(address).or_default() += 1;
    }

    /// Records that a connection has sent its greeting.
    fn greeted(&mut self, number: u64) {
        if let Some(place) = self.all.get_mut(&number) {
            place.has_greeted = true;
        }
    }

    /// Closes a connection, of `address` if given: the oldest one that has not greeted, else the oldest. Returns false if there
    /// is none.
    fn close_one(&mut self, address: Option<IpAddr>) -> bool {
        let is_of_it = |place: &Place| address.is_none_or(|a| place.address == a);
        let oldest = |silent: bool| {
            let mut found = self.all.iter().filter(|(_, place)| is_of_it(place) && !(silent && place.has_greeted));
            found.next().map(|(number, _)| *number)
        };
        oldest(true)
            .or_else(|| oldest(false))
            .and_then(|number| self.remove(number))
            .map(|close| close.cancel())
            .is_some()
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Admission {
        let accounts = Arc::new(Mutex::new(Accounts::new(&limits)));
        Admission { limits, accounts, refusals: Refusals::default() }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Adds a new connection from `peer`, and closes an old one if there are too many.
    pub(crate) fn admit(&self, peer: IpAddr) -> Arc<Ticket> {
        let close = CancellationToken::new();
        let mut accounts = lock(&self.accounts);
        let number = accounts.next;
        accounts.next += 1;
        accounts.handshaking.insert(number, network(peer), close.clone());
        Arc::new(Ticket {
            number,
            peer,
            refusals: self.refusals.clone(),
            close,
            settled: CancellationToken::new(),
            proven: AtomicBool::new(false),
            activity: Arc::new(Activity::begin()),
            accounts: self.accounts.clone(),
        })
    }

    /// Closes a connection without a proof, else one with a proof and without an open call. Returns false if there is none.
    pub(crate) fn close_one(&self) -> bool {
        let mut accounts = lock(&self.accounts);
        accounts.handshaking.close_one(None) || accounts.unproven.close_one(None) || accounts.close_idle()
    }

    /// Number of connections without a proof.
    #[cfg(test)]
    pub(crate) fn unproven(&self) -> usize {
        let accounts = lock(&self.accounts);
        accounts.handshaking.all.len() + accounts.unproven.all.len()
    }
}

fn lock(accounts: &Mutex<Accounts>) -> MutexGuard<'_, Accounts> {
    accounts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The account of one connection; released when the last clone is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    number: u64,
    peer: IpAddr,
    refusals: Refusals,
    close: CancellationToken,
    settled: CancellationToken,
    proven: AtomicBool,
    activity: Arc<Activity>,
    accounts: Arc<Mutex<Accounts>>,
}

impl Ticket {
    /// Records that the caller has sent its greeting: it is closed for others only after those that have not.
    pub(crate) fn greet(&self) {
        lock(&self.accounts).handshaking.greeted(self.number);
    }

    /// Records that the handshake is over without a proof.
    pub(crate) fn enter(&self) {
        let mut accounts = lock(&self.accounts);
        if accounts.handshaking.remove(self.number).is_some() {
            accounts.unproven.insert(self.number, network(self.peer), self.close.clone());
        }
    }

    /// Records that the caller has proven the token: the connection has no deadline any more.
    pub(crate) fn prove(&self) {
        if !self.proven.swap(true, Ordering::Relaxed) {
            self.activity.note_call();
            lock(&self.accounts).insert_proven(self.number, self.activity.clone());
            self.settled.cancel();
        }
    }

    /// What is done on the connection.
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Logs that the caller is refused.
    pub(crate) fn refuse(&self, why: &dyn std::fmt::Display) {
        self.refusals.note(self.peer, why);
    }

    /// Cancelled when the connection must be closed.
    pub(crate) fn close(&self) -> &CancellationToken {
        &self.close
    }

    /// Cancelled when the connection is no longer counted: after a proof, or because it has ended.
    pub(crate) fn settled(&self) -> CancellationToken {
        self.settled.clone()
    }

    /// The time at which the connection must be closed, as of now.
    pub(crate) fn deadline(&self, limits: &Limits) -> Instant {
        let idle = self.activity.last_call() + limits.idle;
        self.activity.accepted() + idle.min(limits.lifetime)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.accounts).remove(self.number);
        self.settled.cancel();
    }
}

/// The unit that counts as one address: a single IPv6 machine has a network of 64 bits.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(all: usize, per_address: usize) -> Admission {
        let (connections_max, connections_per_address_max) = (all, per_address);
        let (handshakes_max, handshakes_per_address_max) = (all, per_address);
        Admission::new(Limits {
            connections_max,
            connections_per_address_max,
            handshakes_max,
            handshakes_per_address_max,
            ..Limits::default()
        })
    }

    fn from(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn closed(tickets: &[Arc<Ticket>]) -> Vec<bool> {
        tickets.iter().map(|ticket| ticket.close().is_cancelled()).collect()
    }

    #[test]
    fn oldest_of_the_same_address_gives_way() {
        let admission = admission(10, 2);
        let other = admission.admit(from(9));
        let tickets: Vec<_> = (0..4).map(|_| admission.admit(from(1))).collect();
        assert_eq!(closed(&tickets), [true, true, false, false]);
        assert!(!other.close().is_cancelled());
        assert_eq!(admission.unproven(), 3);
    }

    #[test]
    fn oldest_of_all_gives_way_at_the_total() {
        let admission = admission(3, 2);
        let tickets: Vec<_> = (0..5).map(|n| admission.admit(from(n))).collect();
        assert_eq!(closed(&tickets), [true, true, false, false, false]);
        assert_eq!(admission.unproven(), 3);
    }

    #[test]
    fn proven_connection_keeps_its_place_in_any_flood() {
        let admission = admission(3, 2);
        let proven: Vec<_> = (0..20).map(|_| admission.admit(from(1))).inspect(|ticket| ticket.prove()).collect();
        let flood: Vec<_> = (0..50).map(|_| admission.admit(from(1))).collect();
        assert!(closed(&proven).iter().all(|closed| !closed));
        assert_eq!(closed(&flood).iter().filter(|closed| !**closed).count(), 2);
        drop(flood);
        assert_eq!(admission.unproven(), 0);
        assert!(!admission.close_one());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let admission = admission(10, 2);
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let tickets: Vec<_> = (0..4).map(|n| admission.admit(address(n))).collect();
        assert_eq!(closed(&tickets), [true, true, false, false]);
    }

    /// The share of an address at a limit of 1,024 descriptors is 96 places: any 96 connections of the caller's own address pushed
    /// its handshake out.
    #[test]
    fn handshake_survives_churn_of_silent_connections() {
        let admission = admission(128, 96);
        let caller = admission.admit(from(1));
        caller.greet();
        let mut churn = std::collections::VecDeque::new();
        for number in 0..10_000 {
            churn.push_back(admission.admit(from(1)));
            // Some leave by themselves.
            if number % 3 == 0 {
                churn.pop_front();
            }
        }
        assert!(!caller.close().is_cancelled());
        assert!(admission.unproven() <= 96);
        // From other addresses, too.
        let others: Vec<_> = (0..10_000u32).map(|n| admission.admit(IpAddr::from(n.to_be_bytes()))).collect();
        assert!(!caller.close().is_cancelled() && admission.unproven() <= 128);
        caller.prove();
        drop((churn, others));
        assert_eq!(admission.unproven(), 0);
    }

    #[test]
    fn oldest_greeted_handshake_gives_way_to_a_new_connection() {
        let admission = admission(10, 3);
        let greeted: Vec<_> = (0..3).map(|_| admission.admit(from(1))).inspect(|ticket| ticket.greet()).collect();
        let new: Vec<_> = (0..3).map(|_| admission.admit(from(1))).collect();
        // The first of them takes a place of a greeted one, the others take its place.
        assert_eq!(closed(&greeted), [true, false, false]);
        assert_eq!(closed(&new), [true, true, false]);
    }

    #[test]
    fn handshakes_have_places_of_their_own() {
        let limits = Limits { connections_max: 2, connections_per_address_max: 2, ..Limits::default() };
        let admission = Admission::new(limits);
        let handshaking: Vec<_> = (0..5).map(|_| admission.admit(from(1))).collect();
        assert!(closed(&handshaking).iter().all(|closed| !closed));
        handshaking.iter().for_each(|ticket| ticket.enter());
        assert_eq!(closed(&handshaking), [true, true, true, false, false]);
        assert_eq!(admission.unproven(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn proven_connection_without_calls_makes_room() {
        let admission = Admission::new(Limits { proven_max: 2, ..Limits::default() });
        let proven: Vec<_> = (0..2).map(|_| admission.admit(from(1))).inspect(|ticket| ticket.prove()).collect();
        proven[0].activity().begin_call();
        let at_once = admission.admit(from(1));
        at_once.prove();
        assert!(proven.iter().all(|ticket| !ticket.activity().is_hung_up()), "each had a call just now");
        tokio::time::advance(PROVEN_IDLE).await;
        let late = admission.admit(from(1));
        late.prove();
        let hung_up = |tickets: &[&Arc<Ticket>]| tickets.iter().map(|t| t.activity().is_hung_up()).collect::<Vec<_>>();
        assert_eq!(hung_up(&[&proven[0], &proven[1], &at_once, &late]), [false, true, false, false]);
        proven[0].activity().end_call();
        assert!(admission.close_one());
        assert!(!proven[0].activity().is_hung_up() && at_once.activity().is_hung_up(), "the one that was idle longest");
        assert!(!admission.close_one(), "the others had a call just now");
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_moves_with_calls_up_to_the_lifetime() {
        let admission = admission(10, 10);
        let (limits, ticket) = (admission.limits(), admission.admit(from(1)));
        let start = Instant::now();
        assert_eq!(ticket.deadline(&limits), start + limits.idle);
        tokio::time::advance(limits.idle / 2).await;
        ticket.activity().note_call();
        assert_eq!(ticket.deadline(&limits), start + limits.idle / 2 + limits.idle);
        tokio::time::advance(limits.lifetime).await;
        ticket.activity().note_call();
        assert_eq!(ticket.deadline(&limits), start + limits.lifetime);
    }
}
