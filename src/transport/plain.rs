//! Plain TCP as long as it is simple: a message comes whole and alone, and so does the next, or the end.
//!
//! Threads of their own answer what comes so, each with its own `epoll` and no task for a connection. Whatever is
//! more goes on as a [conversation](super::stream) on the runtime, from where it stands: several messages at once,
//! half of one or a long one, one that others must be asked about, a reply that the peer does not take at once, a
//! balancer.
//!
//! Promises: no thread waits for a peer or for others; one connection is answered once before the rest have their
//! turn; a panic ends the connection in hand, is counted, and no other notices.
//!
//! Does not: close first, unless a connection was idle for too long (see [`tcp`](super::tcp)) or the server stops.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use socket2::Socket;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::late::{Stream, accept_now};
use super::stream::{Begun, End, House, LENGTH_OCTETS, go_on, is_stopped, whole_message};
use super::tcp::{self, Place, Places};
use super::{now_s, tapped};
use crate::metrics::{CONNECTIONS, DURATION, WORKERS};
use crate::serve::{Context, Outcome, Slot, Transport, handle};
use crate::tap::{NOWHERE, Way};

/// Octets taken at once: a question with room to spare. What fills them is not simple.
const INPUT_OCTETS: usize = 512;

/// Octets of the largest reply.
const REPLY_OCTETS_MAX: usize = 65_535;

/// Octets of one thread's places for messages.
pub(super) const BUFFER_OCTETS: u64 = (REPLY_OCTETS_MAX + LENGTH_OCTETS) as u64 * 2;

/// Events taken at once.
const EVENTS: usize = 64;

/// Connections accepted before those that are open have their turn.
const ACCEPTED_AT_ONCE: usize = 16;

/// How often a thread looks who was idle for too long, and whether the server stops.
const LOOK_UP: Duration = Duration::from_millis(250);

/// What events are known by that concern no connection; connections are known by their descriptor.
const LISTENER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

/// One thread's share of the plain TCP of an address.
pub struct Plain {
    epoll: OwnedFd,
    listener: Socket,
    /// Whether connections that wait in the kernel are told of.
    listens: bool,
    /// Whether a place is waited for.
    waits: bool,
    door: Arc<Door>,
    /// Connections, each at the number of its descriptor.
    open: Vec<Option<Open>>,
    house: Arc<House>,
    places: Arc<Places>,
    runtime: Handle,
    context: Context,
    slot: Slot,
    output: Vec<u8>,
    /// When this turn began, the latter in seconds since 1970.
    now: Instant,
    now_s: u32,
    look_up: Instant,
}

struct Open {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    /// How long it may be idle, as the house was when it was last heard of.
    until: Instant,
}

/// Where a full house hands in the place that becomes free.
struct Door {
    room: Mutex<Option<OwnedSemaphorePermit>>,
    bell: OwnedFd,
}

/// What becomes of a connection.
enum Next {
    Stays,
    Ends(End),
    GoesOn(Begun),
}

