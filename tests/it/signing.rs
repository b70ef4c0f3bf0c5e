//! Zones signed here, judged by tools that are not ours.
//!
//! Every zone goes through the door in a store in memory, under a clock turned by hand, and is
//! written out as a file for `dnssec-verify`, `ldns-verify-zone` and `kzonecheck`. A tool that is not
//! installed is said and skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use nameplane::maintain::resign::Resigning;
use nameplane::maintain::{Clock, Content, Maintain, Reason, Settings, ZoneChange, rows, signing};
use nameplane::seal::Sealer;
use nameplane::sign::{Algorithm, Denial, KeyUse, Plan, Policy, SigningKey, made, zonemd};
use nameplane::store::Store;
use nameplane::wire::{Name, RrSet, Type};
use nameplane::zone::delta::set_at;
use nameplane::zone::text::{self, Options};
use nameplane::zone::tree::PackedZone;
use nameplane::zone::{Base, Op, RrSetEdit};

use crate::server::{Server, is_here, skipped};

pub const DAY_S: u64 = 24 * 3600;
const DENIALS: [Denial; 3] =
    [Denial::Nsec, Denial::Nsec3 { opt_out: false }, Denial::Nsec3 { opt_out: true }];

pub struct World {
    pub maintain: Maintain,
    /// What the clock shows.
    pub us: Arc<AtomicU64>,
    /// What truly passed.
    pub passed: Arc<AtomicU64>,
    pub store: Store,
    pub sealer: Sealer,
    /// What is touched when the clock is synchronised.
    pub synchronised: Option<PathBuf>,
}

impl World {
    pub fn new() -> World {
        World::on(Store::in_memory())
    }

    pub fn on(store: Store) -> World {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let us = Arc::new(AtomicU64::new(now.as_micros() as u64));
        let sealer = Sealer::passing().unwrap();
        let mut world = World {
            maintain: Maintain::offline(store.clone(), Settings::default()),
            us,
            passed: Arc::default(),
            store,
            sealer,
            synchronised: None,
        };
        world.restart();
        world
    }

    /// A server that begins anew on the same store.
    pub fn restart(&mut self) {
        let settings = Settings {
            sealer: Some(self.sealer.clone()),
            clock: Clock::by_two_hands(self.us.clone(), self.passed.clone())
                .synchronised_by(self.synchronised.clone()),
            ..Settings::default()
        };
        self.maintain = Maintain::offline(self.store.clone(), settings);
    }

    pub fn apply(&self, changes: &[ZoneChange]) -> Result<(), Vec<Reason>> {
        match self.maintain.commit(|door| door.apply(changes)) {
            Ok(_) => Ok(()),
            Err(nameplane::maintain::CommitError::Refused(refusal)) => {
                Err(refusal.zones.into_iter().flat_map(|zone| zone.reasons).collect())
            }
            Err(other) => panic!("{other}"),
        }
    }

    pub fn create(&self, apex: &Name, packed: Vec<u8>) {
        let content = Content::Packed { octets: packed, presigned: false };
        self.apply(&[ZoneChange::Create { apex: apex.clone(), org: "org".into(), content }])
            .unwrap();
    }

    /// Puts keys and sets the plan, in one commit as whoever drives rollovers does.
    pub fn sign(&self, apex: &Name, keys: &[&SigningKey], plan: &Plan) -> Result<(), Vec<Reason>> {
        let plan = Some(Box::new(plan.clone()));
        let done = self.maintain.commit(|door| {
            for key in keys {
                door.put_signing_key(apex, key).map_err(|reason| vec![reason])?;
            }
            let change = ZoneChange::SetSigning { apex: apex.clone(), plan };
            door.apply(&[change]).map_err(|refusal| {
                refusal.zones.into_iter().flat_map(|zone| zone.reasons).collect::<Vec<_>>()
            })
        });
        match done {
            Ok(_) => Ok(()),
            Err(nameplane::maintain::CommitError::Refused(reasons)) => Err(reasons),
            Err(_) => panic!("the store failed"),
        }
    }

    pub fn octets(&self, apex: &Name) -> Vec<u8> {
        self.maintain.copy(apex).unwrap().unwrap().1
    }

    pub fn text(&self, apex: &Name) -> String {
        let octets = self.octets(apex);
        let mut out = String::new();
        text::write(&PackedZone::new(apex.clone(), &octets), &mut out).unwrap();
        out
    }

    pub fn now_s(&self) -> u64 {
        self.us.load(Ordering::Relaxed) / 1_000_000
    }

