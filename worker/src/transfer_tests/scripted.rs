//! Peers that answer as a test says.

use crate::transfer_tests::serve;
use bytes::Bytes;
use prost::Message;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{Codec, Streaming};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use windrow_format::checksum::crc32c;
use windrow_net::{Role, Server};
use windrow_proto::pieces::put_message;
use windrow_proto::v1;

/// What follows the bytes of an answer.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// The stream ends.
    End,
    /// The stream stays open, and nothing comes.
    Silence,
    /// These bytes again and again, with a pause before each.
    Again(Vec<u8>, Duration),
}

/// An answer to one request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// The stream of these pieces.
pub(super) fn pieces(pieces: &[v1::SegmentPiece]) -> Vec<u8> {
    let mut bytes = Vec::new();
    pieces.iter().for_each(|piece| put_message(&mut bytes, piece));
    bytes
}

/// A piece in which segments of these positions and lengths begin.
pub(super) fn piece(heads: &[(u32, u64)], data: &[u8]) -> v1::SegmentPiece {
    let lengths: Vec<u64> = heads.iter().map(|head| head.1).collect();
    let heads = v1::SegmentHeads {
        index: heads.iter().map(|head| head.0).collect(),
        records: vec![1; lengths.len()],
        raw_length: lengths.clone(),
        length: lengths,
    };
    v1::SegmentPiece {
        data: Bytes::copy_from_slice(data),
        crc32c: Some(crc32c(data)),
        heads: Some(heads),
        ..v1::SegmentPiece::default()
    }
}

/// The end of a stream.
pub(super) fn last() -> v1::SegmentPiece {
    v1::SegmentPiece { last: true, ..v1::SegmentPiece::default() }
}

/// A peer that gives scripted answers to requests for segments.
pub(super) struct Scripted {
    pub url: String,
    /// The requests so far.
    pub requests: Arc<Mutex<Vec<v1::FetchSegmentsRequest>>>,
    /// How often the bytes of [`Then::Again`] were sent.
    pub repeated: Arc<AtomicUsize>,
}

type Script = dyn Fn(usize, &v1::FetchSegmentsRequest) -> Answer + Send + Sync;

impl Scripted {
    /// Answers with `script`, which gets the number of earlier requests and the request.
    pub(super) async fn start(
        script: impl Fn(usize, &v1::FetchSegmentsRequest) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, repeated) = (Arc::default(), Arc::default());
        let service =
            Fetching { script: Arc::new(script), requests: Arc::clone(&requests), repeated: Arc::clone(&repeated) };
        let routes = tonic::service::Routes::new(service);
        tokio::spawn(serve(listener, routes, Server::new(Role::Worker, None, None), std::future::pending()));
        Scripted { url, requests, repeated }
    }

    /// Gives the same answer to every request.
    pub(super) async fn always(bytes: Vec<u8>, then: Then) -> Scripted {
        let answer = Answer { bytes, then };
        Scripted::start(move |_, _| answer.clone()).await
    }
}

#[derive(Clone)]
struct Fetching {
    script: Arc<Script>,
    requests: Arc<Mutex<Vec<v1::FetchSegmentsRequest>>>,
    repeated: Arc<AtomicUsize>,
}

impl NamedService for Fetching {
    const NAME: &'static str = "windrow.v1.Transfer";
}

impl Service<http::Request<Body>> for Fetching {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Fetching { script, requests, repeated } = self.clone();
        Box::pin(async move {
            let decoder = ProstCodec::<(), v1::FetchSegmentsRequest>::default().decoder();
            let mut messages = Streaming::new_request(decoder, request.into_body(), None, None);
            let request = messages.message().await.unwrap().unwrap();
            let answer = {
                let mut requests = requests.lock().unwrap();
                requests.push(request.clone());
                script(requests.len() - 1, &request)
            };
            let (frames, stream) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                for frame in answer.bytes.chunks(8 << 10) {
                    if frames.send(Bytes::copy_from_slice(frame)).await.is_err() {
                        return;
                    }
                }
                match answer.then {
                    Then::End => {}
                    Then::Silence => frames.closed().await,
                    Then::Again(bytes, pause) => loop {
                        tokio::time::sleep(pause).await;
                        if frames.send(Bytes::from(bytes.clone())).await.is_err() {
                            return;
                        }
                        repeated.fetch_add(1, Ordering::Relaxed);
                    },
                }
            });
            Ok(grpc(Body::new(Frames(stream))))
        })
    }
}

struct Frames(tokio::sync::mpsc::Receiver<Bytes>);
impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }
}

/// A worker's service that may answer calls for the places of outputs with something else.
#[derive(Clone)]
pub(super) struct Locating<S> {
    inner: S,
    lie: Option<v1::LocateOutputsReply>,
}

impl<S> Locating<S> {
    pub(super) fn new(inner: S, lie: Option<v1::LocateOutputsReply>) -> Locating<S> {
        Locating { inner, lie }
    }
}

impl<S: NamedService> NamedService for Locating<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Locating<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match &self.lie {
            Some(lie) if request.uri().path().ends_with("/LocateOutputs") => {
                let mut bytes = Vec::new();
                put_message(&mut bytes, lie);
                let mut trailers = http::HeaderMap::new();
                trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from_static("0"));
                let frames = [http_body::Frame::data(bytes.into()), http_body::Frame::trailers(trailers)];
                Box::pin(std::future::ready(Ok(grpc(Body::new(Listed(frames.into()))))))
            }
            _ => Box::pin(self.inner.call(request)),
        }
    }
}

struct Listed(VecDeque<http_body::Frame<Bytes>>);
impl http_body::Body for Listed {
    type Data = Bytes;
    type Error = Status;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn grpc(body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    let content_type = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}

/// The list of outputs in a request, if it is there.
pub(super) fn list_of(request: &v1::FetchSegmentsRequest) -> Option<v1::WantedList> {
    let list = &request.wanted.as_ref()?.list;
    (!list.is_empty()).then(|| v1::WantedList::decode(&list[..]).unwrap())
}
