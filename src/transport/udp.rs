//! UDP: one thread for each worker and address, batches in, batches out, no event loop.
//!
//! A worker owns a socket of a `SO_REUSEPORT` group. It sleeps in one `recvmmsg` that returns with
//! the first datagram and whatever else is there, has the batch answered in place, and sends it with
//! one `sendmmsg`. `benches/udp.rs` compares it, on the same socket, with sending everything back.
//!
//! Promises: no datagram's error ends a worker, nor does a panic: it starts again and is counted;
//! what waits in the socket when the server stops is answered first.
//!
//! Does not: look into messages, but for whom a reply would reach.
#![expect(unsafe_code, reason = "the system calls of batches have no safe form")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::{Domain, Protocol, Socket, Type};

use super::proxy;
use crate::metrics::{Counters, DROPPED, WORKERS};
use crate::serve::{Context, Outcome, Prefixes, Slot, handle_batch};

/// How many datagrams one `recvmmsg` takes.
///
/// Batching pays until the system call is no longer what costs; past that it only adds delay for
/// the first datagram of the batch.
pub const BATCH: usize = 32;

/// Octets of a place for a datagram: more than any reply. Not a power of two, so that the first
/// octets of all places do not compete for the same lines of the cache.
const PLACE_OCTETS: usize = 4096 + 192;

/// Octets of one worker's places.
pub(super) const BUFFER_OCTETS: u64 = (BATCH * PLACE_OCTETS) as u64;

/// How long an idle worker sleeps before it looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(250);

/// How long a turn of a worker on its core is, in nanoseconds: as short as the kernel takes it.
///
/// A thread that wakes is let in at once before one whose turns are longer (Linux 6.12 and later). Without, it
/// waits until that one sleeps or has had its turn of some milliseconds, however little it needs itself: answers
/// waited for commits. It is let in only while it has had no more than its share, which is what
/// [`stand_back`](super::stand_back) sees to.
const TURN_NS: u64 = 100_000;

/// What the kernel may hold for a worker that is busy.
const RECEIVE_BUFFER_OCTETS: usize = 4 << 20;

/// Room for one control message with an address in it, and then some.
const CONTROL_OCTETS: usize = 64;

/// Ports no client asks from: 0, and services that answer anything, with which a reply would begin
/// a conversation without end (echo, daytime, quotd, chargen, time, kpasswd).
const NOBODY: [u16; 7] = [0, 7, 13, 17, 19, 37, 464];

/// Makes sure that no other server has `address`: sockets of a group would share its datagrams.
///
/// # Errors
///
/// `AddrInUse` if one has; otherwise what the system says.
pub fn claim(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// Opens one socket of the group that listens on `address`.
///
/// # Errors
///
/// What the system says, as when the address is taken by another group.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel gives what net.core.rmem_max allows, and that is no reason not to start.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_OCTETS);
    socket.set_read_timeout(Some(LOOK_UP))?;
    let (level, discover, told, told_level) = match address {
        SocketAddr::V4(_) => {
            (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PKTINFO, libc::IPPROTO_IP)
        }
        SocketAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_RECVPKTINFO,
            libc::IPPROTO_IPV6,
        ),
    };
    // Replies are small enough for any path, and who forges "packet too big" makes them no smaller.
    let _ = set_option(&socket, level, discover, PMTUDISC_OMIT);
    if address.ip().is_unspecified() {
        set_option(&socket, told_level, told, 1)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// `IP_PMTUDISC_OMIT`, and the same number for IPv6.
const PMTUDISC_OMIT: i32 = 5;

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer is to a local integer that outlives the call, and `len` is its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has a batch answered, its memory fetched ahead.
pub fn answer(context: &Context, slots: &mut [Slot], now_s: u32) {
    // SAFETY: all that is asked for is SSE, which every x86-64 processor has; elsewhere nothing is.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_unsafe))]
    unsafe {
        handle_batch(context, slots, now_s);
    }
}

/// A message that needs more than the snapshot, on its way to whoever answers it.
pub struct Errand {
    pub message: Vec<u8>,
    /// The client, whoever stands between it and us.
    pub peer: SocketAddr,
    to: SocketAddr,
    control: Control,
}

/// The control message that came with a datagram: to which of our addresses, if the socket has many.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control {
    octets: [u8; CONTROL_OCTETS],
    len: usize,
}

