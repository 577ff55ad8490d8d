//! A server's accept loop: it takes connections on, begins each in a task of its own, and survives a process without
//! free descriptors.
//!
//! A connection that has not proven the token has deadlines: for its handshake, for its next call, and in all
//! ([`crate::admission`]). What HTTP/2 says is none of this file's business.

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

/// The first wait after an accept that failed for want of something; doubled up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// That descriptors are used up is logged this often.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Where connections go on, by what their callers have proven.
#[derive(Clone)]
pub(crate) struct Exits {
    pub proven: mpsc::Sender<io::Result<Link>>,
    pub unproven: mpsc::Sender<io::Result<Link>>,
}

/// Accepts until it is dropped.
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
            // The connection is gone again, or was never whole: the next one may be fine.
            Err(e) if !is_exhausted(&e) => {
                tracing::debug!("a connection is lost before it is accepted: {e}");
                tokio::task::yield_now().await;
            }
            Err(e) => {
                if warned.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!("cannot accept connections: {e}; those without a proof of the token are closed");
                }
                // A connection that waits in the queue and cannot be taken on would keep this loop busy.
                if !admission.close_oldest() {
                    spare.turn_away(&listener).await;
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Whether the process or the machine lacks something, so that trying again at once cannot help.
fn is_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// From the accept to HTTP/2, and then the deadlines of a connection that has proven nothing.
async fn begin(stream: TcpStream, ticket: Arc<Ticket>, admission: Admission, handshake: Handshake, exits: Exits) {
    let limits = admission.limits();
    let taken = async {
        let stream = prepare(stream)?;
        timeout(limits.handshake, handshake.take(stream)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    };
    let taken = tokio::select! {
        taken = taken => taken,
        () = ticket.close().cancelled() => return,
    };
    let (wire, proven) = match taken {
        Ok(taken) => taken,
        Err(e) => {
            match e.kind() {
                // Also what a caller says that does not take this server's key, because its token is another one.
                io::ErrorKind::InvalidData => ticket.refuse(&format_args!("its handshake fails: {e}")),
                _ => tracing::debug!("a connection ends in its handshake: {e}"),
            }
            return;
        }
    };
    if proven {
        ticket.prove();
        // A closed exit is a server that stops.
        let _ = exits.proven.send(Ok(Link::new(wire, ticket))).await;
        return;
    }
    let (settled, close) = (ticket.settled(), ticket.close().clone());
    let watched = Arc::downgrade(&ticket);
    if exits.unproven.send(Ok(Link::new(wire, ticket))).await.is_err() {
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

/// A descriptor that is given up to accept, and close, a connection when there is no other.
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

    /// Closes the connection that waits longest.
    async fn turn_away(&mut self, listener: &TcpListener) {
        self.0 = None;
        if let Ok(Ok((stream, _))) = timeout(BACKOFF_FIRST, listener.accept()).await {
            drop(stream);
        }
        self.refill();
    }
}