    pub fn pass(&self, seconds: u64) {
        self.us.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
        self.passed.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    pub fn signing(&self, apex: &Name) -> signing::Signing {
        self.store.read(|rows| {
            let zone = rows::zone(rows, apex).unwrap().unwrap();
            signing::of(rows, &zone).unwrap().unwrap()
        })
    }

    pub fn version(&self, apex: &Name) -> u64 {
        self.store.read(|rows| rows::zone(rows, apex).unwrap().unwrap().version)
    }

    /// Does all that is due now.
    pub fn upkeep(&self) {
        let mut progress = Resigning::default();
        while self.maintain.resign_some(&mut progress).unwrap() {}
    }

    pub fn verified(&self, apex: &Name) {
        self.judged(apex, true);
    }

    /// While one key hands the zone over to another, `kzonecheck` does not count what the one that
    /// also signs keys has signed, though it is published (RFC 4035 §5.3.1); BIND and ldns do.
    pub fn verified_between_keys(&self, apex: &Name) {
        self.judged(apex, false);
    }

    pub fn judged(&self, apex: &Name, by_knot: bool) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("zone");
        fs::write(&file, self.text(apex)).unwrap();
        verify(apex, &file, self.now_s(), by_knot);
    }

    /// As `verified`, and the zone's digest is right: by our own reading, and by that of others.
    fn digested(&self, apex: &Name) {
        self.verified(apex);
        let octets = self.octets(apex);
        let found = zonemd::check(&PackedZone::new(apex.clone(), &octets));
        assert_eq!(found, Ok(zonemd::Verdict::Holds(zonemd::Hash::Sha384)));
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("zone");
        fs::write(&file, self.text(apex)).unwrap();
        let (file, stamp) = (file.to_str().unwrap(), stamp(self.now_s()));
        judge(&["ldns-verify-zone", "-ZZ", "-V", "1", "-t", &stamp, file]);
    }
}

/// A moment as the tools want it.
fn stamp(now_s: u64) -> String {
    let moment = format!("@{now_s}");
    let date = Command::new("date").args(["-u", "-d", &moment, "+%Y%m%d%H%M%S"]).output();
    String::from_utf8(date.unwrap().stdout).unwrap().trim().to_owned()
}

/// Has one tool judge; says so if it is not here.
fn judge(words: &[&str]) {
    let made = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let Ok(output) = made else {
        skipped(&format!("{} is not installed", words[0]));
        return;
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() || is_about_more(words), "{words:?}: {said}");
}

/// Has every tool that is here judge a zone file at a time.
fn verify(apex: &Name, file: &Path, now_s: u64, by_knot: bool) {
    let (apex, file) = (apex.to_string(), file.to_str().unwrap());
    let stamp = stamp(now_s);
    let mut tools: Vec<Vec<&str>> = vec![vec!["ldns-verify-zone", "-V", "1", "-t", &stamp, file]];
    if by_knot {
        tools.push(vec!["kzonecheck", "-d", "on", "-t", &stamp, "-o", &apex, file]);
    }
    let system = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    if system.abs_diff(now_s) < 600 {
        // It knows no time but its own.
        tools.push(vec!["dnssec-verify", "-q", "-x", "-o", &apex, file]);
    }
    tools.iter().for_each(|words| judge(words));
}

/// Whether `kzonecheck` finds fault with the zone itself, signed or not: some are made to be nasty.
fn is_about_more(words: &[&str]) -> bool {
    let off: Vec<&str> =
        words.iter().map(|&word| if word == "on" { "off" } else { word }).collect();
    words[0] == "kzonecheck"
        && !Command::new(off[0]).args(&off[1..]).output().unwrap().status.success()
}

pub fn key(algorithm: Algorithm, flags: u16) -> SigningKey {
    SigningKey::generate(algorithm, 2048, flags).unwrap()
}

fn uses(key: &SigningKey, signs_keys: bool, signs_zone: bool) -> KeyUse {
    let (tag, algorithm) = (key.tag(), key.algorithm());
    KeyUse { tag, algorithm, published: true, signs_keys, signs_zone }
}

pub fn plan_of(apex: &Name, csk: &SigningKey, denial: Denial) -> Plan {
    Plan {
        keys: vec![uses(csk, true, true)],
        cds: vec![made::ds(apex, csk.dnskey(), 2).unwrap()],
        cdnskey: vec![csk.dnskey().into()],
        policy: Policy { denial, ..Policy::default() },
        ..Plan::default()
    }
}

pub fn parsed(apex: &Name, text: &str) -> Vec<u8> {
    let options = Options { apex: Some(apex.clone()), ..Options::default() };
    text::parse(text.as_bytes(), options).unwrap().packed
}

