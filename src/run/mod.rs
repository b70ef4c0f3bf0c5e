//! Assembly: puts the rooms together, starts them from the ground up, ends them from the top down.

mod asks;
mod demo;
pub mod heap;
mod instance_key;
mod orders;
mod process;
mod settings;
mod transfer;
mod web;

use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::answer::{Published, Snapshot, Writer};
use crate::config::Config;
use crate::http::{self, InProcess, Readiness};
use crate::maintain::secrets::Secrets;
use crate::maintain::{self, Maintain};
use crate::manage::holding::secret;
use crate::manage::{Manage, bootstrap};
use crate::metrics::{self, Registry};
use crate::seal::Sealer;
use crate::serve::{self, Desk, Prefixes, Shared, talkers};
use crate::store::{self, Holder, IndexHeld, OpenError, State, Store};
use crate::tap::{Sink, Tap};
use crate::transport;
use crate::wire::HashKey;

type Failure = Box<dyn Error>;

/// How often it is looked whether every zone is loaded.
const STEP: Duration = Duration::from_millis(5);

/// Looks at the settings whose form is right and which start-up would refuse all the same.
///
/// # Errors
///
/// All of them, a line each.
pub fn check(config: &Config) -> Result<(), Failure> {
    let looked_at = [
        settings::log(config).err(),
        settings::serve(config).err(),
        settings::refresh(config).err(),
        settings::resolvers(config).err(),
    ];
    let faults: Vec<String> = looked_at.into_iter().flatten().map(|why| why.to_string()).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// What to start, and how.
#[derive(Debug)]
pub struct Options {
    pub config: Config,
    /// Whether a first start fills the directory with the demo world.
    pub demo: bool,
}

/// Threads of the runtime that never wait, and answer over streams; it names them first. The others do what may
/// wait, for the API and transfers.
const ASYNC: usize = 2;

/// Answers DNS and the API until SIGTERM or SIGINT; returns when everything is drained.
///
/// # Errors
///
/// What kept it from starting: a setting, an address, the data directory.
pub fn serve(options: Options) -> Result<ExitCode, Failure> {
    check(&options.config)?;
    start_log(&options.config)?;
    heap::tell();
    // Two providers may be linked one day; then rustls would refuse to choose.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Before there are other threads: they keep to where this one is.
    let cores = match options.config.dns.pin {
        true => transport::udp::set_apart(options.config.dns.udp_workers as usize),
        false => Vec::new(),
    };
    let named = AtomicUsize::new(0);
    let name = move || if named.fetch_add(1, Ordering::Relaxed) < ASYNC { "async" } else { "work" };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC)
        .thread_name_fn(move || name().into())
        .on_thread_start(|| {
            if thread::current().name() == Some("work") {
                transport::stand_back();
            }
        })
        .enable_all()
        .build()?;
    runtime.block_on(run(options, cores, runtime.handle().clone()))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `work` so that the threads it starts stand back behind those that answer.
fn behind<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
    let standing_back = || {
        transport::stand_back();
        work()
    };
    thread::scope(|scope| scope.spawn(standing_back).join())
        .map_err(|_| "a thread of the start panicked".into())
}

