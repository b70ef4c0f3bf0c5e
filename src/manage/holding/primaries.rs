//! Zones whose primary is elsewhere: whom they follow, and how that stands.
//!
//! Who looks after the server decides which zones follow whom: it is the server that goes and asks.
//! Where it may go is `[net] dial`'s to say, not this file's.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::tsig;
use super::zone::{self, Held};
use crate::maintain::refresh::{Ask, Standing};
use crate::maintain::secondary::{self, Following, PRIMARIES_MAX, Primary, TlsPeer};
use crate::maintain::{Refusal, ZoneChange, ZoneState, signing};
use crate::manage::Manage;
use crate::manage::access::{Context, NoAccess, Permission};
use crate::manage::event::{self, Kind as Happened, News, Object, Touched};
use crate::manage::fault::{self, Kind, Problem, Refused, Stop, stops};
use crate::manage::id::OrgId;
use crate::manage::limits::PAGE_ROWS_MAX;
use crate::manage::page::Page;
use crate::manage::time::Timestamp;
use crate::store::Rows;
use crate::wire::{Name, Serial};

/// The ports of DNS, and of DNS over TLS.
const PORT: u16 = 53;
const TLS_PORT: u16 = 853;

/// Whom a zone is to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrimaries {
    /// Who will hold the zone, if there is none of this name yet; your own organisation if left out.
    #[serde(default)]
    pub org: Option<OrgId>,
    /// Asked in this order.
    pub primaries: Vec<PrimaryAsk>,
    /// Whether the zone is a catalog (RFC 9432): the zones it names follow the same primaries.
    #[serde(default)]
    pub catalog: bool,
}

/// A server that has the zone before us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrimaryAsk {
    /// An address, with its port if it is not 53, or 853 with TLS.
    #[schema(example = "192.0.2.1")]
    pub address: String,
    /// The name of the TSIG key shared with it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub key: Option<Name>,
    /// How it proves who it is over TLS (RFC 9103); left out, it is asked in the clear.
    #[serde(default)]
    pub tls: Option<TlsAsk>,
}

/// What the certificate of a primary must show: a name, a pin, or both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsAsk {
    /// The name it is for, certified by one of `[primaries] authorities`.
    #[serde(default)]
    pub name: Option<String>,
    /// SHA-256 of public keys that are taken, in base64.
    #[serde(default)]
    pub pins: Vec<String>,
}

/// What is wanted of the primaries of a zone, at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshAsk {
    /// The whole zone, even if nothing is newer.
    #[serde(default)]
    pub transfer: bool,
    /// Whatever serial it has: the zone may go back. Asks for the whole zone too.
    #[serde(default)]
    pub any_serial: bool,
}

/// A zone that follows primaries, and how that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PrimariesView {
    #[schema(value_type = String)]
    pub zone: Name,
    pub org: OrgId,
    /// As of the zone: `expired` until there is something fresh enough to answer from.
    pub state: String,
    /// None before the first transfer.
    pub serial: Option<u32>,
    /// The primary's serial of what is here, where the zone counts for itself because it is, or was,
    /// signed here.
    pub primary_serial: Option<u32>,
    pub primaries: Vec<PrimaryAsk>,
    pub catalog: bool,
    /// The catalog that named the zone, if one did.
    #[schema(value_type = Option<String>)]
    pub member_of: Option<Name>,
    /// The groups that catalog puts it in.
    pub groups: Vec<String>,
    /// When a primary last said that this is the newest.
    #[schema(value_type = Option<String>)]
    pub confirmed_at: Option<Timestamp>,
    /// `asking`, `ask`, `transfer`, or `none` while no server runs.
    pub next: String,
    #[schema(value_type = Option<String>)]
    pub next_at: Option<Timestamp>,
    /// When the zone is not answered any more, unless a primary confirms it before.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// Rounds over all primaries that failed since.
    pub failures: u32,
    /// Why the last one failed.
    pub trouble: Option<String>,
    /// Why primaries were asked in vain when they were asked last, also where another one had the newest.
    pub passed_over: Vec<String>,
    pub last_transfer: Option<TransferView>,
}

/// A transfer that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TransferView {
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub primary: String,
    /// `AXFR` or `IXFR`.
    pub how: String,
    pub serial: u32,
    pub records: u64,
    pub octets: u64,
    pub elapsed_ms: u64,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrimariesError {
    Stop(Stop),
    /// The request breaks rules; all are listed.
    Invalid(Vec<Problem>),
    /// The door's own reasons.
    Refused(String),
}

stops!(PrimariesError);

impl fmt::Display for PrimariesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrimariesError::Stop(stop) => stop.fmt(f),
            PrimariesError::Invalid(problems) => fault::write_all(problems, f),
            PrimariesError::Refused(why) => f.write_str(why),
        }
    }
}

