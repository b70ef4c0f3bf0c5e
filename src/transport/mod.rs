//! Moves octets between sockets and [`serve`](crate::serve), and decides nothing.
//!
//! UDP has threads of its own, and so has plain TCP while it is simple; everything else runs on the runtime it is
//! given. All of it calls the same checklist.

pub mod client;
pub mod conversation;
mod errands;
mod gate;
mod late;
mod listen;
mod plain;
pub mod proxy;
pub mod quic;
pub mod secure;
pub mod stream;
mod tapped;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod xot;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::Socket;
use tokio::sync::watch;

use self::errands::{Leave, Take};
use self::listen::Bound;
pub use self::listen::{Secured, StartError};
use self::plain::Plain;
use self::secure::Web;
use self::stream::{House, Patience};
use self::tcp::Places;
use crate::metrics::{DROPPED, DURATION, OPEN_CONNECTIONS};
use crate::serve::{Context, Desk, Prefixes, Transport};
use crate::tap::{self, Tap};

/// What an operator decides about sockets.
#[derive(Clone)]
pub struct Settings {
    /// Addresses answered on, by UDP and TCP. Port 0 takes a free one, the same for both.
    pub listen: Vec<SocketAddr>,
    /// UDP threads for each address, and as many for TCP; 0 is one of each for each core.
    pub udp_workers: usize,
    /// Cores that the UDP threads of an address keep to, one each ([`udp::set_apart`]); none leaves them all.
    pub cores: Vec<usize>,
    /// Stream connections open at once.
    pub connections_max: usize,
    /// Stream connections open at once from one address.
    pub connections_per_address_max: usize,
    /// Seconds an idle stream is kept when few are open.
    pub idle_timeout_s: u16,
    /// Who tells by the PROXY protocol for whom it speaks.
    pub balancers: Prefixes,
    /// The encrypted transports.
    pub secure: Option<Secure>,
    /// Who gets copies of what passes. HTTP's passes elsewhere.
    pub tap: Option<Tap>,
}

/// What an operator decides about encrypted transports.
#[derive(Clone)]
pub struct Secure {
    pub certificate: tls::Source,
    /// Whether clients of DNS over TLS are asked for a certificate.
    pub asks_clients: bool,
    /// Addresses of DNS over TLS.
    pub dot: Vec<SocketAddr>,
    /// Addresses of DNS over QUIC.
    pub doq: Vec<SocketAddr>,
    /// Addresses of DNS over HTTPS, HTTP/2 by TCP and HTTP/3 by UDP.
    pub doh: Vec<SocketAddr>,
    /// Who speaks HTTP; without it there is no DNS over HTTPS.
    pub web: Option<Arc<dyn Web>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            udp_workers: 1,
            cores: Vec::new(),
            connections_max: 1024,
            connections_per_address_max: 64,
            idle_timeout_s: 10,
            balancers: Prefixes::default(),
            secure: None,
            tap: None,
        }
    }
}

impl Settings {
    fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_s.into())
    }

    fn places(&self) -> Arc<Places> {
        Places::new(self.connections_max, self.connections_per_address_max, self.idle())
    }
}

/// Everything that listens. Dropping it without [`shutdown`](Handle::shutdown) leaves UDP running.
pub struct Handle {
    addresses: Vec<SocketAddr>,
    secure: Secured,
    stop: Arc<AtomicBool>,
    stop_streams: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    places: Arc<Places>,
    buffer_octets: u64,
}

/// How long open streams may take to end once the server stops.
const DRAIN: Duration = Duration::from_secs(5);

impl Handle {
    /// The addresses answered on, with the ports they got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses of encrypted transports, with the ports they got.
    pub fn secure(&self) -> &Secured {
        &self.secure
    }

    /// Octets of the places for messages that UDP and TCP threads have.
    pub fn buffer_octets(&self) -> u64 {
        self.buffer_octets
    }

    /// Stops listening, answers what is there, ends all threads, also idle ones. Waits for them.
    pub async fn shutdown(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.stop_streams.send(true); // without streams there is nobody to tell
        let threads = tokio::task::spawn_blocking(|| {
            // A worker that panicked while it stopped has nothing left to drain.
            self.threads.into_iter().for_each(|thread| drop(thread.join()));
        });
        self.places.empty(DRAIN).await;
        let _ = threads.await;
    }
}