async fn run(
    options: Options,
    cores: Vec<usize>,
    runtime: tokio::runtime::Handle,
) -> Result<(), Failure> {
    let Options { config, demo } = options;
    let (store, index) = behind(|| open_store(&config))?.map_err(|error| chain(&error))?;
    let mut writer = Writer::new(hash_key()?);
    // Whoever asks before the zones are so much as counted must not be told that theirs is not here.
    writer.start_load();
    let zones = writer.published();
    let settings = maintain_settings(&config, demo, &store)?;
    let maintain = Maintain::open(store.clone(), writer, settings);
    let manage = Manage::new(maintain.clone());
    let is_new = first_start(&manage, &config.store.dir)?;

    let registry = Arc::new(Registry::default());
    process::watch(&registry);
    watch(&registry, &store, &maintain, &zones);
    let transfer_allow = Prefixes::new(config.transfer.allow.iter().copied());
    let places = transfer::Places::of(&config.transfer);
    transfer::watch(&registry, &places);
    let asks = Arc::new(asks::Desk { manage: manage.clone(), transfer_allow, places });
    let settings = serve::Settings {
        keys: Arc::clone(maintain.keyring()),
        closed: Arc::clone(maintain.closed()),
        ..settings::serve(&config)?
    };
    let shared = Shared::new(settings, zones, asks, Arc::clone(&registry), random()?);
    let desk = Arc::new(Desk::new(shared));
    let filled = Arc::new(AtomicBool::new(!(demo && is_new)));
    let (tap, tapping) = start_tap(&config, &registry)?.unzip();
    let resolve = web::Resolver { desk: Arc::clone(&desk), tap: tap.clone() };
    let state = http_state(&config, &manage, &maintain, &registry, resolve, Arc::clone(&filled));
    let settings = transport::Settings { tap, cores, ..transport_settings(&config, demo, &state)? };
    let listening = transport::start(&settings, Arc::clone(&desk), &runtime)?;
    watch_buffers(&registry, &desk, listening.buffer_octets());
    drop(settings); // and with it the last tap that is not a listener's
    maintain.set_own_listeners(listening.addresses());
    let upkeep = behind(|| maintain.start())??;

    let listener = TcpListener::bind(config.http.listen).await.map_err(|error| {
        format!("HTTP address {} cannot be listened on: {error}", config.http.listen)
    })?;
    let http_address = listener.local_addr()?;
    store.set_hint(&format!("http://{http_address}"));
    let stop = Arc::new(Notify::new());
    let stopping = Arc::clone(&stop);
    let http = tokio::spawn(http::serve(listener, state, async move { stopping.notified().await }));
    let dns = listening.addresses();
    tracing::info!(?dns, http = %http_address, "listening for DNS on {dns:?}, for HTTP on {http_address}");

    let mut jobs = orders::Jobs::default();
    let mut ended = std::pin::pin!(told_to_stop()?);
    let fill = (demo && is_new).then_some(config.store.dir.as_path());
    tokio::select! {
        () = &mut ended => {}
        loaded = load(&maintain, &manage, fill) => {
            loaded?;
            drop(index);
            jobs = orders::Jobs::start(&manage)?;
            filled.store(true, Ordering::Release);
            say_ready(&maintain);
            if demo {
                tell(&demo::hints(&config.store.dir, listening.addresses(), http_address));
            }
            ended.await;
        }
    }

    tracing::info!("stopping");
    jobs.end_timer().await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    stop.notify_one();
    let _ = http.await; // it logs what it has to say
    maintain.fall_silent();
    listening.shutdown().await;
    if let Some(tapping) = tapping {
        // Every message that was offered is written before the end, unless the collector hangs.
        let written = tokio::task::spawn_blocking(move || tapping.join());
        let _ = tokio::time::timeout(TAP_END, written).await;
    }
    tokio::task::spawn_blocking(move || {
        upkeep.stop();
        jobs.join();
    })
    .await?;
    drop((manage, maintain));
    close(store).await;
    tracing::info!("stopped");
    Ok(())
}

/// How long a stop waits for the index to be closed. It may be about to take in much at once.
const CLOSE_END: Duration = Duration::from_secs(5);

/// Closes the store, whose clones the metrics hold. What the index lacks after [`CLOSE_END`] is in the log.
async fn close(store: Store) {
    let (closed, told) = tokio::sync::oneshot::channel();
    // No task of the runtime, which would wait for its end.
    let thread = thread::Builder::new().name("close".into()).spawn(move || {
        store.close();
        closed.send(())
    });
    if thread.is_err() || tokio::time::timeout(CLOSE_END, told).await.is_err() {
        tracing::info!("the index was busy: the next start looks through it");
    }
}

/// Waits until every zone is loaded, and fills the directory with the demo world if it is new.
async fn load(maintain: &Maintain, manage: &Manage, fill: Option<&Path>) -> Result<(), Failure> {
    wait_until(|| maintain.progress().ready).await;
    if let Some(dir) = fill {
        let (manage, dir) = (manage.clone(), dir.to_owned());
        let fill = move || demo::fill(&manage, &dir).map_err(|error| error.to_string());
        tokio::task::spawn_blocking(fill).await??;
    }
    Ok(())
}

/// The name of the file that holds the secret of the first operator token.
const OPERATOR_TOKEN: &str = "operator.token";