impl Refused for PrimariesError {
    fn kind(&self) -> Kind {
        match self {
            PrimariesError::Stop(stop) => stop.kind(),
            PrimariesError::Invalid(_) => Kind::Invalid,
            PrimariesError::Refused(_) => Kind::Conflict,
        }
    }

    fn problems(&self) -> &[Problem] {
        match self {
            PrimariesError::Invalid(problems) => problems,
            _ => &[],
        }
    }
}

/// Makes a zone follow primaries; creates it if there is none. What it has is answered from until
/// the first transfer takes its place.
///
/// # Errors
///
/// [`PrimariesError`]; nothing happened.
pub fn set(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    ask: &NewPrimaries,
) -> Result<PrimariesView, PrimariesError> {
    context.may(Permission::ServerOperate)?;
    let primaries = primaries_of(&ask.primaries).map_err(PrimariesError::Invalid)?;
    let org = ask.org.unwrap_or(context.org);
    manage.commit(|door| {
        let unknown = unknown_keys(door.tx(), &primaries)?;
        if !unknown.is_empty() {
            return Err(PrimariesError::Invalid(unknown));
        }
        let held = zone::held(door.tx(), apex)?;
        let before = secondary::following(door.tx(), apex)?;
        if let Some(held) = held.as_ref().filter(|_| before.is_none())
            && signing::of(door.tx(), &held.zone)?.is_some()
        {
            let text = format!("{apex} is signed here: end that before it follows a primary");
            return Err(PrimariesError::Refused(text));
        }
        let org = held.as_ref().map_or(org, |held| held.org);
        crate::manage::access::org(door.tx(), context, Permission::ZoneManage, org)?;
        if held.is_none() {
            let change = ZoneChange::Expect { apex: apex.clone(), org: org.to_string() };
            door.apply(&[change]).map_err(told)?;
        }
        let member = before.as_ref().and_then(|before| before.member.clone());
        let after = Following {
            apex: apex.clone(),
            primaries: primaries.clone(),
            catalog: ask.catalog,
            member,
        };
        secondary::follow(door.tx(), &after)?;
        let touched = Touched::of(Object::Zone(apex.clone()), before.as_ref(), Some(&after));
        let news = News {
            kind: Happened::PrimariesSet,
            order: None,
            orgs: vec![org],
            touched: vec![touched],
        };
        event::record(door.tx(), context, news)?;
        Ok(())
    })?;
    manage.maintain.watch(apex, 0);
    Ok(get(manage, context, apex)?)
}

/// Makes a zone a primary, with the records it has; one that never had any goes.
///
/// # Errors
///
/// [`PrimariesError`]; nothing happened.
pub fn remove(manage: &Manage, context: &Context, apex: &Name) -> Result<(), PrimariesError> {
    context.may(Permission::ServerOperate)?;
    manage.commit(|door| {
        let held = zone::fetch(door.tx(), context, Permission::ZoneManage, apex)?;
        let before = secondary::following(door.tx(), apex)?.ok_or_else(|| follows_nobody(apex))?;
        secondary::forget(door.tx(), apex)?;
        let change = match (held.zone.version, held.zone.state) {
            (0, _) => Some(ZoneChange::Delete { apex: apex.clone() }),
            (_, ZoneState::Expired) => {
                Some(ZoneChange::SetState { apex: apex.clone(), state: ZoneState::Live })
            }
            _ => None,
        };
        door.apply(&change.into_iter().collect::<Vec<_>>()).map_err(told)?;
        Ok(held.record(door.tx(), context, Happened::PrimariesRemoved, Some(&before), None)?)
    })
}

fn follows_nobody(apex: &Name) -> PrimariesError {
    PrimariesError::Refused(format!("{apex} follows no primary: its records are changed here"))
}

/// Asks the primaries of a zone at once.
///
/// # Errors
///
/// [`PrimariesError`]; nobody is asked.
pub fn refresh(
    manage: &Manage,
    context: &Context,
    apex: &Name,
    ask: &RefreshAsk,
) -> Result<PrimariesView, PrimariesError> {
    context.may(Permission::ServerOperate)?;
    manage.transact(|tx| -> Result<(), PrimariesError> {
        let held = zone::fetch(tx, context, Permission::ZoneView, apex)?;
        secondary::following(tx, apex)?.ok_or_else(|| follows_nobody(apex))?;
        Ok(held.record(tx, context, Happened::RefreshAsked, None::<&()>, None)?)
    })?;
    let RefreshAsk { transfer, any_serial } = *ask;
    let transfer = transfer || any_serial;
    manage.maintain.refresh(apex, Ask { transfer, any_serial, forced: true, ..Ask::default() });
    Ok(get(manage, context, apex)?)
}