pub fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub fn put(owner: &str, rtype: Type, ttl: u32, rdata: &str) -> RrSetEdit {
    let rdata = nameplane::wire::rdata::parse(rtype, rdata, None).unwrap();
    let op = Op::Replace { ttl, rdatas: vec![rdata] };
    RrSetEdit { owner: name(owner), rtype, op, base: Base::Unchecked }
}

pub fn drop_set(owner: &str, rtype: Type) -> RrSetEdit {
    RrSetEdit { owner: name(owner), rtype, op: Op::Delete, base: Base::Unchecked }
}

pub fn edit(apex: &Name, edits: Vec<RrSetEdit>) -> ZoneChange {
    ZoneChange::Edit { apex: apex.clone(), edits }
}

pub const SMALL: &str = "$TTL 300\n@ SOA ns hostmaster 1 1h 10m 1w 5m\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n*.wild TXT x\na.b.c TXT deep\nsub NS ns.sub\nns.sub A 192.0.2.3\nsecure NS ns.else.test.\nsecure DS 1 8 2 E2D3C916F6DEEAC73294E8268FB5885044A833FC5459588F4A9184CFC41A5766\n";

/// A small zone that is signed, and its key.
pub fn small(denial: Denial) -> (World, Name, SigningKey) {
    small_on(Store::in_memory(), denial)
}

pub fn small_on(store: Store, denial: Denial) -> (World, Name, SigningKey) {
    let (world, apex) = (World::on(store), name("small.test."));
    world.create(&apex, parsed(&apex, SMALL));
    let csk = key(Algorithm::EcdsaP256, 257);
    world.sign(&apex, &[&csk], &plan_of(&apex, &csk, denial)).unwrap();
    (world, apex, csk)
}

