//! Catalog zones as a consumer reads them: which zones there are to be ([RFC 9432]).
//!
//! Promises: a catalog is understood as a whole or not at all; what breaks the rules names nothing,
//! so that nobody deletes a zone because a catalog was damaged on its way.
//!
//! [RFC 9432]: https://www.rfc-editor.org/rfc/rfc9432

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use crate::wire::{Name, Type};
use crate::zone::packed::Node;
use crate::zone::{ReadFault, View};

/// The only version of catalogs there is ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432) §4.2.1), as TXT RDATA.
const VERSION: &[u8] = b"\x012";

/// A zone that a catalog names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub zone: Name,
    /// The label that stands for it. Another one for the same zone means that what is known of the
    /// zone is to be forgotten ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432) §5.4).
    pub label: Vec<u8>,
    /// The catalog that may take the zone over ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432) §4.4.1).
    pub next_catalog: Option<Name>,
    /// The groups it is in, in order ([RFC 9432](https://www.rfc-editor.org/rfc/rfc9432) §4.4.2); what they mean is for the two sides to agree on.
    pub groups: Vec<String>,
}

/// Groups of one zone that are read; of more, the first in order.
pub const GROUPS_MAX: usize = 16;

/// Why a catalog names nothing. Its producer's to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogFault {
    /// It does not say that it is of version 2, and nothing else.
    Version,
    /// One label stands for several zones.
    SeveralZones(Name),
    /// Several labels stand for one zone.
    SeveralLabels(Name),
    /// It names more zones than the operator takes.
    TooMany(usize),
}

impl fmt::Display for CatalogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogFault::Version => f.write_str("catalog has no TXT \"2\" at its name version"),
            CatalogFault::SeveralZones(owner) => {
                write!(f, "catalog has several PTR at {owner}: a label stands for one zone")
            }
            CatalogFault::SeveralLabels(zone) => write!(f, "catalog names {zone} twice"),
            CatalogFault::TooMany(max) => {
                write!(f, "catalog names more than {max} zones, which is the limit")
            }
        }
    }
}

/// The zones that the catalog in `view` names, in canonical order of their labels; at most `max`.
///
/// # Errors
///
/// [`ReadFault`] when it cannot be read; the inner [`CatalogFault`] when it is none.
pub fn members(
    view: &dyn View,
    max: usize,
) -> Result<Result<Vec<Member>, CatalogFault>, ReadFault> {
    let apex = view.apex();
    let depth = apex.label_count();
    let mut found = Found { max, ..Found::default() };
    view.walk(&apex.key(), &mut |node| {
        let owner = node.name();
        let labels: Vec<Vec<u8>> = owner
            .labels()
            .take(owner.label_count().saturating_sub(depth))
            .map(|l| l.to_ascii_lowercase())
            .collect();
        let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
        found.node(&owner, &labels, node);
        if found.fault.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found.finish())
}

#[derive(Default)]
struct Found {
    max: usize,
    version: bool,
    /// By label.
    members: BTreeMap<Vec<u8>, Member>,
    /// By label: those of labels that stand for no zone mean nothing.
    next_catalogs: BTreeMap<Vec<u8>, Name>,
    groups: BTreeMap<Vec<u8>, Vec<String>>,
    fault: Option<CatalogFault>,
}

impl Found {
    fn node(&mut self, owner: &Name, labels: &[&[u8]], node: Node<'_>) {
        match labels {
            [b"version"] => {
                let set = node.rrset(Type::TXT).filter(|set| set.count == 1);
                self.version = set.is_some_and(|set| set.rdatas().all(|rdata| rdata == VERSION));
            }
            [label, b"zones"] => {
                let Some(set) = node.rrset(Type::PTR) else { return };
                let (1, Some(zone)) = (set.count, target(node)) else {
                    self.fault = Some(CatalogFault::SeveralZones(owner.clone()));
                    return;
                };
                if self.members.len() == self.max {
                    self.fault = Some(CatalogFault::TooMany(self.max));
                }
                let label = label.to_vec();
                let member = Member { zone, label, next_catalog: None, groups: Vec::new() };
                self.members.insert(member.label.clone(), member);
            }
            [b"coo", label, b"zones"] => {
                if let Some(next) = target(node) {
                    self.next_catalogs.insert(label.to_vec(), next);
                }
            }
            [b"group", label, b"zones"] => {
                let mut groups: Vec<String> =
                    node.rrset(Type::TXT).iter().flat_map(|set| set.rdatas()).map(text).collect();
                groups.sort_unstable();
                groups.dedup();
                groups.truncate(GROUPS_MAX);
                self.groups.insert(label.to_vec(), groups);
            }
            _ => {}
        }
    }

    fn finish(self) -> Result<Vec<Member>, CatalogFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.version {
            return Err(CatalogFault::Version);
        }
        let (mut next_catalogs, mut groups) = (self.next_catalogs, self.groups);
        let mut zones = std::collections::BTreeSet::new();
        let mut members: Vec<Member> = self.members.into_values().collect();
        for member in &mut members {
            if !zones.insert(member.zone.key()) {
                return Err(CatalogFault::SeveralLabels(member.zone.clone()));
            }
            member.next_catalog = next_catalogs.remove(&member.label);
            member.groups = groups.remove(&member.label).unwrap_or_default();
        }
        Ok(members)
    }
}

