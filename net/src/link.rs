//! The stream of a connection that a server has accepted; it ends when its account is closed.

use crate::admission::Ticket;
use rustix::net::sockopt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

/// Idle time before the kernel sends keepalive probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// Sets the options of every connection: no delay of small messages, and the kernel's keepalive.
pub(crate) fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    Ok(stream)
}

/// A plain or a TLS stream.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with its account.
pub(crate) struct Link {
    wire: Wire,
    ticket: Arc<Ticket>,
    /// Set only while nothing is proven; a proven connection has the flag of its activity.
    closing: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Bytes that may still be read without a proof.
    unproven_bytes: u64,
}

impl Link {
    /// Without a proof at most `bytes_max` bytes are read from it.
    pub(crate) fn new(wire: Wire, ticket: Arc<Ticket>, bytes_max: u64) -> Link {
        let closing = (!ticket.is_proven()).then(|| Box::pin(ticket.close().clone().cancelled_owned()));
        Link { wire, ticket, closing, unproven_bytes: bytes_max }
    }

    /// Fails if the connection must be closed. Otherwise the reader and the writer are woken when that happens.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ticket.activity().is_hung_up() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Some(closing) = &mut self.closing else { return Ok(()) };
        if self.ticket.is_proven() {
            self.closing = None;
            return Ok(());
        }
        match closing.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Link {
    type ConnectInfo = Arc<Ticket>;

    fn connect_info(&self) -> Arc<Ticket> {
        self.ticket.clone()
    }
}

macro_rules! either {
    ($link:ident, $io:ident => $does:expr) => {
        match &mut $link.wire {
            Wire::Plain(io) => {
                let $io = Pin::new(io);
                $does
            }
            Wire::Tls(io) => {
                let $io = Pin::new(io);
                $does
            }
        }
    };
}

impl AsyncRead for Link {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        link.check(cx)?;
        let before = into.filled().len();
        let read = either!(link, io => io.poll_read(cx, into));
        if link.closing.is_some() {
            let bytes = (into.filled().len() - before) as u64;
            match link.unproven_bytes.checked_sub(bytes) {
                Some(left) => link.unproven_bytes = left,
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            }
        }
        if read.is_pending() {
            let activity = link.ticket.activity();
            activity.wake_when_hung_up(cx.waker());
            // It may have been closed just before.
            if activity.is_hung_up() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        link.check(cx)?;
        either!(link, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let link = self.get_mut();
        link.check(cx)?;
        either!(link, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(io) => io.is_write_vectored(),
            Wire::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        link.check(cx)?;
        either!(link, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let link = self.get_mut();
        either!(link, io => io.poll_shutdown(cx))
    }
}