impl Control {
    const NONE: Control = Control { octets: [0; CONTROL_OCTETS], len: 0 };

    /// Makes what was received fit to be sent: from the same address, by whatever route is right.
    fn turn_round(&mut self) {
        let data_at = size_of::<libc::cmsghdr>();
        let v4 = self.len < data_at + size_of::<libc::in6_pktinfo>();
        let link_local = self.octets.get(data_at..data_at + 2).is_some_and(|p| p == [0xfe, 0x80]);
        let interface_at = match v4 {
            true => data_at,
            false if link_local => return,
            false => data_at + size_of::<libc::in6_addr>(),
        };
        if let Some(interface) = self.octets.get_mut(interface_at..interface_at + 4) {
            interface.fill(0);
        }
    }
}

/// A worker's socket, its places for messages, and what the kernel wants to know about them.
pub struct Worker {
    socket: Arc<Socket>,
    slots: Vec<Slot>,
    addresses: Box<[libc::sockaddr_storage; BATCH]>,
    controls: Box<[Control; BATCH]>,
    iovecs: Box<[libc::iovec; BATCH]>,
    incoming: Box<[libc::mmsghdr; BATCH]>,
    outgoing: Box<[libc::mmsghdr; BATCH]>,
    tells_address: bool,
    balancers: Prefixes,
}

// SAFETY: the raw pointers inside point into boxes that the worker owns and that move with it.
unsafe impl Send for Worker {}

impl Worker {
    /// A worker on a socket made by [`bind`].
    pub fn new(socket: Socket) -> Worker {
        let unspecified = socket.local_addr().ok().and_then(|address| address.as_socket());
        let tells_address = unspecified.is_some_and(|address| address.ip().is_unspecified());
        // SAFETY: these are C structures for which all zeros is a valid value.
        let (address, header) =
            unsafe { (zeroed::<libc::sockaddr_storage>(), zeroed::<libc::mmsghdr>()) };
        let iovec = libc::iovec { iov_base: null_mut(), iov_len: 0 };
        Worker {
            socket: Arc::new(socket),
            slots: (0..BATCH).map(|_| Slot::new(PLACE_OCTETS)).collect(),
            addresses: Box::new([address; BATCH]),
            controls: Box::new([Control::NONE; BATCH]),
            iovecs: Box::new([iovec; BATCH]),
            incoming: Box::new([header; BATCH]),
            outgoing: Box::new([header; BATCH]),
            tells_address,
            balancers: Prefixes::default(),
        }
    }

    /// Takes from `balancers` who the client is, by the PROXY protocol, and nothing else.
    #[must_use]
    pub fn behind(mut self, balancers: Prefixes) -> Worker {
        self.balancers = balancers;
        self
    }

