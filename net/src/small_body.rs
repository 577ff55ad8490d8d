//! A request body with a size limit, for callers that have proven nothing.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::body::Body;

/// Most bytes of messages that a caller without a proof may send in one call.
pub const UNPROVEN_BYTES_MAX: usize = 4 << 10;

/// Fails the call at the first frame beyond the limit; later frames are not read.
pub(crate) struct SmallBody {
    inner: Body,
    left: usize,
}

impl SmallBody {
    pub(crate) fn new(inner: Body) -> SmallBody {
        SmallBody { inner, left: UNPROVEN_BYTES_MAX }
    }
}

impl http_body::Body for SmallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if bytes > self.left {
                self.inner = Body::empty();
                let message = format!("a call without the token may send {UNPROVEN_BYTES_MAX} bytes");
                return Poll::Ready(Some(Err(Status::resource_exhausted(message))));
            }
            self.left -= bytes;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