/// Starts answering at `desk` on all addresses; streams run on `runtime`.
///
/// # Errors
///
/// [`StartError`] for the first address that cannot be had; nothing listens then.
pub fn start(
    settings: &Settings,
    desk: Arc<Desk>,
    runtime: &tokio::runtime::Handle,
) -> Result<Handle, StartError> {
    let workers = match settings.udp_workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let bound = settings.listen.iter().map(|&address| listen::bind(address, workers));
    let bound = bound.collect::<Result<Vec<Bound>, StartError>>()?;
    let addresses = bound.iter().map(|bound| bound.address).collect();

    let stop = Arc::new(AtomicBool::new(false));
    let (stop_streams, stopping) = watch::channel(false);
    let places = settings.places();
    let house = Arc::new(House {
        desk: Arc::clone(&desk),
        patience: Patience::default(),
        balancers: settings.balancers.clone(),
        tap: settings.tap.clone(),
        stop: stopping,
    });
    let watched = Arc::clone(&places);
    desk.shared().registry.watch(&OPEN_CONNECTIONS, move || watched.open() as u64);

    let (errands, waiting) = errands::line();
    let (mut threads, mut buffer_octets) = (Vec::new(), 0);
    let _entered = runtime.enter();
    let secure = match &settings.secure {
        Some(secure) => listen::secure(secure, settings.idle(), &house, &places)?,
        None => listen::Secured::default(),
    };
    for Bound { address, udp, tcp } in bound {
        for (number, socket) in udp.into_iter().enumerate() {
            let core = settings.cores.iter().cycle().nth(number).copied();
            let worker = udp::Worker::new(socket).behind(settings.balancers.clone());
            threads.push(spawn_worker(
                number,
                core,
                worker,
                &desk,
                &stop,
                errands.clone(),
                settings.tap.clone(),
            ));
        }
        buffer_octets += workers as u64 * (udp::BUFFER_OCTETS + plain::BUFFER_OCTETS);
        for number in 0..workers {
            let plain = tcp.try_clone().and_then(|tcp| Plain::new(tcp, &house, &places, runtime));
            let failed = |source| StartError { address: Some(address), protocol: "TCP", source };
            let plain = plain.map_err(failed)?;
            threads.push(spawn(format!("tcp-{number}"), move || plain.run()));
        }
    }
    for number in 0..ASKERS {
        let (desk, waiting) = (Arc::clone(&desk), waiting.clone());
        threads.push(spawn(format!("dns-ask-{number}"), move || {
            stand_back();
            run_errands(&desk, &waiting);
        }));
    }
    Ok(Handle { addresses, secure, stop, stop_streams, threads, places, buffer_octets })
}

/// A datagram that needs more than the snapshot, and the socket it came by.
type Errand = (Arc<Socket>, udp::Errand);

fn spawn_worker(
    number: usize,
    core: Option<usize>,
    mut worker: udp::Worker,
    desk: &Arc<Desk>,
    stop: &Arc<AtomicBool>,
    errands: Leave<Errand>,
    tap: Option<Tap>,
) -> JoinHandle<()> {
    let context = Context::new(desk.shared(), Transport::Udp);
    let stop = Arc::clone(stop);
    spawn(format!("udp-{number}"), move || {
        if let Some(core) = core {
            udp::keep_to(&[core]);
        }
        udp::take_short_turns();
        let socket = worker.socket();
        let server = socket.local_addr().ok().and_then(|address| address.as_socket());
        worker.run(
            &stop,
            context.counters(),
            |slots| {
                let begun = Instant::now();
                match &tap {
                    None => udp::answer(&context, slots, now_s()),
                    Some(tap) => {
                        let server = server.unwrap_or(tap::NOWHERE);
                        tapped::queries(tap, server, slots);
                        udp::answer(&context, slots, now_s());
                        tapped::responses(tap, server, slots);
                    }
                }
                let (nanos, messages) = (begun.elapsed().as_nanos() as u64, slots.len() as u64);
                context.counters().observe(&DURATION, Transport::Udp as usize, nanos, messages);
            },
            |errand| {
                if !errands.leave((Arc::clone(&socket), errand)) {
                    context.counters().add(&DROPPED, 3);
                }
            },
        );
    })
}

/// How much lower the priority of what stands back is: where both want one core, it gets a tenth.
const BACK_BY: i32 = 10;

/// Puts this thread, and those that it starts from now on, behind those that answer.
///
/// What changes zones sleeps most of the time and has a claim to the core when it wakes: a worker that wakes
/// beside it would wait until it has had its share, a third of a millisecond for a commit. The lower its
/// priority, the sooner that is.
pub fn stand_back() {
    let _ = rustix::process::nice(BACK_BY); // the kernel always lets a thread be nicer
}