    /// The socket, for replies that come later.
    pub fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    /// Answers datagrams with `work` until `stop`, then what still waits. `errand` takes what `work`
    /// could not answer; it must not wait.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        counters: &Counters,
        mut work: impl FnMut(&mut [Slot]),
        mut errand: impl FnMut(Errand),
    ) {
        loop {
            let ran = catch_unwind(AssertUnwindSafe(|| {
                while self.turn(stop, counters, &mut work, &mut errand) {}
            }));
            match ran {
                Ok(()) => return,
                Err(_) => counters.add(&WORKERS, 0), // the batch is lost; its clients ask again
            }
        }
    }

    /// One batch. Returns whether there is to be another.
    fn turn(
        &mut self,
        stop: &AtomicBool,
        counters: &Counters,
        work: &mut impl FnMut(&mut [Slot]),
        errand: &mut impl FnMut(Errand),
    ) -> bool {
        let stopping = stop.load(Ordering::Relaxed);
        let received = self.receive(if stopping { libc::MSG_DONTWAIT } else { 0 });
        if received == 0 {
            return !stopping;
        }
        let kept = self.admit(received, counters);
        let slots = self.slots.get_mut(..kept).unwrap_or_default();
        work(slots);
        let (leaving, errands) = self.gather(kept);
        self.send(leaving, counters);
        // Whoever takes an errand may begin on this core at once: the replies must have left.
        if errands > 0 {
            self.hand_over(kept, errand);
        }
        true
    }

    /// Waits for datagrams; none after a while, or on an error that only concerns some past reply.
    fn receive(&mut self, flags: i32) -> usize {
        let name_len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        for at in 0..BATCH {
            let place = &mut self.slots[at].octets;
            self.iovecs[at] =
                libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
            let header = &mut self.incoming[at].msg_hdr;
            header.msg_name = (&raw mut self.addresses[at]).cast();
            header.msg_namelen = name_len;
            header.msg_iov = &raw mut self.iovecs[at];
            header.msg_iovlen = 1;
            if self.tells_address {
                header.msg_control = self.controls[at].octets.as_mut_ptr().cast();
                header.msg_controllen = CONTROL_OCTETS;
            }
        }
        // SAFETY: every header points to an address, an I/O vector and a control buffer in boxes of
        // `self`, and every vector to the octets of its slot, with their true sizes; all outlive the
        // call, and nothing else refers to them during it. The kernel fills at most `BATCH` headers.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                self.incoming.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE | flags,
                null_mut(),
            )
        };
        usize::try_from(received).unwrap_or(0).min(BATCH)
    }

    /// Fills the slots' lengths and peers; sorts out who must get no reply. Returns how many stay,
    /// in front.
    fn admit(&mut self, received: usize, counters: &Counters) -> usize {
        let mut kept = 0;
        for at in 0..received {
            let header = &self.incoming[at];
            let peer = address_of(&self.addresses[at]);
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let Some(peer) = peer.filter(|peer| whole && !NOBODY.contains(&peer.port())) else {
                counters.add(&DROPPED, 1);
                continue;
            };
            let (len, control_len) = (header.msg_len as usize, header.msg_hdr.msg_controllen);
            if kept != at {
                self.slots.swap(kept, at);
                self.addresses.swap(kept, at);
                self.controls.swap(kept, at);
            }
            let slot = &mut self.slots[kept];
            slot.len = len;
            slot.peer = peer;
            slot.outcome = Outcome::Silent;
            if !self.balancers.is_empty() && self.balancers.contains(peer.ip()) && !unwrap(slot) {
                counters.add(&DROPPED, 0);
                continue;
            }
            if self.tells_address {
                self.controls[kept].len = control_len;
                self.controls[kept].turn_round();
            }
            kept += 1;
        }
        kept
    }

    /// Lines up the headers of all replies. Returns how many, and how many errands there are.
    fn gather(&mut self, kept: usize) -> (usize, usize) {
        let (mut leaving, mut errands) = (0, 0);
        for at in 0..kept {
            let slot = &mut self.slots[at];
            let len = match slot.outcome {
                Outcome::Silent => continue,
                Outcome::Reply(len) => len,
                Outcome::Ask(_) => {
                    errands += 1;
                    continue;
                }
            };
            self.iovecs[at] =
                libc::iovec { iov_base: slot.octets.as_mut_ptr().cast(), iov_len: len };
            let header = &mut self.outgoing[leaving].msg_hdr;
            header.msg_name = (&raw mut self.addresses[at]).cast();
            header.msg_namelen = address_len(&self.addresses[at]);
            header.msg_iov = &raw mut self.iovecs[at];
            header.msg_iovlen = 1;
            if self.tells_address {
                header.msg_control = self.controls[at].octets.as_mut_ptr().cast();
                header.msg_controllen = self.controls[at].len;
            }
            leaving += 1;
        }
        (leaving, errands)
    }

    /// Leaves with `errand` what could not be answered.
    fn hand_over(&self, kept: usize, errand: &mut impl FnMut(Errand)) {
        for (at, slot) in self.slots.iter().enumerate().take(kept) {
            if let Outcome::Ask(_) = slot.outcome {
                let message = slot.octets.get(..slot.len).unwrap_or_default().to_vec();
                let (peer, control) = (slot.peer, self.controls[at]);
                let to = address_of(&self.addresses[at]).unwrap_or(peer);
                errand(Errand { message, peer, to, control });
            }
        }
    }

    /// Sends the headers lined up; a reply that cannot be sent is skipped and counted.
    fn send(&mut self, leaving: usize, counters: &Counters) {
        let fd = self.socket.as_raw_fd();
        let mut sent = 0;
        while let Some(rest) = self.outgoing.get_mut(sent..leaving).filter(|rest| !rest.is_empty())
        {
            // SAFETY: the headers in `rest` were lined up by `gather`: each points to an address, a
            // control buffer and a vector in boxes of `self`, and the vector to `len` octets of a slot,
            // none of which moved since. The kernel only reads them, and `msg_len` it writes.
            let done = unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as u32, 0) };
            match usize::try_from(done) {
                Ok(count) => sent += count.max(1),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    counters.add(&DROPPED, 4);
                    sent += 1;
                }
            }
        }
    }
}

