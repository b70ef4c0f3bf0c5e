//! Moves octets between sockets and [`serve`](crate::serve), and decides nothing.
//!
//! UDP has threads of its own; everything else runs on the runtime it is given. All of it calls the
//! same checklist.

pub mod udp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use socket2::Socket;

use crate::metrics::DROPPED;
use crate::serve::{Context, Desk, Transport, handle_batch};

/// What an operator decides about sockets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses answered on, by UDP and TCP. Port 0 takes a free one, the same for both.
    pub listen: Vec<SocketAddr>,
    /// UDP threads for each address; 0 is one for each core.
    pub udp_workers: usize,
    /// Whether each UDP thread is bound to a core.
    pub pin: bool,
    /// Stream connections open at once.
    pub connections_max: usize,
    /// Stream connections open at once from one address.
    pub connections_per_address_max: usize,
    /// Seconds an idle stream is kept when few are open.
    pub idle_timeout_s: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            udp_workers: 1,
            pin: false,
            connections_max: 1024,
            connections_per_address_max: 64,
            idle_timeout_s: 10,
        }
    }
}

/// Why the server cannot listen. The operator's to mend.
#[derive(Debug)]
pub struct StartError {
    pub address: SocketAddr,
    pub protocol: &'static str,
    pub source: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} address {} cannot be listened on", self.protocol, self.address)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Everything that listens. Dropping it without [`shutdown`](Handle::shutdown) leaves it running.
pub struct Handle {
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Handle {
    /// The addresses answered on, with the ports they got.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops listening, answers what is there, ends all threads. Waits for them.
    pub fn shutdown(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join(); // a worker that panicked has nothing left to drain
        }
    }
}

/// Starts answering at `desk` on all addresses.
///
/// # Errors
///
/// [`StartError`] for the first address that cannot be had; nothing listens then.
pub fn start(
    settings: &Settings,
    desk: Arc<Desk>,
    _runtime: &tokio::runtime::Handle,
) -> Result<Handle, StartError> {
    let workers = match settings.udp_workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        some => some,
    };
    let mut addresses = Vec::new();
    let mut sockets = Vec::new();
    for &wanted in &settings.listen {
        let failed = |source| StartError { address: wanted, protocol: "UDP", source };
        let mut address = wanted;
        for _ in 0..workers {
            let socket = udp::bind(address).map_err(failed)?;
            let local = socket.local_addr().map_err(failed)?;
            address = local.as_socket().unwrap_or(address);
            sockets.push(socket);
        }
        addresses.push(address);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (errands, waiting) = sync_channel(ERRANDS_MAX);
    let mut threads = Vec::new();
    for (number, socket) in sockets.into_iter().enumerate() {
        let core = settings.pin.then_some(number % workers);
        threads.push(spawn_worker(number, core, socket, &desk, &stop, errands.clone()));
    }
    threads.push(spawn("dns-ask".into(), move || run_errands(&desk, &waiting)));
    Ok(Handle { addresses, stop, threads })
}

/// Datagrams that wait for somebody to ask; more are dropped, and their clients come again.
const ERRANDS_MAX: usize = 256;

type Errands = SyncSender<(Arc<Socket>, udp::Errand)>;

fn spawn_worker(
    number: usize,
    core: Option<usize>,
    socket: Socket,
    desk: &Arc<Desk>,
    stop: &Arc<AtomicBool>,
    errands: Errands,
) -> JoinHandle<()> {
    let context = Context::new(desk.shared(), Transport::Udp);
    let stop = Arc::clone(stop);
    spawn(format!("udp-{number}"), move || {
        if let Some(core) = core {
            udp::pin(core);
        }
        let mut worker = udp::Worker::new(socket);
        let socket = worker.socket();
        worker.run(
            &stop,
            context.counters(),
            |slots| handle_batch(&context, slots, now_s()),
            |errand| {
                if errands.try_send((Arc::clone(&socket), errand)).is_err() {
                    context.counters().add(&DROPPED, 3);
                }
            },
        );
    })
}

/// Asks for what UDP workers could not answer. Ends with the last worker.
fn run_errands(desk: &Desk, waiting: &Receiver<(Arc<Socket>, udp::Errand)>) {
    let mut reply = Vec::new();
    while let Ok((socket, mut errand)) = waiting.recv() {
        reply.clear();
        desk.ask(Transport::Udp, errand.peer, &errand.message, &mut reply);
        // Lost replies are UDP's nature; the client asks again.
        let _ = udp::send_later(&socket, &mut errand, &reply);
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let spawned = std::thread::Builder::new().name(name).spawn(body);
    spawned.expect("the system has a thread left at start")
}

/// The time in seconds since 1970, modulo 2³².
fn now_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
