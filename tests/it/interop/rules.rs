//! The differences we chose, each a rule that makes both answers alike where it applies.
//!
//! A rule is as narrow as what it explains: it looks at the question and at both answers, and takes
//! out only what it is about. What is left must be the same.

use super::message::{Answer, Record, rtype};
use super::peers::Peer::{self, Bind, Knot, Nsd, PowerDns};
use super::questions::{Question, wire};

/// A difference with a name; its reason stands in `src/manual/rfc.md`.
#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    /// The peers it holds for.
    pub peers: &'static [Peer],
    /// Takes the difference out of both answers.
    pub level: fn(&Case<'_>, &mut Answer, &mut Answer),
}

/// What a rule may know besides the answers.
pub struct Case<'a> {
    pub question: &'a Question,
    /// The apexes served, without their final dots.
    pub apexes: &'a [String],
}

const fn rule(
    name: &'static str,
    peers: &'static [Peer],
    level: fn(&Case<'_>, &mut Answer, &mut Answer),
) -> Rule {
    Rule { name, peers, level }
}

/// In the order in which they are tried, and in which the table has them.
pub const RULES: &[Rule] = &[
    rule("minimal-additional", &Peer::ALL, minimal_additional),
    rule("minimal-authority", &[Nsd, Knot, PowerDns], minimal_authority),
    rule("minimal-any", &Peer::ALL, minimal_any),
    rule("minimal-rrsig", &[Nsd, Knot, Bind], minimal_rrsig),
    rule("sibling-glue", &[Bind], sibling_glue),
    rule("wildcard-glue", &[Nsd, Knot], wildcard_glue),
    rule("loops", &[Bind, PowerDns], loops),
    rule("long-chains", &Peer::ALL, long_chains),
    rule("chase-across-zones", &[Bind, Knot], chase_across_zones),
    rule("aliases-and-dnssec-types", &[Nsd, PowerDns], aliases_and_dnssec_types),
    rule("proof-behind-dname", &[Nsd, Knot], proof_behind_dname),
    rule("hashed-owners", &[Nsd, PowerDns], hashed_owners),
    rule("optout-ancestors", &[Nsd, PowerDns], optout_ancestors),
    rule("proof-of-the-encloser", &[Nsd], proof_of_the_encloser),
    rule("soa-of-soa-query", &[Bind], soa_of_soa_query),
    rule("soa-of-overflow", &[Knot], soa_of_overflow),
    rule("nsec-at-cut", &[Bind, PowerDns], nsec_at_cut),
    rule("powerdns-any", &[PowerDns], powerdns_any),
    rule("powerdns-rrsig", &[PowerDns], powerdns_rrsig),
    rule("powerdns-nsec", &[PowerDns], powerdns_nsec),
    rule("powerdns-ds", &[PowerDns], powerdns_ds),
    rule("powerdns-deepest-cut", &[PowerDns], powerdns_deepest_cut),
    rule("powerdns-octets", &[PowerDns], powerdns_octets),
    rule("powerdns-nsec3param", &[PowerDns], powerdns_nsec3param),
];

/// The rules that explain all of a difference; none if there is none.
///
/// # Errors
///
/// What is left of both answers when a difference is not explained.
pub fn explain(
    peer: Peer,
    case: &Case<'_>,
    ours: &Answer,
    theirs: &Answer,
) -> Result<Vec<&'static str>, Box<(Answer, Answer)>> {
    let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
    // EDNS is a conversation of its own: these suites compare what is said of the zones.
    ours.edns = None;
    theirs.edns = None;
    // The question's case is checked apart; peers may fold it.
    ours.question.make_ascii_lowercase();
    theirs.question.make_ascii_lowercase();
    let mut used = Vec::new();
    for rule in RULES.iter().filter(|rule| rule.peers.contains(&peer)) {
        if ours == theirs {
            break;
        }
        let before = (ours.clone(), theirs.clone());
        (rule.level)(case, &mut ours, &mut theirs);
        if before != (ours.clone(), theirs.clone()) {
            used.push(rule.name);
        }
    }
    if ours == theirs { Ok(used) } else { Err(Box::new((ours, theirs))) }
}

