//! Repeats idempotent calls while the coordinator restarts.

use tokio::time::sleep;
use windrow_model::{Code, Failure};
use windrow_net::{Backoff, Contact};

/// Most retries after a lost connection: about half a minute, enough for a coordinator to restart.
const TRIES_MAX: u32 = 20;

/// Repeats a call until it is answered, with success or failure.
pub(super) async fn until_answered<T>(call: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    repeated(|| true, call).await
}

/// Most connections that may be closed during the handshake before the server is taken for another program.
const CUTS_MAX: u32 = 6;

/// Opens a connection. Retries if the server broke it after it had shown that it has the token, which means that it
/// restarts; and, up to [`CUTS_MAX`] times, if the connection was closed during the handshake, which a stopping
/// coordinator does before the next one starts. Otherwise the first failure is returned, because there may be no
/// server.
pub(super) async fn until_connected<T>(
    contact: &Contact,
    connect: impl AsyncFn() -> Result<T, Failure>,
) -> Result<T, Failure> {
    repeated(|| contact.was_made() || (1..CUTS_MAX).contains(&contact.cuts()), connect).await
}

async fn repeated<T>(may: impl Fn() -> bool, call: impl AsyncFn() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut backoff = Backoff::reconnect();
    loop {
        match call().await {
            Err(failure) if failure.code == Code::Unreachable && may() && backoff.tries() < TRIES_MAX => {
                sleep(backoff.next_delay()).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Cluster;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tonic::service::Routes;
    use windrow_net::{Role, Server, Token, serve};

    /// A server without calls, behind a link that breaks its first connection after `bytes` bytes of the caller; counts
    /// connections and the caller's bytes.
    async fn link(bytes: u64, token: Token) -> (String, [Arc<AtomicU64>; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let server = Server::new(Role::Coordinator, Some(token), None);
        tokio::spawn(serve(listener, Routes::default(), server, std::future::pending()));
        let link = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", link.local_addr().unwrap());
        let [connections, sent]: [Arc<AtomicU64>; 2] = Default::default();
        let counts = [connections.clone(), sent.clone()];
        tokio::spawn(async move {
            while let Ok((here, _)) = link.accept().await {
                let max = if connections.fetch_add(1, Ordering::SeqCst) == 0 { bytes } else { u64::MAX };
                let (mut here, mut there) = here.into_split();
                let (mut from, mut to) = TcpStream::connect(to).await.unwrap().into_split();
                let back = tokio::spawn(async move { tokio::io::copy(&mut from, &mut there).await });
                let sent = sent.clone();
                tokio::spawn(async move {
                    let (mut passed, mut byte) = (0, [0]);
                    while passed < max && matches!(here.read(&mut byte).await, Ok(1)) {
                        passed += 1;
                        sent.fetch_add(1, Ordering::SeqCst);
                        let _ = to.write_all(&byte).await;
                    }
                    // Both ends are closed.
                    back.abort();
                });
            }
        });
        (url, counts)
    }

    async fn connect(bytes: u64) -> (Code, [u64; 2]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let (url, counts) = link(bytes, Token::read_or_make(&file).unwrap()).await;
        let failure = Cluster::connect(Some(&url), Some(&file)).await.unwrap_err();
        (failure.code, counts.map(|count| count.load(Ordering::SeqCst)))
    }

    #[tokio::test]
    async fn connection_broken_after_the_handshake_is_reopened() {
        let (code, [connections, bytes]) = connect(u64::MAX).await;
        assert_eq!((code, connections), (Code::VersionMismatch, 1), "the whole way to an answer");
        for before_end in [1, 20, 60] {
            let (code, [connections, _]) = connect(bytes - before_end).await;
            assert_eq!((code, connections), (Code::VersionMismatch, 2), "{before_end} bytes before the end");
        }
    }

    /// A coordinator that ended during the handshake was reported as one that does not have the token.
    #[tokio::test]
    async fn connection_cut_in_the_handshake_is_reopened() {
        for bytes in [0, 1, 20, 150] {
            let (code, [connections, _]) = connect(bytes).await;
            assert_eq!((code, connections), (Code::VersionMismatch, 2), "cut after {bytes} bytes");
        }
    }

    #[tokio::test]
    async fn program_that_cuts_every_handshake_is_abandoned() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicU64::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 64]).await;
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        Token::read_or_make(&file).unwrap();
        let failure = Cluster::connect(Some(&url), Some(&file)).await.unwrap_err();
        assert_eq!(failure.code, Code::Unreachable);
        assert!(failure.message.contains("closed during the handshake"), "{failure}");
        assert_eq!(connections.load(Ordering::SeqCst), u64::from(CUTS_MAX));
    }
}
