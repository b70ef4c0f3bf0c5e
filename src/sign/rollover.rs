//! The life of a zone's DNSSEC: which keys it publishes, which of them sign, and what it asks its
//! parent for, from off to secure and back.
//!
//! There is one rule instead of a recipe for each rollover. The zone has a goal (its wanted keys, or
//! none) and remembers what a resolver may still hold: every DNSKEY RRset, every set of signers and
//! every DS RRset that was served, or asked of the parent, and has not expired from the last cache.
//! A step towards the goal is taken as soon as every combination of those with what would then be
//! served validates, and not before. Pre-publication of a ZSK, the double signature of a KSK with its
//! swap of DS, the conservative change of algorithm ([RFC 6781] §4.1) and their timing ([RFC 7583])
//! follow from it, in any mixture, from any state, and so does going back half way.
//!
//! Validates is meant strictly: each algorithm in the DS RRset has a key that signs the DNSKEY RRset,
//! each algorithm in the DNSKEY RRset signs all data ([RFC 4035] §2.2).
//!
//! Promises: no step makes any resolver go bogus, whatever it holds; the zone is not unsigned before
//! every server of the parent was seen to give no DS, for longer than a DS lives.
//!
//! Does not: make keys or signatures, watch the parent, or know the time. All of it is told.
//!
//! [RFC 4035]: https://www.rfc-editor.org/rfc/rfc4035
//! [RFC 6781]: https://www.rfc-editor.org/rfc/rfc6781
//! [RFC 7583]: https://www.rfc-editor.org/rfc/rfc7583

use serde::{Deserialize, Serialize};

mod caches;
#[cfg(test)]
mod model;
mod schedule;

pub use caches::{DsSet, KeyId, KeySet, Look, Past};
pub use schedule::{Due, What, When};

use caches::{Parent, Timeline, Until};

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The DNSKEY RRset; the parent's DS names it.
    Ksk,
    /// Everything else.
    Zsk,
    /// Everything; the parent's DS names it.
    Csk,
}

impl Role {
    /// Whether a DS names keys of this role, and they sign the DNSKEY RRset.
    pub fn is_anchor(self) -> bool {
        matches!(self, Role::Ksk | Role::Csk)
    }

    /// Whether keys of this role sign what is not a DNSKEY RRset.
    pub fn signs_data(self) -> bool {
        matches!(self, Role::Zsk | Role::Csk)
    }

    /// The word people know it by.
    pub fn word(self) -> &'static str {
        match self {
            Role::Ksk => "ksk",
            Role::Zsk => "zsk",
            Role::Csk => "csk",
        }
    }
}

/// What the machine knows of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    pub id: KeyId,
    /// The number of its algorithm.
    pub algorithm: u8,
    pub role: Role,
    /// Another provider's: published and named to the parent, never signed with ([RFC 8901]).
    ///
    /// [RFC 8901]: https://www.rfc-editor.org/rfc/rfc8901
    pub foreign: bool,
    pub created: u64,
    /// Whether it is part of the goal. What is not is on its way out.
    pub wanted: bool,
}

/// Where a zone is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    Off,
    /// Signed, but not yet in every cache; the parent is not asked yet.
    Signing,
    /// The parent is asked for a DS and does not show it everywhere.
    DsPending,
    /// Every server of the parent shows a DS of this zone.
    Secure,
    /// To be unsigned: the DS is to go first, then its copies.
    GoingInsecure,
}

impl State {
    /// The word people know it by.
    pub fn word(self) -> &'static str {
        match self {
            State::Off => "off",
            State::Signing => "signing",
            State::DsPending => "ds_pending",
            State::Secure => "secure",
            State::GoingInsecure => "going_insecure",
        }
    }
}

/// What is true around the zone when a step is considered. All times are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The TTL of the DNSKEY RRset as published.
    pub dnskey_ttl: u32,
    /// The largest TTL of the zone as published, that of negative responses included.
    pub zone_ttl: u32,
    /// How long the slowest name server serves what the zone no longer holds.
    pub lag: u32,
    /// How long the parent may take from reading a CDS to serving the DS.
    pub parent_delay: u32,
    /// When the oldest version that some name server was just seen to serve was published.
    pub oldest_served: Option<u64>,
    /// Whether some of what is served is not yet signed as the last step wanted it: a large zone takes long.
    pub is_unfinished: bool,
}