/// Sends one reply from the address its message came to.
///
/// # Errors
///
/// What the system says.
pub fn send_later(socket: &Socket, errand: &mut Errand, reply: &[u8]) -> io::Result<()> {
    if errand.control.len == 0 {
        return socket.send_to(reply, &errand.to.into()).map(drop);
    }
    let peer = socket2::SockAddr::from(errand.to);
    let mut iovec =
        libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
    // SAFETY: a C structure for which all zeros is a valid value.
    let mut header = unsafe { zeroed::<libc::msghdr>() };
    header.msg_name = peer.as_ptr().cast_mut().cast();
    header.msg_namelen = peer.len();
    header.msg_iov = &raw mut iovec;
    header.msg_iovlen = 1;
    header.msg_control = errand.control.octets.as_mut_ptr().cast();
    header.msg_controllen = errand.control.len;
    // SAFETY: all pointers are to locals and arguments that outlive the call; the kernel only reads.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Keeps this thread, and those that it starts from now on, to these cores.
pub fn keep_to(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    // Refused in some containers; then the scheduler decides, as before.
    let _ = sched_setaffinity(None, &set);
}

/// A core for each of so many workers (0: for as many as there are cores). This thread, and those that it
/// starts from now on, keep to the cores that are left, if there are any.
pub fn set_apart(workers: usize) -> Vec<usize> {
    let mine = sched_getaffinity(None).ok();
    let is_mine = |core: &usize| mine.as_ref().is_some_and(|mine| mine.is_set(*core));
    let mut cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(is_mine).collect();
    let workers = if workers == 0 { cores.len() } else { workers.min(cores.len()) };
    let rest = cores.split_off(workers);
    if !rest.is_empty() {
        keep_to(&rest);
    }
    cores
}

/// Asks the scheduler for short turns (`TURN_NS`) of this thread.
///
/// Where that means nothing, or is refused, the scheduler decides as before; so it does for a thread that an
/// operator has put under other rules than everybody's.
pub fn take_short_turns() {
    if let Some(mut rules) = scheduling().filter(|rules| rules.sched_policy == 0) {
        rules.sched_runtime = TURN_NS;
        // SAFETY: the kernel reads the structure, as many octets as it says, which outlives the call.
        let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const rules, 0) };
    }
}