impl Plain {
    /// Makes a thread's share of `listener`, which never blocks; what is not simple goes on on `runtime`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(
        listener: Socket,
        house: &Arc<House>,
        places: &Arc<Places>,
        runtime: &Handle,
    ) -> io::Result<Plain> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut plain = Plain {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            listener,
            listens: false,
            waits: false,
            door: Arc::new(Door { room: Mutex::new(None), bell }),
            open: Vec::new(),
            house: Arc::clone(house),
            places: Arc::clone(places),
            runtime: runtime.clone(),
            context: Context::new(house.desk.shared(), Transport::Tcp),
            slot: Slot::new(REPLY_OCTETS_MAX),
            output: Vec::new(),
            now: Instant::now(),
            now_s: now_s(),
            look_up: Instant::now() + LOOK_UP,
        };
        plain.join(&plain.door.bell, BELL, EventFlags::IN)?;
        plain.listen()?;
        Ok(plain)
    }

    fn join(&self, source: impl AsFd, token: u64, events: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), events)?)
    }

    /// Is told of connections that wait; of the threads that share a listener one is, not all.
    fn listen(&mut self) -> io::Result<()> {
        self.join(&self.listener, LISTENER, EventFlags::IN | EventFlags::EXCLUSIVE)?;
        self.listens = true;
        Ok(())
    }

    /// Leaves those that wait where they are.
    fn listen_no_more(&mut self) {
        self.listens = epoll::delete(&self.epoll, &self.listener).is_err();
    }

    /// Answers until the server stops.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            // What a panic leaves unheard is told of again.
            let ran = catch_unwind(AssertUnwindSafe(|| while self.turn(&mut events) {}));
            match ran {
                Ok(()) => return,
                Err(_) => self.context.counters().add(&WORKERS, 0),
            }
        }
    }

    /// Hears whoever has something to say. Returns whether there is to be another turn.
    fn turn(&mut self, events: &mut Vec<Event>) -> bool {
        events.clear();
        let at_most = Timespec { tv_sec: 0, tv_nsec: LOOK_UP.subsec_nanos().into() };
        let _ = epoll::wait(&self.epoll, spare_capacity(events), Some(&at_most)); // interrupted: nobody
        self.now = Instant::now();
        self.now_s = now_s();
        for event in events.iter() {
            match event.data.u64() {
                LISTENER => self.accept(None),
                BELL => self.come_in(),
                number => {
                    let place = self.open.get_mut(number as usize);
                    if let Some(open) = place.and_then(Option::take) {
                        self.hear(open, true);
                    }
                }
            }
        }
        self.now < self.look_up || self.look_up()
    }

    /// Lets go who was idle for too long, and listens again. Returns whether the server goes on.
    fn look_up(&mut self) -> bool {
        self.look_up = self.now + LOOK_UP;
        for place in &mut self.open {
            if place.as_ref().is_some_and(|open| open.until <= self.now) {
                self.context.counters().add(&CONNECTIONS, 2);
                *place = None;
            }
        }
        if !self.listens && !self.waits {
            let _ = self.listen(); // if not now, then at the next look
        }
        !is_stopped(&self.house.stop)
    }

    /// Accepts who waits: the first in `room` if that was waited for.
    fn accept(&mut self, mut room: Option<OwnedSemaphorePermit>) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(room) = room.take().or_else(|| self.places.room_now()) else {
                return self.wait_for_room();
            };
            match accept_now(&self.listener) {
                Ok((stream, peer)) => self.welcome(room, stream, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_of_one(&error) => {}
                // Without descriptors it would be told of them again and again.
                Err(_) => return self.listen_no_more(),
            }
        }
    }

    /// Has the next place kept, in line with the other listeners.
    fn wait_for_room(&mut self) {
        self.listen_no_more();
        self.waits = true;
        let (places, door) = (Arc::clone(&self.places), Arc::clone(&self.door));
        self.runtime.spawn(async move {
            let room = places.room().await;
            *door.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
            let _ = rustix::io::write(&door.bell, &1u64.to_ne_bytes()); // it has rung already
        });
    }

    /// The place waited for is there: whoever waits at the door has it.
    fn come_in(&mut self) {
        let _ = rustix::io::read(&self.door.bell, &mut [0; 8]);
        let room = self.door.room.lock().unwrap_or_else(PoisonError::into_inner).take();
        if room.is_some() {
            self.waits = false;
            let _ = self.listen(); // if not now, then at the next look
            self.accept(room);
        }
    }

    /// Gives a new connection its place, and hears it.
    fn welcome(&mut self, room: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr) {
        let balancer = self.house.balancers.contains(peer.ip());
        let Some(place) = self.places.take(room, peer.ip(), balancer) else {
            return self.context.counters().add(&CONNECTIONS, 1);
        };
        self.context.counters().add(&CONNECTIONS, 0);
        self.places.tell_idle(&self.house);
        let open = Open { stream, peer, place, until: self.now + self.places.idle() };
        match balancer {
            true => self.hand_over(open, None),
            false => self.hear(open, false),
        }
    }

    /// Hears what a connection has to say, which `joined` the events or is to.
    fn hear(&mut self, mut open: Open, joined: bool) {
        match self.next(&mut open) {
            Next::Stays => {
                let number = open.stream.as_raw_fd() as u32;
                if !joined && self.join(&open.stream, number.into(), EventFlags::IN).is_err() {
                    return tcp::count(&self.house, End::Broken);
                }
                let number = number as usize;
                if self.open.len() <= number {
                    self.open.resize_with(number + 1, || None);
                }
                self.open[number] = Some(open);
            }
            Next::Ends(end) => tcp::count(&self.house, end),
            Next::GoesOn(begun) => {
                if joined {
                    let _ = epoll::delete(&self.epoll, &open.stream); // it is there
                }
                self.hand_over(open, Some(begun));
            }
        }
    }

    /// Reads once, and answers what was read if that is simple.
    fn next(&mut self, open: &mut Open) -> Next {
        let mut octets = [0; INPUT_OCTETS];
        let input = match open.stream.read(&mut octets) {
            Ok(0) => return Next::Ends(End::Closed),
            Ok(len) => octets.get(..len).unwrap_or_default(),
            Err(error) if is_passing(&error) => return Next::Stays,
            Err(_) => return Next::Ends(End::Broken),
        };
        open.until = self.now + self.places.idle();
        match whole_message(input) {
            Some(message) if LENGTH_OCTETS + message.len() == input.len() => {
                self.answer(open, message)
            }
            _ => Next::GoesOn(Begun { input: input.to_vec(), ..Begun::default() }),
        }
    }

    fn answer(&mut self, open: &mut Open, message: &[u8]) -> Next {
        let begun = Instant::now();
        self.tap(Way::Query, open.peer, message);
        if !self.slot.receive(message, open.peer) {
            return Next::Ends(End::Broken);
        }
        let len = match handle(&self.context, &mut self.slot, self.now_s) {
            Outcome::Reply(len) => len,
            // A peer of a stream that sends anything but queries is not one to talk to.
            Outcome::Silent => return Next::Ends(End::Broken),
            Outcome::Ask(_) => {
                return Next::GoesOn(Begun { asked: Some(message.to_vec()), ..Begun::default() });
            }
        };
        let reply = self.slot.octets.get(..len).unwrap_or_default();
        self.tap(Way::Response, open.peer, reply);
        self.output.clear();
        self.output.extend_from_slice(&(len as u16).to_be_bytes());
        self.output.extend_from_slice(reply);
        let nanos = begun.elapsed().as_nanos() as u64;
        self.context.counters().observe(&DURATION, Transport::Tcp as usize, nanos, 1);
        let sent = match open.stream.write(&self.output) {
            Ok(sent) => sent,
            Err(error) if is_passing(&error) => 0,
            Err(_) => return Next::Ends(End::Broken),
        };
        match self.output.get(sent..) {
            None | Some([]) => Next::Stays,
            Some(rest) => Next::GoesOn(Begun { output: rest.to_vec(), ..Begun::default() }),
        }
    }

    fn tap(&self, way: Way, peer: SocketAddr, message: &[u8]) {
        if let Some(tap) = &self.house.tap {
            tapped::message(tap, way, Transport::Tcp, peer, NOWHERE, message);
        }
    }

    /// Has a connection go on on the runtime: from where it stands, or from its start.
    fn hand_over(&self, open: Open, begun: Option<Begun>) {
        let (house, places) = (Arc::clone(&self.house), Arc::clone(&self.places));
        self.runtime.spawn(async move {
            let Open { stream, peer, place, .. } = open;
            let end = match begun {
                None => tcp::serve(stream, peer, Arc::clone(&house), places).await,
                Some(begun) => {
                    let (stream, idle) = (Stream::new(stream), || places.idle());
                    go_on(stream, Transport::Tcp, peer, &house, idle, begun).await
                }
            };
            tcp::count(&house, end);
            drop(place);
        });
    }
}

