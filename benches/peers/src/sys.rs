//! What the standard library does not offer: datagrams in batches, and a core of one's own.
//!
//! All `unsafe` of the package is here. A [`Batch`] is the same in both directions: up to
//! [`Batch::capacity`] slots of [`SLOT`] octets, filled by one `recvmmsg` or sent by one `sendmmsg`.

#![expect(unsafe_code, reason = "recvmmsg, sendmmsg and sched_setaffinity have no safe wrapper")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr;
use std::time::{Duration, Instant};

/// Octets of one slot: no reply of the servers measured is longer over UDP.
pub const SLOT: usize = 2048;

/// Datagrams that one GSO message may carry: past this the kernel call is no longer what costs.
pub const SEGMENTS_MAX: usize = 16;

/// Pins a thread to one core; 0 is the calling thread.
pub fn pin(thread: i32, core: usize) -> io::Result<()> {
    // SAFETY: an all-zero `cpu_set_t` is the empty set, and `sched_setaffinity` only reads it.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets a thread run on any core again; 0 is the calling thread.
pub fn unpin(thread: i32) -> io::Result<()> {
    // SAFETY: all octets set is a valid `cpu_set_t`; the kernel ignores cores that are not there.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|core| libc::CPU_SET(core, &mut set));
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lifts the limits on open files of this process and those it starts, as far as it may.
pub fn lift_file_limit() {
    // SAFETY: both calls only read and write the structure given.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// CPU time of a whole process, of threads that ended as well; none if it is gone.
pub fn process_cpu(pid: u32) -> Option<Duration> {
    // The clock of a process as clock_getcpuclockid(3) makes it: the scheduler's own count.
    let clock = (!(pid as libc::clockid_t) << 3) | 2;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes `time` and nothing else.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    (failed == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Has a process that is about to be started end when the thread that starts it does, so that a run
/// that is broken off leaves no server behind.
pub fn end_with_us(command: &mut Command) {
    // SAFETY: between fork and exec only `prctl` is called, which is safe there and takes no memory.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
            Ok(())
        });
    }
}

/// What a command took from its start to its end.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    pub wall: Duration,
    /// CPU time, of its own and of all it waited for.
    pub cpu: Duration,
}

/// Waits for a child and returns what it took since `start`; an error if it did not end with 0.
pub fn measure(child: Child, start: Instant) -> io::Result<Took> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the call writes the two structures and nothing else; zeros are a valid `rusage`.
    let (waited, usage) = unsafe {
        let pid = child.id() as libc::pid_t;
        (libc::wait4(pid, &mut status, 0, usage.as_mut_ptr()), usage.assume_init())
    };
    if waited < 0 {
        return Err(io::Error::last_os_error());
    }
    if status != 0 {
        return Err(io::Error::other(format!("ended with status {status:#x}")));
    }
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    Ok(Took { wall: start.elapsed(), cpu: time(usage.ru_utime) + time(usage.ru_stime) })
}

/// Asks a process to end (SIGTERM).
pub fn terminate(pid: u32) {
    // SAFETY: `kill` touches no memory of ours; `pid` is a child that was not yet waited for.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
}

/// Makes the kernel's buffers of a socket large enough for any window used here.
pub fn widen_buffers(socket: &UdpSocket) {
    let octets: libc::c_int = 4 << 20;
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        // SAFETY: the option's value is `octets`, of the size given, and outlives the call.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                ptr::from_ref(&octets).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
}

