//! DNSViz, offline on loopback: nothing of a signed zone and its parent is worth a warning.

use super::*;
use crate::server::skipped;

/// Runs `dnsviz grok`. Where the Python binding of Graphviz no longer says its version in a module of its
/// own, DNSViz takes it for missing: it is said to it.
const GROK: &str = "import sys, types, pygraphviz\n\
    try:\n    from pygraphviz import release\n\
    except ImportError:\n    release = types.ModuleType('pygraphviz.release')\n    \
    release.version = '1.10'\n    \
    pygraphviz.release = sys.modules['pygraphviz.release'] = release\n\
    from dnsviz.commands import grok\n\
    grok.main(sys.argv)\n";

/// The interpreter that Debian's DNSViz is installed for.
const PYTHON: &str = "/usr/bin/python3";

fn is_installed() -> bool {
    let import = ["-c", "import dnsviz, pygraphviz, M2Crypto"];
    let found = Command::new(PYTHON).args(import).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        skipped("dnsviz is not installed");
    }
    found
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// What DNSViz has to say of the parent and the child, from `level` on, by this trust anchor.
fn assess(home: &Path, level: &str, anchor: &Path) -> String {
    let mut grok = Command::new(PYTHON);
    grok.args(["-c", GROK, "-l", level, "-t", anchor.to_str().unwrap(), "-r"]);
    run(grok.arg(home.join("probe.json")))
}

/// Goal: another pair of eyes, which looks at everything a resolver may ask, at referrals and at proofs of
/// what is not there, finds neither error nor warning.
/// Method: the parent is the anchor; that the tool would see a fault shows by a wrong one.
#[test]
fn dnsviz_has_nothing_to_say_of_a_signed_zone_and_its_parent() {
    if !is_installed() {
        return;
    }
    for (split, denial) in [(false, "nsec"), (true, "nsec3")] {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let server = server(home);
        keep_policy(&server, &[("split", json!(split)), ("denial", json!(denial))]);
        switch(&server, PARENT, true);
        switch(&server, CHILD, true);
        wait(&server, CHILD, "is secure", is_secure_at_rest);
        let name = |zone: &str| zone.trim_end_matches('.').to_owned();
        let at = |zone: &str, mark: &str| {
            format!("{}{mark}:ns.{}={}", name(zone), name(zone), server.dns)
        };
        let main = "import sys; from dnsviz.commands import probe; probe.main(sys.argv)";
        let mut probe = Command::new(PYTHON);
        probe.args(["-c", main, "-A", "-4", "-a", &name(PARENT)]);
        probe.args(["-x", &at(PARENT, "+"), "-x", &at(CHILD, ""), "-o"]);
        run(probe
            .arg(home.join("probe.json"))
            .arg(name(CHILD))
            .arg(format!("www.{}", name(CHILD))));

        let keys = rdata(&server, PARENT, "DNSKEY").into_iter();
        let keys: String = keys.map(|key| format!("{PARENT} 1 IN DNSKEY {key}\n")).collect();
        let (right, wrong) = (home.join("right"), home.join("wrong"));
        std::fs::write(&right, &keys).unwrap();
        let theirs = rdata(&server, CHILD, "DNSKEY").into_iter();
        let theirs: String = theirs.map(|key| format!("{PARENT} 1 IN DNSKEY {key}\n")).collect();
        std::fs::write(&wrong, theirs).unwrap();
        let said = assess(home, "warning", &right);
        assert!(said.trim().is_empty() || said.trim() == "{}", "{denial}: {said}");
        let all = assess(home, "info", &right);
        assert!(all.contains("\"SECURE\"") && !all.contains("BOGUS"), "{denial}: {all}");
        let said = assess(home, "warning", &wrong);
        assert!(said.contains("NO_TRUST_ANCHOR_SIGNING"), "{said}");
    }
}
