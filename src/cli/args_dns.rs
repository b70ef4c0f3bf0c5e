//! The arguments of what keeps zones signed and in step with other servers.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;

use super::args::{Listing, Target};

#[derive(Debug, Subcommand)]
pub(super) enum Primaries {
    /// Make a zone follow primaries; creates it if there is none
    Set {
        zone: String,
        /// Asked in this order: `ADDRESS[,key=NAME][,tls=NAME][,pin=BASE64]`
        #[arg(required = true, value_name = "PRIMARY")]
        primaries: Vec<String>,
        /// The organisation, for a new zone
        #[arg(long)]
        org: Option<String>,
        /// The zone is a catalog (RFC 9432): the zones it names follow the same primaries
        #[arg(long)]
        catalog: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Say whom a zone follows, and how that stands
    Show {
        zone: String,
        #[command(flatten)]
        target: Target,
    },
    /// List the zones that follow primaries
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// Make a zone a primary, with the records it has
    Remove {
        zone: String,
        #[command(flatten)]
        target: Target,
    },
    /// Ask the primaries of a zone at once
    Refresh {
        zone: String,
        /// Take the whole zone, even if nothing is newer
        #[arg(long)]
        transfer: bool,
        /// Take the whole zone whatever its serial: it may go back
        #[arg(long)]
        any_serial: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Say what the zones in a group of a followed catalog get
    Group {
        catalog: String,
        group: String,
        /// The organisation that holds them
        #[arg(long)]
        org: Option<String>,
        /// The DNSSEC policy by which they are signed here
        #[arg(long)]
        policy: Option<String>,
        /// Who may transfer those without a list of their own: `PREFIX`, `key NAME`, `PREFIX key NAME`, `pin BASE64`, `any`
        #[arg(long, value_name = "ENTRY")]
        transfer: Vec<String>,
        /// Whom they follow instead of the catalog's primaries, as in `set`
        #[arg(long = "primary", value_name = "PRIMARY")]
        primaries: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List the groups of a followed catalog that have a rule
    Groups {
        catalog: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Forget what the zones in a group get: they have it from their catalog again
    Ungroup {
        catalog: String,
        group: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DnssecCommand {
    /// Show a zone's state, keys, and what comes next
    Status {
        zone: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Sign a zone, and tell its parent when that is safe
    On {
        zone: String,
        #[arg(long, default_value = "default")]
        policy: String,
        /// Take off the signatures that others made, to make them here
        #[arg(long)]
        strip: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Unsign a zone, once its parent has no DS and none is in a cache
    Off {
        zone: String,
        /// At once, although resolvers may fail: say why
        #[arg(long, value_name = "REASON")]
        force: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List what is to come, of all zones
    Schedule {
        #[command(flatten)]
        listing: Listing,
    },
    /// Show whether the server's clock is trusted: nothing is signed by one that is not
    Clock {
        /// Say that the time it shows is the right one
        #[arg(long)]
        is_right: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Replace keys of a zone
    Rollover {
        zone: String,
        /// ksk, zsk or csk; all the zone has if left out
        #[arg(long)]
        role: Vec<String>,
        /// Even while another step is under way
        #[arg(long)]
        emergency: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Say that every server of the parent serves the DS asked for, where they cannot be asked
    DsPublished {
        zone: String,
        /// Seconds
        #[arg(long)]
        ttl: Option<u32>,
        #[command(flatten)]
        target: Target,
    },
    /// Say that no server of the parent serves a DS, where they cannot be asked
    DsGone {
        zone: String,
        /// Seconds
        #[arg(long)]
        ttl: Option<u32>,
        #[command(flatten)]
        target: Target,
    },
    /// Publish other providers' keys beside the zone's own; those not named leave
    Foreign {
        zone: String,
        /// DNSKEY RDATA, as in a zone file
        dnskey: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take in a signing key: the .key and .private files of BIND, or a PEM file of Knot DNS
    ImportKey {
        zone: String,
        /// The DNSKEY record
        public: PathBuf,
        /// The secret
        private: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// Write a signing key with its secret, as BIND keeps it
    ExportKey {
        zone: String,
        tag: u16,
        /// Where to; the files are named as BIND names them
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// The named rules by which zones are signed
    #[command(subcommand)]
    Policy(DnssecPolicy),
}

#[derive(Debug, Subcommand)]
pub(super) enum DnssecPolicy {
    /// List policies
    List {
        #[arg(long)]
        org: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Keep a policy: fields not named stay as they are, or of a new one are as in `default` of a new server
    Set {
        name: String,
        /// field=value, as `nameplane dnssec policy list --json` shows them
        #[arg(value_name = "FIELD=VALUE")]
        fields: Vec<String>,
        #[arg(long)]
        org: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Forget a policy that no zone is signed by
    Delete {
        name: String,
        #[arg(long)]
        org: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Catalog {
    /// Make a catalog; every zone joins it that is in none, unless --org or --zone says which
    Create {
        name: String,
        /// Zones of this organisation
        #[arg(long, conflicts_with = "zones")]
        org: Option<String>,
        /// This zone; may be given more than once
        #[arg(long = "zone", value_name = "ZONE")]
        zones: Vec<String>,
        /// The group of its members
        #[arg(long)]
        group: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List catalogs
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// List the zones in a catalog
    Members {
        name: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Put a zone into a catalog, out of the one it is in
    Join {
        name: String,
        zone: String,
        /// A group of its own
        #[arg(long)]
        group: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Take a zone out of a catalog and leave it out
    Leave {
        name: String,
        zone: String,
        #[command(flatten)]
        target: Target,
    },
    /// Take a catalog away
    Delete {
        name: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Secondary {
    /// Have a server told of changes and asked what it serves
    Add {
        name: String,
        /// Its addresses with ports
        #[arg(required = true, value_name = "ADDR:PORT")]
        addresses: Vec<SocketAddr>,
        /// The TSIG key that messages to it are signed with
        #[arg(long)]
        key: Option<String>,
        /// Only zones of this organisation
        #[arg(long, conflicts_with = "zones")]
        org: Option<String>,
        /// Only this zone; may be given more than once
        #[arg(long = "zone", value_name = "ZONE")]
        zones: Vec<String>,
        /// Do not tell it of changes
        #[arg(long)]
        no_notify: bool,
        /// Do not ask it what it serves: also-notify, and no more
        #[arg(long)]
        no_probe: bool,
        #[command(flatten)]
        target: Target,
    },
    /// List secondaries
    List {
        #[command(flatten)]
        listing: Listing,
    },
    /// Take a secondary away
    Remove {
        name: String,
        #[command(flatten)]
        target: Target,
    },
}
