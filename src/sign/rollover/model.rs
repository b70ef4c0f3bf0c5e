//! The model: every order of events around one zone, with resolvers that hold copies of every age.
//!
//! Time goes in ticks, and every TTL is a few of them. In each tick the parent may read any CDS that
//! some server or cache still gives, each of its two servers may serve what was read now or later, the
//! look at the parent may fail, and an operator may turn DNSSEC on or off or roll any key. All
//! worlds that come of this are visited. In each of them every DS RRset that a cache may hold is put
//! together with every DNSKEY RRset and every signed answer that a cache may hold.
//!
//! What validates is written down here once more, from the RFCs: nothing of the machine judges itself.

use std::collections::{HashSet, VecDeque};

use super::*;

/// What the clock always shows: the past moves away instead.
const NOW: u64 = 1_000;
/// Longer ago than anything matters.
const LONG_AGO: u64 = NOW - 30;

const FACTS: Facts = Facts {
    dnskey_ttl: 1,
    zone_ttl: 2,
    lag: 1,
    parent_delay: 1,
    oldest_served: None,
    is_unfinished: false,
};
const DS_TTL: u32 = 1;

/// What was served in this tick, in the one before, and so on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Window<V>(VecDeque<V>);

impl<V: Clone> Window<V> {
    /// Holds what may be met for `ticks` after it was replaced, that tick included.
    fn new(value: V, ticks: u32) -> Window<V> {
        Window(std::iter::repeat_n(value, ticks as usize + 2).collect())
    }

    fn serve(&mut self, value: V) {
        self.0.pop_back();
        self.0.push_front(value);
    }

    fn now(&self) -> &V {
        &self.0[0]
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    zone: Rollover,
    dnskeys: Window<(KeySet, KeySet)>,
    signers: Window<KeySet>,
    cds: Window<Option<KeySet>>,
    parent: [Window<DsSet>; 2],
    /// What the parent read, and for how many ticks more it may wait with it.
    read: Option<(DsSet, u32)>,
    commands: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    On,
    Off,
    Roll(Role),
    Algorithm,
}

/// What one tick brings besides time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tick {
    reads: Option<DsSet>,
    serves: [bool; 2],
    looks: bool,
    command: Option<Command>,
}

/// Keys with an odd number are of one algorithm, the others of another.
fn algorithm(id: KeyId) -> u8 {
    [13, 15][id.0 as usize % 2]
}

impl World {
    fn new(commands: u32) -> World {
        let ttl = |ttl: u32| ttl + FACTS.lag;
        World {
            zone: Rollover::default(),
            dnskeys: Window::new(Default::default(), ttl(FACTS.dnskey_ttl)),
            signers: Window::new(KeySet::default(), ttl(FACTS.zone_ttl)),
            cds: Window::new(None, ttl(FACTS.dnskey_ttl)),
            parent: [(); 2].map(|()| Window::new(DsSet::default(), DS_TTL)),
            read: None,
            commands,
        }
    }

    fn new_key(&mut self, role: Role, like: u8) {
        let is_free = |id: &KeyId| {
            let met = |keys: &KeySet| keys.contains(*id);
            self.zone.key(*id).is_none()
                && !self.dnskeys.0.iter().any(|(keys, _)| met(keys))
                && !self.signers.0.iter().any(met)
                && !self.cds.0.iter().flatten().any(met)
                && !self.parent.iter().flat_map(|window| &window.0).any(|set| met(&set.keys))
                && !self.read.iter().any(|(set, _)| met(&set.keys))
        };
        let id = (0..).map(KeyId).find(|id| algorithm(*id) == like && is_free(id)).unwrap();
        let key = Key { id, algorithm: like, role, foreign: false, created: 0, wanted: true };
        self.zone.want(key);
    }

