//! A zone as a whole, out of the store: for exports and whoever needs it all at one version.

use std::ops::ControlFlow;

use super::Maintain;
use super::rows::{self, Zone};
use crate::store::Reader;
use crate::wire::Name;
use crate::zone::ReadFault;
use crate::zone::packed::Packer;

/// Nodes copied before others may write again.
const PAGE_NODES: usize = 10_000;

/// How often a copy begins anew because the zone changed, before it holds others back once.
const TRIES: usize = 3;

impl Maintain {
    /// A zone with its records, [packed](crate::zone::packed), at one version; none if there is none.
    ///
    /// # Errors
    ///
    /// [`ReadFault`] when the store cannot be read.
    pub fn copy(&self, apex: &Name) -> Result<Option<(Zone, Vec<u8>)>, ReadFault> {
        for _ in 0..TRIES {
            let Some(zone) = self.store().read(|rows| rows::zone(rows, apex))? else {
                return Ok(None);
            };
            if let Some(octets) = self.copy_pages(&zone)? {
                return Ok(Some((zone, octets)));
            }
        }
        self.store().read(|rows| {
            let Some(zone) = rows::zone(rows, apex)? else { return Ok(None) };
            let mut packer = Packer::default();
            let _end = copy_page(rows, &zone, &[], usize::MAX, &mut packer)?;
            Ok(Some((zone, packer.finish())))
        })
    }

    /// Copies a zone page by page; none if it changed meanwhile.
    fn copy_pages(&self, zone: &Zone) -> Result<Option<Vec<u8>>, ReadFault> {
        let mut packer = Packer::default();
        let mut from = Some(Vec::new());
        while let Some(key) = from {
            let page = self.store().read(|rows| {
                let now = rows::by_id(rows, zone.id)?;
                if now.is_none_or(|now| now.version != zone.version) {
                    return Ok(None);
                }
                copy_page(rows, zone, &key, PAGE_NODES, &mut packer).map(Some)
            })?;
            match page {
                Some(next) => from = next,
                None => return Ok(None),
            }
        }
        Ok(Some(packer.finish()))
    }
}

/// Appends nodes from `key` on, at most `limit`; returns where to go on, or none at the end.
fn copy_page(
    rows: &Reader<'_>,
    zone: &Zone,
    key: &[u8],
    limit: usize,
    packer: &mut Packer,
) -> Result<Option<Vec<u8>>, ReadFault> {
    let (mut count, mut next) = (0, None);
    rows::with_view(rows, zone, |view| {
        view.walk(key, &mut |node| {
            if count == limit {
                next = Some(node.name().key());
                return ControlFlow::Break(());
            }
            count += 1;
            packer.push(node);
            ControlFlow::Continue(())
        })
    })?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::maintain::tests::{commit, create, maintain, name, set};
    use crate::wire::Type;
    use crate::zone::Base;
    use crate::zone::delta::set_at;
    use crate::zone::tree::Tree;

    /// Goal: a copy is of one version although commits go on.
    #[test]
    fn a_copy_is_of_one_version() {
        let maintain = maintain();
        commit(&maintain, &[create("a.", 1)]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..200u8 {
                    let both = ["v", "w"].map(|label| set("a.", label, round, Base::Unchecked));
                    commit(&maintain, &both).unwrap();
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                let (zone, octets) = maintain.copy(&name("a.")).unwrap().unwrap();
                let copy = Tree::new(name("a."), &octets);
                let at = |owner: &str| {
                    let set = set_at(&copy, &name(owner), Type::A).unwrap();
                    set.map(|set| set.rrset.rdatas().to_vec())
                };
                assert_eq!(at("v.a."), at("w.a."));
                let soa = set_at(&copy, &name("a."), Type::SOA).unwrap().unwrap();
                assert_eq!(soa.rrset.soa_serial(), Some(zone.serial));
            }
        });
    }
}
