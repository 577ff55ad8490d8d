//! The connections, time and bytes that callers can take from a server before they have proven anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tonic::Code as Grpc;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use windrow_model::Code;
use windrow_net::{
    Access, Connection, Limits, Role, Server, Token, UNPROVEN_BYTES_MAX, channel, clients, from_status, serve,
};
use windrow_proto::v1::{ListRequest, PutRequest};

const TOKEN: &str = "0123456789abcdef";
/// Deadline against a test that hangs; nothing here takes that long.
const HANG: Duration = Duration::from_secs(60);

fn short() -> Limits {
    Limits {
        handshakes_max: 12,
        handshakes_per_address_max: 8,
        proven_max: 100,
        connections_max: 12,
        connections_per_address_max: 8,
        handshake: Duration::from_millis(200),
        idle: Duration::from_millis(400),
        lifetime: Duration::from_millis(800),
        ..Limits::default()
    }
}

async fn start(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = Server { limits, ..Server::new(Role::Coordinator, Token::parse(TOKEN), None) };
    tokio::spawn(serve(listener, Routes::default(), server, std::future::pending()));
    addr
}

async fn connect(addr: SocketAddr, token: Option<&str>) -> Connection {
    let access = Access { token: token.and_then(Token::parse), ca: None };
    channel(&format!("http://{addr}"), &access).await.unwrap()
}

/// Returns whether a member's call is admitted; there is no such service.
async fn is_answered(connection: &Connection) -> bool {
    let status = clients::jobs(connection.clone()).list(ListRequest::default()).await.unwrap_err();
    from_status(&status).code == Code::VersionMismatch
}

/// Waits until the server closes the connection.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let ends = async { while matches!(stream.read(&mut bytes).await, Ok(1..)) {} };
    tokio::time::timeout(HANG, ends).await.expect("the server closes the connection");
}

#[tokio::test]
async fn idle_flood_leaves_room_for_members() {
    // No deadline helps here: only the limit on the number does.
    let hour = Duration::from_secs(3600);
    let addr = start(Limits { handshake: hour, idle: hour, lifetime: hour, ..short() }).await;
    let member = connect(addr, Some(TOKEN)).await;
    assert!(is_answered(&member).await);
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TcpStream::connect(addr).await.unwrap());
    }
    // The oldest are closed, but not the member's connection, which is older than all of them.
    for stream in &mut idle[..42] {
        closed(stream).await;
    }
    assert!(is_answered(&member).await);
    assert!(is_answered(&connect(addr, Some(TOKEN)).await).await);
}

#[tokio::test]
async fn member_that_leaves_connections_open_does_not_lock_others_out() {
    let addr = start(Limits { proven_max: 1, ..short() }).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = listener.local_addr().unwrap();
    let relay = tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.unwrap();
        let mut there = TcpStream::connect(addr).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    });
    let forgotten = connect(through, Some(TOKEN)).await;
    assert!(is_answered(&forgotten).await);
    // Longer than a connection must have been without a call.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(!relay.is_finished());
    let member = connect(addr, Some(TOKEN)).await;
    tokio::time::timeout(HANG, relay).await.expect("the server closes the idle connection").unwrap();
    assert!(is_answered(&member).await);
}

/// A relay that holds back all bytes of the caller after the first ones, until it may pass them on.
async fn relay_with_a_pause(to: SocketAddr) -> (SocketAddr, oneshot::Receiver<()>, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let ((answered, first_answer), (go, gone_on)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(async move {
        let (mut here, _) = listener.accept().await.unwrap();
        let mut there = TcpStream::connect(to).await.unwrap();
        let mut bytes = vec![0; 16 << 10];
        let n = here.read(&mut bytes).await.unwrap();
        there.write_all(&bytes[..n]).await.unwrap();
        let n = there.read(&mut bytes).await.unwrap();
        assert!(n > 0, "the server answers the greeting");
        let _ = answered.send(());
        gone_on.await.unwrap();
        here.write_all(&bytes[..n]).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
    });
    (addr, first_answer, go)
}

#[tokio::test]
async fn handshake_that_goes_on_survives_connection_churn() {
    let hour = Duration::from_secs(3600);
    let addr = start(Limits { handshake: hour, idle: hour, lifetime: hour, ..short() }).await;
    let (through, answered, go) = relay_with_a_pause(addr).await;
    let caller = tokio::spawn(async move { is_answered(&connect(through, Some(TOKEN)).await).await });
    tokio::time::timeout(HANG, answered).await.unwrap().unwrap();
    // Far more than the share of the caller's address; some of them have sent the beginning of a greeting.
    let mut churn = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[0x16, 3, 1, 1, 0]).await.unwrap();
        }
        churn.push(stream);
    }
    for stream in &mut churn[..192] {
        closed(stream).await;
    }
    go.send(()).unwrap();
    assert!(tokio::time::timeout(HANG, caller).await.unwrap().unwrap());
}

