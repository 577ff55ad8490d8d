//! A real server on loopback, with clients that have the right token, a wrong one, and none.

use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use windrow_model::{Code, Failure};
use windrow_net::{Access, Role, Server, ServerTls, Token, channel, clients, from_status, serve};
use windrow_proto::v1::ListRequest;

struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Failure>>,
}

async fn start(token: Option<Token>, tls: Option<ServerTls>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(Role::Coordinator, token, tls);
    let task = tokio::spawn(serve(listener, Routes::default(), server, async {
        let _ = stopped.await;
    }));
    Running { addr, stop, task }
}

/// The server's answer to a call without a service; the caller is judged first.
async fn judge(url: &str, token: Option<&str>, ca: Option<&Path>) -> Code {
    let access = Access { token: token.map(|t| Token::parse(t).unwrap()), ca: ca.map(Path::to_path_buf) };
    let connection = match channel(url, &access).await {
        Ok(connection) => connection,
        Err(failure) => return failure.code,
    };
    let status = clients::jobs(connection).list(ListRequest::default()).await.unwrap_err();
    from_status(&status).code
}

const GOOD: &str = "0123456789abcdef";
const BAD: &str = "0123456789abcdee";

#[tokio::test]
async fn call_without_the_token_is_refused() {
    let running = start(Token::parse(GOOD), None).await;
    let url = format!("http://{}", running.addr);
    assert_eq!(judge(&url, None, None).await, Code::Unauthorised);
    assert_eq!(judge(&url, Some(BAD), None).await, Code::Unauthorised);
    // Admitted, but there is no such service.
    assert_eq!(judge(&url, Some(GOOD), None).await, Code::VersionMismatch);
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn closed_port_is_unreachable_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = channel(&url, &Access::default()).await.unwrap_err();
    assert_eq!(failure.code, Code::Unreachable);
    assert!(failure.message.contains(&url), "{}", failure.message);
    for bad in ["ftp://x:1", "nonsense", "http://"] {
        assert!(channel(bad, &Access::default()).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn server_stops_while_a_client_stays_connected() {
    let running = start(None, None).await;
    let connection = channel(&format!("http://{}", running.addr), &Access::default()).await.unwrap();
    running.stop.send(()).unwrap();
    running.task.await.unwrap().unwrap();
    drop(connection);
}

#[tokio::test]
async fn tls_client_trusts_only_its_own_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (certify(folder.path(), "ours"), certify(folder.path(), "other"));
    let running = start(Token::parse(GOOD), Some(ours.clone())).await;
    let url = format!("https://localhost:{}", running.addr.port());
    assert_eq!(judge(&url, Some(GOOD), ours.ca.as_deref()).await, Code::VersionMismatch);
    assert_eq!(judge(&url, Some(BAD), ours.ca.as_deref()).await, Code::Unauthorised);
    assert_eq!(judge(&url, None, ours.ca.as_deref()).await, Code::Unauthorised);
    assert_eq!(judge(&url, Some(GOOD), other.ca.as_deref()).await, Code::CertificateNotTrusted);
    let by_number = format!("https://127.0.0.1:{}", running.addr.port());
    assert_eq!(judge(&by_number, Some(GOOD), ours.ca.as_deref()).await, Code::CertificateWrongName);
    // The other scheme is reported as a mistake in the URL.
    let plain = format!("http://localhost:{}", running.addr.port());
    assert_eq!(judge(&plain, Some(GOOD), None).await, Code::BadRequest);
    let sealed = start(Token::parse(GOOD), None).await;
    let secure = format!("https://localhost:{}", sealed.addr.port());
    assert_eq!(judge(&secure, Some(GOOD), ours.ca.as_deref()).await, Code::BadRequest);
}

#[tokio::test]
async fn expired_certificate_is_reported_as_expired() {
    let folder = tempfile::tempdir().unwrap();
    let old = certify_until(folder.path(), "old", Some(2001));
    let running = start(Token::parse(GOOD), Some(old.clone())).await;
    let url = format!("https://localhost:{}", running.addr.port());
    assert_eq!(judge(&url, Some(GOOD), old.ca.as_deref()).await, Code::CertificateExpired);
}

#[test]
fn server_finds_its_own_certificate_expired() {
    let folder = tempfile::tempdir().unwrap();
    let old = certify_until(folder.path(), "old", Some(2001));
    let failure = old.check(old.ca.as_deref()).unwrap_err();
    assert_eq!(failure.code, Code::CertificateExpired);
    assert!(failure.message.contains("old.cert.pem"), "{failure}");
    // Callers judge the authority, not the server.
    let ours = certify(folder.path(), "ours");
    assert_eq!(ours.check(ours.ca.as_deref()), Ok(()));
    assert_eq!(ours.check(old.ca.as_deref()), Ok(()));
    assert_eq!(ours.check(None), Ok(()));
    std::fs::write(ours.ca.as_deref().unwrap(), "").unwrap();
    assert_eq!(ours.check(ours.ca.as_deref()).unwrap_err().code, Code::BadRequest);
}

/// Tools that know nothing of proofs, and proxies that terminate TLS, send the token in a header.
#[tokio::test]
async fn header_with_the_token_is_accepted_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let ours = certify(folder.path(), "ours");
    let running = start(Token::parse(GOOD), Some(ours.clone())).await;
    let access = Access { token: None, ca: ours.ca };
    let connection = channel(&format!("https://localhost:{}", running.addr.port()), &access).await.unwrap();
    for (token, code) in [(BAD, Code::Unauthorised), (GOOD, Code::VersionMismatch)] {
        let mut request = tonic::Request::new(ListRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let status = clients::jobs(connection.clone()).list(request).await.unwrap_err();
        assert_eq!(from_status(&status).code, code);
    }
}

fn certify(folder: &Path, name: &str) -> ServerTls {
    certify_until(folder, name, None)
}

fn certify_until(folder: &Path, name: &str, until_year: Option<i32>) -> ServerTls {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertifiedIssuer::self_signed(params, ca_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    if let Some(year) = until_year {
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
    }
    let cert = params.signed_by(&key, &ca).unwrap();
    let write = |what: &str, text: String| {
        let path = folder.join(format!("{name}.{what}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    ServerTls {
        cert: write("cert", cert.pem()),
        key: write("key", key.serialize_pem()),
        ca: Some(write("ca", ca.pem())),
    }
}
