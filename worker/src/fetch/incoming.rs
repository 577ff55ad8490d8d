//! One response to `FetchSegments`, decoded without gRPC's codec: pieces are slices of the received buffers.

use bytes::Bytes;
use http_body::{Body as _, Frame};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Code, Status};
use windrow_net::Connection;
use windrow_proto::pieces::{FETCH_SEGMENTS, Piece, PieceDecoder, put_message};
use windrow_proto::v1;

/// Pieces as they arrive.
pub(super) struct Incoming {
    body: Body,
    decoder: PieceDecoder,
}

impl Incoming {
    /// Sends the request, and waits for the beginning of the response.
    pub(super) async fn ask(
        mut connection: Connection,
        request: &v1::FetchSegmentsRequest,
    ) -> Result<Incoming, Status> {
        let mut message = Vec::new();
        put_message(&mut message, request);
        let mut request = http::Request::new(Body::new(Whole(Some(message.into()))));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(FETCH_SEGMENTS);
        let headers = request.headers_mut();
        headers.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        poll_fn(|cx| Service::<http::Request<Body>>::poll_ready(&mut connection, cx))
            .await
            .map_err(|e| Status::from_error(e.into()))?;
        let response = connection.call(request).await.map_err(|e| Status::from_error(e.into()))?;
        let (parts, body) = response.into_parts();
        check_status(&parts.headers)?;
        match parts.status {
            http::StatusCode::OK => Ok(Incoming { body: Body::new(body), decoder: PieceDecoder::default() }),
            other => Err(Status::unavailable(format!("the peer answers with HTTP status {other}"))),
        }
    }

    /// The next piece, if it has been received.
    pub(super) fn next_here(&mut self) -> Result<Option<Piece>, Status> {
        self.decoder.next_piece().map_err(|e| Status::internal(e.to_string()))
    }

    /// Waits for more bytes, and says how many came; none at the end of the stream.
    pub(super) async fn more(&mut self) -> Result<Option<usize>, Status> {
        loop {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                None => return Ok(None),
                Some(Err(status)) => return Err(status),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let bytes = data.len();
                        self.decoder.push(data);
                        return Ok(Some(bytes));
                    }
                    Err(frame) => frame.trailers_ref().map_or(Ok(()), check_status)?,
                },
            }
        }
    }
}

/// The error in headers or trailers, if there is one.
fn check_status(headers: &http::HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// A body of one piece.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|all| Ok(Frame::data(all))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
