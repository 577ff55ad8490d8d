//! What a program on a server's port learns, and can do, when callers with the token connect.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use windrow_model::Code;
use windrow_net::connect::channel_to;
use windrow_net::{Access, Contact, Role, Server, Token, channel, clients, from_status, serve};
use windrow_proto::v1::ListRequest;

const TOKEN: &str = "0123456789abcdef";

fn access(token: &str) -> Access {
    Access { token: Token::parse(token), ca: None }
}

async fn start(server: Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Routes::default(), server, std::future::pending()));
    addr
}

/// Accepts connections, answers `reply` to each, and records what it is sent.
async fn squatter(reply: &'static [u8]) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keeps = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(reply).await;
            let mut bytes = vec![0; 64 << 10];
            while let Ok(n @ 1..) = stream.read(&mut bytes).await {
                keeps.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        }
    });
    (url, seen)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The first bytes of an HTTP/2 server: empty settings.
const HTTP2_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test]
async fn program_on_the_port_gets_neither_token_nor_call() {
    let (url, seen) = squatter(HTTP2_SETTINGS).await;
    let failure = channel(&url, &access(TOKEN)).await.unwrap_err();
    assert_eq!(failure.code, Code::Unreachable, "{failure}");
    assert!(failure.message.contains(&url), "{failure}");
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && !contains(&seen, TOKEN.as_bytes()) && !contains(&seen, b"Bearer"));
}

/// Closes each connection after it has read `bytes` of the caller.
async fn cutter(bytes: usize, scheme: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read_exact(&mut vec![0; bytes]).await;
        }
    });
    url
}

/// A server that was going down was reported as one that does not have the token.
#[tokio::test]
async fn cut_handshake_is_no_failed_proof() {
    for scheme in ["http", "https"] {
        for bytes in [0, 1, 100] {
            let url = cutter(bytes, scheme).await;
            let contact = Contact::default();
            let failure = windrow_net::channel_with(&contact, &url, &access(TOKEN)).await.unwrap_err();
            assert_eq!((failure.code, contact.cuts()), (Code::Unreachable, 1), "{scheme} {bytes}: {failure}");
            assert!(failure.message.contains("was closed during the handshake"), "{scheme} {bytes}: {failure}");
            assert!(!failure.message.contains("prove") && !failure.message.contains("use TLS"), "{failure}");
        }
    }
    // A server that answers something else is not a server of Windrow.
    let (url, _) = squatter(HTTP2_SETTINGS).await;
    let contact = Contact::default();
    let failure = windrow_net::channel_with(&contact, &url, &access(TOKEN)).await.unwrap_err();
    assert!(failure.message.contains("does not prove") && contact.cuts() == 0, "{failure}");
}

#[tokio::test]
async fn server_with_another_token_is_refused_by_its_caller() {
    let addr = start(Server::new(Role::Coordinator, Token::parse("0123456789abcdee"), None)).await;
    let failure = channel(&format!("http://{addr}"), &access(TOKEN)).await.unwrap_err();
    assert_eq!(failure.code, Code::Unauthorised, "{failure}");
    assert!(failure.message.contains(&addr.to_string()), "{failure}");
}

/// Relays bytes between callers and `to`, and records what callers sent.
async fn relay(to: SocketAddr) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keeps = seen.clone();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            let ((mut from_caller, mut to_caller), (mut from_server, mut to_server)) =
                (caller.into_split(), server.into_split());
            let keeps = keeps.clone();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_caller).await });
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(n @ 1..) = from_caller.read(&mut bytes).await {
                    keeps.lock().unwrap().extend_from_slice(&bytes[..n]);
                    let _ = to_server.write_all(&bytes[..n]).await;
                }
            });
        }
    });
    (url, seen)
}

#[tokio::test]
async fn worker_cannot_impersonate_the_coordinator() {
    let worker = start(Server::new(Role::Worker, Token::parse(TOKEN), None)).await;
    let (url, _) = relay(worker).await;
    assert_eq!(channel(&url, &access(TOKEN)).await.unwrap_err().code, Code::Unauthorised);
    assert!(channel_to(Role::Worker, &url, &access(TOKEN)).await.is_ok());
}

#[tokio::test]
async fn relay_to_the_right_server_reads_nothing() {
    let coordinator = start(Server::new(Role::Coordinator, Token::parse(TOKEN), None)).await;
    let (url, seen) = relay(coordinator).await;
    let connection = channel(&url, &access(TOKEN)).await.unwrap();
    let status = clients::jobs(connection).list(ListRequest::default()).await.unwrap_err();
    // Admitted, but there is no such service.
    assert_eq!(from_status(&status).code, Code::VersionMismatch);
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 300 && !contains(&seen, TOKEN.as_bytes()) && !contains(&seen, b"windrow.v1.Jobs"));
}

#[tokio::test]
async fn bytes_of_one_connection_prove_nothing_on_another() {
    let coordinator = start(Server::new(Role::Coordinator, Token::parse(TOKEN), None)).await;
    let (url, seen) = relay(coordinator).await;
    let connection = channel(&url, &access(TOKEN)).await.unwrap();
    let _ = clients::jobs(connection).list(ListRequest::default()).await;
    let recorded = seen.lock().unwrap().clone();
    let mut again = TcpStream::connect(coordinator).await.unwrap();
    again.write_all(&recorded).await.unwrap();
    let mut answer = Vec::new();
    // The server's half of a new handshake, an alert, and the end.
    again.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() < 1024, "{}", answer.len());
}

#[tokio::test]
async fn token_in_the_clear_is_refused_unless_insecure() {
    for (insecure, code, words) in
        [(false, Code::VersionMismatch, "in the clear"), (true, Code::VersionMismatch, "not implemented")]
    {
        let server = Server { insecure, ..Server::new(Role::Coordinator, Token::parse(TOKEN), None) };
        let addr = start(server).await;
        // As an older release does it.
        let connection = channel(&format!("http://{addr}"), &Access::default()).await.unwrap();
        let mut request = tonic::Request::new(ListRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
        let status = clients::jobs(connection).list(request).await.unwrap_err();
        let failure = from_status(&status);
        assert_eq!(failure.code, code);
        assert!(failure.message.contains(words), "{failure}");
    }
}