/// Goal: whatever zone, whatever denial, the tools agree that it is signed well.
#[test]
fn every_zone_switched_on_validates_by_three_tools() {
    let files = ["tests/interop/zones", "zones-example"].into_iter();
    let files = files.flat_map(|dir| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()));
    let mut count = 0;
    for path in files.filter(|path| path.extension().is_some_and(|end| end == "zone")) {
        let text = fs::read_to_string(&path).unwrap();
        let apex = name(path.file_stem().unwrap().to_str().unwrap());
        let options = Options { apex: Some(apex.clone()), ..Options::default() };
        let Ok(parsed) = text::parse(text.as_bytes(), options) else { continue };
        for denial in DENIALS {
            let world = World::new();
            world.create(&apex, nameplane::zone::packed::strip(&parsed.packed));
            let csk = key(Algorithm::Ed25519, 257);
            world.sign(&apex, &[&csk], &plan_of(&apex, &csk, denial)).unwrap();
            println!("{apex} {denial:?}");
            world.verified(&apex);
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
}

#[test]
fn every_algorithm_is_one_that_others_verify() {
    let rsa = key(Algorithm::RsaSha256, 257);
    let mut dnskey = rsa.dnskey().to_vec();
    dnskey[3] = Algorithm::RsaSha512.number();
    let other = SigningKey::from_parts(&dnskey, rsa.secret()).unwrap();
    let quick = [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Ed25519];
    for csk in quick.map(|algorithm| key(algorithm, 257)).into_iter().chain([rsa, other]) {
        let (world, apex) = (World::new(), name("small.test."));
        world.create(&apex, parsed(&apex, SMALL));
        world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
        world.verified(&apex);
    }
}

/// Goal: after each of many changes the zone validates, and only what was touched was signed.
#[test]
fn a_signed_zone_stays_signed_through_changes() {
    for denial in DENIALS {
        let (world, apex, _) = small(denial);
        let changes = [
            vec![put("www.small.test.", Type::A, 300, "192.0.2.9")],
            vec![put("x.y.z.small.test.", Type::TXT, 60, "new")],
            vec![drop_set("a.b.c.small.test.", Type::TXT)],
            vec![
                put("c.small.test.", Type::NS, 300, "ns.c.small.test."),
                put("ns.c.small.test.", Type::A, 300, "192.0.2.7"),
            ],
            vec![put(
                "c.small.test.",
                Type::DS,
                300,
                "1 8 2 E2D3C916F6DEEAC73294E8268FB5885044A833FC5459588F4A9184CFC41A5766",
            )],
            vec![drop_set("c.small.test.", Type::NS), drop_set("c.small.test.", Type::DS)],
            vec![put(
                "small.test.",
                Type::SOA,
                300,
                "ns.small.test. hostmaster.small.test. 1 3600 600 604800 60",
            )],
            vec![put("*.small.test.", Type::MX, 300, "10 www.small.test.")],
            vec![drop_set("sub.small.test.", Type::NS)],
        ];
        for edits in changes {
            world.apply(&[edit(&apex, edits)]).unwrap();
            world.verified(&apex);
        }
    }
}

fn with_digest(apex: &Name, csk: &SigningKey, denial: Denial) -> Plan {
    let mut plan = plan_of(apex, csk, denial);
    plan.policy.zonemd = true;
    plan
}

/// Goal: whatever changes a zone with a digest leaves it with the right one, in the same commit.
#[test]
fn rfc8976_3_a_zone_with_a_digest_has_the_right_one_after_every_commit() {
    for denial in DENIALS {
        let (mut world, apex, csk) = small(denial);
        world.sign(&apex, &[], &with_digest(&apex, &csk, denial)).unwrap();
        world.digested(&apex);
        let changes = [
            vec![put("www.small.test.", Type::A, 300, "192.0.2.9")],
            vec![put("x.y.z.small.test.", Type::TXT, 60, "new")],
            vec![drop_set("a.b.c.small.test.", Type::TXT)],
            vec![drop_set("sub.small.test.", Type::NS)],
            vec![put(
                "small.test.",
                Type::SOA,
                300,
                "ns.small.test. hostmaster.small.test. 1 3600 600 604800 60",
            )],
        ];
        for edits in changes {
            world.apply(&[edit(&apex, edits)]).unwrap();
            world.digested(&apex);
        }
        world.pass(12 * DAY_S);
        world.restart();
        let version = world.version(&apex);
        world.upkeep();
        assert!(world.version(&apex) > version);
        world.digested(&apex);

        let text = SMALL.replace("www A 192.0.2.2", "web A 192.0.2.5");
        let content = Content::Packed { octets: parsed(&apex, &text), presigned: false };
        let staged = Content::Staged(world.maintain.stage(&apex, &content).unwrap());
        for content in [content, staged] {
            world.apply(&[ZoneChange::Replace { apex: apex.clone(), content }]).unwrap();
            world.digested(&apex);
        }

        world.sign(&apex, &[], &plan_of(&apex, &csk, denial)).unwrap();
        assert!(!world.text(&apex).contains("ZONEMD"));
        world.verified(&apex);
    }
}

#[test]
fn a_large_zone_gets_its_digest_when_its_signed_copy_takes_over() {
    let (world, apex) = (World::new(), name("small.test."));
    let body: String = (0..4_100).map(|n| format!("h{n} A 192.0.2.1\n")).collect();
    world.create(&apex, parsed(&apex, &format!("{SMALL}{body}")));
    let csk = key(Algorithm::Ed25519, 257);
    world.sign(&apex, &[&csk], &with_digest(&apex, &csk, Denial::Nsec)).unwrap();
    world.apply(&[edit(&apex, vec![put("new.small.test.", Type::A, 300, "192.0.2.9")])]).unwrap();
    world.upkeep();
    assert!(world.signing(&apex).complete);
    world.digested(&apex);
    world.apply(&[edit(&apex, vec![drop_set("new.small.test.", Type::A)])]).unwrap();
    world.digested(&apex);
}

/// Goal: a zone that is not signed here never says of itself what was true of another version.
#[test]
fn a_digest_that_nobody_makes_anew_goes_with_the_first_change() {
    let (world, apex) = (World::new(), name("small.test."));
    let digest = |serial: u32| format!("@ 300 ZONEMD {serial} 1 1 {}\n", "AB".repeat(48));
    let text = |serial: u32, www: u8| {
        let soa =
            format!("@ 300 SOA ns hostmaster {serial} 1h 10m 1w 5m\n@ 300 NS ns.else.test.\n");
        format!("{soa}{}www 300 A 192.0.2.{www}\n", digest(serial))
    };
    let has = || world.text(&apex).contains("ZONEMD");
    let content = |text: &str| Content::Packed { octets: parsed(&apex, text), presigned: false };
    let replace = |content| world.apply(&[ZoneChange::Replace { apex: apex.clone(), content }]);
    world.create(&apex, parsed(&apex, &text(5, 1)));
    assert!(has(), "it is the version the digest is of");
    world.apply(&[edit(&apex, vec![put("www.small.test.", Type::A, 300, "192.0.2.2")])]).unwrap();
    assert!(!has());

    replace(content(&text(50, 3))).unwrap();
    assert!(has(), "it came with its own serial, which is ahead");
    replace(content(&text(40, 4))).unwrap();
    assert!(!has(), "it had to get another serial");
    for serial in [90, 60] {
        let staged = world.maintain.stage(&apex, &content(&text(serial, 5))).unwrap();
        replace(Content::Staged(staged)).unwrap();
        assert_eq!(has(), serial == 90);
    }
    world.apply(&[ZoneChange::Delete { apex: apex.clone() }]).unwrap();
    world.create(&apex, parsed(&apex, &text(7, 1)));
    assert!(!has(), "a zone of this name had a serial ahead of it");
}

/// Goal: reading all of a zone with every commit has a limit, which is said before it hurts.
#[test]
fn a_zone_too_large_for_a_digest_is_told_so() {
    let (world, apex) = (World::new(), name("small.test."));
    let text = |number: usize| {
        let owner = name(&format!("t{number}.small.test."));
        let octets = [&[254][..], &[b'x'; 254]].concat().repeat(235);
        RrSet::new(owner, Type::TXT, 300, vec![octets.into()])
    };
    // A node of one such set takes 60 200 octets once it is signed.
    let each = zonemd::OCTETS_MAX as usize / 60_300;
    let octets = parsed(&apex, SMALL);
    let view = PackedZone::new(apex.clone(), &octets);
    let people =
        [("small.test.", Type::SOA), ("small.test.", Type::NS), ("ns.small.test.", Type::A)];
    let people = people.map(|(owner, rtype)| set_at(&view, &name(owner), rtype).unwrap().unwrap());
    let sets = people.into_iter().map(|set| set.rrset).chain((0..each).map(text)).collect();
    let content = Content::RrSets(sets);
    world.apply(&[ZoneChange::Create { apex: apex.clone(), org: "org".into(), content }]).unwrap();
    let csk = key(Algorithm::Ed25519, 257);
    world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();

    let more = |number| {
        let rdatas = text(number).rdatas().to_vec();
        let (owner, rtype) = (text(number).owner, Type::TXT);
        edit(
            &apex,
            vec![RrSetEdit {
                owner,
                rtype,
                op: Op::Add { ttl: 300, rdatas },
                base: Base::Unchecked,
            }],
        )
    };
    let said = |done: Result<(), Vec<Reason>>| done.unwrap_err()[0].to_string();
    world.sign(&apex, &[], &with_digest(&apex, &csk, Denial::Nsec)).unwrap();
    assert!(said(world.apply(&[more(each)])).contains("without zonemd"));
    // Keys and signatures are renewed whatever it costs; and a zone may become smaller.
    let zsk = key(Algorithm::Ed25519, 256);
    let mut plan = with_digest(&apex, &csk, Denial::Nsec);
    plan.keys.push(uses(&zsk, false, true));
    world.sign(&apex, &[&zsk], &plan).unwrap();
    assert!(world.octets(&apex).len() > zonemd::OCTETS_MAX as usize);
    world.apply(&[edit(&apex, vec![drop_set("t0.small.test.", Type::TXT)])]).unwrap();
    let found = zonemd::check(&PackedZone::new(apex.clone(), &world.octets(&apex)));
    assert_eq!(found, Ok(zonemd::Verdict::Holds(zonemd::Hash::Sha384)));
    world.sign(&apex, &[], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
    world.apply(&[more(each), more(each + 1)]).unwrap();
    let refused = said(world.sign(&apex, &[], &with_digest(&apex, &csk, Denial::Nsec)));
    assert!(refused.contains("without zonemd"), "{refused}");
}

#[test]
fn one_changed_record_makes_only_the_signatures_it_needs() {
    let (world, apex, _) = small(Denial::Nsec);
    let before = world.octets(&apex);
    world.apply(&[edit(&apex, vec![put("www.small.test.", Type::A, 300, "192.0.2.9")])]).unwrap();
    let after = world.octets(&apex);
    let (old, new) =
        (PackedZone::new(apex.clone(), &before), PackedZone::new(apex.clone(), &after));
    let delta = nameplane::zone::delta::Delta::between(&old, &new, 100).unwrap().unwrap();
    let changed: Vec<Type> = delta.changes.iter().map(|change| change.rtype).collect();
    assert_eq!(changed, [Type::SOA, Type::A]);
}

#[test]
fn the_journal_leads_a_secondary_through_signatures_and_denial() {
    let (world, apex, _) = small(Denial::Nsec3 { opt_out: false });
    let before = world.octets(&apex);
    world.apply(&[edit(&apex, vec![put("new.small.test.", Type::A, 300, "192.0.2.9")])]).unwrap();
    let step = world.store.read(|rows| {
        let zone = rows::zone(rows, &apex).unwrap().unwrap();
        nameplane::maintain::journal::version(rows, &zone, zone.version).unwrap().unwrap().step
    });
    let mut tree = nameplane::zone::tree::Tree::new(apex.clone(), &before);
    let delta = step.delta(&tree).unwrap();
    tree.apply(&delta);
    let sorted = |octets: &[u8]| {
        let view = PackedZone::new(apex.clone(), octets);
        let mut out = String::new();
        text::write(&view, &mut out).unwrap();
        let mut lines: Vec<String> = out.lines().map(Into::into).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&tree.to_packed()), sorted(&world.octets(&apex)));
}

#[test]
fn signing_switched_off_leaves_what_people_put_there() {
    let (world, apex, csk) = small(Denial::Nsec);
    world.apply(&[ZoneChange::SetSigning { apex: apex.clone(), plan: None }]).unwrap();
    let mut plain = World::new();
    plain.restart();
    plain.create(&apex, parsed(&apex, SMALL));
    let without_soa = |text: String| {
        text.lines().filter(|line| !line.contains("SOA")).map(Into::into).collect::<Vec<String>>()
    };
    assert_eq!(without_soa(world.text(&apex)), without_soa(plain.text(&apex)));
    // And on again, with the key that is still there.
    world.sign(&apex, &[], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
    world.verified(&apex);
}

#[test]
fn a_replaced_zone_is_signed_in_the_same_commit() {
    let (world, apex, _) = small(Denial::Nsec);
    let text = SMALL.replace("www A 192.0.2.2", "web A 192.0.2.5");
    let content = Content::Packed { octets: parsed(&apex, &text), presigned: false };
    world.apply(&[ZoneChange::Replace { apex: apex.clone(), content: content.clone() }]).unwrap();
    world.verified(&apex);
    let (version, serial) = (world.version(&apex), world.text(&apex));
    world.apply(&[ZoneChange::Replace { apex: apex.clone(), content: content.clone() }]).unwrap();
    assert_eq!((world.version(&apex), world.text(&apex)), (version, serial));
    // The same by way of staging, as large imports come.
    let staged = world.maintain.stage(&apex, &content).unwrap();
    let content = Content::Staged(staged);
    world.apply(&[ZoneChange::Replace { apex: apex.clone(), content }]).unwrap();
    world.verified(&apex);
}

#[test]
fn what_the_signer_makes_cannot_be_edited() {
    let (world, apex, csk) = small(Denial::Nsec);
    let edits = vec![drop_set("small.test.", Type::DNSKEY)];
    let reasons = world.apply(&[edit(&apex, edits)]).unwrap_err();
    assert!(reasons[0].to_string().contains("signed here"), "{reasons:?}");
    let signed = Content::Packed { octets: world.octets(&apex), presigned: true };
    let reasons = world.apply(&[ZoneChange::Replace { apex: apex.clone(), content: signed }]);
    assert!(reasons.unwrap_err()[0].to_string().contains("stripped"));
    let reasons = world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap_err();
    assert!(reasons[0].to_string().contains("already"), "{reasons:?}");
}

#[test]
fn a_pre_signed_zone_is_not_signed_over() {
    let (world, apex, csk) = small(Denial::Nsec);
    let other = World::new();
    let signed = Content::Packed { octets: world.octets(&apex), presigned: true };
    let create = ZoneChange::Create { apex: apex.clone(), org: "org".into(), content: signed };
    other.apply(&[create]).unwrap();
    let reasons = other.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec)).unwrap_err();
    assert_eq!(reasons, [Reason::PreSigned]);
}