/// How this thread is scheduled; none where the kernel does not say.
fn scheduling() -> Option<libc::sched_attr> {
    // SAFETY: a C structure for which all zeros is a valid value.
    let mut rules = unsafe { zeroed::<libc::sched_attr>() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` octets, which the structure has, and it outlives the call.
    let failed = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut rules, size, 0) };
    (failed == 0).then_some(rules)
}

/// Takes the PROXY header off a datagram; false if it has none.
#[cold]
fn unwrap(slot: &mut Slot) -> bool {
    let Ok(told) = proxy::read(slot.octets.get(..slot.len).unwrap_or_default()) else {
        return false;
    };
    slot.octets.copy_within(told.len..slot.len, 0);
    slot.len -= told.len;
    slot.peer = told.client.unwrap_or(slot.peer);
    true
}

fn address_len(address: &libc::sockaddr_storage) -> libc::socklen_t {
    match i32::from(address.ss_family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>() as libc::socklen_t,
        _ => size_of::<libc::sockaddr_in6>() as libc::socklen_t,
    }
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a `sockaddr_in`, which fits and is
            // aligned as any address is in `sockaddr_storage`.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Some(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn short_turns_are_asked_for_and_nothing_else_is_changed() {
        thread::spawn(|| {
            let before = scheduling().unwrap();
            take_short_turns();
            let after = scheduling().unwrap();
            assert_eq!(after.sched_policy, before.sched_policy);
            assert_eq!(after.sched_nice, before.sched_nice);
            // Kernels before 6.12 tell of no turns, and know of none.
            if before.sched_runtime > 0 {
                assert_eq!(after.sched_runtime, TURN_NS);
            }
        })
        .join()
        .unwrap();
    }

    /// A worker in a thread that answers with `work`, and its address.
    fn serve(
        address: &str,
        work: impl FnMut(&mut [Slot]) + Send + 'static,
        then: impl FnOnce(SocketAddr, Arc<Counters>),
    ) {
        serve_behind(Prefixes::default(), address, work, then);
    }

    fn serve_behind(
        balancers: Prefixes,
        address: &str,
        mut work: impl FnMut(&mut [Slot]) + Send + 'static,
        then: impl FnOnce(SocketAddr, Arc<Counters>),
    ) {
        let socket = bind(address.parse().unwrap()).unwrap();
        let mut address = socket.local_addr().unwrap().as_socket().unwrap();
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 53].into());
        }
        let mut worker = Worker::new(socket).behind(balancers);
        let (stop, counters) = (Arc::new(AtomicBool::new(false)), Registry::default().counters());
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&counters));
        let thread = thread::spawn(move || {
            worker.run(&stopping, &counting, &mut work, |_| {});
        });
        then(address, counters);
        stop.store(true, Ordering::Relaxed);
        thread.join().unwrap();
    }

    fn echo(slots: &mut [Slot]) {
        slots.iter_mut().for_each(|slot| slot.outcome = Outcome::Reply(slot.len));
    }

    fn client(server: SocketAddr) -> UdpSocket {
        let socket = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
        let socket = socket.unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(server).unwrap();
        socket
    }

    #[test]
    fn each_datagram_of_a_flood_comes_back_as_it_went() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            serve(address, echo, |server, _| {
                let client = client(server);
                for round in 0..20u8 {
                    (0..50u8).for_each(|at| assert_eq!(client.send(&[round, at]).unwrap(), 2));
                    for at in 0..50 {
                        let mut octets = [0; 9];
                        assert_eq!(client.recv(&mut octets).unwrap(), 2);
                        assert_eq!(octets[..2], [round, at]);
                    }
                }
            });
        }
    }

    #[test]
    fn a_reply_leaves_from_the_address_its_query_came_to() {
        // The client is connected to 127.0.0.53 and takes nothing from another address.
        serve("0.0.0.0:0", echo, |server, _| {
            let client = client(server);
            client.send(b"hello").unwrap();
            assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5);
        });
    }

    #[test]
    fn a_worker_that_panics_goes_on_and_is_counted() {
        let panics = |slots: &mut [Slot]| {
            assert!(slots.iter().all(|slot| slot.octets[0] != b'!'), "as the test wants it");
            echo(slots);
        };
        serve("127.0.0.1:0", panics, |server, counters| {
            let client = client(server);
            client.send(b"!").unwrap();
            while counters.get(&WORKERS, 0) == 0 {
                thread::yield_now();
            }
            client.send(b"ok").unwrap();
            assert_eq!(client.recv(&mut [0; 9]).unwrap(), 2);
        });
    }

    #[test]
    fn what_must_get_no_reply_leaves_the_others_theirs() {
        let every_other = |slots: &mut [Slot]| {
            for slot in slots {
                let odd = slot.octets[0] % 2 == 1;
                slot.outcome = if odd { Outcome::Reply(slot.len) } else { Outcome::Silent };
            }
        };
        serve("127.0.0.1:0", every_other, |server, _| {
            let client = client(server);
            (0..40u8).for_each(|at| assert_eq!(client.send(&[at]).unwrap(), 1));
            for at in (1..40).step_by(2) {
                let mut octets = [0; 9];
                client.recv(&mut octets).unwrap();
                assert_eq!(octets[0], at);
            }
        });
    }

    #[test]
    fn a_datagram_longer_than_any_message_for_us_is_dropped() {
        serve("127.0.0.1:0", echo, |server, counters| {
            let client = client(server);
            client.send(&[0; PLACE_OCTETS + 1]).unwrap();
            client.send(b"short").unwrap();
            assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5);
            assert_eq!(counters.get(&DROPPED, 1), 1);
        });
    }

    #[test]
    fn a_balancer_tells_the_client_and_gets_the_reply() {
        let balancers = Prefixes::new(["127.0.0.1/32".parse().unwrap()]);
        let asked: SocketAddr = "[2001:db8::7]:4000".parse().unwrap();
        let answers = move |slots: &mut [Slot]| {
            for slot in slots.iter_mut() {
                assert_eq!(slot.peer, asked);
                slot.outcome = Outcome::Reply(slot.len);
            }
        };
        serve_behind(balancers, "127.0.0.1:0", answers, |server, counters| {
            let balancer = client(server);
            balancer.send(b"without a header").unwrap();
            balancer.send(&[&proxy::header(asked)[..], b"hello"].concat()).unwrap();
            let mut octets = [0; 99];
            assert_eq!(balancer.recv(&mut octets).unwrap(), 5);
            assert_eq!(&octets[..5], b"hello");
            assert_eq!((counters.get(&DROPPED, 0), counters.get(&WORKERS, 0)), (1, 0));
        });
    }

    /// Ports below 1024 may be closed to whoever runs the tests: those that are open are tried.
    #[test]
    fn what_comes_from_a_port_no_client_asks_from_gets_no_reply() {
        serve("127.0.0.1:0", echo, |server, counters| {
            let open: Vec<UdpSocket> = NOBODY[1..]
                .iter()
                .filter_map(|port| UdpSocket::bind(("127.0.0.1", *port)).ok())
                .collect();
            for socket in &open {
                socket.send_to(b"echo this", server).unwrap();
            }
            let client = client(server);
            client.send(b"hello").unwrap();
            assert_eq!(client.recv(&mut [0; 9]).unwrap(), 5);
            assert_eq!(counters.get(&DROPPED, 1), open.len() as u64);
            for socket in &open {
                socket.set_nonblocking(true).unwrap();
                assert!(socket.recv(&mut [0; 9]).is_err());
            }
        });
    }
}
