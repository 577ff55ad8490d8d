//! Limits the connections of callers that have proven nothing: their number in total and from one address, their
//! duration, and which one is closed for the next.
//!
//! Only connections without a proof are counted; after a proof of the token a connection takes no room from the others.
//! A new connection is never refused in favour of old ones: the oldest is closed, of the same address if that has
//! reached its share, so a caller that proves the token within moments gets through a flood from its own machine or
//! from behind its own address translation. This module opens no socket.

use crate::refusals::Refusals;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The limits of callers that have proven nothing.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most of their connections in total.
    pub connections_max: usize,
    /// Most of their connections from one address (of IPv6: from one network of 64 bits).
    pub connections_per_address_max: usize,
    /// Time from the accept to the end of the TLS handshake, or to the first byte.
    pub handshake: Duration,
    /// Time without a new call.
    pub idle: Duration,
    /// Total time of a connection.
    pub lifetime: Duration,
}

impl Limits {
    /// Limits for this process: a quarter of its descriptors, and at most 512 connections.
    pub fn of_this_process() -> Limits {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let connections_max = descriptors.map_or(512, |n| (n / 4).clamp(4, 512) as usize);
        Limits { connections_max, connections_per_address_max: (connections_max / 2).max(2), ..Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 512,
            connections_per_address_max: 256,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(10),
            lifetime: Duration::from_secs(60),
        }
    }
}

/// The connection accounts of one server.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    limits: Limits,
    unproven: Arc<Mutex<Unproven>>,
    refusals: Refusals,
}

#[derive(Debug, Default)]
struct Unproven {
    next: u64,
    /// Connections by age.
    all: BTreeMap<u64, (IpAddr, CancellationToken)>,
    per_address: HashMap<IpAddr, usize>,
}

impl Unproven {
    fn remove(&mut self, number: u64) -> Option<CancellationToken> {
        let (address, close) = self.all.remove(&number)?;
        if let Some(count) = self.per_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(close)
    }

    /// Closes the oldest connection, or the oldest of `address` if given. Returns false if there is none.
    fn close_oldest(&mut self, address: Option<IpAddr>) -> bool {
        let of_it = |(_, (from, _)): &(&u64, &(IpAddr, CancellationToken))| address.is_none_or(|a| *from == a);
        let oldest = self.all.iter().find(of_it).map(|(number, _)| *number);
        oldest.and_then(|number| self.remove(number)).map(|close| close.cancel()).is_some()
    }
}

impl Admission {
    pub fn new(limits: Limits) -> Admission {
        Admission { limits, unproven: Arc::default(), refusals: Refusals::default() }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Adds a new connection from `peer`, and closes an old one if there are too many.
    pub fn admit(&self, peer: IpAddr) -> Arc<Ticket> {
        let address = network(peer);
        let mut unproven = self.unproven.lock().unwrap_or_else(PoisonError::into_inner);
        if unproven.per_address.get(&address).is_some_and(|n| *n >= self.limits.connections_per_address_max) {
            unproven.close_oldest(Some(address));
        } else if unproven.all.len() >= self.limits.connections_max {
            unproven.close_oldest(None);
        }
        let number = unproven.next;
        unproven.next += 1;
        let close = CancellationToken::new();
        unproven.all.insert(number, (address, close.clone()));
        *unproven.per_address.entry(address).or_default() += 1;
        Arc::new(Ticket {
            number,
            peer,
            refusals: self.refusals.clone(),
            close,
            settled: CancellationToken::new(),
            proven: AtomicBool::new(false),
            accepted: Instant::now(),
            last_call_ms: AtomicU64::new(0),
            unproven: self.unproven.clone(),
        })
    }

    /// Closes the oldest connection without a proof. Returns false if there is none.
    pub fn close_oldest(&self) -> bool {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).close_oldest(None)
    }

    /// Number of connections without a proof.
    #[cfg(test)]
    pub fn unproven(&self) -> usize {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).all.len()
    }
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
    accepted: Instant,
    last_call_ms: AtomicU64,
    unproven: Arc<Mutex<Unproven>>,
}

impl Ticket {
    /// Records that the caller has proven the token: the connection is no longer counted and has no deadline.
    pub fn prove(&self) {
        if !self.proven.swap(true, Ordering::Relaxed) {
            self.unproven.lock().unwrap_or_else(PoisonError::into_inner).remove(self.number);
            self.settled.cancel();
        }
    }

    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Logs that the caller is refused.
    pub fn refuse(&self, why: &dyn std::fmt::Display) {
        self.refusals.note(self.peer, why);
    }

    /// Records the start of a call: the connection is not idle.
    pub fn note_call(&self) {
        self.last_call_ms.store(self.accepted.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Cancelled when the connection must be closed.
    pub fn close(&self) -> &CancellationToken {
        &self.close
    }

    /// Cancelled when the connection is no longer counted: after a proof, or because it has ended.
    pub fn settled(&self) -> CancellationToken {
        self.settled.clone()
    }

    /// The time at which the connection must be closed, as of now.
    pub fn deadline(&self, limits: &Limits) -> Instant {
        let idle = Duration::from_millis(self.last_call_ms.load(Ordering::Relaxed)) + limits.idle;
        self.accepted + idle.min(limits.lifetime)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner).remove(self.number);
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
        Admission::new(Limits { connections_max: all, connections_per_address_max: per_address, ..Limits::default() })
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
        assert!(!admission.close_oldest());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let admission = admission(10, 2);
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let tickets: Vec<_> = (0..4).map(|n| admission.admit(address(n))).collect();
        assert_eq!(closed(&tickets), [true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_moves_with_calls_up_to_the_lifetime() {
        let admission = admission(10, 10);
        let (limits, ticket) = (admission.limits(), admission.admit(from(1)));
        let start = Instant::now();
        assert_eq!(ticket.deadline(&limits), start + limits.idle);
        tokio::time::advance(limits.idle / 2).await;
        ticket.note_call();
        assert_eq!(ticket.deadline(&limits), start + limits.idle / 2 + limits.idle);
        tokio::time::advance(limits.lifetime).await;
        ticket.note_call();
        assert_eq!(ticket.deadline(&limits), start + limits.lifetime);
    }
}
