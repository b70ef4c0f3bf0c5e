//! The arguments, as clap reads them. Names here are a contract with scripts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::Failure;
pub(super) use super::args_dns::{Catalog, DnssecCommand, DnssecPolicy, Primaries, Secondary};
use crate::config::{Config, UDP_WORKERS_MAX};

/// An authoritative DNS server and its management plane in one binary.
#[derive(Debug, Parser)]
#[command(name = "nameplane", version, propagate_version = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Answer DNS and the API until told to stop
    Serve(Serve),
    /// Bring zones in and out, list and check them
    #[command(subcommand)]
    Zone(Zone),
    /// Organisations: who owns zones and places orders
    #[command(subcommand)]
    Org(Org),
    /// Users of an organisation
    #[command(subcommand)]
    User(User),
    /// API tokens
    #[command(subcommand)]
    Token(Token),
    /// TSIG keys, which sign transfers, NOTIFY and updates
    #[command(subcommand)]
    Tsig(Tsig),
    /// Orders: see, approve, reject
    #[command(subcommand)]
    Order(Order),
    /// DNSSEC of zones: switch it, roll keys, see what comes next
    #[command(subcommand)]
    Dnssec(DnssecCommand),
    /// Catalogs: lists of zones that secondaries learn from what to serve
    #[command(subcommand)]
    Catalog(Catalog),
    /// Servers that follow zones kept here
    #[command(subcommand)]
    Secondary(Secondary),
    /// The data directory: export, import, verify
    #[command(subcommand)]
    Store(Store),
    /// Check input without using it
    #[command(subcommand)]
    Check(Check),
    /// Watch a server's traffic in the terminal
    Top {
        #[arg(
            long,
            value_name = "URL",
            env = "NAMEPLANE_SERVER",
            default_value = "http://127.0.0.1:8080"
        )]
        server: String,
        /// An operator's API token: with it, who asks most is shown too
        #[arg(long, value_name = "TOKEN", env = "NAMEPLANE_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// Seconds between two readings
        #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval_s: u64,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Serve {
    /// Settings file; without it the defaults work on loopback
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything durable is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to answer DNS on, UDP and TCP; may be given more than once
    #[arg(long, value_name = "ADDR:PORT")]
    listen_dns: Vec<SocketAddr>,
    /// Address of the API
    #[arg(long, value_name = "ADDR:PORT")]
    listen_http: Option<SocketAddr>,
    /// UDP threads for each address, and as many for TCP
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=UDP_WORKERS_MAX.into()))]
    udp_workers: Option<u32>,
    /// Start with example zones, customers, a basket and an order; everything on loopback
    #[arg(long)]
    demo: bool,
}

impl Serve {
    /// The settings file with the flags laid over it.
    pub(super) fn into_options(self) -> Result<crate::run::Options, Failure> {
        let mut config = match &self.config {
            Some(file) => read_config(file)?,
            None => Config::default(),
        };
        if let Some(dir) = self.data_dir {
            config.store.dir = dir;
        }
        if !self.listen_dns.is_empty() {
            config.dns.listen = self.listen_dns;
        }
        if let Some(listen) = self.listen_http {
            config.http.listen = listen;
        }
        if let Some(workers) = self.udp_workers {
            config.dns.udp_workers = workers;
        }
        Ok(crate::run::Options { config, demo: self.demo })
    }
}

/// Reads a settings file.
///
/// # Errors
///
/// One sentence with all faults of the file, a line each.
pub(super) fn read_config(file: &Path) -> Result<Config, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Config::parse(&text).map_err(|faults| {
        let lines: Vec<String> =
            faults.iter().map(|fault| format!("{}: {fault}", file.display())).collect();
        lines.join("\n").into()
    })
}

/// Whom a command talks to.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct Target {
    /// A data directory no server holds
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub data_dir: Option<PathBuf>,
    /// A running server; unless --data-dir is given, that of NAMEPLANE_SERVER
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// An API token for that server
    #[arg(long, value_name = "TOKEN", env = "NAMEPLANE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

impl Target {
    /// The server meant: of two that are named, a flag counts before the environment.
    pub(super) fn server(&self) -> Option<String> {
        let named = || std::env::var("NAMEPLANE_SERVER").ok().filter(|url| !url.is_empty());
        match &self.data_dir {
            Some(_) => None,
            None => self.server.clone().or_else(named),
        }
    }

    /// The data directory meant when no server is named.
    pub(super) fn directory(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| Config::default().store.dir)
    }
}

