//! The rules a zone keeps, and what to do about each that is broken.
//!
//! Only what makes a zone impossible to answer from is a rule: a CNAME beside other data has no
//! answer. What is merely unwise is somebody else's to say.
//!
//! A change can break rules only at the owners it touched, at their ancestors (a DNAME) and their
//! descendants (below a new DNAME): so [`check_touched`] looks at nothing else.

use std::fmt;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::packed::{Node, RrSetRef};
use super::view::{ReadFault, View};
use crate::wire::rdata::validate;
use crate::wire::{Name, Type};

/// Broken rules reported of one zone.
pub const BROKEN_MAX: usize = 1_000;

/// Octets of the greatest message over TCP ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §4.2.2).
const MESSAGE_OCTETS_MAX: usize = 65_535;

/// What an answer has beside its RRset: header, type and class of the question, and an OPT record.
const MESSAGE_FRAME_OCTETS: usize = 12 + 4 + 11;

/// What a record has beside its RDATA where the owner is compressed to a pointer.
const RECORD_FRAME_OCTETS: usize = 12;

/// The greatest TTL, in seconds ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §8).
const TTL_MAX: u32 = i32::MAX as u32;

/// Types that may stand beside a CNAME: those that speak about it ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3, [RFC 2535](https://www.rfc-editor.org/rfc/rfc2535) §2.3.5).
const BESIDE_CNAME: [Type; 5] = [Type::CNAME, Type(24), Type(25), Type(30), Type::NSEC];

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// A zone has exactly one SOA record, at its apex ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §5.2).
    Soa,
    /// A zone has NS at its apex ([RFC 1034](https://www.rfc-editor.org/rfc/rfc1034) §4.2.1).
    ApexNs,
    /// CNAME is one record, alone ([RFC 1034](https://www.rfc-editor.org/rfc/rfc1034) §3.6.2, [RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §10.1).
    Cname,
    /// DNAME is one record, with no names below it ([RFC 6672](https://www.rfc-editor.org/rfc/rfc6672) §2.4).
    Dname,
    /// An owner is inside the zone ([RFC 1034](https://www.rfc-editor.org/rfc/rfc1034) §4.2).
    InZone,
    /// An RRset with its signatures fits into a message.
    Size,
    /// RDATA is well-formed, and of a type that stands in zones.
    Rdata,
    /// A TTL is at most 2³¹−1 ([RFC 2181](https://www.rfc-editor.org/rfc/rfc2181) §8).
    Ttl,
    /// DS stands in the parent's zone, not at its own apex ([RFC 4035](https://www.rfc-editor.org/rfc/rfc4035) §2.4).
    Ds,
}

impl Rule {
    /// A word that programs may compare with.
    pub fn word(self) -> &'static str {
        match self {
            Rule::Soa => "soa",
            Rule::ApexNs => "apex-ns",
            Rule::Cname => "cname",
            Rule::Dname => "dname",
            Rule::InZone => "in-zone",
            Rule::Size => "size",
            Rule::Rdata => "rdata",
            Rule::Ttl => "ttl",
            Rule::Ds => "ds",
        }
    }
}

/// A rule that a zone breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    pub rule: Rule,
    pub owner: Name,
    /// With the way out.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Checks a whole zone; the broken rules, by owner, at most [`BROKEN_MAX`].
///
/// # Errors
///
/// [`ReadFault`] when the zone cannot be read.
pub fn check(view: &dyn View) -> Result<Vec<Broken>, ReadFault> {
    Ok(check_typed(view)?.into_iter().map(|(broken, _)| broken).collect())
}

/// As [`check`], each with the type of the records that break the rule, where one does; none where all of the
/// owner's do.
///
/// # Errors
///
/// As [`check`].
pub(super) fn check_typed(view: &dyn View) -> Result<Vec<(Broken, Option<Type>)>, ReadFault> {
    let mut found = Found::new(view.apex());
    let mut apex_seen = false;
    // The DNAME met last: in canonical order its descendants follow it at once.
    let mut dname: Option<Name> = None;
    view.walk(&[], &mut |node| {
        let owner = node.name();
        apex_seen |= owner == *view.apex();
        found.node(&owner, node);
        match &dname {
            Some(above) if owner.is_below(above) => found.below_dname(&owner, node, above),
            _ => dname = node.rrset(Type::DNAME).map(|_| owner),
        }
        found.go_on()
    })?;
    if !apex_seen {
        found.no_apex();
    }
    Ok(found.broken)
}