/// Whether it is worth trying again when the next event comes.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Whether an error of accepting concerns only the connection that would have been next.
fn is_of_one(error: &io::Error) -> bool {
    use rustix::io::Errno;
    !matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};
    use tokio::sync::watch;

    use super::*;
    use crate::serve::testing::{Gate, desk, framed, update, version_query};
    use crate::serve::{Asks, Prefixes, Refuse};
    use crate::transport::stream::Patience;

    const LONG: Duration = Duration::from_secs(60);

    /// A thread that answers, and a runtime that does nothing unless a test has it run.
    struct Server {
        address: SocketAddr,
        house: Arc<House>,
        places: Arc<Places>,
        runtime: Runtime,
        stop: watch::Sender<bool>,
        thread: std::thread::JoinHandle<()>,
    }

    impl Server {
        fn new(asks: impl Asks, max: usize, per_address: usize, idle: Duration) -> Server {
            let (stop, stopping) = watch::channel(false);
            let house = Arc::new(House {
                desk: desk(asks),
                patience: Patience::default(),
                balancers: Prefixes::default(),
                tap: None,
                stop: stopping,
            });
            let places = Places::new(max, per_address, idle);
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let socket = tcp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let plain = Plain::new(socket, &house, &places, runtime.handle()).unwrap();
            let thread = std::thread::spawn(move || plain.run());
            Server { address, house, places, runtime, stop, thread }
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream
        }

        fn tasks(&self) -> usize {
            self.runtime.metrics().num_alive_tasks()
        }

        /// Has the runtime run while `work` waits for what it does.
        fn while_running<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
            self.runtime.block_on(self.runtime.spawn_blocking(work)).unwrap()
        }

        fn count(&self, what: usize) -> u64 {
            self.house.desk.shared().registry.total(&CONNECTIONS, what)
        }
    }

    /// The ID of the next message; none at the end.
    fn reply(stream: &mut TcpStream) -> Option<u8> {
        let mut len = [0; 2];
        stream.read_exact(&mut len).ok()?;
        let mut message = vec![0; u16::from_be_bytes(len).into()];
        stream.read_exact(&mut message).unwrap();
        Some(message[1])
    }

    fn asks(stream: &mut TcpStream, id: u8) -> Option<u8> {
        let _ = stream.write_all(&framed(&version_query(id.into())));
        reply(stream)
    }

    fn until(what: impl Fn() -> bool) {
        while !what() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn questions_that_come_one_by_one_and_the_end_need_no_runtime() {
        let server = Server::new(Refuse, 10, 10, LONG);
        let (mut one, mut other) = (server.connect(), server.connect());
        for id in 1..4 {
            assert_eq!(asks(&mut one, id), Some(id));
            assert_eq!(asks(&mut other, id + 100), Some(id + 100));
        }
        drop((one, other));
        until(|| server.places.open() == 0);
        assert_eq!((server.tasks(), server.count(0)), (0, 2));
    }

    /// Goal: nothing is lost or answered twice where the thread leaves off and the runtime goes on.
    #[test]
    fn what_is_more_than_one_whole_message_goes_on_on_the_runtime() {
        let server = Server::new(Refuse, 10, 10, LONG);
        let (first, second) = (framed(&version_query(1)), framed(&version_query(2)));
        let (front, back) = second.split_at(7);
        for (octets, rest, ids) in [
            ([&first[..], &second].concat(), &[][..], &[1, 2][..]),
            (front.to_vec(), back, &[2][..]),
            ([&first[..], front].concat(), back, &[1, 2][..]),
            (first.repeat(100), &second[..], &[1; 100][..]),
        ] {
            let mut stream = server.connect();
            assert_eq!(asks(&mut stream, 9), Some(9));
            stream.write_all(&octets).unwrap();
            until(|| server.tasks() == 1);
            stream.write_all(rest).unwrap();
            let got = server.while_running(move || {
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                std::iter::from_fn(|| reply(&mut stream)).collect::<Vec<u8>>()
            });
            assert_eq!(&got[..ids.len()], ids);
            server.runtime.block_on(async {
                while server.places.open() > 0 {
                    tokio::task::yield_now().await;
                }
            });
        }
    }

    #[test]
    fn who_has_others_asked_holds_up_nobody_on_the_thread() {
        let (gate, open) = Gate::new(0, 0);
        let server = Server::new(gate, 10, 10, LONG);
        let (mut updates, mut asks_on) = (server.connect(), server.connect());
        updates.write_all(&framed(&update(1))).unwrap();
        until(|| server.tasks() == 1);
        server.while_running(move || {
            assert_eq!(asks(&mut asks_on, 2), Some(2));
            open.send(()).unwrap();
            assert_eq!(reply(&mut updates), Some(1));
        });
    }

    #[test]
    fn an_address_gets_its_share_and_a_full_house_takes_the_next_when_one_leaves() {
        let server = Arc::new(Server::new(Refuse, 2, 2, LONG));
        let full = Arc::clone(&server);
        server.while_running(move || {
            for _ in 0..3 {
                let (mut first, mut second) = (full.connect(), full.connect());
                assert_eq!((asks(&mut first, 1), asks(&mut second, 2)), (Some(1), Some(2)));
                let mut third = full.connect();
                third.write_all(&framed(&version_query(3))).unwrap();
                drop(first);
                assert_eq!(reply(&mut third), Some(3));
                drop((second, third));
                until(|| full.places.open() == 0);
            }
        });

        let server = Server::new(Refuse, 10, 1, LONG);
        let mut first = server.connect();
        assert_eq!(asks(&mut first, 1), Some(1));
        assert_eq!(asks(&mut server.connect(), 2), None);
        assert_eq!((asks(&mut first, 3), server.count(1)), (Some(3), 1));
    }

    #[test]
    fn who_is_idle_is_let_go_and_so_are_all_when_the_server_stops() {
        let server = Server::new(Refuse, 10, 10, Duration::from_millis(20));
        assert_eq!((reply(&mut server.connect()), server.count(2)), (None, 1));

        let server = Server::new(Refuse, 10, 10, LONG);
        let mut asked = server.connect();
        assert_eq!(asks(&mut asked, 1), Some(1));
        server.stop.send(true).unwrap();
        server.thread.join().unwrap();
        assert_eq!((reply(&mut asked), server.places.open()), (None, 0));
        assert!(TcpStream::connect(server.address).is_err());
    }

    /// Method: no clock reaches the end of this idle time.
    #[test]
    fn a_panic_ends_the_connection_in_hand_and_not_the_thread() {
        let server = Server::new(Refuse, 10, 10, Duration::MAX);
        for number in 1..3 {
            assert_eq!(asks(&mut server.connect(), 1), None);
            let fallen = || server.house.desk.shared().registry.total(&WORKERS, 0);
            until(|| (fallen(), server.places.open()) == (number, 0));
        }
    }
}