impl Case<'_> {
    fn asks(&self, types: &[u16]) -> bool {
        types.contains(&self.question.rtype)
    }

    /// The zone a name belongs to: the longest apex it is at or below.
    fn zone_of(&self, name: &str) -> Option<&str> {
        let holds = |apex: &&String| is_at_or_below(name, &format!("{apex}."));
        self.apexes.iter().filter(holds).max_by_key(|apex| apex.len()).map(String::as_str)
    }
}

fn is_at_or_below(name: &str, ancestor: &str) -> bool {
    name.strip_suffix(ancestor).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Makes two answers alike in everything: what they say is not comparable.
fn wipe(ours: &mut Answer, theirs: &mut Answer) {
    for answer in [ours, theirs] {
        answer.flags = 0;
        answer.answer.clear();
        answer.authority.clear();
        answer.additional.clear();
    }
}

fn minimal_additional(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if !ours.is_referral() && !theirs.is_referral() {
        ours.additional.clear();
        theirs.additional.clear();
    }
}

fn minimal_authority(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    for answer in [ours, theirs] {
        if !answer.answer.is_empty() && !answer.is_referral() {
            answer.authority.retain(|record| record.rtype != rtype::NS);
        }
    }
}

fn minimal_any(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if case.asks(&[rtype::ANY]) && !ours.answer.is_empty() && !theirs.answer.is_empty() {
        // Who follows a DNAME for ANY may find that nothing is there.
        wipe(ours, theirs);
    }
}

fn minimal_rrsig(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let only = |answer: &Answer| {
        !answer.answer.is_empty() && answer.answer.iter().all(|r| r.rtype == rtype::RRSIG)
    };
    if case.asks(&[rtype::RRSIG]) && only(ours) && only(theirs) {
        ours.answer.clear();
        theirs.answer.clear();
    }
}

fn sibling_glue(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if !ours.is_referral() {
        return;
    }
    let cut = ours.authority.iter().find(|record| record.rtype == rtype::NS);
    let cut = cut.map(|record| record.owner.clone()).unwrap_or_default();
    for answer in [ours, theirs] {
        answer.additional.retain(|record| is_at_or_below(&record.owner, &cut));
    }
}

fn wildcard_glue(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    // The one delegation of these zones whose name server only a wildcard gives an address.
    let name = super::message::text(&case.question.name);
    if ours.is_referral() && is_at_or_below(&name, "starred.cuts.test.") {
        theirs.additional.retain(|record| record.owner != "ns.wild.cuts.test.");
    }
}

/// The CNAME records of an answer.
fn aliases(answer: &Answer) -> impl Iterator<Item = &Record> {
    answer.answer.iter().filter(|record| record.rtype == rtype::CNAME)
}

/// Whether following the CNAMEs leads back to one of them.
fn is_loop(answer: &Answer) -> bool {
    aliases(answer).any(|first| {
        let mut at = first;
        for _ in 0..20 {
            let next = aliases(answer).find(|next| wire(&next.owner) == at.rdata);
            match next {
                Some(next) if next == first => return true,
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    })
}

fn loops(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if is_loop(ours) {
        wipe(ours, theirs);
    }
}

fn long_chains(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let steps = aliases(ours).count().max(aliases(theirs).count());
    // The least of the peers' limits is Knot's, five.
    if steps > 5 && ours.answer.is_superset(&theirs.answer) {
        wipe(ours, theirs);
    }
}

fn chase_across_zones(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let home = aliases(ours).next().and_then(|alias| case.zone_of(&alias.owner));
    let leaves = aliases(ours).any(|alias| {
        let target = super::message::text(&alias.rdata);
        case.zone_of(&target) != home && case.zone_of(&target).is_some()
    });
    if leaves && ours.answer.is_superset(&theirs.answer) {
        wipe(ours, theirs);
    }
}

fn aliases_and_dnssec_types(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let differ = (aliases(ours).count() == 0) != (aliases(theirs).count() == 0);
    if case.asks(&[rtype::RRSIG, rtype::NSEC, rtype::NSEC3]) && differ {
        wipe(ours, theirs);
    }
}

fn proof_behind_dname(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let dname = ours.answer.iter().any(|record| record.rtype == rtype::DNAME);
    if case.question.dnssec() && dname && ours.answer == theirs.answer {
        ours.authority.clear();
        theirs.authority.clear();
    }
}

/// Whether a label of the name asked for looks like the hash of an NSEC3 owner.
fn is_hashed(question: &Question) -> bool {
    let name = question.to_string();
    name.split('.').any(|label| {
        label.len() == 32 && label.bytes().all(|o| matches!(o, b'0'..=b'9' | b'a'..=b'v'))
    })
}

fn hashed_owners(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if case.question.dnssec() && is_hashed(case.question) && ours.answer == theirs.answer {
        ours.authority.retain(|record| !is_nsec3(record));
        theirs.authority.retain(|record| !is_nsec3(record));
    }
}

/// Whether a record is NSEC3 or signs one.
fn is_nsec3(record: &Record) -> bool {
    let signs = record.rtype == rtype::RRSIG && record.rdata.starts_with(&[0, 50]);
    record.rtype == rtype::NSEC3 || signs
}

fn optout_ancestors(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    // The one name of these zones that is only there because of an insecure delegation below it.
    let name = super::message::text(&case.question.name);
    if case.question.dnssec() && is_at_or_below(&name, "insecure3.optout.test.") {
        ours.authority.retain(|record| !is_nsec3(record));
        theirs.authority.retain(|record| !is_nsec3(record));
    }
}

fn proof_of_the_encloser(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let wildcard = case.question.name.starts_with(b"\x01*");
    if case.question.dnssec() && wildcard && theirs.authority.is_superset(&ours.authority) {
        theirs.authority.clone_from(&ours.authority);
    }
}

fn soa_of_soa_query(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let is_soa = |record: &Record| {
        record.rtype == rtype::SOA
            || record.rtype == rtype::RRSIG && record.rdata.starts_with(&[0, 6])
    };
    if case.asks(&[rtype::SOA]) {
        for answer in [ours, theirs] {
            let level = |mut record: Record| {
                if is_soa(&record) {
                    record.ttl = 0;
                }
                record
            };
            answer.authority =
                std::mem::take(&mut answer.authority).into_iter().map(level).collect();
        }
    }
}

fn soa_of_overflow(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    const YXDOMAIN: u16 = 6;
    if ours.rcode() == YXDOMAIN && theirs.rcode() == YXDOMAIN {
        ours.authority.clear();
        theirs.authority.clear();
    }
}

fn nsec_at_cut(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let answers = theirs.answer.iter().any(|record| record.rtype == rtype::NSEC);
    if case.asks(&[rtype::NSEC]) && ours.is_referral() && answers {
        wipe(ours, theirs);
    }
}

fn powerdns_any(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if case.asks(&[rtype::ANY]) {
        wipe(ours, theirs);
    }
}

fn powerdns_rrsig(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    const REFUSED: u16 = 5;
    if case.asks(&[rtype::RRSIG]) && theirs.rcode() == REFUSED {
        wipe(ours, theirs);
    }
}

fn powerdns_nsec(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if case.asks(&[rtype::NSEC, rtype::NSEC3]) {
        wipe(ours, theirs);
    }
}

fn powerdns_ds(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    if ours.is_referral() && !case.question.dnssec() {
        theirs.authority.retain(|record| record.rtype != rtype::DS);
    }
}

fn powerdns_deepest_cut(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    let cut = |answer: &Answer| {
        let ns = answer.authority.iter().find(|record| record.rtype == rtype::NS);
        ns.map(|record| record.owner.clone())
    };
    let Some(upper) = cut(ours).filter(|_| ours.is_referral()) else { return };
    let deeper = |lower: String| lower != upper && is_at_or_below(&lower, &upper);
    if cut(theirs).is_some_and(deeper) || case.asks(&[rtype::DS]) && !theirs.is_referral() {
        wipe(ours, theirs);
    }
}

fn powerdns_octets(case: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    const SERVFAIL: u16 = 2;
    let odd = |octet: &u8| *octet == 0xFF;
    if theirs.rcode() == SERVFAIL && case.question.name.iter().any(odd) {
        wipe(ours, theirs);
    }
}

fn powerdns_nsec3param(_: &Case<'_>, ours: &mut Answer, theirs: &mut Answer) {
    const NSEC3PARAM: u16 = 51;
    for answer in [ours, theirs] {
        let level = |mut record: Record| {
            let signs = record.rtype == rtype::RRSIG && record.rdata.starts_with(&[0, 51]);
            if record.rtype == NSEC3PARAM || signs {
                record.ttl = 0;
            }
            record
        };
        answer.answer = std::mem::take(&mut answer.answer).into_iter().map(level).collect();
    }
}