/// The API's routes over a data directory, in this process, as its operator.
///
/// # Errors
///
/// The directory cannot be opened; if a server holds it, how to reach that server.
pub fn in_process(dir: &Path) -> Result<InProcess, Failure> {
    let mut config = Config::default();
    config.store.dir = dir.to_owned();
    let manage = open_directory(dir)?;
    let maintain = manage.maintain.clone();
    let registry = Arc::new(Registry::default());
    let state = http::State {
        manage: manage.clone(),
        readiness: readiness(&maintain, Arc::new(AtomicBool::new(true))),
        metrics: Arc::new(move || registry.text()),
        traffic: Arc::new(talkers::Report::default),
        resolve: None,
        queries: Arc::default(),
        settings: http::Settings::default(),
    };
    Ok(InProcess::new(state, bootstrap::system(&manage)?)?)
}

/// Opens a data directory for a command.
///
/// # Errors
///
/// As [`in_process`].
pub fn open_directory(dir: &Path) -> Result<Manage, Failure> {
    let mut config = Config::default();
    config.store.dir = dir.to_owned();
    let (store, _) = open_store(&config).map_err(|error| for_a_command(&error))?;
    let settings = keeping(dir, &store)?;
    let maintain = Maintain::offline(store, settings);
    let manage = Manage::new(maintain);
    first_start(&manage, dir)?;
    manage.maintain.load()?;
    Ok(manage)
}

/// How zones are kept: their secrets under the instance key of the directory.
fn keeping(dir: &Path, store: &Store) -> Result<maintain::Settings, Failure> {
    let sealer = instance_key::of(dir, store)?;
    Ok(maintain::Settings { sealer: Some(sealer), ..maintain::Settings::default() })
}

/// Gives up the secrets of a data directory that its instance key does not open; returns which.
///
/// # Errors
///
/// The directory cannot be opened, or takes no writes.
pub fn give_up_secrets(dir: &Path) -> Result<Secrets, Failure> {
    let mut config = Config::default();
    config.store.dir = dir.to_owned();
    let (store, _) = open_store(&config).map_err(|error| for_a_command(&error))?;
    let sealer = Sealer::at(dir).map_err(|error| format!("instance key: {error}"))?;
    let settings = maintain::Settings { sealer: Some(sealer), ..maintain::Settings::default() };
    let manage = Manage::new(Maintain::offline(store, settings));
    let system = bootstrap::system(&manage)?;
    Ok(secret::give_up(&manage, &system)?)
}

/// Says something to the person who started the server.
fn tell(text: &str) {
    use std::io::Write;
    // Nobody may be there to read it.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Makes the operator and the first token, if nobody has; returns whether it did.
fn first_start(manage: &Manage, dir: &Path) -> Result<bool, Failure> {
    let first = bootstrap::first_start(manage)?;
    if let Some(secret) = &first.secret {
        write_secret(&dir.join(OPERATOR_TOKEN), secret)?;
    }
    Ok(first.secret.is_some())
}

/// Why a command does not get a data directory, with the way to the server that holds it.
fn for_a_command(error: &OpenError) -> String {
    let way = match error {
        OpenError::Held { holder: Holder { hint: Some(url), .. }, .. } => {
            format!(": ask that server, with --server {url} and --token")
        }
        _ => String::new(),
    };
    chain(error) + &way
}

/// The store, its index left behind for as long as the start has better use for the processor.
fn open_store(config: &Config) -> Result<(Store, IndexHeld), OpenError> {
    let mut options = store::Options::new(&config.store.dir);
    options.reserve_bytes = config.store.free_bytes_min;
    options.clock = || {
        static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        BEGIN.elapsed()
    };
    Store::open_held(&options)
}

/// An error with its causes, one after the other.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Writes a secret where only its owner can read it.
fn write_secret(path: &Path, secret: &str) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file =
        std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    Ok(file.sync_all()?)
}

fn random() -> Result<u64, Failure> {
    let mut octets = [0; 8];
    SystemRandom::new().fill(&mut octets).map_err(|_| "the system gives no random numbers")?;
    Ok(u64::from_le_bytes(octets))
}

fn hash_key() -> Result<HashKey, Failure> {
    let mut octets = [0; 24];
    SystemRandom::new().fill(&mut octets).map_err(|_| "the system gives no random numbers")?;
    Ok(HashKey::new(octets))
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(settings::log(config)?)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Set only once in a process; a test that starts two servers keeps the first.
    let _ = match config.log.json {
        true => log.json().try_init(),
        false => log.with_target(false).try_init(),
    };
    Ok(())
}

