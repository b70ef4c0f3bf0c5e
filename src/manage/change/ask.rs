//! What people ask for, as it comes in: texts, read into edits of RRsets before anything is kept.
//!
//! Names are completed with the zone: `www`, `www.example.com` and `www.example.com.` are the same
//! in `example.com`. Names inside records are as in a zone file: without a dot at the end they are
//! relative to the zone.
//!
//! Promises: every fault of a request is told at once, each with its place.

use serde::{Deserialize, Deserializer, Serialize};

use super::pending::{self, Base, Op, Rdata, Value};
use crate::maintain::DnssecWish;
use crate::maintain::dnssec::REASON_OCTETS_MAX;
use crate::maintain::dnssec::policy::DEFAULT as DEFAULT_POLICY;
use crate::manage::fault::Problem;
use crate::manage::id::OrgId;
use crate::manage::limits::{self, EDIT_RECORDS_MAX, EDITS_MAX, RDATA_TEXT_OCTETS_MAX, TTL_S_MAX};
use crate::wire::{Name, RrSet, Type, rdata};

/// One thing asked for.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Changes of RRsets of one zone.
    DnsChange {
        #[schema(value_type = String, example = "example.com")]
        zone: Name,
        edits: Vec<EditAsk>,
    },
    /// A new zone: with the records of a zone file, or with a SOA and these name servers.
    ZoneCreate {
        #[schema(value_type = String, example = "example.com")]
        zone: Name,
        /// Who will hold it; the asker's own organisation if left out.
        #[serde(default)]
        org: Option<OrgId>,
        /// Its records, as a zone file.
        #[serde(default)]
        zone_file: Option<String>,
        /// Its name servers, where no zone file says them.
        #[serde(default)]
        #[schema(value_type = Vec<String>)]
        name_servers: Vec<Name>,
        /// The mailbox of its SOA, as a name; `hostmaster` in the zone if left out.
        #[serde(default)]
        #[schema(value_type = Option<String>)]
        hostmaster: Option<Name>,
    },
    /// The zone's records become those of a zone file; a zone that is not there is created.
    ZoneImport {
        #[schema(value_type = String, example = "example.com")]
        zone: Name,
        zone_file: String,
        /// Who will hold a new zone; the asker's own organisation if left out.
        #[serde(default)]
        org: Option<OrgId>,
    },
    /// The zone and everything in it goes.
    ZoneDelete {
        #[schema(value_type = String, example = "example.com")]
        zone: Name,
    },
    /// DNSSEC of the zone is switched on or off. Both take their time: no step is taken that would
    /// make a validating resolver fail.
    DnssecSet {
        #[schema(value_type = String, example = "example.com")]
        zone: Name,
        /// Whether it is to be signed.
        on: bool,
        /// The policy it is signed by; `default` if left out.
        #[serde(default)]
        policy: Option<String>,
        /// Take off the signatures that others made, to make them here.
        #[serde(default)]
        strip: bool,
        /// Off at once, although resolvers may fail until the DS at the parent has expired: why.
        #[serde(default)]
        force_reason: Option<String>,
    },
}

impl Ask {
    /// The zone it is about.
    pub fn zone(&self) -> &Name {
        match self {
            Ask::DnsChange { zone, .. }
            | Ask::ZoneCreate { zone, .. }
            | Ask::ZoneImport { zone, .. }
            | Ask::ZoneDelete { zone }
            | Ask::DnssecSet { zone, .. } => zone,
        }
    }

    /// The zone file it brings.
    pub fn zone_file(&self) -> Option<&str> {
        match self {
            Ask::ZoneCreate { zone_file, .. } => zone_file.as_deref(),
            Ask::ZoneImport { zone_file, .. } => Some(zone_file),
            Ask::DnsChange { .. } | Ask::ZoneDelete { .. } | Ask::DnssecSet { .. } => None,
        }
    }
}

/// What a switch of DNSSEC asks of its zone.
///
/// # Errors
///
/// What contradicts itself, with its place behind `at`.
pub fn dnssec_wish(ask: &Ask, at: &str) -> Result<DnssecWish, Problem> {
    let Ask::DnssecSet { on, policy, strip, force_reason, .. } = ask else {
        return Ok(DnssecWish::Off);
    };
    let fault = |field: &str, text: &str| Err(Problem::at(format!("{at}{field}"), "dnssec", text));
    if let Some(reason) = force_reason {
        if *on {
            return fault("force_reason", "only switching off is forced");
        }
        let words = reason.trim();
        if words.is_empty() || words.len() > REASON_OCTETS_MAX {
            return fault("force_reason", "say why, in at most 1000 octets");
        }
        return Ok(DnssecWish::ForcedOff { reason: words.to_owned() });
    }
    match on {
        true => {
            let policy = policy.clone().unwrap_or_else(|| DEFAULT_POLICY.to_owned());
            Ok(DnssecWish::On { policy, strip: *strip })
        }
        false if policy.is_some() => fault("policy", "a zone that is not signed has no policy"),
        false => Ok(DnssecWish::Off),
    }
}

