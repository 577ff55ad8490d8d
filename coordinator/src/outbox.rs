//! The messages on their way to one worker: a queue with a bound on its bytes.
//!
//! The driver must not wait for a worker, so it never waits for room here. A worker that lets the bound be reached reads nothing
//! any more: its queue is emptied and its session ends. When it registers again it gets its assignments anew.

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use prost::Message;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tonic::Status;
use windrow_model::{ByteSize, Code, Failure};
use windrow_proto::v1;

/// Bytes of encoded messages that may wait, beside the first one. A worker gets no more tasks than it has slots, twice, and the
/// largest table of outputs is a few megabytes.
const WAITING_BYTES_MAX: usize = 256 << 20;
/// Bytes that a message takes beside its encoded form.
const MESSAGE_BYTES: usize = 256;

/// A queue: the driver's end, and the stream to the worker. `overflowed` is dropped when the bound is reached, or the driver drops
/// its end.
pub(crate) fn outbox(overflowed: oneshot::Sender<()>) -> (Outbox, Outgoing) {
    bounded(overflowed, WAITING_BYTES_MAX)
}

fn bounded(overflowed: oneshot::Sender<()>, bytes_max: usize) -> (Outbox, Outgoing) {
    let queue = Queue { session: Some(overflowed), ..Queue::default() };
    let shared = Arc::new(Shared { queue: Mutex::new(queue), reader: AtomicWaker::new(), bytes_max });
    (Outbox(shared.clone()), Outgoing(shared))
}

/// The driver's end. The stream ends when it is dropped.
pub(crate) struct Outbox(Arc<Shared>);

/// The stream of messages to a worker.
pub(crate) struct Outgoing(Arc<Shared>);

/// Ends the stream with an error, as long as it has not ended.
pub(crate) struct Refusal(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
    bytes_max: usize,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<(usize, v1::ToWorker)>,
    bytes: usize,
    /// Ends the session when it is dropped; absent at the end of the stream.
    session: Option<oneshot::Sender<()>>,
    /// The error with which the stream ends.
    failure: Option<Status>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Queues a message. A session that has ended takes none.
    pub(crate) fn send(&self, message: v1::ToWorker) {
        let mut queue = self.0.lock();
        if queue.session.is_none() {
            return;
        }
        let bytes = message.encoded_len() + MESSAGE_BYTES;
        if !queue.messages.is_empty() && queue.bytes + bytes > self.0.bytes_max {
            let waiting = ByteSize(queue.bytes as u64);
            let what =
                format!("the worker does not read its messages, of which {waiting} wait: it has to register again");
            tracing::warn!("a session ends: {what}");
            let failure = Some(windrow_net::to_status(&Failure::new(Code::Unreachable, what)));
            *queue = Queue { failure, ..Queue::default() };
        } else {
            queue.bytes += bytes;
            queue.messages.push_back((bytes, message));
        }
        drop(queue);
        self.0.reader.wake();
    }

    /// A handle for the task that reads from the worker.
    pub(crate) fn refusal(&self) -> Refusal {
        Refusal(self.0.clone())
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.0.lock().session = None;
        self.0.reader.wake();
    }
}

impl Refusal {
    /// Ends the stream with this error, after what waits.
    pub(crate) fn end(self, status: Status) {
        let mut queue = self.0.lock();
        if queue.session.take().is_some() {
            queue.failure = Some(status);
        }
        drop(queue);
        self.0.reader.wake();
    }
}

impl Stream for Outgoing {
    type Item = Result<v1::ToWorker, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Before the look at the queue: what comes in between wakes the reader.
        self.0.reader.register(cx.waker());
        let mut queue = self.0.lock();
        if let Some((bytes, message)) = queue.messages.pop_front() {
            queue.bytes -= bytes;
            return Poll::Ready(Some(Ok(message)));
        }
        match queue.session {
            Some(_) => Poll::Pending,
            None => Poll::Ready(queue.failure.take().map(Err)),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // Queued messages have no reader any more.
        *self.0.lock() = Queue::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};
    use windrow_net::from_status;

    fn message(bytes: usize) -> v1::ToWorker {
        let question = v1::CheckStaging { folder: vec![0; bytes], ..v1::CheckStaging::default() };
        v1::ToWorker { message: Some(v1::to_worker::Message::CheckStaging(question)) }
    }

    #[tokio::test]
    async fn session_that_never_reads_ends_with_an_empty_queue() {
        let (overflowed, mut ended) = oneshot::channel();
        let (outbox, mut outgoing) = bounded(overflowed, 1 << 20);
        let mut most = 0;
        for _ in 0..1_000 {
            outbox.send(message(10_000));
            most = most.max(outbox.0.lock().bytes);
        }
        assert!((1 << 19..=1 << 20).contains(&most), "{most} bytes waited at most");
        let left = |queue: &Queue| (queue.bytes, queue.messages.len());
        assert_eq!(left(&outbox.0.lock()), (0, 0), "and none after the end");
        assert!(ended.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed), "the session is over");
        let status = outgoing.next().await.unwrap().unwrap_err();
        assert_eq!(from_status(&status).code, Code::Unreachable);
        assert!(outgoing.next().await.is_none());
    }

    #[tokio::test]
    async fn message_beyond_the_bound_passes_alone() {
        let (overflowed, mut ended) = oneshot::channel();
        let (outbox, mut outgoing) = bounded(overflowed, 1_000);
        for _ in 0..3 {
            outbox.send(message(10_000));
            assert!(outgoing.next().await.unwrap().is_ok());
        }
        assert!(ended.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty), "the session goes on");
        assert!(outgoing.next().now_or_never().is_none());
        drop(outbox);
        assert!(outgoing.next().await.is_none());
        assert!(ended.await.is_err());
    }

    #[tokio::test]
    async fn refusal_comes_after_what_waits() {
        let (overflowed, _ended) = oneshot::channel();
        let (outbox, mut outgoing) = bounded(overflowed, 1_000);
        outbox.send(message(1));
        outbox.refusal().end(Status::aborted("wrong"));
        outbox.send(message(1));
        assert!(outgoing.next().await.unwrap().is_ok());
        assert_eq!(outgoing.next().await.unwrap().unwrap_err().message(), "wrong");
        assert!(outgoing.next().await.is_none());
    }
}