fn maintain_settings(
    config: &Config,
    demo: bool,
    store: &Store,
) -> Result<maintain::Settings, Failure> {
    let dialer = settings::dialer(config);
    Ok(maintain::Settings {
        dialer: if demo { dialer.on_loopback() } else { dialer },
        resolvers: settings::resolvers(config)?,
        refresh: settings::refresh(config)?,
        clock: maintain::Clock::default().synchronised_by(config.clock.synchronised.clone()),
        ..keeping(&config.store.dir, store)?
    })
}

fn transport_settings(
    config: &Config,
    demo: bool,
    state: &http::State,
) -> Result<transport::Settings, Failure> {
    Ok(transport::Settings {
        listen: settings::listen(config),
        udp_workers: config.dns.udp_workers as usize,
        connections_max: config.tcp.connections_max as usize,
        connections_per_address_max: config.tcp.connections_per_address_max as usize,
        idle_timeout_s: config.tcp.idle_timeout_s,
        balancers: Prefixes::new(config.dns.balancers.iter().copied()),
        secure: secure_settings(config, demo, state)?,
        ..transport::Settings::default()
    })
}

/// How long a dnstap collector may take for what is left when the server stops.
const TAP_END: Duration = Duration::from_secs(5);

/// The dnstap writer, if there is somewhere to write to. It ends when nothing listens any more.
fn start_tap(
    config: &Config,
    registry: &Registry,
) -> Result<Option<(Tap, JoinHandle<()>)>, Failure> {
    let sink = match (&config.dnstap.socket, &config.dnstap.file) {
        (Some(socket), _) => Sink::Socket(socket.clone()),
        (None, Some(file)) => Sink::File(file.clone()),
        (None, None) => return Ok(None),
    };
    let identity = config.dns.server_id.as_deref().unwrap_or_default();
    let version = concat!("nameplane ", env!("CARGO_PKG_VERSION"));
    let (tap, writer) = Tap::start(sink, identity, version)?;
    let (written, dropped) = (tap.counts(), tap.counts());
    registry.watch(&metrics::TAP_WRITTEN, move || written.written());
    registry.watch(&metrics::TAP_DROPPED, move || dropped.dropped());
    Ok(Some((tap, writer)))
}

/// Where the demo speaks DNS over TLS and QUIC, and over HTTPS.
const DEMO_TLS: ([u8; 4], u16) = ([127, 0, 0, 1], 8853);
const DEMO_HTTPS: ([u8; 4], u16) = ([127, 0, 0, 1], 8443);

fn secure_settings(
    config: &Config,
    demo: bool,
    state: &http::State,
) -> Result<Option<transport::Secure>, Failure> {
    let tls = &config.tls;
    let (mut dot, mut doq, mut doh) = (tls.dot.clone(), tls.doq.clone(), tls.doh.clone());
    if dot.is_empty() && doq.is_empty() && doh.is_empty() {
        // A second demo elsewhere on this machine must not want the same ports.
        if !demo || config.dns.listen != Config::default().dns.listen {
            return Ok(None);
        }
        (dot, doq, doh) = (vec![DEMO_TLS.into()], vec![DEMO_TLS.into()], vec![DEMO_HTTPS.into()]);
    }
    let certificate = match (&tls.certificate, &tls.key) {
        (Some(chain), Some(key)) => {
            transport::tls::Source::Files { chain: chain.clone(), key: key.clone() }
        }
        (Some(_), None) | (None, Some(_)) => {
            return Err("[dns.tls] needs both certificate and key, or neither".into());
        }
        (None, None) => {
            if !demo {
                tracing::warn!(
                    "[dns.tls] names no certificate: clients will not trust the one made now"
                );
            }
            transport::tls::Source::SelfMade(vec![
                "localhost".into(),
                "127.0.0.1".into(),
                "::1".into(),
            ])
        }
    };
    let web: Arc<dyn transport::secure::Web> = Arc::new(web::Queries::new(state.clone()));
    let asks_clients = tls.client_certificates;
    Ok(Some(transport::Secure { certificate, asks_clients, dot, doq, doh, web: Some(web) }))
}

fn http_state(
    config: &Config,
    manage: &Manage,
    maintain: &Maintain,
    registry: &Arc<Registry>,
    resolve: web::Resolver,
    filled: Arc<AtomicBool>,
) -> http::State {
    let registry = Arc::clone(registry);
    let shared = Arc::clone(resolve.desk.shared());
    http::State {
        manage: manage.clone(),
        readiness: readiness(maintain, filled),
        metrics: Arc::new(move || registry.text()),
        traffic: Arc::new(move || shared.talkers.look(transport::now_s())),
        resolve: Some(Arc::new(resolve)),
        queries: Arc::default(),
        settings: http::Settings {
            hosts: config.http.hosts.clone(),
            token_requests_per_minute_max: config.http.token_requests_per_minute,
            ..http::Settings::default()
        },
    }
}

