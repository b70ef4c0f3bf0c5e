//! A line between two servers that is not what it should be: datagrams and connections go through
//! this process, which loses, delays, cuts, stalls or stops them.
//!
//! It needs no rights and no module of the kernel, so it runs everywhere; what it loses is counted.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::PATIENCE;

/// What a line does to those who talk over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Clear,
    /// Of three datagrams one is lost, and one so late that later ones are before it; of two connections
    /// one is cut within its first octets, and the other stalls there.
    Rough,
    /// Every connection stops after so many octets of what the server sends.
    HoldsAfter(usize),
}

/// A way to a server, for UDP and TCP, that is not what it should be.
pub(super) struct Line {
    pub address: SocketAddr,
    way: Arc<Way>,
}

struct Way {
    server: SocketAddr,
    mood: Mutex<Mood>,
    /// A connection has come to where it is held.
    held: AtomicBool,
    datagrams: AtomicU64,
    connections: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
    cut: AtomicU64,
    stalled: AtomicU64,
    open: AtomicUsize,
}

/// What a line has done to those who talked over it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Harm {
    pub lost: u64,
    pub late: u64,
    pub cut: u64,
    pub stalled: u64,
}

/// Octets within which a rough line cuts a connection: about two messages of a transfer.
const CUT_OCTETS: u64 = 20_000;

/// How long a datagram that is late is kept, and how long a connection stalls.
const LATE: Duration = Duration::from_millis(120);
const STALL: Duration = Duration::from_millis(400);

impl Line {
    pub fn to(server: SocketAddr, mood: Mood) -> Line {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, crate::server::free_port()));
        let listener = listener.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = Arc::new(UdpSocket::bind(address).unwrap());
        let way = Arc::new(Way {
            server,
            mood: Mutex::new(mood),
            held: AtomicBool::new(false),
            datagrams: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            late: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let to = Arc::clone(&way);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let way = Arc::clone(&to);
                thread::spawn(move || way.carry(client));
            }
        });
        let to = Arc::clone(&way);
        thread::spawn(move || {
            let mut buffer = [0; 65_535];
            while let Ok((len, client)) = socket.recv_from(&mut buffer) {
                let (way, socket, message) =
                    (Arc::clone(&to), Arc::clone(&socket), buffer[..len].to_vec());
                thread::spawn(move || way.pass(&socket, client, &message));
            }
        });
        Line { address, way }
    }

    pub fn set(&self, mood: Mood) {
        self.way.held.store(false, Ordering::Relaxed);
        *self.way.mood.lock().unwrap() = mood;
    }

    pub fn harm(&self) -> Harm {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Way { lost, late, cut, stalled, .. } = &*self.way;
        Harm { lost: of(lost), late: of(late), cut: of(cut), stalled: of(stalled) }
    }

    /// Waits until a transfer is in its middle.
    pub fn wait_for_the_middle(&self, meanwhile: &dyn Fn()) {
        let end = Instant::now() + PATIENCE;
        while !self.way.held.load(Ordering::Relaxed) {
            assert!(Instant::now() < end, "no transfer began");
            meanwhile();
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until nobody talks over it.
    pub fn wait_until_quiet(&self) {
        let end = Instant::now() + PATIENCE;
        while self.way.open.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < end, "connections stay open");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Way {
    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    /// Whether the next datagram is lost. It may be kept for a while.
    fn loses(&self) -> bool {
        let number = self.datagrams.fetch_add(1, Ordering::Relaxed);
        match (self.mood(), turn(number, 3)) {
            (Mood::Rough, 0) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            (Mood::Rough, 1) => {
                self.late.fetch_add(1, Ordering::Relaxed);
                thread::sleep(LATE);
                false
            }
            _ => false,
        }
    }

    /// One datagram there, and one back.
    fn pass(&self, socket: &UdpSocket, client: SocketAddr, message: &[u8]) {
        if self.loses() {
            return;
        }
        let there = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        there.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut buffer = [0; 65_535];
        let sent = there.send_to(message, self.server).is_ok();
        if sent
            && let Ok(len) = there.recv(&mut buffer)
            && !self.loses()
        {
            let _ = socket.send_to(&buffer[..len], client);
        }
    }

    /// One connection.
    fn carry(&self, client: TcpStream) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        if let Ok(server) = dial(self.server) {
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::scope(|scope| {
                scope.spawn(|| {
                    let _ = io::copy(&mut up, &mut down);
                    let _ = down.shutdown(Shutdown::Write);
                });
                let _ = self.send_on(number, &server, &client);
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            });
        }
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// What the server says, as far as the mood lets it.
    fn send_on(&self, number: u64, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        // Another place for each connection, none of them in step with the messages.
        let place = number * 7_919 % CUT_OCTETS;
        let (mut stall_at, cut_at) = match turn(number, 2) {
            0 => (None, Some(place)),
            _ => (Some(place), None),
        };
        let mut buffer = [0; 4_096];
        let mut sent = 0;
        loop {
            let len = from.read(&mut buffer)?;
            if len == 0 {
                return Ok(());
            }
            if self.mood() == Mood::Rough
                && let Some(at) = cut_at.filter(|at| *at <= sent + len as u64)
            {
                let rest = usize::try_from(at.saturating_sub(sent)).unwrap();
                self.cut.fetch_add(1, Ordering::Relaxed);
                return to.write_all(&buffer[..rest]);
            }
            let rough = self.mood() == Mood::Rough;
            if rough && stall_at.take_if(|at| *at <= sent + len as u64).is_some() {
                self.stalled.fetch_add(1, Ordering::Relaxed);
                thread::sleep(STALL);
            }
            to.write_all(&buffer[..len])?;
            sent += len as u64;
            while matches!(self.mood(), Mood::HoldsAfter(at) if sent > at as u64) {
                self.held.store(true, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Whose turn it is of so many: each has one in a round, in an order that is another in each, so that nobody who
/// asks at regular times meets the same fate for ever.
fn turn(number: u64, of: u64) -> u64 {
    let mixed = (number / of).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (number + mixed) % of
}

/// Connects, with little room for what is not read yet.
fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(32 * 1024)?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}
