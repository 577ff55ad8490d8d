//! Frames between the worker and one executor, over the inherited socket.
//!
//! A read may be cancelled at any point without losing a byte. A task of its own writes, so that an executor that does
//! not read never blocks reception from it.

use bytes::BytesMut;
use std::os::unix::net::UnixStream as StdStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use windrow_proto::v1::{FromExecutor, ToExecutor};
use windrow_proto::{FrameDecoder, FrameError, encode_frame};

/// The receiving side of an executor's socket.
#[derive(Debug)]
pub(crate) struct Receiver {
    half: OwnedReadHalf,
    decoder: FrameDecoder,
}

/// The sending side. Dropping it closes the direction, which asks the executor to end.
#[derive(Debug)]
pub(crate) struct Sender(mpsc::UnboundedSender<Vec<u8>>);

/// Both ends of an executor's socket.
pub(crate) fn open(socket: StdStream) -> std::io::Result<(Sender, Receiver)> {
    socket.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(socket)?.into_split();
    let (sender, queue) = mpsc::unbounded_channel();
    tokio::spawn(drive_writes(write, queue));
    Ok((Sender(sender), Receiver { half: read, decoder: FrameDecoder::new() }))
}

async fn drive_writes(mut half: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(frame) = queue.recv().await {
        // The reading side notices and reports a broken socket.
        if half.write_all(&frame).await.is_err() {
            return;
        }
    }
}

impl Sender {
    /// Queues one message; it is lost if the executor is gone, whose end is reported separately. The queue is bounded
    /// by the assigned tasks.
    pub(crate) fn send(&self, message: &ToExecutor) -> Result<(), FrameError> {
        let _ = self.0.send(encode_frame(message)?);
        Ok(())
    }
}

impl Receiver {
    /// The next message; `None` when the executor has closed its end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<FromExecutor>, FrameError> {
        loop {
            if let Some(message) = self.decoder.next_frame()? {
                return Ok(Some(message));
            }
            let buffer: &mut BytesMut = self.decoder.buffer();
            match self.half.read_buf(buffer).await {
                Ok(0) if self.decoder.is_empty() => return Ok(None),
                Ok(0) => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                Ok(_) => {}
                // A child that dies with unread frames in its socket resets it, which counts as its end.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
