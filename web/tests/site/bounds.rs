//! Many and slow connections, large requests: they are bounded, and do not keep others out.

use crate::support::{Reply, Served};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use windrow_model::PageRole;

#[test]
fn idle_connections_do_not_keep_others_out() {
    let served = Served::new();
    // Some say nothing, some dribble a head.
    let mut idle: Vec<TcpStream> = (0..300).map(|_| served.connect()).collect();
    idle.iter_mut().step_by(2).for_each(|stream| drop(stream.write_all(b"GET / HTTP/1.1\r\nHo")));
    assert_eq!(served.get("/healthz", &[]).status, 200);
    // Those without a place were closed: the connections that came first.
    let mut bytes = Vec::new();
    let closed = idle[0].read_to_end(&mut bytes);
    assert!(closed.is_err() || bytes.is_empty(), "{bytes:?}");
}

#[test]
fn streams_are_few_and_leave_room_for_requests() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token(PageRole::View));
    let open = || {
        let mut stream = served.connect();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nAccept: text/event-stream\r\n\r\n",
            served.addr
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8_lossy(&status).into_owned())
    };
    let streams: Vec<(TcpStream, String)> = (0..40).map(|_| open()).collect();
    let accepted = streams.iter().filter(|(_, status)| status.ends_with("200")).count();
    assert_eq!(accepted, 32);
    assert!(streams[39].1.ends_with("503"));
    assert_eq!(served.get("/", &[("Authorization", &bearer)]).status, 200);
}

#[test]
fn large_heads_and_forms_are_refused() {
    let served = Served::new();
    let many: Vec<(String, &str)> = (0..100).map(|n| (format!("X-{n}"), "v")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(served.get("/healthz", &many).status, 431);
    let long = "x".repeat(64 << 10);
    assert!(matches!(served.get("/healthz", &[("X-Long", &long)]).status, 0 | 431));
    let cookie = served.session(PageRole::View);
    let origin = served.origin();
    let form = served.post("/signout", &[("Cookie", &cookie), ("Origin", &origin)], &"k=v&".repeat(2000));
    assert_eq!(form.status, 413);
    assert_eq!(served.get("/", &[("Cookie", &cookie)]).status, 200, "nothing was changed");
}

#[test]
fn busy_port_is_one_clear_error() {
    let served = Served::new();
    let again = windrow_web::Page::bind(windrow_web::PageConfig {
        listen: served.addr,
        tls: None,
        insecure: false,
        base: String::new(),
        hosts: Vec::new(),
        tokens: "/nonexistent".into(),
        settings: Vec::new(),
    });
    let failure = again.unwrap_err();
    for part in [&served.addr.to_string(), "--ui-listen", "--no-ui"] {
        assert!(failure.message.contains(part), "{failure}");
    }
}

#[test]
fn forms_without_a_body_do_not_keep_others_out() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token(PageRole::View));
    let head = |length: usize| {
        format!(
            "POST /signout HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nContent-Length: {length}\r\n\r\n",
            served.addr
        )
    };
    let send = |length| {
        let mut stream = served.connect();
        stream.write_all(head(length).as_bytes()).unwrap();
        stream
    };
    let mut open: Vec<TcpStream> = (0..150).map(|_| send(100)).collect();
    for _ in 0..10 {
        // One takes the place of the last request; the server reads the heads meanwhile.
        open.push(send(100));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(served.get("/healthz", &[]).status, 200);
    }
    // A form that does not come is refused.
    let mut bytes = [0; 12];
    open.last_mut().unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(Reply::parse(&bytes).status, 408);
    // One that is too long by its head is refused before it comes.
    send(5000).read_exact(&mut bytes).unwrap();
    assert_eq!(Reply::parse(&bytes).status, 413);
}