/// What is to happen to an RRset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpWord {
    /// `records` are there afterwards.
    Add,
    /// `records` are gone afterwards.
    Remove,
    /// The RRset is exactly `records` afterwards.
    Replace,
    /// The TTL of the RRset is `ttl` afterwards.
    SetTtl,
    /// The RRset is gone afterwards.
    Delete,
}

/// One change of one RRset.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditAsk {
    /// The owner: `www`, `@` for the zone's own name, or a full name.
    #[schema(example = "www")]
    pub name: String,
    #[serde(rename = "type")]
    #[schema(example = "A")]
    pub rtype: String,
    pub op: OpWord,
    /// Seconds.
    #[serde(default)]
    pub ttl: Option<u32>,
    /// RDATA as in a zone file.
    #[serde(default)]
    #[schema(example = json!(["192.0.2.7"]))]
    pub records: Vec<String>,
    /// The RRset as the author saw it, `null` if there was none; as it is now if left out.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SetAsk>)]
    pub base: Option<Option<SetAsk>>,
}

/// The value of an RRset, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetAsk {
    /// Seconds.
    pub ttl: u32,
    /// RDATA as in a zone file.
    pub records: Vec<String>,
}

/// Tells a field that is `null` from one that is left out.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<SetAsk>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What a request asks of one RRset: the edits agree with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edits {
    pub owner: Name,
    pub rtype: Type,
    pub ops: Vec<Op>,
    /// What the author says to have seen.
    pub base: Option<Base>,
    /// The place in the request of the first edit.
    pub at: String,
}

/// Types that no edit touches: they follow from other records, or stand in no zone.
pub fn is_managed(rtype: Type) -> bool {
    let derived = [Type::RRSIG, Type::NSEC, Type::NSEC3, Type::NSEC3PARAM, Type::ZONEMD];
    rtype.is_meta() || derived.contains(&rtype)
}

/// Reads the edits of one zone, joined by RRset in the order they first appear.
///
/// # Errors
///
/// Every fault, each with its place behind `at`.
pub fn read(zone: &Name, asks: &[EditAsk], at: &str) -> Result<Vec<Edits>, Vec<Problem>> {
    if let Err(over) = limits::at_most("edits", EDITS_MAX, asks.len()) {
        return Err(vec![Problem::at(format!("{at}edits"), "limit", over).of_zone(zone)]);
    }
    let mut problems = Vec::new();
    let mut joined: Vec<Edits> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for (n, ask) in asks.iter().enumerate() {
        let here = format!("{at}edits[{n}]");
        match read_one(zone, ask, &here) {
            Ok(edits) => {
                let place =
                    *places.entry((edits.owner.key(), edits.rtype)).or_insert_with(|| joined.len());
                match joined.get_mut(place) {
                    Some(first) => join(first, edits, &mut problems),
                    None => joined.push(edits),
                }
            }
            Err(faults) => problems.extend(faults),
        }
    }
    for edits in &mut joined {
        match pending::agree(std::mem::take(&mut edits.ops)) {
            Ok(ops) => edits.ops = ops,
            Err(_) => problems.push(clash(zone, edits)),
        }
    }
    if problems.is_empty() { Ok(joined) } else { Err(problems) }
}

fn clash(zone: &Name, edits: &Edits) -> Problem {
    let text = format!(
        "changes of {} {} contradict each other: ask for one of them",
        edits.owner, edits.rtype
    );
    let problem = Problem::at(edits.at.clone(), "contradiction", text);
    problem.of_zone(zone).of_rrset(&edits.owner, edits.rtype)
}

fn join(first: &mut Edits, more: Edits, problems: &mut Vec<Problem>) {
    first.ops.extend(more.ops);
    match (&first.base, more.base) {
        (Some(one), Some(other)) if *one != other => {
            let text = "two bases are given for one RRset: give the one you saw";
            let problem = Problem::at(format!("{}.base", more.at), "base", text);
            problems.push(problem.of_rrset(&first.owner, first.rtype));
        }
        (None, other) => first.base = other,
        _ => {}
    }
}

