//! A call is open until its answer has been sent: while a connection has open calls it is in use, and not closed for want of
//! descriptors.

use crate::activity::Activity;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;

/// Counts as an open call of its connection until it is dropped.
pub(crate) struct OpenCall(Arc<Activity>);

impl OpenCall {
    pub(crate) fn begin(activity: Arc<Activity>) -> OpenCall {
        activity.begin_call();
        OpenCall(activity)
    }

    /// The answer's body, with which the call ends.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        Body::new(Answer { body, _call: self })
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.end_call();
    }
}

struct Answer {
    body: Body,
    _call: OpenCall,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