    fn obey(&mut self, command: Command, roles: &[Role]) {
        let wanted: Vec<Key> = self.zone.keys().iter().filter(|key| key.wanted).cloned().collect();
        let present = wanted.first().map_or(13, |key| key.algorithm);
        match command {
            Command::Off => return self.zone.turn_off(),
            Command::On => {
                self.zone.turn_on();
                if wanted.is_empty() {
                    roles.iter().for_each(|role| self.new_key(*role, 13));
                }
                return;
            }
            Command::Roll(role) => self.new_key(role, present),
            Command::Algorithm => {
                roles.iter().for_each(|role| self.new_key(*role, 28 - present));
            }
        }
        let rolled =
            |key: &&Key| command == Command::Algorithm || command == Command::Roll(key.role);
        wanted.iter().filter(rolled).for_each(|key| self.zone.retire(key.id));
    }

    fn tick(&mut self, tick: &Tick, roles: &[Role], facts: &Facts) {
        self.zone.age(1, LONG_AGO);
        if let Some(read) = &tick.reads {
            self.read = Some((read.clone(), FACTS.parent_delay));
        }
        for (server, serves) in self.parent.iter_mut().zip(tick.serves) {
            let set = match &self.read {
                Some((set, _)) if serves => set.clone(),
                _ => server.now().clone(),
            };
            server.serve(set);
        }
        self.read = match self.read.take() {
            Some((set, left)) if left > 0 && tick.serves != [true; 2] => Some((set, left - 1)),
            _ => None,
        };
        if let Some(command) = tick.command {
            self.commands -= 1;
            self.obey(command, roles);
        }
        let seen: Vec<DsSet> = self.parent.iter().map(|server| server.now().clone()).collect();
        let look = match tick.looks {
            true => Look { seen, ttl: DS_TTL, is_full: true },
            false => Look { seen: seen[..1].to_vec(), ttl: DS_TTL, is_full: false },
        };
        self.zone.look(&look, facts, NOW);
        self.zone.step(facts, NOW);
        self.zone.take_spent();
        let published = self.zone.published();
        self.dnskeys.serve((published.dnskeys, published.dnskey_signers));
        self.signers.serve(published.signers);
        self.cds.serve(published.cds);
        self.zone.age(0, LONG_AGO);
    }

    /// Every tick that may come next.
    fn ticks(&self, roles: &[Role]) -> Vec<Tick> {
        let mut reads = vec![None];
        if self.read.is_none() {
            for cds in self.cds.0.iter().flatten() {
                let set = Some(DsSet::of(cds.clone()));
                let is_news = self.parent.iter().any(|server| Some(server.now()) != set.as_ref());
                if is_news && !reads.contains(&set) {
                    reads.push(set);
                }
            }
        }
        let mut ticks = Vec::new();
        for reads in reads {
            let waits = self.read.as_ref().map(|(_, left)| *left);
            let serves: &[[bool; 2]] = match (&reads, waits) {
                (None, None) => &[[false, false]],
                (None, Some(0)) => &[[true, true]],
                // Which of the two is the quicker makes no other world.
                _ => &[[false, false], [true, false], [true, true]],
            };
            for serves in serves {
                for looks in [true, false] {
                    for command in self.commands(roles) {
                        ticks.push(Tick { reads: reads.clone(), serves: *serves, looks, command });
                    }
                }
            }
        }
        ticks
    }

    fn commands(&self, roles: &[Role]) -> Vec<Option<Command>> {
        let mut commands = vec![None];
        if self.commands > 0 {
            match self.zone.is_on() {
                true => {
                    commands.extend([Some(Command::Off), Some(Command::Algorithm)]);
                    commands.extend(roles.iter().map(|role| Some(Command::Roll(*role))));
                }
                false => commands.push(Some(Command::On)),
            }
        }
        commands
    }

    /// RFC 4035 §2.2 and §5.2, RFC 6840 §5.11, as strictly as any resolver may read them.
    fn bogus(&self) -> Option<String> {
        for ds in self.parent.iter().flat_map(|window| &window.0).filter(|ds| !ds.is_empty()) {
            for (keys, key_signers) in &self.dnskeys.0 {
                for signers in &self.signers.0 {
                    let trusted = |of: u8| {
                        ds.keys.iter().any(|key| {
                            algorithm(key) == of && keys.contains(key) && key_signers.contains(key)
                        })
                    };
                    let signed = |of: u8| {
                        signers.iter().any(|key| algorithm(key) == of && keys.contains(key))
                    };
                    let is_good = ds.keys.iter().all(|key| trusted(algorithm(key)))
                        && keys.iter().all(|key| signed(algorithm(key)));
                    if !is_good || keys.is_empty() {
                        return Some(format!("DS {ds:?} DNSKEY {keys:?} signed by {signers:?}"));
                    }
                }
            }
        }
        None
    }
}

