//! Why a signed zone does not prove what it says: told as an Extended DNS Error, from outside.

use super::*;
use crate::server::is_here;

/// The errors that an answer is explained by, as `dig` shows them.
fn explained(server: &Server, name: &str, rtype: &str, more: &[&str]) -> Vec<String> {
    let port = server.dns.port().to_string();
    let mut command = Command::new("dig");
    command.args(["@127.0.0.1", "-p", &port, "+norec", name, rtype]).args(more);
    let text = String::from_utf8(command.output().expect("dig is installed").stdout).unwrap();
    assert!(text.contains("status: NOERROR") || text.contains("status: NXDOMAIN"), "{text}");
    let lines = text.lines().filter_map(|line| line.strip_prefix("; EDE: "));
    lines.map(str::to_owned).collect()
}

/// A zone that ldns signed by NSEC3 with so many iterations, or by NSEC.
fn signed(dir: &Path, apex: &str, iterations: Option<&str>) -> String {
    let run = |command: &mut Command| {
        let output = command.current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let plain = "$TTL 1\n@ SOA ns host 5 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n\
        www A 192.0.2.1\ncut NS ns\n*.wild A 192.0.2.2\n";
    std::fs::write(dir.join("plain"), format!("$ORIGIN {apex}\n{plain}")).unwrap();
    let key = run(Command::new("ldns-keygen").args(["-a", "ECDSAP256SHA256", "-k", apex]));
    let mut command = Command::new("ldns-signzone");
    if let Some(iterations) = iterations {
        command.args(["-n", "-t", iterations]);
    }
    run(command.args(["-u", "-o", apex, "-f", "signed", "plain", &key]));
    std::fs::read_to_string(dir.join("signed")).unwrap()
}

/// Goal: who asks for proof of what a signed zone denies, and gets none, learns why; who gets it, or does
/// not ask for it, learns nothing.
#[test]
fn rfc8914_a_denial_without_its_proof_says_why() {
    if !is_here("ldns-signzone") || !is_here("ldns-keygen") {
        return;
    }
    let server = Server::start();
    let far = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let zones = [
        ("nsec.test.", signed(far[0].path(), "nsec.test.", None)),
        ("few.test.", signed(far[1].path(), "few.test.", Some("100"))),
        ("many.test.", signed(far[2].path(), "many.test.", Some("150"))),
    ];
    for (zone, text) in zones {
        import(&server, zone, &text);
        if zone == "nsec.test." {
            let is_kept = |line: &&str| !line.contains("NSEC");
            let bare: Vec<&str> = text.lines().filter(is_kept).collect();
            import(&server, "bare.test.", &bare.join("\n").replace("nsec.test.", "bare.test."));
        }
    }
    let asked = [("nothing", "A"), ("www", "AAAA"), ("a.cut", "A"), ("x.wild", "AAAA")];
    let codes = |zone: &str, more: &[&str]| {
        let each = asked.iter().map(|(name, rtype)| {
            let found = explained(&server, &format!("{name}.{zone}"), rtype, more);
            found.concat().split([' ', ':']).next().unwrap_or_default().to_owned()
        });
        each.collect::<Vec<_>>()
    };
    assert_eq!(codes("nsec.test.", &["+dnssec"]), [""; 4]);
    assert_eq!(codes("few.test.", &["+dnssec"]), [""; 4], "RFC 5155 §10.3: still worked off");
    assert_eq!(codes("many.test.", &["+dnssec"]), ["27"; 4], "RFC 9276 §3.2");
    assert_eq!(codes("bare.test.", &["+dnssec"]), ["12"; 4]);
    for zone in ["many.test.", "bare.test."] {
        assert_eq!(codes(zone, &["+nodnssec"]), [""; 4], "nobody asked for a proof");
        let www = explained(&server, &format!("www.{zone}"), "A", &["+dnssec"]);
        assert_eq!(www, [""; 0], "what is there needs none");
    }
}
