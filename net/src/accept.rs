//! The accept loop of a server: starts a task for each connection, and survives a process without free descriptors.
//!
//! A connection that has not proven the token has deadlines: for its handshake, for its next call, and in total
//! ([`crate::admission`]). The loop knows nothing of HTTP/2.

use crate::admission::{Admission, Ticket};
use crate::handshake::Handshake;
use crate::link::{Link, prepare};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The first wait after an accept that failed for lack of resources; doubled up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// Interval between log lines about the lack of descriptors.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The servers that connections are passed to, by whether their callers have proven the token.
#[derive(Clone)]
pub(crate) struct Exits {
    pub proven: mpsc::Sender<io::Result<Link>>,
    pub unproven: mpsc::Sender<io::Result<Link>>,
}

/// Accepts connections until it is dropped.
pub(crate) async fn accept(listener: TcpListener, admission: Admission, handshake: Handshake, exits: Exits) {
    let mut spare = Spare::default();
    let mut backoff = BACKOFF_FIRST;
    let mut warned: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                backoff = BACKOFF_FIRST;
                spare.refill();
                let ticket = admission.admit(peer.ip());
                tokio::spawn(begin(stream, ticket, admission.clone(), handshake.clone(), exits.clone()));
            }
            // The connection broke before it was accepted; the next one may be fine.
            Err(e) if !is_exhausted(&e) => {
                tracing::debug!("a connection broke before it was accepted: {e}");
                tokio::task::yield_now().await;
            }
            Err(e) => {
                if warned.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        "cannot accept connections: {e}; closing connections without a proof of the token or without calls"
                    );
                }
                // A queued connection that cannot be accepted would keep this loop busy.
                if !admission.close_one() {
                    spare.turn_away(&listener).await;
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Returns whether the process or the machine lacks a resource, so that an immediate retry cannot help.
fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Runs the handshake of a connection, passes it on, and enforces the deadlines of one that has proven nothing.
async fn begin(stream: TcpStream, ticket: Arc<Ticket>, admission: Admission, handshake: Handshake, exits: Exits) {
    let limits = admission.limits();
    let taken = async {
        let stream = prepare(stream)?;
        timeout(limits.handshake, handshake.take(stream, &ticket))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let taken = tokio::select! {
        taken = taken => taken,
        () = ticket.close().cancelled() => return,
    };
    let (wire, proven) = match taken {
        Ok(taken) => taken,
        Err(e) => {
            match e.kind() {
                // Also the alert of a caller that refuses this server's key because its token differs.
                io::ErrorKind::InvalidData => ticket.refuse(&format_args!("its handshake fails: {e}")),
                _ => tracing::debug!("a connection ends in its handshake: {e}"),
            }
            return;
        }
    };
    if proven {
        ticket.prove();
        // A closed channel means that the server is stopping.
        let _ = exits.proven.send(Ok(Link::new(wire, ticket, limits.bytes_max))).await;
        return;
    }
    ticket.enter();
    let (settled, close) = (ticket.settled(), ticket.close().clone());
    let watched = Arc::downgrade(&ticket);
    if exits.unproven.send(Ok(Link::new(wire, ticket, limits.bytes_max))).await.is_err() {
        return;
    }
    loop {
        let Some(deadline) = watched.upgrade().map(|ticket| ticket.deadline(&limits)) else { return };
        if deadline <= Instant::now() {
            close.cancel();
            return;
        }
        tokio::select! {
            () = settled.cancelled() => return,
            () = close.cancelled() => return,
            () = sleep_until(deadline) => {}
        }
    }
}

/// A spare descriptor: closed when there is no other, to accept and close a connection.
struct Spare(Option<File>);

impl Default for Spare {
    fn default() -> Self {
        Spare(File::open("/dev/null").ok())
    }
}

impl Spare {
    fn refill(&mut self) {
        if self.0.is_none() {
            *self = Spare::default();
        }
    }

    /// Accepts and closes the connection that has waited longest.
    async fn turn_away(&mut self, listener: &TcpListener) {
        self.0 = None;
        if let Ok(Ok((stream, _))) = timeout(BACKOFF_FIRST, listener.accept()).await {
            drop(stream);
        }
        self.refill();
    }
}