/// What a willing parent and a reachable network would bring.
fn willing(world: &World) -> Tick {
    let wish = world.cds.now().clone().map(DsSet::of);
    let reads = wish.filter(|wish| world.read.is_none() && wish != world.parent[0].now());
    Tick { reads, serves: [true; 2], looks: true, command: None }
}

/// Visits every world; returns how many there are. The zone is told `facts`, which may be lies.
fn visit(roles: &[Role], commands: u32, facts: &Facts) -> Result<usize, String> {
    let (mut seen, mut rests) = (HashSet::new(), HashSet::new());
    let mut trail: Vec<(usize, Tick)> = Vec::new();
    let mut open = VecDeque::from([(usize::MAX, World::new(commands))]);
    while let Some((at, world)) = open.pop_front() {
        for tick in world.ticks(roles) {
            let mut next = world.clone();
            next.tick(&tick, roles, facts);
            if seen.contains(&next) {
                continue;
            }
            seen.insert(next.clone());
            trail.push((at, tick));
            let place = trail.len() - 1;
            next.bogus()
                .map_or(Ok(()), Err)
                .and_then(|()| comes_to_rest(&next, &mut rests, roles, facts))
                .map_err(|fault| format!("{fault} after{}", told(&trail, place)))?;
            open.push_back((place, next));
        }
    }
    Ok(seen.len())
}

fn told(trail: &[(usize, Tick)], mut at: usize) -> String {
    let mut steps = Vec::new();
    while let Some((before, tick)) = trail.get(at) {
        steps.push(format!("\n  {tick:?}"));
        at = *before;
    }
    steps.reverse();
    steps.concat()
}

/// From here a willing parent brings the zone to its goal; worlds known to come to rest are in `rests`.
fn comes_to_rest(
    world: &World,
    rests: &mut HashSet<World>,
    roles: &[Role],
    facts: &Facts,
) -> Result<(), String> {
    let (mut world, mut path) = (world.clone(), Vec::new());
    for _ in 0..60 {
        let state = world.zone.state();
        let arrived = if world.zone.is_on() { State::Secure } else { State::Off };
        let is_done = world.zone.is_at_rest() && world.read.is_none() && state == arrived;
        if is_done || rests.contains(&world) {
            rests.extend(path);
            return Ok(());
        }
        let tick = willing(&world);
        path.push(world.clone());
        world.tick(&tick, roles, facts);
        if let Some(fault) = world.bogus() {
            return Err(format!("later {fault}"));
        }
    }
    Err(format!("never at rest: {:?}", world.zone))
}

const TWO: &[Role] = &[Role::Ksk, Role::Zsk];
const ONE: &[Role] = &[Role::Csk];

#[test]
fn no_resolver_goes_bogus_whatever_happens_to_a_zone_with_two_keys() {
    let worlds = visit(TWO, 2, &FACTS).unwrap();
    assert!(worlds > 50_000, "only {worlds} worlds");
}

#[test]
fn no_resolver_goes_bogus_whatever_happens_to_a_zone_with_one_key() {
    let worlds = visit(ONE, 2, &FACTS).unwrap();
    assert!(worlds > 50_000, "only {worlds} worlds");
}

/// Goal: the model would notice a machine that waits too little.
/// Method: tell the machine that each thing lasts one tick less than it does.
#[test]
fn every_wait_is_as_short_as_it_may_be() {
    let lies = [
        Facts { dnskey_ttl: 0, parent_delay: 2, ..FACTS },
        Facts { zone_ttl: 1, ..FACTS },
        Facts { lag: 0, parent_delay: 2, ..FACTS },
        Facts { parent_delay: 0, ..FACTS },
    ];
    for lie in lies {
        let visited = visit(TWO, 2, &lie);
        assert!(visited.is_err(), "nobody noticed {lie:?}");
    }
}