impl Facts {
    /// How long after a CDS was withdrawn the parent may still act on it.
    pub fn settle(&self) -> u32 {
        self.dnskey_ttl.saturating_add(self.lag).saturating_add(self.parent_delay)
    }
}

/// What the zone has to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The keys of the DNSKEY RRset.
    pub dnskeys: KeySet,
    /// Those that sign it.
    pub dnskey_signers: KeySet,
    /// Those that sign everything else.
    pub signers: KeySet,
    /// The keys that CDS and CDNSKEY name; none before the parent is asked, empty to ask it to
    /// delete the DS ([RFC 8078](https://www.rfc-editor.org/rfc/rfc8078) §4).
    pub cds: Option<KeySet>,
}

/// The DNSSEC of one zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollover {
    on: bool,
    keys: Vec<Key>,
    dnskey: Timeline,
    data: Timeline,
    parent: Parent,
}

impl Rollover {
    /// A zone that others signed so far, with these keys in its DNSKEY RRset and these signers. Keys
    /// without their private part are told as `foreign`.
    pub fn adopt(keys: Vec<Key>, dnskeys: KeySet, signers: KeySet) -> Rollover {
        Rollover {
            on: true,
            keys,
            dnskey: Timeline::begun_with(dnskeys),
            data: Timeline::begun_with(signers),
            parent: Parent::default(),
        }
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// Adds a key to the goal.
    pub fn want(&mut self, key: Key) {
        self.keys.retain(|other| other.id != key.id);
        self.keys.push(Key { wanted: true, ..key });
    }

    /// Takes a key out of the goal: it leaves the zone as soon as nobody needs it any more.
    pub fn retire(&mut self, id: KeyId) {
        for key in self.keys.iter_mut().filter(|key| key.id == id) {
            key.wanted = false;
        }
    }

    /// The zone is to be signed by its wanted keys.
    pub fn turn_on(&mut self) {
        self.on = true;
    }

    /// The zone is to be unsigned, as soon as that is safe.
    pub fn turn_off(&mut self) {
        self.on = false;
    }

    /// The zone is to be unsigned at once, whoever goes bogus by it.
    pub fn force_off(&mut self, facts: &Facts, now: u64) {
        self.on = false;
        self.dnskey.replace(KeySet::default(), facts.lag, now);
        self.data.replace(KeySet::default(), facts.lag, now);
        self.dnskey.forget_all();
        self.data.forget_all();
        self.parent.forget_asked();
    }

    /// Takes in what the parent's name servers give.
    pub fn look(&mut self, look: &Look, facts: &Facts, now: u64) {
        self.parent.forget(now);
        self.parent.look(look, facts.settle(), now);
    }

    /// The clock showed what was yet to come: whatever was noted then counts as noted at `now`, when all
    /// of it has happened.
    pub fn turn_back(&mut self, lag: u32, now: u64) {
        self.dnskey.turn_back(lag, now);
        self.data.turn_back(lag, now);
        self.parent.turn_back(now);
        self.keys.iter_mut().for_each(|key| key.created = key.created.min(now));
    }

    /// Notes the TTL of a signed RRset that was just published; returns whether none before was larger.
    pub fn note_zone_ttl(&mut self, ttl: u32) -> bool {
        self.data.note_larger_ttl(ttl)
    }

    /// Whatever steps replaced was served until `now`, when the last record was signed as they wanted it.
    pub fn finish(&mut self, lag: u32, now: u64) {
        self.dnskey.served_until(lag, now);
        self.data.served_until(lag, now);
    }

    /// Takes every step that is safe at `now`; what is to be published then is
    /// [`published`](Rollover::published). Returns whether that changed.
    pub fn step(&mut self, facts: &Facts, now: u64) -> bool {
        self.dnskey.note_ttl(facts.dnskey_ttl, facts.lag, now);
        self.data.note_ttl(facts.zone_ttl, facts.lag, now);
        if let Some(version) = facts.oldest_served {
            self.dnskey.hold(version, now);
            self.data.hold(version, now);
        }
        if facts.is_unfinished {
            self.finish(facts.lag, now);
        }
        self.dnskey.forget(now);
        self.data.forget(now);
        self.parent.forget(now);
        let before = self.published();
        let signers = self.next_signers();
        self.data.replace(signers, facts.lag, now);
        let dnskeys = self.next_dnskeys();
        self.dnskey.replace(dnskeys, facts.lag, now);
        self.next_wish(now);
        if !self.on && self.is_unsigned() {
            self.parent.forget_asked();
        }
        self.published() != before
    }

    /// What the zone publishes.
    pub fn published(&self) -> Published {
        let dnskeys = self.dnskey.now().clone();
        let is_signer = |key: &Key| dnskeys.contains(key.id) && signs_dnskeys(key);
        let dnskey_signers = self.keys.iter().filter(|key| is_signer(key)).map(|key| key.id);
        Published {
            dnskey_signers: dnskey_signers.collect(),
            signers: self.data.now().clone(),
            cds: self.parent.asked().map(|set| set.keys.clone()),
            dnskeys,
        }
    }

    /// Where the zone is.
    pub fn state(&self) -> State {
        match (self.on, self.is_unsigned()) {
            (false, true) => State::Off,
            (false, false) => State::GoingInsecure,
            (true, _) if self.is_delegated() => State::Secure,
            (true, _) if self.parent.asked() == Some(&self.wanted_ds()) => State::DsPending,
            (true, _) => State::Signing,
        }
    }

    /// Whether the zone is where it is to be, and no wait is left.
    pub fn is_at_rest(&self) -> bool {
        let waits = !self.dnskey.past().is_empty() || !self.data.past().is_empty();
        let arrived = *self.dnskey.now() == self.wanted_dnskeys()
            && *self.data.now() == self.wanted_signers();
        let parent = match self.on {
            true => self.parent.asked() == Some(&self.wanted_ds()) && self.parent.is_settled(),
            false => true,
        };
        arrived && parent && !waits && self.parent.past().is_empty()
    }

    /// What the parent's servers gave at the last look; empty if nobody ever looked.
    pub fn seen_at_parent(&self) -> &[DsSet] {
        &self.parent.current
    }

    /// Whether the parent is asked for something that is not certain to be there for good.
    pub fn expects_parent(&self) -> bool {
        !self.parent.is_settled()
    }

    /// What the parent is asked for; none if it was never asked.
    pub fn asked_of_parent(&self) -> Option<&DsSet> {
        self.parent.asked()
    }

    /// When every server of the parent last answered.
    pub fn looked(&self) -> Option<u64> {
        self.parent.looked
    }

    /// Keys that no cache and no parent can need any more, and that are not wanted: theirs is the past.
    pub fn take_spent(&mut self) -> Vec<KeyId> {
        let named = |id: KeyId| {
            self.dnskey.possible().any(|(keys, _)| keys.contains(id))
                || self.data.possible().any(|(keys, _)| keys.contains(id))
                || self.parent.possible().any(|(set, _)| set.tags().any(|tag| tag == id))
        };
        let is_spent = |key: &Key| !(self.on && key.wanted || named(key.id));
        let spent: Vec<KeyId> =
            self.keys.iter().filter(|key| is_spent(key)).map(|key| key.id).collect();
        self.keys.retain(|key| !spent.contains(&key.id));
        spent
    }

    /// Every combination of a DS RRset, a DNSKEY RRset among `dnskeys` and signers among `signers`
    /// that somebody may hold and that does not validate: whether its DS is what the zone wants, and
    /// until when each of the three may be held.
    fn bogus<'a>(
        &'a self,
        dnskeys: impl Iterator<Item = (&'a KeySet, Until)> + Clone,
        signers: impl Iterator<Item = (&'a KeySet, Until)> + Clone,
    ) -> impl Iterator<Item = (bool, [Until; 3])> {
        let wanted = self.wanted_ds();
        let assumed = self.parent.looked.is_none().then(|| self.assumed_ds());
        let mut found = Vec::new();
        let held = self.parent.possible().chain(assumed.iter().map(|ds| (ds, None)));
        for (ds, ds_until) in held {
            for (keys, keys_until) in dnskeys.clone() {
                let bogus =
                    signers.clone().filter(|(signing, _)| !self.validates(ds, keys, signing));
                found
                    .extend(bogus.map(|(_, until)| (*ds == wanted, [ds_until, keys_until, until])));
            }
        }
        found.into_iter()
    }

    /// While nobody looked at the parent, it may have taken any key that is published.
    fn assumed_ds(&self) -> DsSet {
        let published = self.dnskey.now().iter();
        DsSet::of(published.filter(|id| self.key(*id).is_some_and(is_anchor)).collect())
    }

    fn validates(&self, ds: &DsSet, dnskeys: &KeySet, signers: &KeySet) -> bool {
        if ds.is_empty() {
            return true;
        }
        let algorithm = |id| self.key(id).map(|key| key.algorithm);
        // A key that only others have, and that is on its way out, signs no DNSKEY RRset made here.
        let is_ours = |key: &Key| is_anchor(key) && (!key.foreign || key.wanted);
        let opens = |id| dnskeys.contains(id) && self.key(id).is_some_and(is_ours);
        // What has the tag of a key may name it, by a digest that is not known here.
        let named = || ds.tags().filter(|id| self.key(*id).is_some());
        let has_path = |id| named().any(|k| algorithm(k) == algorithm(id) && opens(k));
        let is_signed =
            |id| signers.iter().any(|k| algorithm(k) == algorithm(id) && dnskeys.contains(k));
        !dnskeys.is_empty()
            && !signers.is_empty()
            && named().all(has_path)
            && dnskeys.iter().all(is_signed)
    }

    fn signers_are_safe(&self, signers: &KeySet) -> bool {
        let next = [(signers, None)].into_iter();
        self.may_be_bare(signers) && self.bogus(self.dnskey.possible(), next).next().is_none()
    }

    fn dnskeys_are_safe(&self, dnskeys: &KeySet) -> bool {
        let next = [(dnskeys, None)].into_iter();
        self.may_be_bare(dnskeys) && self.bogus(next, self.data.possible()).next().is_none()
    }

    /// An unsigned zone needs a parent that was seen to give no DS, and gives none again.
    fn may_be_bare(&self, keys: &KeySet) -> bool {
        let bare = self.parent.is_settled() && self.parent.asked().is_some_and(DsSet::is_empty);
        !keys.is_empty() || self.is_unsigned() || bare
    }

    fn is_unsigned(&self) -> bool {
        self.dnskey.now().is_empty() && self.data.now().is_empty()
    }

    /// Whether every server of the parent shows a DS that this zone answers to.
    fn is_delegated(&self) -> bool {
        let seen = &self.parent.current;
        let opens = |set: &DsSet| set.keys.iter().any(|key| self.dnskey.now().contains(key));
        !seen.is_empty() && seen.iter().all(opens)
    }

    /// The signers nearest to the goal that are safe now. A key of an algorithm that signs already
    /// waits until it may take over; one of a new algorithm signs beside the others first.
    fn next_signers(&self) -> KeySet {
        let wanted = self.wanted_signers();
        if self.signers_are_safe(&wanted) {
            return wanted;
        }
        let mut next = self.data.now().clone();
        if !self.on {
            return next; // all at once, in the end
        }
        for key in wanted.iter().filter(|key| self.brings_algorithm(*key)) {
            let more = next.with(key);
            if self.signers_are_safe(&more) {
                next = more;
            }
        }
        for key in self.data.now().iter().filter(|key| !wanted.contains(*key)) {
            let fewer = next.without(key);
            if self.signers_are_safe(&fewer) {
                next = fewer;
            }
        }
        next
    }

    fn brings_algorithm(&self, id: KeyId) -> bool {
        let algorithm = |id| self.key(id).map(|key| key.algorithm);
        !self.data.now().iter().any(|signer| algorithm(signer) == algorithm(id))
    }

    /// The DNSKEY RRset nearest to the goal that is safe now.
    fn next_dnskeys(&self) -> KeySet {
        let wanted = self.wanted_dnskeys();
        if self.dnskeys_are_safe(&wanted) {
            return wanted;
        }
        let mut next = self.dnskey.now().clone();
        if !self.on {
            return next;
        }
        // A key may be safe only beside another one of its algorithm: look again until nothing moves.
        loop {
            let more = wanted.iter().filter(|key| !next.contains(*key)).map(|key| next.with(key));
            let fewer =
                next.iter().filter(|key| !wanted.contains(*key)).map(|key| next.without(key));
            let step = more.chain(fewer).find(|step| self.dnskeys_are_safe(step));
            match step {
                Some(step) => next = step,
                None => return next,
            }
        }
    }

    /// Asks the parent for the DS of the goal once that validates everywhere.
    fn next_wish(&mut self, now: u64) {
        let wanted = self.wanted_ds();
        let dnskeys = self.dnskey.possible().map(|(keys, _)| keys);
        let mut signers = self.data.possible().map(|(keys, _)| keys);
        let is_safe = dnskeys.clone().all(|dnskeys| {
            signers.clone().all(|signers| self.validates(&wanted, dnskeys, signers))
        });
        // A zone that was never signed has nothing to ask for, and nothing to take back.
        let has_begun = signers.any(|signers| !signers.is_empty());
        if is_safe && has_begun && !(wanted.is_empty() && self.on) {
            self.parent.ask(&wanted, now);
        }
    }

    fn wanted(&self, is_meant: impl Fn(&Key) -> bool) -> KeySet {
        let wanted = self.keys.iter().filter(|key| self.on && key.wanted && is_meant(key));
        wanted.map(|key| key.id).collect()
    }

    fn wanted_signers(&self) -> KeySet {
        self.wanted(|key| key.role.signs_data() && !key.foreign)
    }

    fn wanted_dnskeys(&self) -> KeySet {
        self.wanted(|_| true)
    }

    fn wanted_ds(&self) -> DsSet {
        DsSet::of(self.wanted(is_anchor))
    }
}

fn is_anchor(key: &Key) -> bool {
    key.role.is_anchor()
}

fn signs_dnskeys(key: &Key) -> bool {
    key.role.is_anchor() && !key.foreign
}

/// For the model: what tells two zones apart but for the time.
#[cfg(test)]
impl Rollover {
    fn age(&mut self, by: u64, floor: u64) {
        self.dnskey.age(by, floor);
        self.data.age(by, floor);
        self.parent.age(by, floor);
        self.keys.sort_unstable_by_key(|key| key.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        dnskey_ttl: 3600,
        zone_ttl: 600,
        lag: 60,
        parent_delay: 0,
        oldest_served: None,
        is_unfinished: false,
    };
    const DS_TTL: u32 = 86_400;

    fn key(id: u16, algorithm: u8, role: Role) -> Key {
        Key { id: KeyId(id), algorithm, role, foreign: false, created: 0, wanted: true }
    }

    fn set(ids: &[u16]) -> KeySet {
        ids.iter().copied().map(KeyId).collect()
    }

    /// A zone under a parent whose one server gives `ds`, at `now`.
    struct Life {
        zone: Rollover,
        ds: DsSet,
        now: u64,
    }

    impl Life {
        fn begin(keys: &[Key]) -> Life {
            let mut zone = Rollover::default();
            keys.iter().cloned().for_each(|key| zone.want(key));
            zone.turn_on();
            let mut life = Life { zone, ds: DsSet::default(), now: 1_000_000 };
            life.pass(0);
            life
        }

        /// A zone with these keys that its parent vouches for.
        fn secure(keys: &[Key]) -> Life {
            let mut life = Life::begin(keys);
            life.pass(100_000);
            life.grant();
            life.pass(200_000);
            assert_eq!(life.zone.state(), State::Secure);
            life
        }

        fn pass(&mut self, seconds: u64) {
            self.now += seconds;
            let look = Look { seen: vec![self.ds.clone()], ttl: DS_TTL, is_full: true };
            self.zone.look(&look, &FACTS, self.now);
            self.zone.step(&FACTS, self.now);
        }

        fn grant(&mut self) {
            self.ds = DsSet::of(self.zone.published().cds.unwrap());
            self.pass(0);
        }

        /// Lets time pass until something else is published; returns the seconds.
        fn until_it_moves(&mut self) -> u64 {
            let (from, before) = (self.now, self.zone.published());
            while self.zone.published() == before {
                let wakes =
                    self.zone.wakes(FACTS.settle(), self.now).expect("something to wait for");
                self.pass(wakes - self.now);
            }
            self.now - from
        }
    }

    #[test]
    fn a_parent_is_asked_once_no_cache_can_hold_an_unsigned_answer() {
        let mut life = Life::begin(&[key(1, 13, Role::Csk)]);
        assert_eq!(life.zone.state(), State::Signing);
        assert_eq!(life.zone.published().cds, None);
        assert_eq!(life.until_it_moves(), 3600 + 60 + 1, "an absent DNSKEY RRset is held longest");
        assert_eq!(life.zone.published().cds, Some(set(&[1])));
        assert_eq!(life.zone.state(), State::DsPending);
        life.grant();
        assert_eq!(life.zone.state(), State::Secure);
    }

    #[test]
    fn rfc7583_3_2_1_a_new_zsk_is_published_before_it_signs() {
        let mut life = Life::secure(&[key(1, 13, Role::Ksk), key(2, 13, Role::Zsk)]);
        life.zone.want(key(3, 13, Role::Zsk));
        life.zone.retire(KeyId(2));
        life.pass(0);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2, 3]));
        assert_eq!(life.zone.published().signers, set(&[2]));
        assert_eq!(life.until_it_moves(), 3600 + 60 + 1);
        assert_eq!(life.zone.published().signers, set(&[3]));
        assert_eq!(life.until_it_moves(), 600 + 60 + 1);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 3]));
        assert_eq!(life.zone.state(), State::Secure);
    }

    #[test]
    fn rfc7583_3_3_1_a_new_ksk_signs_beside_the_old_one_until_its_ds_is_everywhere() {
        let mut life = Life::secure(&[key(1, 13, Role::Ksk), key(2, 13, Role::Zsk)]);
        life.zone.want(key(3, 13, Role::Ksk));
        life.zone.retire(KeyId(1));
        life.pass(0);
        assert_eq!(life.zone.published().dnskey_signers, set(&[1, 3]));
        assert_eq!(life.until_it_moves(), 3600 + 60 + 1);
        assert_eq!(life.zone.published().cds, Some(set(&[3])));
        life.pass(1_000_000);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2, 3]), "the parent is silent");
        life.grant();
        assert_eq!(life.until_it_moves(), u64::from(DS_TTL) + 1);
        assert_eq!(life.zone.published().dnskeys, set(&[2, 3]));
    }

    #[test]
    fn rfc6781_4_1_4_a_new_algorithm_signs_first_and_is_published_after() {
        let mut life = Life::secure(&[key(1, 8, Role::Ksk), key(2, 8, Role::Zsk)]);
        life.zone.want(key(3, 13, Role::Ksk));
        life.zone.want(key(4, 13, Role::Zsk));
        for id in [1, 2] {
            life.zone.retire(KeyId(id));
        }
        life.pass(0);
        assert_eq!(life.zone.published().signers, set(&[2, 4]));
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2]));
        assert_eq!(life.until_it_moves(), 600 + 60 + 1);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2, 3, 4]));
        assert_eq!(life.until_it_moves(), 3600 + 60 + 1);
        assert_eq!(life.zone.published().cds, Some(set(&[3])));
        life.grant();
        assert_eq!(life.until_it_moves(), u64::from(DS_TTL) + 1);
        assert_eq!(life.zone.published().dnskeys, set(&[3, 4]));
        assert_eq!(life.zone.published().signers, set(&[2, 4]));
        assert_eq!(life.until_it_moves(), 3600 + 60 + 1);
        assert_eq!(life.zone.published().signers, set(&[4]));
    }

    #[test]
    fn a_zone_is_unsigned_when_its_last_ds_has_expired_and_not_before() {
        let mut life = Life::secure(&[key(1, 13, Role::Csk)]);
        life.zone.turn_off();
        life.pass(0);
        assert_eq!(life.zone.published().cds, Some(set(&[])), "RFC 8078 §4");
        life.pass(10_000_000);
        assert_eq!(life.zone.state(), State::GoingInsecure, "the parent is silent");
        life.grant();
        assert_eq!(life.until_it_moves(), u64::from(DS_TTL) + 1);
        assert_eq!(life.zone.state(), State::Off);
        assert_eq!(life.zone.published(), Published::default());
    }

    #[test]
    fn a_parent_that_nobody_can_ask_holds_back_what_it_might_break() {
        let mut zone = Rollover::default();
        zone.want(key(1, 13, Role::Csk));
        zone.turn_on();
        zone.step(&FACTS, 0);
        zone.turn_off();
        zone.step(&FACTS, 1_000_000_000);
        assert_eq!(zone.state(), State::GoingInsecure);
        let missing = zone.schedule(FACTS.settle(), 1_000_000_000);
        assert!(missing.contains(&Due { what: What::Unsign, when: When::Parent }));
        zone.force_off(&FACTS, 1_000_000_001);
        assert_eq!(zone.state(), State::Off);
    }

    #[test]
    fn a_zone_just_switched_on_makes_keys_next_and_asks_its_parent_for_nothing() {
        let mut zone = Rollover::default();
        zone.turn_on();
        let keys = Due { what: What::MakeKeys, when: When::At(7) };
        assert_eq!(zone.schedule(FACTS.settle(), 7), [keys]);
    }

    #[test]
    fn a_secondary_that_lags_behind_holds_back_every_step() {
        let mut life = Life::secure(&[key(1, 13, Role::Ksk), key(2, 13, Role::Zsk)]);
        life.zone.want(key(3, 13, Role::Zsk));
        life.zone.retire(KeyId(2));
        life.pass(0);
        let stale = Facts { oldest_served: Some(life.now - 1), ..FACTS };
        life.now += 100_000;
        life.zone.step(&stale, life.now);
        life.pass(3600);
        assert_eq!(life.zone.published().signers, set(&[2]));
        life.pass(1);
        assert_eq!(life.zone.published().signers, set(&[3]));
    }

    /// Goal: what was published for a moment only is waited for as long as its copies live.
    #[test]
    fn a_large_ttl_counts_though_its_rrset_is_gone_when_the_zone_is_looked_at() {
        let mut life = Life::secure(&[key(1, 13, Role::Ksk), key(2, 13, Role::Zsk)]);
        assert!(life.zone.note_zone_ttl(50_000) && !life.zone.note_zone_ttl(40_000));
        life.zone.want(key(3, 13, Role::Zsk));
        life.zone.retire(KeyId(2));
        life.pass(0);
        life.until_it_moves();
        assert_eq!(life.zone.published().signers, set(&[3]));
        assert_eq!(life.until_it_moves(), 50_000 + 60 + 1);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 3]));
    }

    /// Goal: signatures that are made long after their step are counted from when the last one was made.
    #[test]
    fn a_zone_whose_signatures_take_long_waits_for_the_last_of_them() {
        let unfinished = Facts { is_unfinished: true, ..FACTS };
        let mut zone = Rollover::default();
        zone.want(key(1, 13, Role::Csk));
        zone.turn_on();
        zone.step(&FACTS, 0);
        zone.step(&unfinished, 1_000_000);
        assert_eq!(zone.published().cds, None, "nobody is asked to vouch for what is unsigned");
        zone.finish(FACTS.lag, 2_000_000);
        zone.step(&FACTS, 2_000_000 + 3660);
        assert_eq!(zone.published().cds, None, "an unsigned copy is held");
        zone.step(&FACTS, 2_000_000 + 3661);
        assert_eq!(zone.published().cds, Some(set(&[1])));

        let mut life = Life::secure(&[key(1, 13, Role::Ksk), key(2, 13, Role::Zsk)]);
        life.zone.want(key(3, 13, Role::Zsk));
        life.zone.retire(KeyId(2));
        life.pass(0);
        life.until_it_moves();
        assert_eq!(life.zone.published().signers, set(&[3]));
        life.zone.step(&unfinished, life.now + 1_000_000);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2, 3]), "much is signed with 2");
        life.now += 2_000_000;
        life.zone.finish(FACTS.lag, life.now);
        assert_eq!(life.until_it_moves(), 600 + 60 + 1);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 3]));
    }

    #[test]
    fn rfc8901_2_1_2_another_providers_key_is_published_and_vouched_for_but_never_signed_with() {
        let mut life = Life::secure(&[key(1, 13, Role::Csk)]);
        life.zone.want(Key { foreign: true, ..key(2, 13, Role::Csk) });
        life.pass(0);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2]));
        assert_eq!(life.zone.published().dnskey_signers, set(&[1]));
        assert_eq!(life.zone.published().cds, Some(set(&[1, 2])));
        assert_eq!(life.zone.published().signers, set(&[1]));
    }

    /// Who signs a zone once its parent was seen to give `ds` at `now`.
    fn look(zone: &mut Rollover, ds: DsSet, now: u64) -> KeySet {
        zone.look(&Look { seen: vec![ds], ttl: DS_TTL, is_full: true }, &FACTS, now);
        zone.step(&FACTS, now);
        zone.take_spent();
        zone.published().signers
    }

    #[test]
    fn a_zone_that_others_signed_is_not_signed_here_while_its_parent_vouches_for_their_key() {
        let theirs = Key { foreign: true, wanted: false, ..key(1, 13, Role::Csk) };
        let mut zone = Rollover::adopt(vec![theirs], set(&[1]), set(&[1]));
        zone.want(key(2, 13, Role::Csk));
        zone.step(&FACTS, 0);
        zone.step(&FACTS, 1_000_000);
        assert_eq!(zone.published().signers, set(&[1]), "nobody knows what the parent has");
        assert_eq!(look(&mut zone, DsSet::of(set(&[1])), 1_000_001), set(&[1]));
        assert_eq!(look(&mut zone, DsSet::of(set(&[1])), 9_000_000), set(&[1]));
        assert_eq!(look(&mut zone, DsSet::default(), 9_000_001), set(&[1]), "its copies live on");
        let later = 9_000_002 + u64::from(DS_TTL);
        assert_eq!(look(&mut zone, DsSet::default(), later), set(&[2]));
        assert_eq!(zone.published().dnskeys, set(&[2]));
    }

    /// Goal: a DS that cannot be read here is never taken for none.
    #[test]
    fn a_ds_that_may_name_a_key_holds_it_and_one_that_names_none_holds_the_zone_signed() {
        let strange = |tag| DsSet { keys: KeySet::default(), strangers: vec![tag] };
        let theirs = Key { foreign: true, wanted: false, ..key(1, 13, Role::Csk) };
        let mut zone = Rollover::adopt(vec![theirs], set(&[1]), set(&[1]));
        zone.want(key(2, 13, Role::Csk));
        assert_eq!(look(&mut zone, strange(1), 1), set(&[1]));
        assert_eq!(look(&mut zone, strange(1), 9_000_000), set(&[1]));
        // Nothing is left to break where no key of the zone is named.
        assert_eq!(look(&mut zone, strange(9), 9_000_001), set(&[1]), "copies of it live on");
        let later = 9_000_002 + u64::from(DS_TTL);
        look(&mut zone, strange(9), later);
        assert_eq!(look(&mut zone, strange(9), later + 100_000), set(&[2]));
        zone.turn_off();
        assert_eq!(look(&mut zone, strange(9), later + 9_000_000), set(&[2]), "it may name a key");
        assert_eq!(zone.state(), State::GoingInsecure);
    }

    #[test]
    fn a_rollover_ends_once_no_strange_ds_stands_beside_that_of_the_new_key() {
        let mut life = Life::secure(&[key(1, 13, Role::Csk)]);
        life.zone.want(key(3, 13, Role::Csk));
        life.zone.retire(KeyId(1));
        life.pass(0);
        life.pass(100_000);
        assert_eq!(life.zone.published().cds, Some(set(&[3])));
        for strangers in [vec![1], vec![9]] {
            life.ds = DsSet { keys: set(&[3]), strangers };
            life.pass(1_000_000);
            life.pass(1_000_000);
            assert_eq!(life.zone.published().dnskeys, set(&[1, 3]));
            assert_eq!(life.zone.state(), State::Secure);
        }
        life.grant();
        assert_eq!(life.zone.published().dnskeys, set(&[3]));
    }

    #[test]
    fn servers_of_a_parent_that_do_not_agree_hold_back_what_any_of_them_might_break() {
        let mut life = Life::secure(&[key(1, 13, Role::Csk)]);
        life.zone.want(key(3, 13, Role::Csk));
        life.zone.retire(KeyId(1));
        life.pass(0);
        life.pass(100_000);
        let seen = vec![DsSet::of(set(&[1])), DsSet::of(set(&[3]))];
        for now in [life.now + 1, life.now + 9_000_000] {
            let look = Look { seen: seen.clone(), ttl: DS_TTL, is_full: true };
            life.zone.look(&look, &FACTS, now);
            life.zone.step(&FACTS, now);
            assert_eq!(life.zone.published().dnskeys, set(&[1, 3]));
        }
        life.now += 9_000_000;
        life.grant();
        life.until_it_moves();
        assert_eq!(life.zone.published().dnskeys, set(&[3]));
    }

    #[test]
    fn a_rollover_is_taken_back_half_way() {
        let mut life = Life::secure(&[key(1, 13, Role::Ksk), key(2, 13, Role::Zsk)]);
        life.zone.want(key(3, 13, Role::Ksk));
        life.zone.retire(KeyId(1));
        life.pass(0);
        life.zone.want(key(1, 13, Role::Ksk));
        life.zone.retire(KeyId(3));
        life.pass(0);
        assert_eq!(life.zone.published().dnskeys, set(&[1, 2]));
        life.pass(1_000_000);
        assert_eq!(life.zone.take_spent(), [KeyId(3)]);
    }
}