/// Goal: a zone left alone for a quarter of a year validates at every hour of it.
#[test]
fn signatures_are_made_anew_in_time_for_ever() {
    for denial in [Denial::Nsec, Denial::Nsec3 { opt_out: false }] {
        let (mut world, apex, _) = small(denial);
        let (version, mut checked) = (world.version(&apex), 0);
        for hour in 0..90 * 24 {
            world.pass(3600);
            world.upkeep();
            let left = world.signing(&apex).first_expiry_s.saturating_sub(world.now_s());
            // EXPIRE of the SOA is a week.
            assert!(left > 7 * DAY_S - 3600, "hour {hour}: {left}");
            if hour % 240 == 0 {
                world.restart();
                world.verified(&apex);
                checked += 1;
            }
        }
        let versions = world.version(&apex) - version;
        assert_eq!(checked, 9);
        // 14 days and 2 for the long EXPIRE, less 0 to 3 of jitter, less 7 before they expire; the
        // first time sooner.
        assert!((9..=16).contains(&versions), "{versions} versions in 90 days");
    }
}

/// Goal: zones switched on together come due one by one, from the first day on.
#[test]
fn zones_switched_on_at_one_moment_are_renewed_all_along() {
    const ZONES: usize = 180;
    let world = World::new();
    let csk = key(Algorithm::Ed25519, 257);
    let apexes: Vec<Name> = (0..ZONES).map(|n| name(&format!("z{n}.test."))).collect();
    for apex in &apexes {
        world.create(apex, parsed(apex, "@ 60 SOA ns hm 1 1h 10m 1w 5m\n@ 60 NS ns.else.test.\n"));
        world.sign(apex, &[&csk], &plan_of(apex, &csk, Denial::Nsec)).unwrap();
    }
    let mut progress = Resigning::default();
    let days: Vec<usize> = (0..14)
        .map(|_| {
            world.pass(DAY_S);
            std::iter::repeat_with(|| world.maintain.resign_some(&mut progress).unwrap())
                .take_while(|more| *more)
                .count()
        })
        .collect();
    // A signature of these lives from 6 to 9 days; each day could have all of them, or none.
    let (least, most) = (days.iter().min().unwrap(), days.iter().max().unwrap());
    assert!(*least >= ZONES / 30 && *most <= ZONES / 4, "{days:?}");
}

