//! Zone files in requests: read within the limits of whoever will hold the zone.
//!
//! Reading a file takes long, so it is done before the transaction that uses it, never inside.

use super::ask::Ask;
use super::item::Body;
use crate::manage::Manage;
use crate::manage::access::{self, Context, Permission};
use crate::manage::fault::{Problem, Stop};
use crate::manage::holding::zone as holding;
use crate::manage::limits::{self, TTL_S_DEFAULT, ZONE_TEXT_OCTETS_MAX};
use crate::manage::people::organisation::Organisation;
use crate::wire::{Name, RrSet, Type};
use crate::zone::packed::Packer;
use crate::zone::text;

/// What reading the zone file of an ask gave; none if it has none, or its zone is out of reach.
pub type File = Option<Result<Body, Vec<Problem>>>;

/// What is asked for, with every zone file read.
#[derive(Debug, Clone)]
pub struct Asks(Vec<(Ask, File)>);

impl Asks {
    /// Reads the zone files of `asks`.
    ///
    /// # Errors
    ///
    /// [`Stop::Store`] when the store cannot be read. Faults in files come with the drafts.
    pub fn read(manage: &Manage, context: &Context, asks: Vec<Ask>) -> Result<Asks, Stop> {
        let many = asks.len() != 1;
        let mut read = Vec::with_capacity(asks.len());
        for (n, ask) in asks.into_iter().enumerate() {
            let org = match ask.zone_file() {
                Some(_) => limits_of(manage, context, &ask)?,
                None => None,
            };
            let file = ask.zone_file().zip(org);
            let file = file.map(|(file, org)| parse(ask.zone(), &org, file, &place(many, n)));
            read.push((ask, file));
        }
        Ok(Asks(read))
    }

    /// Each ask and its file.
    pub fn iter(&self) -> impl Iterator<Item = &(Ask, File)> {
        self.0.iter()
    }

    /// What a problem with the `n`-th ask begins its place with.
    pub fn place(&self, n: usize) -> String {
        place(self.0.len() != 1, n)
    }
}

fn place(many: bool, n: usize) -> String {
    if many { format!("items[{n}].") } else { String::new() }
}

/// Who holds the zone of an ask, or will. None without the right: that is told where the drafts are
/// made, and no file is read.
fn limits_of(manage: &Manage, context: &Context, ask: &Ask) -> Result<Option<Organisation>, Stop> {
    let wanted = match ask {
        Ask::ZoneCreate { org, .. } | Ask::ZoneImport { org, .. } => *org,
        Ask::DnsChange { .. } | Ask::ZoneDelete { .. } | Ask::DnssecSet { .. } => None,
    };
    let found = manage.store.read(|rows| {
        let held = holding::held(rows, ask.zone())?;
        let org = match (ask, held) {
            (Ask::ZoneImport { zone, .. }, Some(_)) => {
                holding::fetch(rows, context, Permission::ZoneManage, zone)?.org
            }
            _ => wanted.unwrap_or(context.org),
        };
        access::org(rows, context, Permission::ZoneManage, org)
    });
    match found {
        Ok(org) => Ok(Some(org)),
        Err(Stop::Access(_)) => Ok(None),
        Err(stop) => Err(stop),
    }
}

/// Reads a zone file within the limits of whoever will hold the zone.
fn parse(zone: &Name, org: &Organisation, file: &str, at: &str) -> Result<Body, Vec<Problem>> {
    let at = format!("{at}zone_file");
    let octets = limits::at_most("zone_text_octets", ZONE_TEXT_OCTETS_MAX, file.len());
    octets.map_err(|over| vec![Problem::at(at.clone(), "limit", over).of_zone(zone)])?;
    let options = text::Options {
        origin: Some(zone.clone()),
        apex: Some(zone.clone()),
        default_ttl: Some(TTL_S_DEFAULT),
        includes: None,
        limits: text::Limits {
            records: org.limits.records_per_zone as usize,
            generate: org.limits.generate_records as usize,
        },
        hands: 1,
        rules: true,
    };
    match text::parse(file.as_bytes(), options) {
        Ok(parsed) => Ok(Body::Zone { packed: parsed.packed, presigned: parsed.signed }),
        Err(faults) => {
            let errors = faults.iter().filter(|fault| fault.severity == text::Severity::Error);
            let problem = |fault: &text::Fault| {
                let place = format!("{at}:{}:{}", fault.line, fault.column);
                let broken = fault.breaks.as_ref();
                let rule = broken.map_or("zone_file", |(rule, _)| rule.word());
                let owner = broken.map(|(_, owner)| owner.to_string());
                Problem { owner, ..Problem::at(place, rule, &fault.what).of_zone(zone) }
            };
            Err(errors.map(problem).collect())
        }
    }
}

/// A zone with nothing but a SOA and its name servers.
pub fn minimal(zone: &Name, name_servers: &[Name], hostmaster: Option<&Name>) -> Body {
    /// Seconds: refresh, retry, expire, negative TTL ([RFC 1912](https://www.rfc-editor.org/rfc/rfc1912) §2.2).
    const TIMERS: [u32; 4] = [7_200, 3_600, 1_209_600, 3_600];
    let primary = name_servers.first().unwrap_or(zone);
    let mailbox = hostmaster.cloned().or_else(|| zone.child(b"hostmaster").ok());
    let mailbox = mailbox.unwrap_or_else(|| zone.clone());
    let mut soa = [primary.as_wire(), mailbox.as_wire()].concat();
    for number in [1].into_iter().chain(TIMERS) {
        soa.extend_from_slice(&u32::to_be_bytes(number));
    }
    let servers = name_servers.iter().map(|name| name.as_wire().into()).collect();
    let servers = RrSet::new(zone.clone(), Type::NS, TTL_S_DEFAULT, servers);
    let mut packer = Packer::default();
    packer.node(zone.as_wire());
    if !servers.is_empty() {
        packer.rrset(Type::NS, servers.ttl, servers.rdatas().iter().map(AsRef::as_ref), []);
    }
    packer.rrset(Type::SOA, TTL_S_DEFAULT, [soa.as_slice()], []);
    Body::Zone { packed: packer.finish(), presigned: false }
}
