//! The servers: how each is configured with one worker, started, watched and ended.
//!
//! Each gets the settings that make it answer fastest without changing what it answers: one worker,
//! minimal responses where that is a setting, no rate limit, no query log, no transfers. Nothing
//! else is changed from its defaults; caches stay as they are.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::dataset::{Dataset, Set, succeed};
use crate::{probe, procfs, sys};

/// The servers measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Echo,
    Nameplane,
    Gdnsd,
    Yadifa,
    Nsd,
    Knot,
    Bind,
    PowerDnsBind,
    PowerDnsLmdb,
}

/// How far nameplane's port of HTTP stands above its port of DNS.
const HTTP_ABOVE: u16 = 1000;

/// How long a server may take to end before it is killed.
const ENDED_WITHIN: Duration = Duration::from_secs(8);

/// What a server is started for, beyond answering.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Threads that answer over UDP.
    pub workers: usize,
    /// Octets an echo adds to each datagram.
    pub pad: usize,
    /// Whether this machine may transfer zones and update them, without a key.
    pub open: bool,
    /// How long it may take to answer for every zone.
    pub loaded_within: Duration,
}

impl Default for Wish {
    fn default() -> Self {
        Self { workers: 1, pad: 0, open: false, loaded_within: Duration::from_secs(300) }
    }
}

impl Peer {
    pub const ALL: [Peer; 9] = [
        Peer::Echo,
        Peer::Nameplane,
        Peer::Gdnsd,
        Peer::Yadifa,
        Peer::Nsd,
        Peer::Knot,
        Peer::Bind,
        Peer::PowerDnsBind,
        Peer::PowerDnsLmdb,
    ];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Echo => "echo",
            Peer::Nameplane => "nameplane",
            Peer::Gdnsd => "gdnsd",
            Peer::Yadifa => "yadifa",
            Peer::Nsd => "nsd",
            Peer::Knot => "knot",
            Peer::Bind => "bind",
            Peer::PowerDnsBind => "pdns-bind",
            Peer::PowerDnsLmdb => "pdns-lmdb",
        }
    }

    /// Whether it can serve a set at all, in a time worth waiting for.
    pub fn serves(self, set: Set) -> bool {
        match self {
            Peer::Gdnsd => matches!(set, Set::Hosting | Set::Big | Set::Million),
            // A pre-signed zone needs its metadata beside it, and NSEC proofs an ordered table.
            Peer::PowerDnsLmdb => matches!(set, Set::Hosting | Set::Plain),
            Peer::PowerDnsBind => !matches!(set, Set::Million),
            Peer::Yadifa | Peer::Bind => !matches!(set, Set::Million),
            Peer::Echo | Peer::Nameplane | Peer::Nsd | Peer::Knot => true,
        }
    }

    /// What it says of its version; none if it is not on this machine.
    pub fn version(self) -> Option<String> {
        let (program, arg, mark) = match self {
            Peer::Echo => return Some("of this package".into()),
            Peer::Nameplane => {
                (nameplane().to_string_lossy().into_owned(), "--version", "nameplane")
            }
            Peer::Gdnsd => (program("gdnsd"), "-h", "gdnsd version"),
            Peer::Yadifa => (program("yadifad"), "-V", "yadifad"),
            Peer::Nsd => (program("nsd"), "-v", "version"),
            Peer::Knot => (program("knotd"), "-V", "Knot"),
            Peer::Bind => (program("named"), "-v", "BIND"),
            Peer::PowerDnsBind => (program("pdns_server"), "--version", "Server"),
            Peer::PowerDnsLmdb => {
                if !Path::new("/usr/lib/x86_64-linux-gnu/pdns/liblmdbbackend.so").exists() {
                    return None;
                }
                (program("pdns_server"), "--version", "Server")
            }
        };
        let output = Command::new(program).arg(arg).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        let line = said.lines().find(|line| line.contains(mark))?;
        let number =
            |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
        line.split([' ', ',', '-']).find(number).map(str::to_owned)
    }
}

/// A Debian server program: not all of them stand where an ordinary user's path leads.
fn program(name: &str) -> String {
    format!("/usr/sbin/{name}")
}

/// The server under test, as given by the environment or as the last release build left it.
pub fn nameplane() -> PathBuf {
    std::env::var_os("NAMEPLANE").map_or_else(|| "nameplane".into(), PathBuf::from)
}

/// A server that answers.
pub struct Running {
    pub peer: Peer,
    pub address: SocketAddr,
    /// Where nameplane's API is.
    pub http: Option<SocketAddr>,
    /// From the start of the process to the answer for every zone asked about.
    pub loaded: Duration,
    /// Before that: time to bring the zone files into the server's own store, if it has one.
    pub imported: Option<Duration>,
    /// Where its files are.
    dir: PathBuf,
    child: Child,
}

