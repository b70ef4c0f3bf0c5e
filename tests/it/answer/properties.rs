//! Whatever the zones, the engine says what the model says.

use std::net::SocketAddr;
use std::sync::Arc;

use nameplane::metrics::Registry;
use nameplane::serve::{Context, Outcome, Refuse, Settings, Shared, Slot, Transport, handle};
use nameplane::transport::udp;
use nameplane::wire::Type;
use proptest::prelude::*;

use super::decode::decode;
use super::model::Model;
use super::random::{questions, world};
use super::{Table, cases, question};

const TYPES: [Type; 8] =
    [Type::A, Type::CNAME, Type::NS, Type::DS, Type::DNAME, Type::MX, Type::SOA, Type::NSEC];

proptest! {
    #![proptest_config(cases(100))]

    /// Goal: every answer to every question over nested, signed, twisted zones is the one of the RFCs.
    /// Method: small zones over few labels, so that cuts, wildcards, chains and occlusion meet by chance.
    #[test]
    fn the_engine_agrees_with_the_plain_model(world in world(), from in 0..8usize) {
        let zones = world.zones();
        let table = Table::of(&zones);
        let model = Model { zones: &zones };
        for owner in questions().into_iter().skip(from).step_by(8) {
            for rtype in TYPES {
                for dnssec in [false, true] {
                    let said = decode(&table.ask(&owner, rtype, dnssec));
                    let meant = model.ask(&owner, rtype, dnssec);
                    prop_assert_eq!(
                        said, meant, "{} {:?} dnssec={} in {:#?}", owner, rtype, dnssec, zones
                    );
                }
            }
        }
    }

    /// Goal: what is fetched and sought ahead for a batch changes no answer.
    /// Method: every question that wants proofs, in batches as the workers take them, and each by itself.
    #[test]
    fn a_batch_is_answered_as_each_of_it_alone(world in world(), from in 0..4usize) {
        let table = Table::of(&world.zones());
        let zones = table.writer.published();
        let registry = Arc::new(Registry::default());
        let shared = Shared::new(Settings::default(), zones, Arc::new(Refuse), registry, 7);
        let context = Context::new(&shared, Transport::Udp);
        let peer: SocketAddr = "192.0.2.77:4000".parse().unwrap();
        let owners = questions().into_iter().skip(from).step_by(4);
        let messages: Vec<Vec<u8>> =
            owners.flat_map(|owner| TYPES.map(|rtype| question(&owner, rtype, true))).collect();
        let mut slots: Vec<Slot> = (0..udp::BATCH).map(|_| Slot::new(4096)).collect();
        let mut alone = Slot::new(4096);

        for batch in messages.chunks(slots.len()) {
            for (slot, message) in slots.iter_mut().zip(batch) {
                assert!(slot.receive(message, peer));
            }
            udp::answer(&context, &mut slots[..batch.len()], 1_800_000_000);
            for (slot, message) in slots.iter().zip(batch) {
                assert!(alone.receive(message, peer));
                prop_assert_eq!(slot.outcome, handle(&context, &mut alone, 1_800_000_000));
                let Outcome::Reply(len) = slot.outcome else { continue };
                prop_assert_eq!(&slot.octets[..len], &alone.octets[..len]);
            }
        }
    }
}