/// Has the kernel note when each datagram arrives at `socket`, for [`Batch::arrived`].
pub fn stamp_arrivals(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is `on`, of the size given, and outlives the call.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How to wait in [`Batch::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until one datagram is there; then take what is there.
    ForOne,
    /// Not at all.
    Not,
}

/// Datagrams received or sent with one system call.
pub struct Batch {
    buffers: Box<[[u8; SLOT]]>,
    vectors: Box<[libc::iovec]>,
    addresses: Box<[libc::sockaddr_storage]>,
    headers: Box<[libc::mmsghdr]>,
    /// Room for what the kernel says of arrivals; none if nobody wants to know.
    stamps: Box<[Stamp]>,
}

/// Room for the one control message that says when a datagram arrived: cmsghdr, then seconds and
/// nanoseconds since 1970.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Stamp([u8; 32]);

impl Batch {
    /// A batch that is told when its datagrams arrived at a socket made ready by [`stamp_arrivals`].
    pub fn stamped(capacity: usize) -> Self {
        Self { stamps: vec![Stamp([0; 32]); capacity].into(), ..Self::new(capacity) }
    }

    /// A batch of `capacity` empty slots.
    pub fn new(capacity: usize) -> Self {
        // SAFETY: all-zero octets are valid for these plain C structures; no pointer in them is
        // read before `receive` or `send` sets it.
        let (vectors, addresses, headers) = unsafe {
            (
                vec![mem::zeroed(); capacity].into_boxed_slice(),
                vec![mem::zeroed(); capacity].into_boxed_slice(),
                vec![mem::zeroed(); capacity].into_boxed_slice(),
            )
        };
        Self {
            buffers: vec![[0; SLOT]; capacity].into(),
            vectors,
            addresses,
            headers,
            stamps: [].into(),
        }
    }

    /// How many datagrams fit.
    pub fn capacity(&self) -> usize {
        self.buffers.len()
    }

    /// Fills the batch from a socket; returns how many datagrams came.
    pub fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        for i in 0..self.capacity() {
            self.point(i, SLOT, true);
            if let Some(stamp) = self.stamps.get_mut(i) {
                let header = &mut self.headers[i].msg_hdr;
                header.msg_control = ptr::from_mut(stamp).cast();
                header.msg_controllen = size_of::<Stamp>();
            }
        }
        let flags = match wait {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::Not => libc::MSG_DONTWAIT,
        };
        // SAFETY: every header points at a vector, buffer, address and stamp in boxes of `self`, which
        // outlive the call; the kernel writes at most `capacity` headers and `SLOT` octets each.
        let came = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.capacity() as libc::c_uint,
                flags,
                ptr::null_mut(),
            )
        };
        match came {
            0.. => Ok(came as usize),
            _ if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => Ok(0),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The octets received in slot `i`.
    pub fn received(&mut self, i: usize) -> &mut [u8] {
        let len = (self.headers[i].msg_len as usize).min(SLOT);
        &mut self.buffers[i][..len]
    }

    /// When the datagram in slot `i` came out of the network, since 1970: it may have waited for us then.
    pub fn arrived(&self, i: usize) -> Option<Duration> {
        let octets = &self.stamps.get(i)?.0;
        let header = &self.headers[i].msg_hdr;
        let number = |at: usize| i32::from_ne_bytes(octets[at..at + 4].try_into().expect("four"));
        let long = |at: usize| i64::from_ne_bytes(octets[at..at + 8].try_into().expect("eight"));
        let told = header.msg_controllen == octets.len()
            && number(8) == libc::SOL_SOCKET
            && number(12) == libc::SO_TIMESTAMPNS;
        told.then(|| Duration::new(long(16) as u64, long(24) as u32))
    }

    /// Sends the first `count` received datagrams back to where they came from, `pad` octets longer.
    pub fn send_back(&mut self, socket: &UdpSocket, count: usize, pad: usize) -> io::Result<()> {
        for i in 0..count {
            let len = (self.headers[i].msg_len as usize + pad).min(SLOT);
            let from = self.headers[i].msg_hdr.msg_namelen;
            self.point(i, len, true);
            self.headers[i].msg_hdr.msg_namelen = from;
        }
        self.flush(socket, count)
    }

    /// Describes slot `i` to the kernel: `len` octets, and an address or the connected peer.
    fn point(&mut self, i: usize, len: usize, addressed: bool) {
        self.vectors[i] =
            libc::iovec { iov_base: self.buffers[i].as_mut_ptr().cast(), iov_len: len };
        let header = &mut self.headers[i].msg_hdr;
        header.msg_iov = &mut self.vectors[i];
        header.msg_iovlen = 1;
        header.msg_control = ptr::null_mut();
        header.msg_controllen = 0;
        (header.msg_name, header.msg_namelen) = if addressed {
            let size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            (ptr::from_mut(&mut self.addresses[i]).cast(), size)
        } else {
            (ptr::null_mut(), 0)
        };
    }

    /// Sends the first `count` headers as they stand.
    fn flush(&mut self, socket: &UdpSocket, count: usize) -> io::Result<()> {
        send_all(socket, &mut self.headers[..count])
    }
}

/// Sends every header, however many system calls that takes.
fn send_all(socket: &UdpSocket, mut headers: &mut [libc::mmsghdr]) -> io::Result<()> {
    while !headers.is_empty() {
        // SAFETY: the headers were pointed at buffers, vectors and addresses that their owner
        // holds and that outlive this call; the kernel reads at most `headers.len()` of them.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                0,
            )
        };
        match sent {
            1.. => headers = &mut headers[sent as usize..],
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Room for the one control message that tells the kernel where to cut.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; 24]);

/// Datagrams on their way out over a connected socket, those of one length sent together.
///
/// With more than one segment, the kernel takes a run of datagrams of equal length through its stack as
/// one and cuts it at the receiving socket (UDP GSO). That makes asking cheaper than answering, so that
/// one core of load keeps any server on the other core busy; it also makes the datagrams cheaper to take
/// from the socket than those a network delivers. With one, each crosses as an skb of its own.
pub struct Outbox {
    messages: Vec<Box<[u8; SEGMENTS_MAX * SLOT]>>,
    /// (octets of one datagram, datagrams) of each message in use.
    shape: Vec<(usize, usize)>,
    /// For each length of datagram, the message that still takes one more.
    open: Box<[Option<u16>]>,
    segments: usize,
    vectors: Vec<libc::iovec>,
    controls: Vec<Control>,
    headers: Vec<libc::mmsghdr>,
}

impl Outbox {
    /// An empty outbox that sends up to `segments` datagrams in one message.
    pub fn new(segments: usize) -> Self {
        Self {
            messages: Vec::new(),
            shape: Vec::new(),
            open: vec![None; SLOT + 1].into(),
            segments: segments.clamp(1, SEGMENTS_MAX),
            vectors: Vec::new(),
            controls: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Takes one datagram; it leaves with the next [`Outbox::send`].
    pub fn push(&mut self, datagram: &[u8]) {
        let len = datagram.len();
        let at = match self.open[len] {
            Some(at) => at as usize,
            None => {
                if self.messages.len() == self.shape.len() {
                    self.messages.push(Box::new([0; SEGMENTS_MAX * SLOT]));
                }
                self.shape.push((len, 0));
                self.shape.len() - 1
            }
        };
        let count = self.shape[at].1;
        self.messages[at][count * len..][..len].copy_from_slice(datagram);
        self.shape[at].1 += 1;
        self.open[len] = (count + 1 < self.segments).then_some(at as u16);
    }

    /// Sends everything taken.
    pub fn send(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let count = self.shape.len();
        self.vectors.clear();
        self.controls.clear();
        for (message, &(len, datagrams)) in self.messages.iter_mut().zip(&self.shape) {
            let iov_base = message.as_mut_ptr().cast();
            self.vectors.push(libc::iovec { iov_base, iov_len: len * datagrams });
            self.controls.push(cut_into(len));
            self.open[len] = None;
        }
        self.headers.clear();
        for i in 0..count {
            // SAFETY: all-zero octets are a valid `mmsghdr` without name, vector or control.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = &mut self.vectors[i];
            header.msg_hdr.msg_iovlen = 1;
            if self.shape[i].1 > 1 {
                header.msg_hdr.msg_control = ptr::from_mut(&mut self.controls[i]).cast();
                header.msg_hdr.msg_controllen = size_of::<Control>();
            }
            self.headers.push(header);
        }
        self.shape.clear();
        send_all(socket, &mut self.headers)
    }
}

/// The control message `UDP_SEGMENT`: cut into datagrams of `len` octets.
fn cut_into(len: usize) -> Control {
    let mut control = Control([0; 24]);
    // cmsghdr: length, level, type; then the value, a u16.
    control.0[..8].copy_from_slice(&18usize.to_ne_bytes());
    control.0[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control.0[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control.0[16..18].copy_from_slice(&(len as u16).to_ne_bytes());
    control
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_datagram_that_waited_arrived_when_it_came() {
        let (server, client) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        stamp_arrivals(&server).unwrap();
        let real = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut batch = Batch::stamped(2);
        let mut came_between = || {
            let before = real();
            client.send_to(b"1", server.local_addr().unwrap()).unwrap();
            let after = real();
            std::thread::sleep(Duration::from_millis(5));
            assert_eq!(batch.receive(&server, Wait::ForOne).unwrap(), 1);
            let arrived = batch.arrived(0).unwrap();
            before <= arrived && arrived <= after
        };

        // The kernel begins to note arrivals a moment after the first socket of all wants it; until then it
        // notes when a datagram is taken.
        assert!((0..200).any(|_| came_between()) && (0..5).all(|_| came_between()));
    }

    #[test]
    fn datagrams_of_several_lengths_arrive_whole() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut outbox = Outbox::new(16);
        let sent: Vec<Vec<u8>> = (0..60u8).map(|i| vec![i; 30 + (i as usize % 3)]).collect();
        sent.iter().for_each(|datagram| outbox.push(datagram));

        outbox.send(&client).unwrap();

        let mut batch = Batch::new(32);
        let mut came = Vec::new();
        while came.len() < sent.len() {
            let count = batch.receive(&server, Wait::ForOne).unwrap();
            came.extend((0..count).map(|i| batch.received(i).to_vec()));
        }
        came.sort();
        assert_eq!(came, sent);
    }
}
