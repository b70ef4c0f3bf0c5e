//! Records of a transfer as they come, and how they become packed nodes.
//!
//! Owners and RDATA lie in one row of octets. What a primary sends of one owner in one go is a run;
//! runs are sorted, not records: most primaries keep an owner together, many send them in order.

use super::fault::{Misbehaviour, TransferFault};
use crate::wire::Type;
use crate::wire::name::push_key;
use crate::wire::rdata::canonical_cmp;
use crate::zone::packed::Packer;

/// Packed nodes count the records of an RRset in 16 bits.
const RRSET_RECORDS_MAX: usize = u16::MAX as usize;

/// What counts for one record beside its octets.
const RECORD_OCTETS: usize = 16;

/// Records in the order they came.
#[derive(Debug, Default)]
pub(super) struct Collected {
    octets: Vec<u8>,
    runs: Vec<Run>,
    records: Vec<Entry>,
}

/// Consecutive records of one owner; they end where those of the next run begin.
#[derive(Debug, Clone, Copy)]
struct Run {
    owner_at: usize,
    owner_len: usize,
    first: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    rdata_at: usize,
    rdata_len: u16,
    rtype: Type,
    ttl: u32,
}

/// What becomes of signatures over an RRset that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// They are dropped: in a zone they sign nothing.
    Records,
    /// They stay: a step may change nothing but signatures.
    Signatures,
}

impl Collected {
    /// Adds a record; `owner` and `rdata` are uncompressed.
    pub fn push(&mut self, owner: &[u8], rtype: Type, ttl: u32, rdata: &[u8]) {
        let same = self.runs.last().is_some_and(|run| self.owner(run) == owner);
        if !same {
            let owner_at = self.octets.len();
            self.octets.extend_from_slice(owner);
            let first = self.records.len();
            self.runs.push(Run { owner_at, owner_len: owner.len(), first });
        }
        let rdata_at = self.octets.len();
        self.octets.extend_from_slice(rdata);
        self.records.push(Entry { rdata_at, rdata_len: rdata.len() as u16, rtype, ttl });
    }

    /// Octets collected.
    pub fn octets(&self) -> usize {
        self.octets.len() + self.records.len() * RECORD_OCTETS
    }

    /// Sorts and packs. Doubles are dropped, the lowest TTL of an RRset counts.
    pub fn pack(&self, keep: Keep) -> Result<Vec<u8>, TransferFault> {
        let mut packer = Packer::with_capacity(self.octets.len() + self.records.len() * 18);
        let runs = self.sorted();
        let mut node = Vec::new();
        for runs in runs.chunk_by(|left, right| left.0 == right.0) {
            let Some((_, first)) = runs.first() else { continue };
            let owner = self.runs.get(*first).map(|run| self.owner(run)).unwrap_or_default();
            node.clear();
            runs.iter().for_each(|(_, run)| node.extend_from_slice(self.records_of(*run)));
            self.pack_node(owner, &mut node, keep, &mut packer)?;
        }
        Ok(packer.finish())
    }

    /// The runs by the keys of their owners; those of one owner in the order they came.
    fn sorted(&self) -> Vec<(Vec<u8>, usize)> {
        let mut runs: Vec<(Vec<u8>, usize)> = Vec::with_capacity(self.runs.len());
        for (number, run) in self.runs.iter().enumerate() {
            let mut key = Vec::with_capacity(run.owner_len + 2);
            push_key(self.owner(run), &mut key);
            runs.push((key, number));
        }
        runs.sort_unstable();
        runs
    }

    fn pack_node(
        &self,
        owner: &[u8],
        node: &mut Vec<Entry>,
        keep: Keep,
        packer: &mut Packer,
    ) -> Result<(), TransferFault> {
        node.sort_by(|left, right| {
            self.set_of(left)
                .cmp(&self.set_of(right))
                .then_with(|| canonical_cmp(left.rtype, self.rdata(left), self.rdata(right)))
        });
        node.dedup_by(|later, first| {
            let same = later.rtype == first.rtype
                && canonical_cmp(first.rtype, self.rdata(first), self.rdata(later)).is_eq();
            if same {
                first.ttl = first.ttl.min(later.ttl);
            }
            same
        });
        let mut begun = false;
        for set in node.chunk_by(|left, right| self.set_of(left).0 == self.set_of(right).0) {
            let (records, sigs) = set.split_at(set.partition_point(|entry| !self.set_of(entry).1));
            let lowest = |entries: &[Entry]| entries.iter().map(|entry| entry.ttl).min();
            let ttl = match (lowest(records), keep) {
                (None, Keep::Records) => continue,
                (ttl, _) => ttl.or(lowest(sigs)).unwrap_or_default(),
            };
            let rtype = set.first().map_or(Type::RRSIG, |entry| self.set_of(entry).0);
            if records.len().max(sigs.len()) > RRSET_RECORDS_MAX {
                return Err(Misbehaviour::SetTooLarge(rtype).into());
            }
            if !std::mem::replace(&mut begun, true) {
                packer.node(owner);
            }
            let rdatas = records.iter().map(|entry| self.rdata(entry));
            packer.rrset(rtype, ttl, rdatas, sigs.iter().map(|sig| self.rdata(sig)));
        }
        Ok(())
    }

    fn owner(&self, run: &Run) -> &[u8] {
        self.octets.get(run.owner_at..run.owner_at + run.owner_len).unwrap_or_default()
    }

    fn records_of(&self, run: usize) -> &[Entry] {
        let first = self.runs.get(run).map_or(0, |run| run.first);
        let end = self.runs.get(run + 1).map_or(self.records.len(), |next| next.first);
        self.records.get(first..end).unwrap_or_default()
    }

    fn rdata(&self, entry: &Entry) -> &[u8] {
        let end = entry.rdata_at + usize::from(entry.rdata_len);
        self.octets.get(entry.rdata_at..end).unwrap_or_default()
    }

    /// The type of the RRset a record belongs to, and whether it is a signature over it.
    fn set_of(&self, entry: &Entry) -> (Type, bool) {
        match (entry.rtype, self.rdata(entry).first_chunk()) {
            (Type::RRSIG, Some(&covered)) => (Type(u16::from_be_bytes(covered)), true),
            (rtype, _) => (rtype, false),
        }
    }
}