/// Whom a zone follows, and how that stands.
///
/// # Errors
///
/// [`Stop::Access`] when it follows nobody, or is not in reach.
pub fn get(manage: &Manage, context: &Context, apex: &Name) -> Result<PrimariesView, Stop> {
    let found = manage.store.read(|rows| -> Result<_, Stop> {
        let held = zone::fetch(rows, context, Permission::ZoneView, apex)?;
        let following = secondary::following(rows, apex)?.ok_or(NoAccess::NotFound)?;
        Found::of(rows, held, following)
    })?;
    Ok(view(manage, found))
}

/// Lists zones that follow primaries, in canonical order of their names.
///
/// # Errors
///
/// [`Stop::Access`] without the right to look after the server.
pub fn list(
    manage: &Manage,
    context: &Context,
    after: Option<&Name>,
    limit: usize,
) -> Result<Page<PrimariesView>, Stop> {
    context.may(Permission::ServerOperate)?;
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let (next, found) = manage.store.read(|rows| -> Result<_, Stop> {
        let followers = secondary::followers(rows, after, limit)?;
        let next = followers.last().filter(|_| followers.len() == limit);
        let next = next.map(|following| following.apex.to_string());
        let mut found = Vec::with_capacity(followers.len());
        for following in followers {
            if let Some(held) = zone::held(rows, &following.apex)? {
                found.push(Found::of(rows, held, following)?);
            }
        }
        Ok((next, found))
    })?;
    let views = found.into_iter().map(|found| view(manage, found));
    Ok(Page { items: views.collect(), next })
}

/// What the store says of a zone that follows.
struct Found {
    held: Held,
    following: Following,
    /// The primary's serial of what is here, if the zone counts for itself.
    there: Option<Serial>,
    groups: Vec<String>,
}

impl Found {
    fn of(rows: &impl Rows, held: Held, following: Following) -> Result<Found, Stop> {
        let there = secondary::serial_there(rows, &following.apex)?;
        let groups = secondary::groups(rows, &following.apex)?;
        Ok(Found { held, following, there, groups })
    }
}

fn view(manage: &Manage, Found { held, following, there, groups }: Found) -> PrimariesView {
    let standing = manage.maintain.standing(&following.apex);
    let known = standing.is_some();
    let standing = standing.unwrap_or_default();
    let Standing { confirmed_us, next_us, expires_us, asking, failures, .. } = standing;
    let Standing { trouble, passed_over, took, .. } = standing;
    let next = match (known, asking, held.zone.version) {
        (false, ..) => "none",
        (_, true, _) => "asking",
        (.., 0) => "transfer",
        _ => "ask",
    };
    let last_transfer = took.map(|took| TransferView {
        at: Timestamp(took.at_us),
        primary: took.primary.to_string(),
        how: took.how.to_owned(),
        serial: took.serial.0,
        records: took.records as u64,
        octets: took.octets,
        elapsed_ms: u64::try_from(took.elapsed.as_millis()).unwrap_or(u64::MAX),
    });
    let (zone, version) = (zone::view(manage, held), following.apex.clone());
    PrimariesView {
        zone: version,
        org: zone.org,
        state: zone.state,
        serial: (zone.version > 0).then_some(zone.serial),
        primary_serial: there.map(|serial| serial.0),
        primaries: following.primaries.iter().map(shown).collect(),
        catalog: following.catalog,
        member_of: following.member.map(|member| member.catalog),
        groups,
        confirmed_at: confirmed_us.map(Timestamp),
        next: next.to_owned(),
        next_at: next_us.map(Timestamp),
        expires_at: expires_us.map(Timestamp),
        failures,
        trouble,
        passed_over,
        last_transfer,
    }
}

pub(super) fn shown(primary: &Primary) -> PrimaryAsk {
    PrimaryAsk {
        address: primary.address.to_string(),
        key: primary.key.clone(),
        tls: primary.tls.as_ref().map(|tls| TlsAsk {
            name: tls.name.clone(),
            pins: tls.pins.iter().map(|pin| BASE64.encode(pin)).collect(),
        }),
    }
}

/// The primaries of a request, or every fault of it.
pub(super) fn primaries_of(ask: &[PrimaryAsk]) -> Result<Vec<Primary>, Vec<Problem>> {
    let (mut primaries, mut problems) = (Vec::new(), Vec::new());
    if ask.is_empty() || ask.len() > PRIMARIES_MAX {
        let text = format!("a zone follows 1 to {PRIMARIES_MAX} primaries");
        problems.push(Problem::at("primaries", "count", text));
    }
    for (number, primary) in ask.iter().enumerate() {
        match primary_of(primary) {
            Ok(primary) => primaries.push(primary),
            Err((field, text)) => {
                problems.push(Problem::at(format!("primaries[{number}].{field}"), field, text));
            }
        }
    }
    if problems.is_empty() { Ok(primaries) } else { Err(problems) }
}

