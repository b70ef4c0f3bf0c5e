//! Whatever the zones, the engine says what the model says.

use nameplane::wire::Type;
use proptest::prelude::*;

use super::decode::decode;
use super::model::Model;
use super::random::{questions, world};
use super::{Table, cases};

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
}
