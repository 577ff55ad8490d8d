//! A link that a test can break: a TCP proxy on loopback between two processes.
//!
//! Each direction of a link has faults of its own: delay, pieces of one byte, a rate limit, silence, and, once, after a
//! number of bytes of a connection, a stall, a reset or a flipped bit. Silence is what TCP sees of a pulled cable:
//! nothing arrives, no error is reported, and bytes in flight arrive when the link heals, also on connections that
//! their owner has given up. Each connection has two threads; the bytes are opaque.

use rustix::net::sockopt::set_socket_linger;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a reading thread checks whether its connection was cut.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const PIECE_BYTES: usize = 64 << 10;

/// Faults of one direction.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// No bytes pass, and no error is reported.
    pub silent: bool,
    /// Delay of each piece.
    pub delay: Duration,
    /// Upper bound on one write.
    pub piece_bytes_max: Option<usize>,
    pub bytes_per_second: Option<u64>,
    /// The first connection to pass this many bytes stalls until the faults change.
    pub stall_after: Option<u64>,
    /// The first connection to pass this many bytes is reset.
    pub cut_after: Option<u64>,
    /// In the first connection to pass this many bytes one bit flips.
    pub flip_at: Option<u64>,
}

/// Both directions, seen from the side that connects.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub there: Weather,
    pub back: Weather,
    /// New connections are reset at once.
    pub refuses: bool,
}

impl Rules {
    /// No bytes pass in either direction.
    pub fn silence() -> Rules {
        let silent = Weather { silent: true, ..Weather::default() };
        Rules { there: silent.clone(), back: silent, refuses: false }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub connections: u64,
    /// Connections that were reset, for any reason.
    pub resets: u64,
    /// Stalls, cuts and flips after a number of bytes.
    pub happenings: u64,
    pub bytes_there: u64,
    pub bytes_back: u64,
}

/// A link; dropping it ends it.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    rules: Mutex<Rules>,
    changed: Condvar,
    /// How often the rules were set.
    changes: AtomicU64,
    /// Connections with a number below this are cut.
    cut_below: AtomicU64,
    over: AtomicBool,
    connections: AtomicU64,
    resets: AtomicU64,
    happenings: AtomicU64,
    bytes: [AtomicU64; 2],
}

/// An address on loopback that no other process of a test uses: a host of its own, and a free port.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let host = Ipv4Addr::new(127, high.max(1), low, (next % 254 + 1) as u8);
    let free = TcpListener::bind((host, 0)).expect("loopback is a whole network");
    free.local_addr().expect("it is bound")
}

impl Proxy {
    /// A link to the listener at `target`, which may not be there yet.
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            target,
            rules: Mutex::default(),
            changed: Condvar::new(),
            changes: AtomicU64::new(0),
            cut_below: AtomicU64::new(0),
            over: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            happenings: AtomicU64::new(0),
            bytes: Default::default(),
        });
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Proxy { address, shared, accepting: Some(accepting) }
    }
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
    /// Applies to present and later connections. Offsets count from a connection's beginning.
    pub fn set(&self, rules: Rules) {
        *self.shared.rules() = rules;
        self.shared.changes.fetch_add(1, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }
    /// All bytes pass again.
    pub fn heal(&self) {
        self.set(Rules::default());
    }
    /// Resets every present connection.
    pub fn cut(&self) {
        let all = self.shared.connections.load(Ordering::SeqCst);
        self.shared.cut_below.fetch_max(all, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }
    pub fn seen(&self) -> Seen {
        let [there, back] = [0, 1].map(|i: usize| self.shared.bytes[i].load(Ordering::Relaxed));
        Seen {
            connections: self.shared.connections.load(Ordering::SeqCst),
            resets: self.shared.resets.load(Ordering::Relaxed),
            happenings: self.shared.happenings.load(Ordering::Relaxed),
            bytes_there: there,
            bytes_back: back,
        }
    }
}
impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        self.accepting.take().map(std::thread::JoinHandle::join);
    }
}