#[test]
fn a_change_just_before_signatures_are_due_keeps_the_zone_valid() {
    let (world, apex, _) = small(Denial::Nsec);
    for day in 0..40u64 {
        world.pass(DAY_S - 60);
        let last = (day % 200) as u8;
        let edits = vec![put("www.small.test.", Type::A, 300, &format!("192.0.2.{last}"))];
        world.apply(&[edit(&apex, edits)]).unwrap();
        world.pass(60);
        world.upkeep();
        if day % 8 == 0 {
            world.verified(&apex);
        }
    }
}

#[test]
fn a_clock_that_goes_back_stops_signing_and_leaves_the_zone_as_it_is() {
    let (world, apex, _) = small(Denial::Nsec);
    let text = world.text(&apex);
    world.us.fetch_sub(3600 * 1_000_000, Ordering::Relaxed);
    let edits = vec![put("www.small.test.", Type::A, 300, "192.0.2.9")];
    let reasons = world.apply(&[edit(&apex, edits.clone())]).unwrap_err();
    assert!(reasons[0].to_string().contains("clock"), "{reasons:?}");
    assert_eq!(world.text(&apex), text);
    world.pass(3600);
    world.apply(&[edit(&apex, edits)]).unwrap();
}

#[test]
fn a_zone_whose_keys_do_not_open_is_served_as_it_is_and_says_so() {
    let (mut world, apex, _) = small(Denial::Nsec);
    let text = world.text(&apex);
    let right = std::mem::replace(&mut world.sealer, Sealer::passing().unwrap());
    world.restart();
    world.pass(12 * DAY_S);
    world.upkeep();
    assert!(world.signing(&apex).fault.unwrap().contains("instance key"));
    assert_eq!(world.text(&apex), text);

    world.sealer = right;
    world.restart();
    world.pass(3600);
    world.upkeep();
    assert_eq!(world.signing(&apex).fault, None);
    world.verified(&apex);
}

