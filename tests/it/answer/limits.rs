//! What must never happen per query, whatever is asked.

use nameplane::wire::{Query, Reply, Type};

use super::{Table, Zone, name, question};
use crate::allocations;

/// Goal: answering allocates nothing, for any kind of answer.
#[test]
fn no_answer_allocates() {
    let mut zone = Zone::new("example.", 1).with(
        "@ SOA 1\n @ NS ns\n www A 192.0.2.1\n c CNAME d\n d CNAME x.w\n *.w A 192.0.2.2\n s NS ns.s\n s NS ns.t\n ns.s A 192.0.2.3\n t NS ns.t\n ns.t A 192.0.2.4\n dn DNAME w",
    );
    super::random::sign(&mut zone, super::random::Signing::Nsec3 { opt_out: false, iterations: 1 });
    let table = Table::of(&[zone]);
    let published = table.writer.published();
    let mut query = Query::default();
    let mut buffer = [0; 4096];
    for owner in ["www", "c", "x.w", "nothing", "a.s", "x.dn", "example.com.", "w"] {
        let owner =
            nameplane::wire::Name::parse_relative(owner.as_bytes(), Some(&name("example.")))
                .unwrap();
        for (rtype, dnssec) in
            [(Type::A, false), (Type::A, true), (Type::ANY, true), (Type::DS, true)]
        {
            let message = question(&owner, rtype, dnssec);
            let count = allocations::during(|| {
                let snapshot = published.load();
                buffer[..message.len()].copy_from_slice(&message);
                query.parse(&message, snapshot.key()).unwrap();
                let mut reply = Reply::new(&query, &mut buffer, 1232, None);
                nameplane::answer::respond(&snapshot, &query, &mut reply);
                reply.finish();
            });
            assert_eq!(count, 0, "{owner} {rtype:?}");
        }
    }
}