fn read_one(zone: &Name, ask: &EditAsk, at: &str) -> Result<Edits, Vec<Problem>> {
    let owner = owner(zone, &ask.name)
        .map_err(|text| vec![Problem::at(format!("{at}.name"), "name", text).of_zone(zone)])?;
    let rtype: Type = ask.rtype.parse().map_err(|why| {
        let problem = Problem::at(format!("{at}.type"), "type", why);
        vec![problem.of_zone(zone).of_rrset(&owner, &ask.rtype)]
    })?;
    let reading = Reading { zone, owner: &owner, rtype, at };
    let mut problems = Vec::new();
    if is_managed(rtype) {
        let text = format!("{rtype} records follow from others and are not edited");
        problems.push(reading.problem("type", "managed", text));
    }
    problems.extend(reading.shape(ask));
    let records = reading.records("records", &ask.records, &mut problems);
    let base = ask.base.as_ref().map(|base| {
        base.as_ref().map(|set| {
            let records = reading.records("base.records", &set.records, &mut problems);
            reading.ttl("base.ttl", Some(set.ttl), &mut problems);
            Value::new(set.ttl, records)
        })
    });
    reading.ttl("ttl", ask.ttl, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Edits { ops: ops(ask, records), base, at: at.to_owned(), owner, rtype })
}

fn ops(ask: &EditAsk, records: Vec<Rdata>) -> Vec<Op> {
    match ask.op {
        OpWord::Add => {
            let op = |rdata| Op::Add { rdata, ttl: ask.ttl };
            records.into_iter().map(op).collect()
        }
        OpWord::Remove => records.into_iter().map(|rdata| Op::Remove { rdata }).collect(),
        OpWord::Replace => {
            vec![Op::Replace { ttl: ask.ttl, rdatas: Value::new(0, records).rdatas().to_vec() }]
        }
        OpWord::SetTtl => ask.ttl.map(|ttl| Op::SetTtl { ttl }).into_iter().collect(),
        OpWord::Delete => vec![Op::Delete],
    }
}

/// The owner a text means inside a zone.
pub fn owner(zone: &Name, text: &str) -> Result<Name, String> {
    if !text.is_ascii() {
        return Err(format!("{text} has letters outside ASCII: write it as in DNS, xn--…"));
    }
    let outside =
        |name: &Name| format!("{name} is not in the zone {zone}: use a name at or below it");
    let relative =
        Name::parse_relative(text.as_bytes(), Some(zone)).map_err(|why| why.to_string())?;
    if text.ends_with('.') && !text.ends_with("\\.") {
        return if relative.is_at_or_below(zone) { Ok(relative) } else { Err(outside(&relative)) };
    }
    // `www.example.com` in example.com: nobody means www.example.com.example.com.
    match Name::parse(text) {
        Ok(full) if text != "@" && !zone.is_root() && full.is_at_or_below(zone) => Ok(full),
        _ => Ok(relative),
    }
}

/// One edit while it is read.
struct Reading<'a> {
    zone: &'a Name,
    owner: &'a Name,
    rtype: Type,
    at: &'a str,
}

impl Reading<'_> {
    fn problem(&self, field: &str, rule: &str, text: impl std::fmt::Display) -> Problem {
        let problem = Problem::at(format!("{}.{field}", self.at), rule, text);
        problem.of_zone(self.zone).of_rrset(self.owner, self.rtype)
    }

    /// What an op needs and must not have.
    fn shape(&self, ask: &EditAsk) -> Option<Problem> {
        let (some, ttl) = (!ask.records.is_empty(), ask.ttl.is_some());
        let (field, text) = match ask.op {
            OpWord::Add | OpWord::Remove if !some => {
                ("records", "names no record: list at least one")
            }
            OpWord::Replace if !some => {
                ("records", "names no record: list at least one, or use delete")
            }
            OpWord::Remove | OpWord::Delete if ttl => ("ttl", "takes no TTL: leave it out"),
            OpWord::SetTtl if !ttl => ("ttl", "names no TTL: give one in seconds"),
            OpWord::SetTtl | OpWord::Delete if some => {
                ("records", "takes no records: leave them out")
            }
            _ => return None,
        };
        Some(self.problem(field, "shape", format!("{} {} {text}", self.owner, self.rtype)))
    }

    fn ttl(&self, field: &str, ttl: Option<u32>, problems: &mut Vec<Problem>) {
        if let Some(ttl) = ttl.filter(|ttl| *ttl > TTL_S_MAX) {
            let text = format!("TTL {ttl} is above {TTL_S_MAX} seconds (RFC 2181 §8)");
            problems.push(self.problem(field, "ttl", text));
        }
    }

    fn records(&self, field: &str, texts: &[String], problems: &mut Vec<Problem>) -> Vec<Rdata> {
        if let Err(over) = limits::at_most("edit_records", EDIT_RECORDS_MAX, texts.len()) {
            problems.push(self.problem(field, "limit", over));
            return Vec::new();
        }
        let mut records = Vec::with_capacity(texts.len());
        for (n, text) in texts.iter().enumerate() {
            let octets = limits::at_most("rdata_text_octets", RDATA_TEXT_OCTETS_MAX, text.len());
            let read = octets.map_err(|over| over.to_string()).and_then(|()| {
                rdata::parse(self.rtype, text, Some(self.zone)).map_err(|why| why.to_string())
            });
            match read {
                Ok(rdata) => records.push(rdata),
                Err(why) => {
                    let text = format!("{} {}: {why}", self.owner, self.rtype);
                    problems.push(self.problem(&format!("{field}[{n}]"), "rdata", text));
                }
            }
        }
        records
    }
}