/// A listing: as a table, or as JSON.
#[derive(Debug, Clone, ClapArgs)]
pub(super) struct Listing {
    #[command(flatten)]
    pub target: Target,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Zone {
    /// Bring in zone files, or directories of them; all or none of each zone
    Import(ZoneImport),
    /// Print a zone as a zone file
    Export {
        zone: String,
        #[command(flatten)]
        target: Target,
        /// Write here instead of to standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List zones
    List {
        #[command(flatten)]
        listing: Listing,
        /// Only zones of this organisation
        #[arg(long)]
        org: Option<String>,
    },
    /// Name every fault of zone files, without a server
    Check {
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The apex, when neither `$ORIGIN` nor the file's name tells it
        #[arg(long)]
        zone: Option<String>,
    },
    /// Show the name servers and secondaries of a zone: what each was told and seen with
    Servers {
        zone: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show or change who may transfer a zone, and who may ask for it
    ///
    /// An entry is an address, a prefix, `key NAME`, a prefix and `key NAME`, or `any`.
    Access {
        zone: String,
        /// Who may transfer it: entries with commas between; `nobody`; `inherit` for its organisation's list
        #[arg(long, value_name = "LIST")]
        transfer: Option<String>,
        /// Who is answered: entries with commas between; `nobody`; `inherit` for everybody
        #[arg(long, value_name = "LIST")]
        query: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Let no order of a zone wait for a server that is down for good
    Waive {
        zone: String,
        /// The name of one of its NS records, or of a secondary
        #[arg(value_name = "SERVER")]
        name: String,
        /// Why it does not come back
        #[arg(long, required_unless_present = "end")]
        reason: Option<String>,
        /// It is waited for again
        #[arg(long, conflicts_with = "reason")]
        end: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Have the servers of a zone told of it and asked for it now
    Look {
        zone: String,
        #[command(flatten)]
        target: Target,
    },
    /// Zones whose primary is elsewhere: whom they follow, and how that stands
    #[command(subcommand)]
    Primaries(Primaries),
    /// Delete a zone
    Delete {
        zone: String,
        #[command(flatten)]
        target: Target,
    },
}

/// What to do with a file that has DNSKEY and RRSIG at its apex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Dnssec {
    /// Keep the signatures and serve the zone as it is
    Keep,
    /// Take the zone without its signatures and keys
    Strip,
    /// Refuse the file
    Refuse,
}

#[derive(Debug, ClapArgs)]
pub(super) struct ZoneImport {
    /// Zone files, or directories of files named `<apex>.zone`; with --axfr, names of zones
    #[arg(required_unless_present = "list")]
    pub paths: Vec<PathBuf>,
    /// Pull the zones from this server: `ADDRESS[:PORT][,[ALGORITHM:]NAME:SECRET]`; `,@FILE` keeps the key out of sight
    #[arg(long, value_name = "PRIMARY", conflicts_with_all = ["list", "zone"])]
    pub axfr: Option<String>,
    /// The names are catalogs (RFC 9432): pull the zones they name
    #[arg(long, requires = "axfr")]
    pub catalog: bool,
    #[command(flatten)]
    pub target: Target,
    /// The organisation the zones belong to
    #[arg(long, default_value = "operator")]
    pub org: String,
    /// The apex, for a single file whose `$ORIGIN` or name does not tell it
    #[arg(long, conflicts_with = "list")]
    pub zone: Option<String>,
    /// A file with lines `apex path`; paths are relative to it
    #[arg(long, value_name = "FILE", conflicts_with = "paths")]
    pub list: Option<PathBuf>,
    /// Signed files
    #[arg(long, value_enum, default_value_t = Dnssec::Keep)]
    pub dnssec: Dnssec,
}

#[derive(Debug, Subcommand)]
pub(super) enum Org {
    /// Make an organisation
    Create {
        name: String,
        #[arg(long, default_value = "customer", value_parser = ["customer", "reseller", "operator"])]
        kind: String,
        /// How its changes reach the zones
        #[arg(long, default_value = "basket", value_parser = ["direct", "basket", "basket+approval"])]
        change_mode: String,
        /// The organisation above it
        #[arg(long)]
        parent: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Show or change who may transfer the zones of an organisation that have no list of their own
    Access {
        org: String,
        /// Entries with commas between; `nobody`; `inherit` for the list of the organisation above
        #[arg(long, value_name = "LIST")]
        transfer: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List organisations
    List {
        #[command(flatten)]
        listing: Listing,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Make a user
    Create {
        login: String,
        #[arg(long)]
        org: String,
        #[arg(long, default_value = "member", value_parser = ["member", "superuser"])]
        role: String,
        #[command(flatten)]
        target: Target,
    },
    /// List the users of an organisation
    List {
        #[arg(long)]
        org: String,
        #[command(flatten)]
        listing: Listing,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token and print its secret, once
    Create {
        #[arg(long, value_parser = ["operator", "superuser", "member"])]
        role: String,
        /// The organisation, for superuser and member
        #[arg(long)]
        org: Option<String>,
        /// The user it acts as
        #[arg(long)]
        user: Option<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        note: String,
        /// Days until it ends
        #[arg(long, value_name = "DAYS")]
        expires_days: Option<u32>,
        #[command(flatten)]
        target: Target,
    },
    /// List tokens, without their secrets
    List {
        #[arg(long)]
        org: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// End a token at once
    Revoke {
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Tsig {
    /// Make a key and print its secret in base64, once
    Create {
        /// Its name, as both sides write it
        name: String,
        #[arg(long, default_value = "hmac-sha256", value_parser = ["hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"])]
        algorithm: String,
        /// File with the secret in base64; made at random without
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// The organisation it belongs to; your own without
        #[arg(long)]
        org: Option<String>,
        /// A zone it may be used for; may be given more than once; all without
        #[arg(long)]
        zone: Vec<String>,
        /// Octets of the shortest MAC that is taken; the whole without
        #[arg(long, value_name = "OCTETS")]
        mac_octets: Option<u8>,
        #[command(flatten)]
        target: Target,
    },
    /// List keys, without their secrets
    List {
        #[arg(long)]
        org: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Give a key another secret and print it, once
    Rotate {
        name: String,
        /// File with the new secret in base64; made at random without
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// Seconds the secret before stays good; a week without
        #[arg(long, value_name = "SECONDS")]
        overlap_s: Option<u64>,
        #[command(flatten)]
        target: Target,
    },
    /// End a key at once
    Delete {
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// Say what a key may change by dynamic updates; shows it without --grant
    Policy {
        name: String,
        /// A name, `NAME below` for all below it too, and then types if not all: `dyn.example. below A,AAAA`
        #[arg(long, value_name = "NAME [below] [TYPES]")]
        grant: Vec<String>,
        /// Nothing may be changed any more
        #[arg(long, conflicts_with = "grant")]
        none: bool,
        /// Whose rights it has and whose basket it fills: the id of a user
        #[arg(long)]
        user: Option<String>,
        /// How changes are taken; as the holder of the zone has chosen without
        #[arg(long, value_parser = ["direct", "basket", "basket+approval"])]
        mode: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Order {
    /// List orders
    List {
        #[arg(long)]
        org: Option<String>,
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show one order with its changes and receipt
    Show {
        id: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Approve an order that waits for it; it is applied at once
    Approve {
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Reject an order that waits for approval
    Reject {
        id: String,
        /// Told to the author
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// Stop an order that waits, for approval or for its time
    Hold {
        id: String,
        /// Told to the author
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        target: Target,
    },
    /// Let an order on hold go on from where it was stopped
    Release {
        id: String,
        #[command(flatten)]
        target: Target,
    },
    /// Take an order back before it is applied
    Cancel {
        id: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Store {
    /// Write everything to one file
    Export {
        file: PathBuf,
        #[arg(long, value_name = "DIR", default_value = "./nameplane-data")]
        data_dir: PathBuf,
    },
    /// Make a data directory from such a file
    Import {
        file: PathBuf,
        #[arg(long, value_name = "DIR", default_value = "./nameplane-data")]
        data_dir: PathBuf,
    },
    /// Give up the TSIG and signing keys that the instance key does not open
    GiveUpSecrets {
        #[arg(long, value_name = "DIR", default_value = "./nameplane-data")]
        data_dir: PathBuf,
    },
    /// Read all of a data directory and say whether it is whole
    Verify {
        /// Put aside what stands behind the last sound record of a damaged log; it is lost
        #[arg(long)]
        cut: bool,
        #[arg(long, value_name = "DIR", default_value = "./nameplane-data")]
        data_dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Check {
    /// Name every fault of a settings file
    Config { file: PathBuf },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_what_no_flag_names_is_the_files() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("server.toml");
        let text = "[dns]\nlisten = \"192.0.2.1:53\"\nudp_workers = 3\n[http]\nlisten = \"192.0.2.1:80\"\n[store]\ndir = \"there\"\n";
        std::fs::write(&file, text).unwrap();
        let serve = |flags: &[&str]| {
            let words = ["nameplane", "serve", "--config", file.to_str().unwrap()];
            let args = Args::try_parse_from(words.iter().chain(flags)).unwrap();
            let Command::Serve(serve) = args.command else { panic!("{args:?}") };
            serve.into_options().unwrap()
        };
        let filed = serve(&["--demo"]);
        assert!(filed.demo && filed.config.dns.udp_workers == 3);
        assert_eq!(filed.config.store.dir, PathBuf::from("there"));

        let flagged = serve(&[
            "--listen-dns",
            "[::1]:1",
            "--listen-dns",
            "127.0.0.1:1",
            "--listen-http",
            "127.0.0.1:2",
            "--udp-workers",
            "1",
            "--data-dir",
            "here",
        ]);

        let listen: Vec<String> =
            flagged.config.dns.listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(flagged.config.http.listen.to_string(), "127.0.0.1:2");
        assert_eq!((flagged.config.dns.udp_workers, flagged.demo), (1, false));
        assert_eq!(flagged.config.store.dir, PathBuf::from("here"));
    }
}