/// The primaries whose TSIG key is not there.
pub(super) fn unknown_keys(rows: &impl Rows, primaries: &[Primary]) -> Result<Vec<Problem>, Stop> {
    let keys = primaries.iter().enumerate();
    let named = keys.filter_map(|(n, it)| Some((format!("primaries[{n}].key"), it.key.as_ref()?)));
    tsig::missing(rows, named)
}

fn primary_of(ask: &PrimaryAsk) -> Result<Primary, (&'static str, String)> {
    let port = if ask.tls.is_some() { TLS_PORT } else { PORT };
    let address: SocketAddr = match (ask.address.parse(), ask.address.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(address)) => SocketAddr::new(address, port),
        _ => {
            let text =
                format!("{:?} is no address: write 192.0.2.1 or [2001:db8::1]:53", ask.address);
            return Err(("address", text));
        }
    };
    let nobody = address.ip().is_unspecified() || address.ip().is_multicast();
    if nobody || address.port() == 0 {
        return Err(("address", format!("{address} is no address of a host")));
    }
    let tls = ask.tls.as_ref().map(tls_of).transpose()?;
    Ok(Primary { address, key: ask.key.clone(), tls })
}

fn tls_of(ask: &TlsAsk) -> Result<TlsPeer, (&'static str, String)> {
    if ask.name.is_none() && ask.pins.is_empty() {
        return Err(("tls", "a primary over TLS needs a name, a pin, or both".to_owned()));
    }
    let plain = |c: u8| c.is_ascii_alphanumeric() || b".-_:".contains(&c);
    if let Some(name) = &ask.name
        && (name.is_empty() || !name.bytes().all(plain))
    {
        return Err(("tls", format!("{name:?} is no name of a server")));
    }
    let pin = |text: &String| {
        let octets = BASE64.decode(text).ok().and_then(|octets| octets.try_into().ok());
        octets.ok_or_else(|| ("tls", format!("{text:?} is no SHA-256 in base64")))
    };
    Ok(TlsPeer {
        name: ask.name.clone(),
        pins: ask.pins.iter().map(pin).collect::<Result<_, _>>()?,
    })
}

fn told(refusal: Refusal) -> PrimariesError {
    PrimariesError::Refused(refusal.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: &str, tls: Option<TlsAsk>) -> PrimaryAsk {
        PrimaryAsk { address: address.to_owned(), key: None, tls }
    }

    #[test]
    fn an_address_has_the_port_of_its_transport_unless_it_says_another() {
        let address = |ask: &PrimaryAsk| primary_of(ask).unwrap().address.to_string();
        let pinned = TlsAsk { name: None, pins: vec![BASE64.encode([7; 32])] };
        assert_eq!(address(&ask("192.0.2.1", None)), "192.0.2.1:53");
        assert_eq!(address(&ask("2001:db8::1", Some(pinned.clone()))), "[2001:db8::1]:853");
        assert_eq!(address(&ask("[2001:db8::1]:5353", Some(pinned.clone()))), "[2001:db8::1]:5353");
        let primary = primary_of(&ask("192.0.2.1", Some(pinned.clone()))).unwrap();
        assert_eq!(shown(&primary).tls, Some(pinned));
    }

    #[test]
    fn every_fault_of_a_request_is_named() {
        let nobody = TlsAsk { name: None, pins: Vec::new() };
        let short = TlsAsk { name: None, pins: vec!["AAAA".into()] };
        let new = [
            ask("ns.example", None),
            ask("192.0.2.1", Some(nobody)),
            ask("192.0.2.1", Some(short)),
        ];
        let misnamed = TlsAsk { name: Some("not a name".into()), pins: Vec::new() };
        let new = [
            &new[..],
            &[
                ask("192.0.2.1:0", None),
                ask("0.0.0.0", None),
                ask("[ff02::1]:53", None),
                ask("192.0.2.1", Some(misnamed)),
            ],
        ]
        .concat();
        let places: Vec<_> =
            primaries_of(&new).unwrap_err().into_iter().map(|problem| problem.at).collect();
        let fields = ["address", "tls", "tls", "address", "address", "address", "tls"];
        let wanted: Vec<_> =
            (0..).zip(fields).map(|(n, field)| format!("primaries[{n}].{field}")).collect();
        assert_eq!(places, wanted);
        assert_eq!(primaries_of(&[]).unwrap_err()[0].rule, "count");
    }
}