/// Checks what a change to `touched` owners can have broken, as [`check`] does.
///
/// The cost depends on the owners, not on the zone. (One exception: below a DNAME at the apex of a
/// zone with NSEC3 every owner is looked at, for only NSEC3 may stand there.)
///
/// # Errors
///
/// [`ReadFault`] when the zone cannot be read.
pub fn check_touched<'n>(
    view: &dyn View,
    touched: impl IntoIterator<Item = &'n Name>,
) -> Result<Vec<Broken>, ReadFault> {
    let mut found = Found::new(view.apex());
    for owner in touched {
        if found.go_on().is_break() {
            break;
        }
        let (mut has_dname, mut stands) = (false, false);
        view.node(owner, &mut |node| {
            found.node(owner, node);
            has_dname = node.rrset(Type::DNAME).is_some();
            stands = !only_nsec3(node);
        })?;
        if stands && let Some(above) = dname_above(view, owner)? {
            found.put(Rule::Dname, owner, None, below_dname_text(owner, &above));
        }
        if has_dname {
            found.names_below(view, owner)?;
        }
        if owner == view.apex() && !view.node(owner, &mut |_| ())? {
            found.no_apex();
        }
    }
    Ok(found.broken.into_iter().map(|(broken, _)| broken).collect())
}

/// The nearest name above `owner`, inside the zone, that has a DNAME.
fn dname_above(view: &dyn View, owner: &Name) -> Result<Option<Name>, ReadFault> {
    let mut here = owner.parent();
    while let Some(name) = here.filter(|name| name.is_at_or_below(view.apex())) {
        let mut found = false;
        view.node(&name, &mut |node| found = node.rrset(Type::DNAME).is_some())?;
        if found {
            return Ok(Some(name));
        }
        here = name.parent();
    }
    Ok(None)
}

fn only_nsec3(node: Node<'_>) -> bool {
    node.rrsets().all(|set| set.rtype == Type::NSEC3)
}

fn below_dname_text(owner: &Name, above: &Name) -> String {
    format!("{owner} is below {above}, which has a DNAME: remove one of them (RFC 6672 §2.4)")
}

/// Broken rules as they are found.
struct Found<'z> {
    apex: &'z Name,
    broken: Vec<(Broken, Option<Type>)>,
}

