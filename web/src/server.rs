//! The page's listener, on a thread of its own: handshakes and pages take nothing of the thread that schedules. HTTP/1.1
//! only; each connection has a bounded head, and is closed by its account when it does nothing (`connections.rs`).

use crate::connections::{Awaiting, Busy, Connection, Connections, Entry};
use crate::site::Site;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use windrow_model::{Code, Failure};
use windrow_net::ServerTls;

/// Most bytes of the head of a request, and of what is read ahead.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// How long a TLS handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Wait after a failed accept: the process may have no free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Threads for blocking calls, of which the page makes none of its own.
const BLOCKING_THREADS: usize = 2;

/// A page that is being served; dropping it ends the thread.
#[derive(Debug)]
pub struct Server {
    _stop: oneshot::Sender<()>,
}

/// Serves a site on a listener that is bound already. Connections end with the returned value.
///
/// # Errors
/// The certificate files cannot be used, or the system gives no thread. Reads files: call it where blocking is allowed.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    tls: Option<&ServerTls>,
    site: Arc<Site>,
) -> Result<Server, Failure> {
    let tls = tls.map(ServerTls::http_config).transpose()?.map(|config| TlsAcceptor::from(Arc::new(config)));
    let failed = |e: io::Error| Failure::new(Code::IoError, format!("cannot serve the page: {e}"));
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime =
        Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build().map_err(failed)?;
    let (stop, stopped) = oneshot::channel();
    let run = move || {
        runtime.block_on(async {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(e) => return tracing::error!("the page is not served: {e}"),
            };
            tokio::select! {
                () = accept(listener, tls, site) => {}
                // A dropped sender is the end.
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("page".into()).spawn(run).map_err(failed)?;
    Ok(Server { _stop: stop })
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, site: Arc<Site>) {
    let connections = Connections::default();
    let router = site.router();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without room the connection is closed.
                let Some(entry) = connections.enter() else { continue };
                tokio::spawn(converse(stream, entry, tls.clone(), site.clone(), router.clone()));
            }
            Err(e) => {
                tracing::debug!("the page cannot accept a connection: {e}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, entry: Entry, tls: Option<TlsAcceptor>, site: Arc<Site>, router: Router) {
    // Without it answers are only slower.
    let _ = stream.set_nodelay(true);
    let connection = entry.connection().clone();
    let work = async {
        match tls {
            None => exchange(stream, &entry, site, router).await,
            Some(tls) => match timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
                Ok(Ok(stream)) => exchange(stream, &entry, site, router).await,
                Ok(Err(e)) => tracing::debug!("a connection to the page ends in its handshake: {e}"),
                Err(_) => tracing::debug!("a connection to the page does not finish its handshake"),
            },
        }
    };
    tokio::select! {
        () = work => {}
        () = connection.must_close() => {}
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    entry: &Entry,
    site: Arc<Site>,
    router: Router,
) {
    let connection = entry.connection().clone();
    let stream = Watched { stream, connection: connection.clone() };
    let service = service_fn(move |request: Request<Incoming>| {
        let (site, router, busy, form_of) = (site.clone(), router.clone(), connection.busy(), connection.clone());
        async move {
            let request = request.map(|body| Body::new(Form { body, connection: form_of, awaiting: None }));
            let reply = site.serve(router, request).await;
            Ok::<_, Infallible>(reply.map(|body| BusyBody::new(body, busy)))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(crate::connections::IDLE_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(e) = served {
        tracing::debug!("a connection to the page ends: {e}");
    }
}

/// A body that keeps its connection busy while it is a stream. A whole body does not: the rest is the speed of the reader,
/// and a slow reader counts as idle.
struct BusyBody {
    body: Body,
    _busy: Option<Busy>,
}

impl BusyBody {
    fn new(body: Body, busy: Busy) -> BusyBody {
        let is_stream = body.size_hint().exact().is_none();
        BusyBody { body, _busy: is_stream.then_some(busy) }
    }
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request. Its connection may give way while the client has not sent it.
struct Form {
    body: Incoming,
    connection: Arc<Connection>,
    awaiting: Option<Awaiting>,
}

impl HttpBody for Form {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.awaiting = None;
        } else if self.awaiting.is_none() {
            self.awaiting = Some(self.connection.awaiting());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that notes what its reader takes.
struct Watched<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S> Watched<S> {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = written {
            self.connection.progress();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