/// Ready when every zone is loaded, and the demo's are made if there is a demo to make.
fn readiness(
    maintain: &Maintain,
    filled: Arc<AtomicBool>,
) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
    let maintain = maintain.clone();
    Arc::new(move || {
        let progress = maintain.progress();
        let ready = progress.ready && filled.load(Ordering::Acquire);
        let head = if ready { "ready; at the start " } else { "" };
        let text = format!(
            "{head}{} of {} zones were loaded, {} damaged",
            progress.loaded, progress.zones, progress.failed
        );
        Readiness { ready, text }
    })
}

/// What becomes of a NOTIFY, as [`Maintain::notifies`] counts it.
const NOTIFY_RESULTS: [&str; 3] = ["acknowledged", "failed", "given_up"];

fn watch(registry: &Registry, store: &Store, maintain: &Maintain, zones: &Arc<Published>) {
    let keeper = maintain.clone();
    registry.watch(&metrics::ZONES, move || keeper.progress().loaded);
    let keeper = maintain.clone();
    registry.watch(&metrics::ZONES_HELD, move || keeper.holds().0);
    let keeper = maintain.clone();
    registry.watch(&metrics::ZONES_ALARMED, move || keeper.holds().1);
    let keeper = maintain.clone();
    registry.watch(&metrics::SECOND_SIGNERS, move || keeper.second_signers() as u64);
    let keeper = maintain.clone();
    registry.watch(&metrics::CLOCK_DOUBTED, move || u64::from(keeper.clock_doubt().is_some()));
    let keeper = maintain.clone();
    registry.watch_named(&metrics::EXPIRIES, "zone", move || {
        // A store that cannot be read says so elsewhere.
        let first = keeper.expiries(metrics::ZONES_SHOWN_MAX).unwrap_or_default();
        first.into_iter().map(|(apex, left_s)| (apex.to_string(), left_s as f64)).collect()
    });
    let table = |read: fn(&Snapshot) -> u64| {
        let zones = Arc::clone(zones);
        move || read(&zones.load())
    };
    registry.watch(&metrics::NAMES, table(|snapshot| snapshot.names() as u64));
    registry.watch(&metrics::TABLE_BYTES, table(|snapshot| snapshot.octets() as u64));
    registry.watch(&metrics::SNAPSHOT, table(Snapshot::version));
    let kept = |read: fn(&Store) -> u64| {
        let store = store.clone();
        move || read(&store)
    };
    registry.watch(&metrics::WRITING, kept(|store| u64::from(store.state() == State::Writing)));
    registry.watch(&metrics::COMMITS, kept(|store| store.stats().transactions));
    registry.watch(&metrics::LOG_SYNCS, kept(|store| store.stats().groups));
    let of = store.clone();
    registry.watch_fraction(&metrics::LOG_SYNC_TIME, move || of.stats().append.as_secs_f64());
    registry.watch(&metrics::LOG_BYTES, kept(|store| store.stats().log_bytes));
    let teller = maintain.clone();
    let told = move |at| teller.notifies().get(at).copied().unwrap_or_default();
    registry.watch_each(&metrics::NOTIFIES_OUT, "result", &NOTIFY_RESULTS, told);
    registry.watch_memory("table", table(|snapshot| snapshot.octets() as u64));
    registry.watch_memory("store_backlog", kept(|store| store.stats().backlog_bytes));
    registry.watch_memory("store_cache_max", || store::CACHE_BYTES);
}

fn watch_buffers(registry: &Registry, desk: &Arc<Desk>, udp_octets: u64) {
    let (shared, streams) = (Arc::clone(desk.shared()), Arc::clone(desk));
    registry.watch_memory("udp_buffers", move || udp_octets);
    registry.watch_memory("rate_limit", move || shared.rate_limit_octets());
    registry.watch_memory("message_buffers", move || streams.buffer_octets());
}

async fn wait_until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(STEP).await;
    }
}

fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn say_ready(maintain: &Maintain) {
    let progress = maintain.progress();
    tracing::info!(loaded = progress.loaded, failed = progress.failed, "ready");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