impl<'z> Found<'z> {
    fn new(apex: &'z Name) -> Found<'z> {
        Found { apex, broken: Vec::new() }
    }

    fn put(&mut self, rule: Rule, owner: &Name, rtype: Option<Type>, what: String) {
        self.broken.push((Broken { rule, owner: owner.clone(), what }, rtype));
    }

    fn go_on(&self) -> ControlFlow<()> {
        match self.broken.len() < BROKEN_MAX {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// The rules that one owner keeps by itself.
    fn node(&mut self, owner: &Name, node: Node<'_>) {
        if !owner.is_at_or_below(self.apex) {
            let what = format!("{owner} is outside the zone {}: remove it", self.apex);
            self.put(Rule::InZone, owner, None, what);
            return;
        }
        match owner == self.apex {
            true => self.apex_node(owner, node),
            false => self.inner_node(owner, node),
        }
        let mut alias = false;
        for set in node.rrsets() {
            alias |= set.rtype == Type::CNAME || set.rtype == Type::DNAME;
            self.rrset(owner, set);
        }
        if alias {
            self.aliases(owner, node);
        }
    }

    fn apex_node(&mut self, owner: &Name, node: Node<'_>) {
        match node.rrset(Type::SOA).map_or(0, |set| set.count) {
            0 => self.no_soa(owner),
            1 => {}
            count => {
                let what = format!("{owner} has {count} SOA records: keep one (RFC 1035 §5.2)");
                self.put(Rule::Soa, owner, Some(Type::SOA), what);
            }
        }
        if node.rrset(Type::NS).is_none() {
            self.no_ns(owner);
        }
        if node.rrset(Type::DS).is_some() {
            let what = format!(
                "{owner} DS stands in its own zone: remove it here, it belongs to the parent zone (RFC 4035 §2.4)"
            );
            self.put(Rule::Ds, owner, Some(Type::DS), what);
        }
    }

    fn inner_node(&mut self, owner: &Name, node: Node<'_>) {
        if node.rrset(Type::SOA).is_some() {
            let what = format!(
                "{owner} SOA is not at the apex {}: remove it, or make {owner} a zone of its own (RFC 1035 §5.2)",
                self.apex
            );
            self.put(Rule::Soa, owner, Some(Type::SOA), what);
        }
    }

    /// No node at the apex at all.
    fn no_apex(&mut self) {
        self.no_soa(self.apex);
        self.no_ns(self.apex);
    }

    fn no_soa(&mut self, owner: &Name) {
        let what =
            format!("{owner} has no SOA, as every zone must at its apex: add it (RFC 1035 §5.2)");
        self.put(Rule::Soa, owner, Some(Type::SOA), what);
    }

    fn no_ns(&mut self, owner: &Name) {
        let what = format!(
            "{owner} has no NS, as every zone must at its apex: add the names of its name servers (RFC 1034 §4.2.1)"
        );
        self.put(Rule::ApexNs, owner, Some(Type::NS), what);
    }

    fn aliases(&mut self, owner: &Name, node: Node<'_>) {
        if let Some(cname) = node.rrset(Type::CNAME) {
            let others: Vec<String> = node
                .rrsets()
                .filter(|set| !BESIDE_CNAME.contains(&set.rtype))
                .map(|set| set.rtype.to_string())
                .collect();
            if !others.is_empty() {
                let others = others.join(", ");
                let what = format!(
                    "{owner} CNAME conflicts with {owner} {others}: remove one of them (RFC 1034 §3.6.2)"
                );
                self.put(Rule::Cname, owner, Some(Type::CNAME), what);
            }
            self.single(Rule::Cname, owner, cname, "RFC 2181 §10.1");
        }
        if let Some(dname) = node.rrset(Type::DNAME) {
            self.single(Rule::Dname, owner, dname, "RFC 6672 §2.4");
            if node.rrset(Type::NS).is_some() && owner != self.apex {
                let what = format!(
                    "{owner} DNAME conflicts with {owner} NS: remove one of them (RFC 6672 §2.3)"
                );
                self.put(Rule::Dname, owner, Some(Type::DNAME), what);
            }
        }
    }

    fn single(&mut self, rule: Rule, owner: &Name, set: RrSetRef<'_>, clause: &str) {
        if set.count > 1 {
            let (rtype, count) = (set.rtype, set.count);
            let what = format!("{owner} has {count} {rtype} records: keep one ({clause})");
            self.put(rule, owner, Some(rtype), what);
        }
    }

    fn rrset(&mut self, owner: &Name, set: RrSetRef<'_>) {
        let rtype = set.rtype;
        if set.ttl > TTL_MAX {
            let what =
                format!("{owner} {rtype} has TTL {}: {TTL_MAX} is the most (RFC 2181 §8)", set.ttl);
            self.put(Rule::Ttl, owner, Some(rtype), what);
        }
        let records = set.rdatas().chain(set.sigs()).map(|rdata| RECORD_FRAME_OCTETS + rdata.len());
        let octets = MESSAGE_FRAME_OCTETS + owner.as_wire().len() + records.sum::<usize>();
        if octets > MESSAGE_OCTETS_MAX {
            let what = format!(
                "{owner} {rtype} makes an answer of {octets} octets: no message holds more than {MESSAGE_OCTETS_MAX}, remove some of its records"
            );
            self.put(Rule::Size, owner, Some(rtype), what);
        }
        if rtype == Type::RRSIG {
            let what = format!("{owner} RRSIG covers nothing: remove it");
            self.put(Rule::Rdata, owner, Some(rtype), what);
        }
        let faults = set.rdatas().filter_map(|rdata| validate(rtype, rdata).err());
        let sig_faults = set.sigs().filter_map(|rdata| validate(Type::RRSIG, rdata).err());
        for error in faults.chain(sig_faults) {
            self.put(Rule::Rdata, owner, Some(rtype), format!("{owner} {error}"));
        }
    }

    fn below_dname(&mut self, owner: &Name, node: Node<'_>, above: &Name) {
        // RFC 6672 §2.4 knows one exception: the hashed owners of a zone whose apex has the DNAME.
        if !only_nsec3(node) {
            self.put(Rule::Dname, owner, None, below_dname_text(owner, above));
        }
    }

    /// Reports the first name below one that has a DNAME.
    fn names_below(&mut self, view: &dyn View, above: &Name) -> Result<(), ReadFault> {
        view.walk(&above.key(), &mut |node| {
            let owner = node.name();
            if owner == *above || (only_nsec3(node) && owner.is_below(above)) {
                return ControlFlow::Continue(());
            }
            if owner.is_below(above) {
                self.put(Rule::Dname, &owner, None, below_dname_text(&owner, above));
            }
            ControlFlow::Break(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::text::{Options, parse};
    use crate::zone::tree::PackedZone;

    const APEX: &str = "@ SOA ns hostmaster 1 1h 10m 1w 5m\n@ NS ns.example.\n";

    /// Each broken rule as `rule owner`, once from the whole zone, once from the touched owners.
    fn broken(body: &str, touched: &[&str]) -> (Vec<String>, Vec<String>) {
        let apex = Name::parse("example.com.").unwrap();
        let text = format!("$TTL 60\n{body}");
        let options = Options { apex: Some(apex.clone()), ..Options::default() };
        let parsed = parse(text.as_bytes(), options).unwrap();
        let view = PackedZone::new(apex, &parsed.packed);
        let touched: Vec<Name> = touched.iter().map(|name| Name::parse(name).unwrap()).collect();
        let shown = |all: Vec<Broken>| {
            all.iter().map(|one| format!("{:?} {}", one.rule, one.owner)).collect::<Vec<_>>()
        };
        (shown(check(&view).unwrap()), shown(check_touched(&view, &touched).unwrap()))
    }

    fn both(body: &str, touched: &[&str], expected: &[&str]) {
        let (whole, part) = broken(body, touched);
        assert_eq!(whole, expected, "{body}");
        assert_eq!(part, expected, "{body}");
    }

    #[test]
    fn a_zone_that_keeps_all_rules_breaks_none() {
        let body = format!(
            "{APEX}www CNAME a\nwww RRSIG CNAME 8 3 60 20300101000000 20200101000000 1 @ AAAA\nwww NSEC zz CNAME\na A 192.0.2.1\nd DNAME x.\nsub NS ns.sub\nsub DS 1 8 2 AA\nns.sub A 192.0.2.2\n"
        );
        both(&body, &["www.example.com", "d.example.com", "gone.example.com", "example.com"], &[]);
    }

    #[test]
    fn a_zone_needs_soa_and_ns_at_its_apex() {
        both("www A 192.0.2.1", &["example.com"], &["Soa example.com.", "ApexNs example.com."]);
        both("@ A 192.0.2.1", &["example.com"], &["Soa example.com.", "ApexNs example.com."]);
        let two = format!("{APEX}@ SOA ns hostmaster 2 1h 10m 1w 5m\n");
        both(&two, &["example.com"], &["Soa example.com."]);
        let inner = format!("{APEX}sub SOA ns hostmaster 2 1h 10m 1w 5m\n");
        both(&inner, &["sub.example.com"], &["Soa sub.example.com."]);
    }

    #[test]
    fn rfc1034_3_6_2_cname_stands_alone() {
        let body = format!("{APEX}www CNAME a\nwww A 192.0.2.1\nwww MX 1 a\n");
        both(&body, &["www.example.com"], &["Cname www.example.com."]);
        let body = format!("{APEX}www CNAME a\nwww CNAME b\n");
        both(&body, &["www.example.com"], &["Cname www.example.com."]);
        both(&format!("{APEX}@ CNAME a\n"), &["example.com"], &["Cname example.com."]);
    }

    #[test]
    fn rfc6672_2_4_cname_and_dname_do_not_stand_together() {
        let body = format!("{APEX}d CNAME a\nd DNAME x.\n");
        both(&body, &["d.example.com"], &["Cname d.example.com."]);
    }

    #[test]
    fn rfc6672_2_4_nothing_stands_below_dname() {
        let body = format!("{APEX}d DNAME x.\nd TXT fine\na.b.d A 192.0.2.1\n");
        both(&body, &["a.b.d.example.com"], &["Dname a.b.d.example.com."]);
        both(&body, &["d.example.com"], &["Dname a.b.d.example.com."]);
        let body = format!("{APEX}d DNAME x.\nd DNAME y.\n");
        both(&body, &["d.example.com"], &["Dname d.example.com."]);
        let nsec3 = format!("{APEX}@ DNAME x.\n0123 NSEC3 1 0 0 - 01234560 A\n");
        both(&nsec3, &["example.com", "0123.example.com"], &[]);
    }

    #[test]
    fn rfc4035_2_4_ds_stands_in_the_parent() {
        both(&format!("{APEX}@ DS 1 8 2 AA\n"), &["example.com"], &["Ds example.com."]);
    }

    #[test]
    fn an_rrset_that_no_message_holds_is_refused() {
        let long = "x".repeat(250);
        let mut body = String::from(APEX);
        (0..250).for_each(|n| body.push_str(&format!("big TXT {n:03}{long}\n")));
        let (whole, _) = broken(&body, &[]);
        assert_eq!(whole, ["Size big.example.com."]);
    }

    #[test]
    fn a_broken_rule_says_the_way_out() {
        let apex = Name::parse("example.com.").unwrap();
        let text = format!("$TTL 60\n{APEX}www CNAME a\nwww A 192.0.2.1\n");
        let options = Options { apex: Some(apex.clone()), ..Options::default() };
        let parsed = parse(text.as_bytes(), options).unwrap();
        let broken = check(&PackedZone::new(apex, &parsed.packed)).unwrap();
        assert_eq!(
            broken[0].to_string(),
            "www.example.com. CNAME conflicts with www.example.com. A: remove one of them (RFC 1034 §3.6.2)"
        );
    }
}