/// The strings of a TXT record, one behind the other.
fn text(rdata: &[u8]) -> String {
    let (mut rest, mut text) = (rdata, Vec::new());
    while let Some((len, more)) = rest.split_first() {
        let (string, more) = more.split_at(more.len().min(usize::from(*len)));
        text.extend_from_slice(string);
        rest = more;
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What the only PTR of a node names.
fn target(node: Node<'_>) -> Option<Name> {
    let set = node.rrset(Type::PTR).filter(|set| set.count == 1)?;
    Name::from_wire(set.rdatas().next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::text::{self, Options};
    use crate::zone::tree::PackedZone;

    fn read(records: &str) -> Result<Vec<Member>, CatalogFault> {
        let apex = Name::parse("cat.example.").unwrap();
        let file = format!("@ 60 SOA . . 1 60 60 600 60\n@ 60 NS invalid.\n{records}");
        let options = Options {
            origin: Some(apex.clone()),
            apex: Some(apex.clone()),
            default_ttl: Some(60),
            ..Options::default()
        };
        let parsed = text::parse(file.as_bytes(), options).unwrap();
        members(&PackedZone::new(apex, &parsed.packed), 3).unwrap()
    }

    #[test]
    fn rfc9432_4_a_catalog_names_zones_by_label() {
        let found = read(
            "Version TXT 2\n\
             b.zones PTR b.example.\n\
             A.Zones PTR A.example.\n\
             coo.a.zones PTR other.example.\n\
             coo.gone.zones PTR other.example.\n\
             group.a.zones TXT silver\n\
             group.a.zones TXT \"go\" \"ld\"\n\
             group.gone.zones TXT x\n\
             ext PTR ignored.\n",
        )
        .unwrap();
        let zones: Vec<_> = found.iter().map(|member| member.zone.to_string()).collect();
        assert_eq!(zones, ["A.example.", "b.example."]);
        assert_eq!(found[0].label, b"a");
        assert_eq!(found[0].next_catalog, Some(Name::parse("other.example.").unwrap()));
        assert_eq!(found[1].next_catalog, None);
        assert_eq!(found[0].groups, ["gold", "silver"]);
        assert!(found[1].groups.is_empty());
    }

    #[test]
    fn rfc9432_5_1_a_broken_catalog_names_nothing() {
        let member = "a.zones PTR a.example.\n";
        for version in
            ["", "version TXT 1\n", "version TXT 2\nversion TXT 1\n", "version A 192.0.2.2\n"]
        {
            assert_eq!(
                read(&format!("{version}{member}")),
                Err(CatalogFault::Version),
                "{version}"
            );
        }
        let version = "version TXT 2\n";
        let several = read(&format!("{version}{member}a.zones PTR b.example.\n"));
        assert!(matches!(several, Err(CatalogFault::SeveralZones(_))));
        let twice = read(&format!("{version}{member}b.zones PTR A.example.\n"));
        assert!(matches!(twice, Err(CatalogFault::SeveralLabels(_))));
        let many: String = (0..4).map(|n| format!("m{n}.zones PTR z{n}.example.\n")).collect();
        assert_eq!(read(&format!("{version}{many}")), Err(CatalogFault::TooMany(3)));
        assert_eq!(read(version), Ok(Vec::new()));
    }
}