/// One connection; the sockets close when both threads have gone.
struct Connection {
    number: u64,
    ends: [TcpStream; 2],
    /// Set by the side that ends the connection first, with a reset.
    reset: AtomicBool,
    /// Directions that have ended in order.
    ended: AtomicU8,
}

impl Shared {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        while let Ok((near, _)) = listener.accept() {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let number = self.connections.fetch_add(1, Ordering::SeqCst);
            let far = match self.rules().refuses {
                true => None,
                false => TcpStream::connect_timeout(&self.target, Duration::from_secs(5)).ok(),
            };
            let Some(far) = far else {
                reset_on_close(&near);
                continue;
            };
            let connection = Arc::new(Connection {
                number,
                ends: [near, far],
                reset: AtomicBool::new(false),
                ended: AtomicU8::new(0),
            });
            for end in &connection.ends {
                let set = end.set_nodelay(true).and_then(|()| end.set_read_timeout(Some(LOOK_EVERY)));
                let set = set.and_then(|()| end.set_write_timeout(Some(LOOK_EVERY)));
                set.expect("options of an open socket");
            }
            for way in 0..2 {
                let (shared, connection) = (self.clone(), connection.clone());
                std::thread::spawn(move || shared.pump(&connection, way));
            }
        }
    }

    fn is_cut(&self, connection: &Connection) -> bool {
        connection.reset.load(Ordering::SeqCst) || connection.number < self.cut_below.load(Ordering::SeqCst)
    }

    /// The faults of a direction, once it is not silent; `None` if the connection is cut.
    fn weather(&self, connection: &Connection, way: usize) -> Option<Weather> {
        let mut rules = self.rules();
        loop {
            if self.is_cut(connection) {
                return None;
            }
            let weather = if way == 0 { &rules.there } else { &rules.back };
            if !weather.silent {
                return Some(weather.clone());
            }
            rules = self.changed.wait_timeout(rules, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// True for the first connection that asks since this fault was set.
    fn is_first(&self, way: usize, which: impl Fn(&mut Weather) -> &mut Option<u64>, at: u64) -> bool {
        let mut rules = self.rules();
        let happening = which(if way == 0 { &mut rules.there } else { &mut rules.back });
        let first = *happening == Some(at);
        if first {
            *happening = None;
            self.happenings.fetch_add(1, Ordering::Relaxed);
        }
        first
    }

    /// Waits until the rules change; false if the connection is cut before.
    fn stall(&self, connection: &Connection) -> bool {
        let before = self.changes.load(Ordering::SeqCst);
        while self.changes.load(Ordering::SeqCst) == before {
            if self.is_cut(connection) {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// One direction of one connection, until it ends.
    fn pump(&self, connection: &Connection, way: usize) {
        let in_order = self.pass(connection, way);
        // This direction has ended in order; the other one may go on.
        if in_order {
            let _ = connection.ends[1 - way].shutdown(std::net::Shutdown::Write);
        } else {
            connection.reset.store(true, Ordering::SeqCst);
        }
        if connection.ended.fetch_add(1, Ordering::SeqCst) == 1 && connection.reset.load(Ordering::SeqCst) {
            connection.ends.iter().for_each(reset_on_close);
            self.resets.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// False if the connection is cut before the peer has taken everything.
    fn write(&self, connection: &Connection, mut to: &TcpStream, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if is_time_out(&e) && !self.is_cut(connection) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// True at the end of the stream, false if the connection is to be reset.
    fn pass(&self, connection: &Connection, way: usize) -> bool {
        let [mut from, to] = [&connection.ends[way], &connection.ends[1 - way]];
        let mut passed = 0;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if self.weather(connection, way).is_none() {
                return false;
            }
            match from.read(&mut piece) {
                // Bytes in the sockets' buffers are delivered first, whatever the faults.
                Ok(0) => return self.weather(connection, way).is_some(),
                Ok(read) => {
                    if !self.forward(connection, way, &mut piece[..read], &mut passed, to) {
                        return false;
                    }
                }
                Err(e) if is_time_out(&e) => {}
                Err(_) => return false,
            }
        }
    }

    /// Passes bytes on subject to the faults; false if the connection is to be reset.
    fn forward(
        &self,
        connection: &Connection,
        way: usize,
        mut rest: &mut [u8],
        passed: &mut u64,
        to: &TcpStream,
    ) -> bool {
        while !rest.is_empty() {
            // The rules may have changed meanwhile.
            let Some(weather) = self.weather(connection, way) else { return false };
            let reached = |at: Option<u64>| at.filter(|at| *at <= *passed);
            if let Some(at) = reached(weather.cut_after)
                && self.is_first(way, |w| &mut w.cut_after, at)
            {
                return false;
            }
            if let Some(at) = reached(weather.stall_after)
                && self.is_first(way, |w| &mut w.stall_after, at)
                && !self.stall(connection)
            {
                return false;
            }
            let until =
                |at: Option<u64>| at.filter(|at| *at > *passed).map_or(usize::MAX, |at| (at - *passed) as usize);
            let length = rest.len().min(until(weather.cut_after)).min(until(weather.stall_after));
            let length = length.min(until(weather.flip_at)).min(weather.piece_bytes_max.unwrap_or(usize::MAX));
            // A slow link in steps of a tenth of a second.
            let length = length.min(weather.bytes_per_second.map_or(usize::MAX, |n| (n / 10).max(1) as usize));
            let (now, later) = rest.split_at_mut(length);
            if let Some(at) = reached(weather.flip_at)
                && self.is_first(way, |w| &mut w.flip_at, at)
            {
                now[0] ^= 1 << (at % 8);
            }
            let seconds = weather.bytes_per_second.map_or(0.0, |n| length as f64 / n.max(1) as f64);
            std::thread::sleep(weather.delay + Duration::from_secs_f64(seconds));
            if !self.write(connection, to, now) {
                return false;
            }
            *passed += length as u64;
            self.bytes[way].fetch_add(length as u64, Ordering::Relaxed);
            rest = later;
        }
        true
    }
}

/// Whether the error is a time-out of the socket, which is harmless.
fn is_time_out(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The peer gets a reset instead of an end of the stream.
fn reset_on_close(socket: &TcpStream) {
    // A broken socket needs no reset.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server, and a link to it.
    fn echo() -> (Proxy, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut buffer = [0; 1000];
            while let Ok(n @ 1..) = peer.read(&mut buffer) {
                if peer.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
        });
        (proxy, server)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    #[test]
    fn bytes_pass_in_pieces_with_one_flipped_bit() {
        let (proxy, server) = echo();
        let there = Weather { piece_bytes_max: Some(1), flip_at: Some(3), ..Weather::default() };
        proxy.set(Rules { there, ..Rules::default() });
        let mut stream = connect(&proxy);
        stream.write_all(b"windrow").unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"winlrow");
        drop(stream);
        server.join().unwrap();
        let seen = proxy.seen();
        assert_eq!((seen.connections, seen.happenings, seen.bytes_there, seen.bytes_back), (1, 1, 7, 7));
    }

    #[test]
    fn silent_link_delivers_buffered_bytes_when_it_heals() {
        let (proxy, server) = echo();
        let mut stream = connect(&proxy);
        stream.write_all(b"a").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let back = Weather { silent: true, ..Weather::default() };
        proxy.set(Rules { back, ..Rules::default() });
        stream.write_all(b"b").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let silence = stream.read(&mut [0]).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
        proxy.heal();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        drop(stream);
        server.join().unwrap();
    }

    #[test]
    fn cut_resets_after_the_exact_byte_count() {
        let (proxy, server) = echo();
        let back = Weather { cut_after: Some(4), ..Weather::default() };
        proxy.set(Rules { back, ..Rules::default() });
        let mut stream = connect(&proxy);
        stream.write_all(b"windrow").unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 7];
        let end = loop {
            match stream.read(&mut piece) {
                Ok(0) => panic!("an end in order"),
                Ok(n) => answer.extend_from_slice(&piece[..n]),
                Err(e) => break e,
            }
        };
        assert_eq!(end.kind(), ErrorKind::ConnectionReset);
        // A reset may overtake bytes that were sent before it.
        assert!(b"wind".starts_with(&answer), "{answer:?}");
        drop(stream);
        server.join().unwrap();
    }
}