/// Goal: a zone too large for one commit is signed beside its service, with what changed meanwhile.
#[test]
fn a_large_zone_is_signed_in_the_background_and_renewed_in_steps() {
    let (world, apex) = (World::new(), name("small.test."));
    let body: String =
        (0..2_600).map(|n| format!("h{n} A 192.0.2.1\nd{n} NS ns.else.test.\n")).collect();
    world.create(&apex, parsed(&apex, &format!("{SMALL}{body}")));
    let csk = key(Algorithm::Ed25519, 257);
    world.sign(&apex, &[&csk], &plan_of(&apex, &csk, Denial::Nsec3 { opt_out: false })).unwrap();
    assert!(!world.signing(&apex).complete);
    assert!(!world.text(&apex).contains("DNSKEY"));

    world.upkeep();
    assert!(world.signing(&apex).complete);
    world.verified(&apex);

    // The other denial: again as a whole, with the old one served until then.
    world.sign(&apex, &[], &plan_of(&apex, &csk, Denial::Nsec)).unwrap();
    world.apply(&[edit(&apex, vec![put("new.small.test.", Type::A, 300, "192.0.2.9")])]).unwrap();
    world.verified(&apex);
    world.upkeep();
    world.verified(&apex);
    assert!(world.text(&apex).contains("new\t300"));

    // A second key signs all of it, step by step, then the first leaves.
    let zsk = key(Algorithm::Ed25519, 256);
    let mut plan = plan_of(&apex, &csk, Denial::Nsec);
    plan.keys[0].signs_zone = false;
    plan.keys.push(uses(&zsk, false, true));
    let version = world.version(&apex);
    world.sign(&apex, &[&zsk], &plan).unwrap();
    assert!(!world.signing(&apex).complete);
    world.verified_between_keys(&apex);
    world.upkeep();
    assert!(world.signing(&apex).complete);
    assert!(world.version(&apex) > version + 3);
    world.verified(&apex);
    for _ in 0..120 {
        world.pass(6 * 3600);
        world.upkeep();
    }
    world.verified(&apex);
}

