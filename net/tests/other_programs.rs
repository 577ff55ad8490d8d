//! What a client says of a server that is no coordinator.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use windrow_model::{Code, Failure};
use windrow_net::{Access, Role, Server, channel, hello, serve};

/// An HTTP/2 connection preface has this many bytes, and a frame's head these.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
/// Types of frames.
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

/// The failure of a greeting to a program that answers each connection with `answer`.
async fn greet<F: Future<Output = ()> + Send + 'static>(answer: fn(TcpStream) -> F) -> Failure {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    let connection = channel(&url, &Access::default()).await.unwrap();
    let failure = hello(&url, &connection).await.unwrap_err();
    assert!(failure.message.contains(&url), "{failure}");
    failure
}

/// A web server of HTTP/1.
async fn http1(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 1024]).await;
    let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
    // Until the client gives up.
    while matches!(stream.read(&mut [0; 1024]).await, Ok(1..)) {}
}

/// A web server of HTTP/2 that answers the first request with this field, the status.
async fn http2(mut stream: TcpStream, status: u8) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE_BYTES]).await?;
    stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await?;
    loop {
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            // The end of the headers and of the stream.
            stream.write_all(&[0, 0, 1, HEADERS, 5, head[5], head[6], head[7], head[8], status]).await?;
        }
    }
}

async fn not_found(stream: TcpStream) {
    let _ = http2(stream, 0x8d).await;
}

async fn ok(stream: TcpStream) {
    let _ = http2(stream, 0x88).await;
}

#[tokio::test]
async fn web_server_is_named_with_its_http_status() {
    for (failure, number) in [(greet(not_found).await, "404"), (greet(ok).await, "200")] {
        assert_eq!(failure.code, Code::Unreachable);
        assert!(failure.message.contains(&format!("HTTP status {number}")), "{failure}");
        assert!(failure.message.contains("another program"), "{failure}");
    }
}

#[tokio::test]
async fn server_without_http2_is_named_as_such() {
    let failure = greet(http1).await;
    assert_eq!(failure.code, Code::Unreachable);
    assert!(failure.message.contains("does not speak HTTP/2"), "{failure}");
}

#[tokio::test]
async fn grpc_server_without_jobs_is_no_coordinator() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, Routes::default(), Server::new(Role::Worker, None, None), std::future::pending()));
    let connection = channel(&url, &Access::default()).await.unwrap();
    let failure = hello(&url, &connection).await.unwrap_err();
    assert_eq!(failure.code, Code::VersionMismatch);
    assert!(failure.message.contains(&url) && failure.message.contains("not a coordinator"), "{failure}");
}