#[tokio::test]
async fn silent_connection_is_closed() {
    let addr = start(short()).await;
    closed(&mut TcpStream::connect(addr).await.unwrap()).await;
}

#[tokio::test]
async fn bytes_without_a_proof_are_bounded() {
    let hour = Duration::from_secs(3600);
    let bytes_max = 8 << 10;
    let addr = start(Limits { handshake: hour, idle: hour, lifetime: hour, bytes_max, ..short() }).await;
    // Frames of HTTP/2 that are valid and belong to no call: a ping, and a larger window of the connection.
    let ping = [[0, 0, 8, 6, 0, 0, 0, 0, 0].as_slice(), &[0; 8]].concat();
    let window_update = [[0, 0, 4, 8, 0, 0, 0, 0, 0].as_slice(), &[0, 0, 0, 1]].concat();
    for frame in [ping, window_update] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&settings).await.unwrap();
        // The server may have closed it before the last of them.
        let _ = stream.write_all(&frame.repeat(bytes_max as usize / frame.len() + 1)).await;
        closed(&mut stream).await;
    }
    // A member sends more than that.
    let member = connect(addr, Some(TOKEN)).await;
    for _ in 0..bytes_max / 64 {
        assert!(is_answered(&member).await);
    }
}

#[tokio::test]
async fn unfinished_tls_handshake_is_closed() {
    let addr = start(short()).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The head of a record that never arrives.
    stream.write_all(&[0x16, 3, 1, 1, 0]).await.unwrap();
    closed(&mut stream).await;
}

#[tokio::test]
async fn slow_http2_preface_is_closed() {
    let addr = start(short()).await;
    let (mut from, mut to) = TcpStream::connect(addr).await.unwrap().into_split();
    let drip = async {
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().cycle() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if to.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    };
    let ends = async { while matches!(from.read(&mut [0; 4096]).await, Ok(1..)) {} };
    tokio::time::timeout(HANG, async {
        tokio::select! { () = drip => {}, () = ends => {} }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn endless_health_calls_end_at_the_lifetime() {
    let addr = start(short()).await;
    let (mut from, mut to) = TcpStream::connect(addr).await.unwrap().into_split();
    to.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let pings = async {
        while to.write_all(&ping).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ends = async { while matches!(from.read(&mut [0; 4096]).await, Ok(1..)) {} };
    tokio::time::timeout(HANG, async {
        tokio::select! { () = pings => {}, () = ends => {} }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn member_has_no_deadline() {
    let addr = start(short()).await;
    // A closed channel would reconnect, which would be counted here.
    let counting = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let by_way_of = counting.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = counting.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut server = TcpStream::connect(addr).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut caller, &mut server).await });
        }
    });
    let member = connect(by_way_of, Some(TOKEN)).await;
    assert!(is_answered(&member).await);
    tokio::time::sleep(2 * short().lifetime).await;
    assert!(is_answered(&member).await);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn message_without_a_proof_is_bounded() {
    let addr = start(Limits::default()).await;
    let ask = |connection, bytes| async move {
        let request = HealthCheckRequest { service: "x".repeat(bytes) };
        HealthClient::new(connection).check(request).await.unwrap_err().code()
    };
    let stranger = connect(addr, None).await;
    assert_eq!(ask(stranger.clone(), UNPROVEN_BYTES_MAX - 64).await, Grpc::NotFound);
    assert_eq!(ask(stranger.clone(), UNPROVEN_BYTES_MAX + 1).await, Grpc::ResourceExhausted);
    assert_eq!(ask(stranger, 16 << 20).await, Grpc::ResourceExhausted);
    assert_eq!(ask(connect(addr, Some(TOKEN)).await, UNPROVEN_BYTES_MAX + 1).await, Grpc::NotFound);
}

#[tokio::test]
async fn refusal_comes_before_the_body() {
    let addr = start(Limits::default()).await;
    let stranger = connect(addr, None).await;
    // A body that never arrives.
    let put = clients::data(stranger.clone()).put(tokio_stream::pending::<PutRequest>()).await;
    assert_eq!(from_status(&put.err().unwrap()).code, Code::Unauthorised);
    // The connection still works afterwards.
    assert!(
        windrow_net::hello("the server", &stranger).await.is_err_and(|failure| failure.code == Code::VersionMismatch)
    );
}

/// The limits in the server's first frame: streams (3) and windows (4) of this connection.
#[tokio::test]
async fn unproven_caller_gets_few_streams_and_small_windows() {
    let addr = start(Limits::default()).await;
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "a frame of settings");
    let mut settings = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut settings).await.unwrap();
    let value = |id: u16| {
        let found = settings.chunks(6).find(|s| s[..2] == id.to_be_bytes());
        found.map(|s| u32::from_be_bytes(s[2..].try_into().unwrap()))
    };
    assert_eq!(value(3), Some(8));
    assert!(value(4).unwrap_or(65_535) < 64 << 10);
    assert!(value(6).unwrap() <= 8 << 10);
}