/// Goal: the real server, started on a zone signed here, gives a validator every proof.
#[test]
fn delv_validates_what_the_server_answers() {
    if !is_here("delv") {
        return;
    }
    for denial in DENIALS {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let apex = name("small.test.");
        let csk = key(Algorithm::EcdsaP256, 257);
        {
            let manage = nameplane::run::open_directory(&data).unwrap();
            let content = Content::Packed { octets: parsed(&apex, SMALL), presigned: false };
            let create = ZoneChange::Create { apex: apex.clone(), org: "org".into(), content };
            let plan = Some(Box::new(plan_of(&apex, &csk, denial)));
            let done = manage.maintain.commit(|door| {
                door.apply(std::slice::from_ref(&create)).unwrap();
                door.put_signing_key(&apex, &csk).unwrap();
                door.apply(&[ZoneChange::SetSigning { apex: apex.clone(), plan }])
            });
            done.unwrap();
        }
        let server = Server::at(&data, &[]);
        let public = nameplane::wire::rdata::display(Type::DNSKEY, csk.dnskey()).to_string();
        let mut words = public.splitn(4, ' ');
        let head: Vec<&str> = words.by_ref().take(3).collect();
        let key = words.next().unwrap().replace(' ', "");
        let anchor = home.path().join("anchor");
        let text = format!(
            "trust-anchors {{ \"small.test.\" static-key {} \"{key}\"; }};",
            head.join(" ")
        );
        fs::write(&anchor, text).unwrap();
        let questions = [
            ("www.small.test.", "A", "; fully validated"),
            ("small.test.", "DNSKEY", "; fully validated"),
            ("small.test.", "CDS", "; fully validated"),
            ("q.wild.small.test.", "TXT", "; fully validated"),
            ("www.small.test.", "AAAA", "; negative response, fully validated"),
            ("q.wild.small.test.", "A", "; negative response, fully validated"),
            ("no.small.test.", "A", "; negative response, fully validated"),
            ("b.c.small.test.", "A", "; negative response, fully validated"),
            ("secure.small.test.", "DS", "; fully validated"),
        ];
        // RFC 5155 §6: what an opt-out span covers may be an unsigned delegation, so nothing there is sure.
        let is_sure = |qname: &str| {
            denial != Denial::Nsec3 { opt_out: true }
                || !(qname.starts_with("q.") || qname.starts_with("no."))
        };
        for (qname, qtype, said) in questions.into_iter().filter(|(qname, ..)| is_sure(qname)) {
            let output = Command::new("delv")
                .args(["@127.0.0.1", "-p", &server.dns.port().to_string()])
                .args(["-a", anchor.to_str().unwrap(), "+root=small.test.", qname, qtype])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(text.contains(said), "{denial:?} {qname} {qtype}: {text}{errors}");
        }
    }
}

#[test]
fn keys_come_back_from_the_store_as_they_were() {
    let (world, apex, csk) = small(Denial::Nsec);
    world.store.read(|rows| {
        let zone = rows::zone(rows, &apex).unwrap().unwrap();
        let kept = world.maintain.signing_key(rows, &zone, csk.tag()).unwrap().unwrap();
        assert_eq!((kept.dnskey(), kept.secret()), (csk.dnskey(), csk.secret()));
        assert_eq!(signing::dnskeys(rows, &zone).unwrap(), [(csk.tag(), csk.dnskey().to_vec())]);
        assert_eq!(signing::schedule(rows, 10).unwrap().len(), 1);
    });
    let dropped = world.maintain.commit(|door| door.drop_signing_key(&apex, csk.tag()));
    assert!(matches!(dropped, Err(nameplane::maintain::CommitError::Refused(_))));
    world.apply(&[ZoneChange::Delete { apex: apex.clone() }]).unwrap();
    assert!(world.store.read(|rows| signing::schedule(rows, 10)).unwrap().is_empty());
    let gone = set_at(&PackedZone::new(apex.clone(), &[]), &apex, Type::SOA).unwrap();
    assert!(gone.is_none());
}