/// The value of a set as it is shown.
pub fn shown(rtype: Type, value: &Value) -> SetAsk {
    let records = value.rdatas().iter().map(|rdata| text(rtype, rdata)).collect();
    SetAsk { ttl: value.ttl, records }
}

/// RDATA as in a zone file.
pub fn text(rtype: Type, rdata: &[u8]) -> String {
    rdata::display(rtype, rdata).to_string()
}

/// The value of an RRset.
pub fn value(set: &RrSet) -> Value {
    Value::new(set.ttl, set.rdatas().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Name {
        Name::parse("example.com.").unwrap()
    }

    fn ask(json: &str) -> EditAsk {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_owner_is_completed_with_the_zone_whichever_way_it_is_written() {
        for text in ["www", "www.example.com", "www.example.com.", "WWW"] {
            assert_eq!(
                owner(&zone(), text),
                Ok(Name::parse("www.example.com.").unwrap()),
                "{text}"
            );
        }
        for text in ["@", "example.com", "example.com."] {
            assert_eq!(owner(&zone(), text), Ok(zone()), "{text}");
        }
        for text in ["www.example.net.", "com.", "", "a..b"] {
            assert!(owner(&zone(), text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_fault_of_a_request_is_told_with_its_place() {
        let asks = [
            ask(r#"{"name":"www","type":"A","op":"add","records":["192.0.2.1","nonsense"]}"#),
            ask(r#"{"name":"www.example.net.","type":"A","op":"delete"}"#),
            ask(r#"{"name":"www","type":"NOTYPE","op":"delete"}"#),
            ask(r#"{"name":"www","type":"RRSIG","op":"delete"}"#),
            ask(r#"{"name":"www","type":"A","op":"set_ttl","records":["192.0.2.1"]}"#),
            ask(r#"{"name":"x","type":"A","op":"set_ttl","ttl":2147483648}"#),
        ];
        let problems = read(&zone(), &asks, "").unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.at.as_str()).collect();
        assert_eq!(
            places,
            [
                "edits[0].records[1]",
                "edits[1].name",
                "edits[2].type",
                "edits[3].type",
                "edits[4].ttl",
                "edits[5].ttl"
            ]
        );
    }

    #[test]
    fn edits_of_one_rrset_are_joined_and_must_agree() {
        let asks = [
            ask(r#"{"name":"www","type":"A","op":"add","records":["192.0.2.1"]}"#),
            ask(r#"{"name":"WWW","type":"A","op":"remove","records":["192.0.2.2"]}"#),
        ];
        let edits = read(&zone(), &asks, "").unwrap();
        assert_eq!((edits.len(), edits[0].ops.len()), (1, 2));

        let asks = [asks[0].clone(), ask(r#"{"name":"www","type":"A","op":"delete"}"#)];
        let problems = read(&zone(), &asks, "").unwrap_err();
        assert_eq!(problems[0].rule, "contradiction");
    }

    #[test]
    fn a_base_left_out_is_not_a_base_of_nothing() {
        let left_out = ask(r#"{"name":"a","type":"A","op":"delete"}"#);
        let nothing = ask(r#"{"name":"a","type":"A","op":"delete","base":null}"#);
        assert_eq!((left_out.base, nothing.base), (None, Some(None)));
    }

    #[test]
    fn what_a_request_does_not_know_is_refused() {
        let text = r#"{"kind":"zone_delete","zone":"example.com","really":true}"#;
        assert!(serde_json::from_str::<Ask>(text).is_err());
        let text = r#"{"name":"a","type":"A","op":"delete","recrods":[]}"#;
        assert!(serde_json::from_str::<EditAsk>(text).is_err());
    }
}