/// Threads that ask for what UDP workers could not answer: one begins while the other waits for the disk.
const ASKERS: usize = 2;

/// Asks for what UDP workers could not answer. Ends with the last worker; whoever panics meanwhile is
/// counted by the desk, and what was taken up with it is lost, as datagrams are.
fn run_errands(desk: &Desk, waiting: &Take<Errand>) {
    let mut errands = Vec::new();
    while waiting.take(&mut errands) {
        let _ = catch_unwind(AssertUnwindSafe(|| run_taken(desk, &mut errands)));
    }
}

fn run_taken(desk: &Desk, errands: &mut [Errand]) {
    let now_s = now_s();
    let asked: Vec<(SocketAddr, Vec<u8>)> = errands
        .iter_mut()
        .map(|(_, errand)| (errand.peer, std::mem::take(&mut errand.message)))
        .collect();
    let asked: Vec<_> = asked.iter().map(|(peer, message)| (*peer, &message[..])).collect();
    desk.ask_all(Transport::Udp, &asked, now_s, &mut |place, reply, messages| {
        let Some((socket, errand)) = errands.get_mut(place) else { return };
        let mut message = reply.to_vec();
        let whole = messages.is_none_or(|mut messages| {
            message.clear();
            messages.next(now_s, &mut message) == Ok(true)
        });
        if whole && !message.is_empty() {
            // Lost replies are UDP's nature; the client asks again.
            let _ = udp::send_later(socket, errand, &message);
        }
    });
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let spawned = std::thread::Builder::new().name(name).spawn(body);
    spawned.expect("the system has a thread left at start")
}

/// The time in seconds since 1970, modulo 2³².
pub fn now_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpStream, UdpSocket};

    use super::*;
    use crate::metrics::WORKERS;
    use crate::serve::testing::{Falls, Gate, desk, framed, update, version_query};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn udp_and_tcp_answer_on_one_port_and_idle_workers_end() {
        let (gate, open) = Gate::new(0, 0);
        let listen = ["127.0.0.1:0", "[::1]:0"].map(|address| address.parse().unwrap()).to_vec();
        let settings = Settings { listen, udp_workers: 2, ..Settings::default() };
        let runtime = runtime();
        let handle = start(&settings, desk(gate), runtime.handle()).unwrap();

        for &address in handle.addresses() {
            let udp = UdpSocket::bind((address.ip(), 0)).unwrap();
            udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            udp.connect(address).unwrap();
            let mut octets = [0; 512];
            udp.send(&version_query(3)).unwrap();
            assert!(udp.recv(&mut octets).unwrap() > 40);
            assert_eq!(octets[..8], [0, 3, 0x84, 0, 0, 1, 0, 1]);
            open.send(()).unwrap();
            udp.send(&update(4)).unwrap();
            udp.recv(&mut octets).unwrap();
            assert_eq!(octets[..4], [0, 4, 0xa8, 0]);

            let mut tcp = TcpStream::connect(address).unwrap();
            tcp.write_all(&framed(&version_query(5))).unwrap();
            tcp.read_exact(&mut octets[..4]).unwrap();
            assert_eq!(octets[2..4], [0, 5]);
        }

        let before = Instant::now();
        let address = handle.addresses()[0];
        runtime.block_on(handle.shutdown());
        assert!(before.elapsed() < Duration::from_secs(3));
        assert!(UdpSocket::bind(address).is_ok());
    }

    /// Goal: nothing that an update, a NOTIFY or a transfer may run into ends those who ask for UDP.
    #[test]
    fn who_is_asked_by_udp_and_panics_is_counted_and_the_next_are_asked() {
        let desk = desk(Falls);
        let (settings, runtime) = (Settings::default(), runtime());
        let handle = start(&settings, Arc::clone(&desk), runtime.handle()).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        udp.connect(handle.addresses()[0]).unwrap();

        let fallen = || desk.shared().registry.total(&WORKERS, 0);
        for number in 1..=2 * ASKERS as u64 {
            udp.send(&update(1)).unwrap();
            while fallen() < number {
                std::thread::yield_now();
            }
        }

        udp.send(&version_query(9)).unwrap();
        let mut octets = [0; 512];
        udp.recv(&mut octets).unwrap();
        assert_eq!(octets[..2], [0, 9]);
        runtime.block_on(handle.shutdown());
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let settings = Settings { listen: vec![address], ..Settings::default() };
        let error = start(&settings, desk(crate::serve::Refuse), runtime().handle()).err().unwrap();
        assert_eq!((error.address, error.protocol), (Some(address), "UDP"));
    }
}