impl Running {
    /// Configures and starts a server for a set in `dir`, and waits until it answers.
    pub fn start(
        peer: Peer,
        data: &Dataset,
        dir: &Path,
        port: u16,
        wish: Wish,
    ) -> io::Result<Self> {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir)?;
        let dir = fs::canonicalize(dir)?;
        let setup = Setup { data, dir: &dir, port, wish };
        let before = Instant::now();
        let mut imported = None;
        let mut command = match peer {
            Peer::Echo => setup.echo()?,
            Peer::Nameplane => setup.nameplane()?,
            Peer::Gdnsd => setup.gdnsd()?,
            Peer::Yadifa => setup.yadifa()?,
            Peer::Nsd => setup.nsd()?,
            Peer::Knot => setup.knot()?,
            Peer::Bind => setup.bind()?,
            Peer::PowerDnsBind => setup.powerdns("bind")?,
            Peer::PowerDnsLmdb => setup.powerdns_lmdb()?,
        };
        if matches!(peer, Peer::Nameplane | Peer::PowerDnsLmdb) {
            imported = Some(before.elapsed());
        }
        let log = File::create(dir.join("out.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        sys::end_with_us(&mut command);
        let start = Instant::now();
        let child = command.spawn()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let http = SocketAddr::from(([127, 0, 0, 1], port + HTTP_ABOVE));
        let http = (peer == Peer::Nameplane).then_some(http);
        let loaded = Duration::ZERO;
        let files = dir.clone();
        let mut running = Running { peer, address, http, loaded, imported, dir: files, child };
        if peer == Peer::Echo {
            std::thread::sleep(Duration::from_millis(100));
        } else {
            running.await_answers(data, start, &dir, wish.loaded_within)?;
        }
        running.loaded = start.elapsed();
        Ok(running)
    }

    /// nameplane's data directory.
    pub fn store(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for the SOA of zones spread over the set until each is answered.
    fn await_answers(
        &mut self,
        data: &Dataset,
        start: Instant,
        dir: &Path,
        within: Duration,
    ) -> io::Result<()> {
        let zones = data.zones()?;
        let step = (zones.len() / 64).max(1);
        let mut asked: Vec<&str> = zones.iter().step_by(step).map(|(apex, _)| &**apex).collect();
        asked.extend(zones.last().map(|(apex, _)| &**apex));
        while let Some(apex) = asked.last() {
            if probe::soa(self.address, apex) {
                asked.pop();
                continue;
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || start.elapsed() > within {
                let what = if ended.is_some() { "ended" } else { "is not ready in time" };
                let log = fs::read_to_string(dir.join("out.log")).unwrap_or_default();
                let tail: String = log.lines().rev().take(5).collect::<Vec<_>>().join(" | ");
                return Err(io::Error::other(format!("{} {what}: {tail}", self.peer.name())));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = procfs::family(self.pid());
        sys::terminate(self.pid());
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < ENDED_WITHIN {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        family.into_iter().skip(1).for_each(sys::terminate);
    }
}

/// What a configuration is written from.
struct Setup<'a> {
    data: &'a Dataset,
    dir: &'a Path,
    port: u16,
    wish: Wish,
}

impl Setup<'_> {
    fn echo(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let listen = format!("127.0.0.1:{}", self.port);
        command.args(["echo", "--listen", &listen, "--pad", &self.wish.pad.to_string()]);
        command.args(["--workers", &self.wish.workers.to_string()]);
        Ok(command)
    }

    /// A command that is ended when it takes longer than loading may.
    fn bounded(&self, program: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.arg(self.wish.loaded_within.as_secs().to_string()).arg(program);
        command
    }

    /// The text if this machine may transfer and update.
    fn when_open<'a>(&self, text: &'a str) -> &'a str {
        if self.wish.open { text } else { "" }
    }

    fn nameplane(&self) -> io::Result<Command> {
        let mut import = self.bounded(&nameplane());
        import.args(["zone", "import", "--data-dir"]).arg(self.dir.join("data"));
        succeed(import.arg("--list").arg(self.data.list()))?;
        let open =
            "[transfer]\nallow = [\"127.0.0.0/8\"]\n[update]\nallow_unsigned = [\"127.0.0.0/8\"]\n";
        let conf = self.write("nameplane.toml", self.when_open(open))?;
        let mut command = Command::new(nameplane());
        command.arg("serve").arg("--config").arg(conf);
        command.arg("--data-dir").arg(self.dir.join("data"));
        command.args(["--listen-dns", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--listen-http", &format!("127.0.0.1:{}", self.port + HTTP_ABOVE)]);
        command.args(["--udp-workers", &self.wish.workers.to_string()]);
        Ok(command)
    }

    fn nsd(&self) -> io::Result<Command> {
        let (dir, workers) = (self.dir.display(), self.wish.workers);
        let reuse = if workers > 1 { "yes" } else { "no" };
        let mut text = format!(
            "server:\n server-count: {workers}\n reuseport: {reuse}\n \
             ip-address: 127.0.0.1@{}\n zonesdir: \"/\"\n username: \"\"\n \
             logfile: {dir}/nsd.log\n pidfile: {dir}/nsd.pid\n xfrdfile: {dir}/xfrd.state\n \
             xfrdir: {dir}\n zonelistfile: {dir}/zone.list\n database: \"\"\n rrl-ratelimit: 0\n \
             rrl-whitelist-ratelimit: 0\n minimal-responses: yes\n tcp-count: 1000\n \
             ipv4-edns-size: 1232\nremote-control:\n control-enable: no\n",
            self.port
        );
        for (apex, path) in self.data.zones()? {
            let transfer = self.when_open(" provide-xfr: 127.0.0.0/8 NOKEY\n");
            let path = path.display();
            let _ = write!(text, "zone:\n name: {apex}\n zonefile: {path}\n{transfer}");
        }
        let conf = self.write("nsd.conf", &text)?;
        let mut command = Command::new(program("nsd"));
        command.arg("-d").arg("-c").arg(conf);
        Ok(command)
    }

    fn knot(&self) -> io::Result<Command> {
        let dir = self.dir.display();
        fs::create_dir_all(self.dir.join("db"))?;
        let mut text = format!(
            "server:\n rundir: {dir}\n listen: 127.0.0.1@{}\n udp-workers: {}\n tcp-workers: 1\n \
             background-workers: 2\n udp-max-payload: 1232\nlog:\n - target: {dir}/knot.log\n   \
             any: warning\ndatabase:\n storage: {dir}/db\n{}template:\n - id: default\n   \
             storage: {}\n   file: \"%s\"\n   zonefile-load: whole\n   zonefile-sync: -1\n   \
             journal-content: {}\n{}zone:\n",
            self.port,
            self.wish.workers,
            self.when_open(
                "acl:\n - id: open\n   address: 127.0.0.0/8\n   action: [transfer, update]\n"
            ),
            self.data.dir.join("zones").display(),
            if self.wish.open { "changes" } else { "none" },
            self.when_open("   acl: open\n"),
        );
        for (apex, _) in self.data.zones()? {
            let _ = writeln!(text, " - domain: {apex}.");
        }
        let conf = self.write("knot.conf", &text)?;
        let mut command = Command::new(program("knotd"));
        command.args(["-m", "4096", "-c"]).arg(conf);
        Ok(command)
    }

    fn bind(&self) -> io::Result<Command> {
        let dir = self.dir.display();
        let mut text = format!(
            "options {{ directory \"{dir}\"; listen-on port {} {{ 127.0.0.1; }}; \
             listen-on-v6 {{ none; }}; recursion no; minimal-responses yes; pid-file none; \
             session-keyfile none; managed-keys-directory \"{dir}\"; allow-transfer {{ {}; }}; \
             notify no; dnssec-validation no; tcp-clients 1000; max-udp-size 1232; }};\n\
             controls {{ }};\nlogging {{ channel file {{ file \"{dir}/named.log\"; \
             severity warning; }}; category default {{ file; }}; }};\n",
            self.port,
            if self.wish.open { "127.0.0.0/8" } else { "none" },
        );
        self.zone_statements(&mut text, self.wish.open)?;
        let conf = self.write("named.conf", &text)?;
        let mut command = Command::new(program("named"));
        command.args(["-f", "-4", "-n", &self.wish.workers.to_string(), "-c"]).arg(conf);
        Ok(command)
    }

    fn gdnsd(&self) -> io::Result<Command> {
        let dir = self.dir.display();
        let text = format!(
            "options => {{\n listen => [ 127.0.0.1:{} ]\n udp_threads => {}\n tcp_threads => 1\n \
             run_dir => {dir}/run\n state_dir => {dir}/state\n}}\n",
            self.port, self.wish.workers
        );
        self.write("config", &text)?;
        std::os::unix::fs::symlink(self.data.dir.join("zones"), self.dir.join("zones"))?;
        let mut command = Command::new(program("gdnsd"));
        command.arg("-c").arg(self.dir).arg("start");
        Ok(command)
    }

    fn yadifa(&self) -> io::Result<Command> {
        let dir = self.dir.display();
        for sub in ["log", "keys", "xfr"] {
            fs::create_dir_all(self.dir.join(sub))?;
        }
        let mut text = format!(
            "<main>\n daemon off\n logpath {dir}/log\n pidfile {dir}/yadifad.pid\n datapath /\n \
             keyspath {dir}/keys\n xfrpath {dir}/xfr\n listen 127.0.0.1 port {}\n \
             queries-log-type 0\n statistics off\n thread-count-by-address {}\n {}\
             max-tcp-queries 512\n edns0-max-size 1232\n</main>\n\
             <channels>\n all {dir}/log/all.log 644\n</channels>\n<loggers>\n \
             system err,crit,alert,emerg all\n database err,crit,alert,emerg all\n \
             zone err,crit,alert,emerg all\n server err,crit,alert,emerg all\n</loggers>\n",
            self.port,
            self.wish.workers,
            self.when_open("allow-transfer any\n allow-update any\n "),
        );
        for (apex, path) in self.data.zones()? {
            let _ = write!(
                text,
                "<zone>\n domain {apex}\n file {}\n type primary\n maintain-dnssec false\n \
                 notify-auto 0\n</zone>\n",
                path.display()
            );
        }
        let conf = self.write("yadifad.conf", &text)?;
        let mut command = Command::new(program("yadifad"));
        command.arg("-c").arg(conf);
        Ok(command)
    }

    fn powerdns(&self, launch: &str) -> io::Result<Command> {
        let dir = self.dir.display();
        let mut zones = String::new();
        self.zone_statements(&mut zones, false)?;
        let zones = self.write("zones.conf", &zones)?;
        let mut text = format!(
            "launch={launch}\nlocal-address=127.0.0.1\nlocal-port={}\nreceiver-threads={}\n{}{}\
             distributor-threads=1\nsigning-threads=1\ndaemon=no\nguardian=no\nsocket-dir={dir}\n\
             disable-syslog=yes\nloglevel=3\nsecurity-poll-suffix=\nudp-truncation-threshold=1232\n",
            self.port,
            self.wish.workers,
            if self.wish.workers > 1 { "reuseport=yes\n" } else { "" },
            self.when_open("dnsupdate=yes\nallow-dnsupdate-from=127.0.0.0/8\n"),
        );
        if launch.contains("bind") {
            let _ = write!(text, "bind-config={}\nbind-check-interval=0\n", zones.display());
            if self.data.set.is_signed() {
                let _ = writeln!(text, "bind-dnssec-db={dir}/dnssec.db");
            }
        }
        if launch.contains("lmdb") {
            // Zones come in while the operating system writes when it likes: one after the other would
            // wait for it. In service it writes before it answers, as all others do.
            let sync = if launch == "lmdb" { "sync" } else { "nosync" };
            let _ = write!(
                text,
                "lmdb-filename={dir}/pdns.lmdb\nlmdb-shards=1\nlmdb-sync-mode={sync}\n"
            );
        }
        let conf = self.write("pdns.conf", &text)?;
        if launch == "bind" && self.data.set.is_signed() {
            self.pdnsutil(&["create-bind-db", &format!("{dir}/dnssec.db")])?;
            for (apex, _) in self.data.zones()? {
                // It does not look for itself how a zone was signed.
                if self.data.set == Set::Nsec3 {
                    self.pdnsutil(&["set-nsec3", &apex, "1 0 0 -"])?;
                }
                self.pdnsutil(&["set-presigned", &apex])?;
            }
        }
        let mut command = Command::new(program("pdns_server"));
        command.arg(format!("--config-dir={}", conf.with_file_name("").display()));
        Ok(command)
    }

    /// Brings the zones into LMDB from the files, as PowerDNS does it at once for many zones.
    fn powerdns_lmdb(&self) -> io::Result<Command> {
        self.powerdns("bind,lmdb")?;
        self.pdnsutil(&["b2b-migrate", "bind", "lmdb"])?;
        self.powerdns("lmdb")
    }

    fn pdnsutil(&self, args: &[&str]) -> io::Result<Vec<u8>> {
        succeed(self.bounded(Path::new("pdnsutil")).arg("--config-dir").arg(self.dir).args(args))
    }

    /// The zones as BIND's configuration has them, which PowerDNS reads too.
    ///
    /// Zones that take updates have their journals in the server's own directory: the files stay as they
    /// are for the others.
    fn zone_statements(&self, text: &mut String, updates: bool) -> io::Result<()> {
        let dir = self.dir.display();
        for (apex, path) in self.data.zones()? {
            let path = path.display();
            let more = if updates {
                format!(" journal \"{dir}/{apex}.jnl\"; allow-update {{ 127.0.0.0/8; }};")
            } else {
                String::new()
            };
            let _ = writeln!(text, "zone \"{apex}\" {{ type master; file \"{path}\";{more} }};");
        }
        Ok(())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}
