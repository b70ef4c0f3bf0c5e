//! Keys that come and go: from BIND and Knot DNS, to BIND, from other providers, and with zones that
//! others signed.

use super::*;
use crate::server::{nameplane, skipped};

fn tool(words: &[&str], dir: &Path) -> Option<String> {
    let output = Command::new(words[0]).args(&words[1..]).current_dir(dir).output();
    let Ok(output) = output else {
        skipped(&format!("{} is not installed", words[0]));
        return None;
    };
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words:?}: {error}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cli(server: &Server, words: &[&str]) -> (bool, String) {
    let mut command = nameplane();
    command.args(words).env("NAMEPLANE_SERVER", format!("http://{}", server.http));
    let output = command.env("NAMEPLANE_TOKEN", server.operator_token()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// A key of BIND for the child: its two files.
fn bind_key(dir: &Path, algorithm: &str) -> Option<(String, String)> {
    let stem = tool(
        &["dnssec-keygen", "-q", "-a", algorithm, "-f", "KSK", CHILD.trim_end_matches('.')],
        dir,
    )?;
    let half = |ending: &str| dir.join(format!("{stem}.{ending}")).to_str().unwrap().to_owned();
    Some((half("key"), half("private")))
}

/// Goal: a key of BIND's files, brought along before the switch, is the one the zone is signed with;
/// exported again it is the same key, with which BIND signs.
#[test]
fn a_key_from_bind_signs_the_zone_and_goes_back_to_bind() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let Some((public, private)) = bind_key(home.path(), "ECDSAP256SHA256") else { return };
    let (done, tag) = cli(&server, &["dnssec", "import-key", CHILD, &public, &private]);
    assert!(done, "{tag}");
    let tag = tag.trim();
    switch(&server, CHILD, true);
    let keys: Vec<String> = tags(&status(&server, CHILD)).iter().map(u64::to_string).collect();
    assert_eq!(keys, [tag], "no other key was made");
    verify_with_tools(&server, home.path(), CHILD);

    let out = home.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let (done, said) =
        cli(&server, &["dnssec", "export-key", CHILD, tag, "--dir", out.to_str().unwrap()]);
    assert!(done, "{said}");
    let files: Vec<&Path> = said.lines().map(Path::new).collect();
    let dnskey = |file: &str| {
        let text = file.split_once("DNSKEY").unwrap().1;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let compact = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        format!("{} {}", words[..3].join(" "), words[3..].concat())
    };
    assert_eq!(compact(&dnskey(&read(files[0]))), compact(&dnskey(&read(Path::new(&public)))));
    let path = format!("/v1/zones/{CHILD}/dnssec/keys/{tag}/export");
    assert_eq!(server.api("POST", &path, None)["private"], read(files[1]).as_str());
    let zone = "@ 60 SOA ns host 1 2 3 86400 5\n@ 60 NS ns\nns 60 A 127.0.0.1\n";
    std::fs::write(out.join("zone"), format!("{zone}{}", read(files[0]))).unwrap();
    let stem = files[0].with_extension("");
    let stem = stem.file_name().unwrap().to_str().unwrap();
    let signed = tool(&["dnssec-signzone", "-z", "-o", CHILD, "zone", stem], &out);
    if signed.is_some() {
        tool(&["dnssec-verify", "-q", "-z", "-o", CHILD, "zone.signed"], &out);
        // As BIND signs by itself: by the keys it finds, if they are in use.
        tool(&["dnssec-signzone", "-S", "-z", "-K", ".", "-o", CHILD, "-f", "smart", "zone"], &out);
        tool(&["dnssec-verify", "-q", "-z", "-o", CHILD, "smart"], &out);
    }
    // That it was given out stands in the events.
    let events = server.api("GET", "/v1/events?limit=1000", None).to_string();
    assert!(events.contains("dnssec.key_exported") && events.contains("dnssec.key_imported"));
}

/// Goal: a key as Knot DNS keeps it comes in, and the zone rolls over to it while it is signed.
#[test]
fn a_key_from_knot_is_rolled_to_while_the_zone_is_signed() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    switch(&server, CHILD, true);
    let first = tags(&wait(&server, CHILD, "is secure", is_secure_at_rest));
    let kasp = home.path().join("kasp");
    std::fs::create_dir(&kasp).unwrap();
    let knot = |words: &[&str]| {
        tool(&[&["/usr/sbin/keymgr", "-D", "kasp", CHILD], words].concat(), home.path())
    };
    let Some(id) = knot(&["generate", "algorithm=13", "ksk=yes", "zsk=yes"]) else { return };
    let public = home.path().join("knot.key");
    std::fs::write(&public, knot(&["dnskey"]).unwrap()).unwrap();
    let private = kasp.join("keys").join(format!("{}.pem", id.lines().last().unwrap().trim()));
    let body = json!({"public": read(&public), "private": read(&private)});
    let path = format!("/v1/zones/{CHILD}/dnssec/keys");
    let tag = server.api("POST", &path, Some(&body))["tag"].as_u64().unwrap();
    let rolled = wait(&server, CHILD, "has rolled to it", |status| {
        is_secure_at_rest(status) && tags(status) == [tag]
    });
    assert!(!first.contains(&tag), "{rolled:#}");
    verify_with_tools(&server, home.path(), CHILD);

    // What its policy has no place for would leave at once: it is refused.
    let Some((public, private)) = bind_key(home.path(), "ED25519") else { return };
    let (public, private) = (read(Path::new(&public)), read(Path::new(&private)));
    let (code, why) =
        refused(&server, "POST", &path, &json!({"public": public, "private": private}));
    assert!(code == 409 && why.contains("give the zone a policy that fits first"), "{code} {why}");
}

/// Goal: what is no key to sign with is refused, with the reason, and no secret is repeated.
#[test]
fn keys_that_do_not_fit_are_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    let path = format!("/v1/zones/{CHILD}/dnssec/keys");
    let import = |public: &str, private: &str| {
        let body = json!({"public": read(Path::new(public)), "private": read(Path::new(private))});
        let (code, why) = refused(&server, "POST", &path, &body);
        assert_eq!(code, 422, "{why}");
        let secret = read(Path::new(private));
        let line = secret.lines().find(|line| line.starts_with("Private")).unwrap();
        assert!(!why.contains(line.split_once(": ").unwrap().1), "{why}");
        why
    };
    let (Some(old), Some(big), Some(one), Some(other)) = (
        bind_key(home.path(), "NSEC3RSASHA1"),
        bind_key(home.path(), "ED448"),
        bind_key(home.path(), "ED25519"),
        bind_key(home.path(), "ED25519"),
    ) else {
        return;
    };
    assert!(import(&old.0, &old.1).contains("SHA-1"));
    assert!(import(&big.0, &big.1).contains("Ed448"));
    let mixed = import(&one.0, &other.1);
    assert!(mixed.contains("match") || mixed.contains("belong"), "{mixed}");
    let good = json!({"public": read(Path::new(&one.0)), "private": read(Path::new(&one.1))});
    server.api("POST", &path, Some(&good));
    let (code, twice) = refused(&server, "POST", &path, &good);
    assert_eq!(code, 409);
    assert!(twice.contains("already"), "{twice}");
}

/// Goal: RFC 8901, model 2: another provider's keys stand in our DNSKEY and CDS, and leave again.
#[test]
fn rfc8901_a_key_of_another_provider_is_published_vouched_for_and_withdrawn() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    switch(&server, PARENT, true);
    switch(&server, CHILD, true);
    let own = tags(&wait(&server, CHILD, "is secure", is_secure_at_rest))[0];
    let Some((public, _)) = bind_key(home.path(), "ECDSAP256SHA256") else { return };
    let dnskey = read(Path::new(&public)).split_once("DNSKEY ").unwrap().1.trim().to_owned();
    let path = format!("/v1/zones/{CHILD}/dnssec/foreign-keys");
    server.api("PUT", &path, Some(&json!({ "dnskeys": [dnskey] })));
    let both = wait(&server, CHILD, "has both keys", |status| {
        is_secure_at_rest(status) && tags(status).len() == 2
    });
    let foreign = both["keys"].as_array().unwrap().iter().find(|key| key["foreign"] == true);
    let foreign = foreign.unwrap();
    assert_eq!((&foreign["published"], &foreign["signs_zone"]), (&json!(true), &json!(false)));
    assert_eq!(rdata(&server, CHILD, "DNSKEY").len(), 2);
    assert_eq!(rdata(&server, CHILD, "CDS").len(), 2);
    assert_eq!(rdata(&server, CHILD, "DS").len(), 2, "the parent vouches for both");
    let sigs = records(&server, CHILD, "DNSKEY");
    let signers: Vec<&str> = sigs
        .iter()
        .filter(|line| line.starts_with("RRSIG"))
        .map(|line| line.split(' ').nth(7).unwrap())
        .collect();
    assert_eq!(signers, [own.to_string()], "signed with our own alone");
    verify_by_others(&server, home.path(), CHILD);

    let other = tool(&["dnssec-keygen", "-q", "-a", "ED25519", "-f", "KSK", "x"], home.path());
    let other = read(&home.path().join(format!("{}.key", other.unwrap())));
    let odd = json!({ "dnskeys": [other.split_once("DNSKEY ").unwrap().1.trim()] });
    let (code, why) = refused(&server, "PUT", &path, &odd);
    assert_eq!(code, 409);
    assert!(why.contains("RFC 8901 §4"), "{why}");
    for (odd, reason) in [
        (json!([dnskey.replacen("257 ", "0 ", 1)]), "flags are not those of a zone key"),
        (json!(["257 3 13 AAAA"]), "public key of a wrong length"),
        (json!([dnskey, dnskey]), "two keys have the tag"),
    ] {
        let (code, why) = refused(&server, "PUT", &path, &json!({ "dnskeys": odd }));
        assert!(code == 422 && why.contains(reason), "{code} {why}");
    }

    server.api("PUT", &path, Some(&json!({ "dnskeys": [] })));
    wait(&server, CHILD, "has its own alone", |status| {
        is_secure_at_rest(status) && tags(status) == [own]
    });
    assert_eq!(rdata(&server, CHILD, "DNSKEY").len(), 1);
    assert_eq!(rdata(&server, CHILD, "DS").len(), 1);
}

/// A zone that BIND signed, and the files of its key.
pub fn presigned(dir: &Path, apex: &str) -> Option<(String, String, String)> {
    presigned_at(dir, apex, 5)
}

/// The same at a serial.
pub fn presigned_at(dir: &Path, apex: &str, serial: u32) -> Option<(String, String, String)> {
    let stem = tool(&["dnssec-keygen", "-q", "-a", "ECDSAP256SHA256", "-f", "KSK", apex], dir)?;
    let (key, private) = (dir.join(format!("{stem}.key")), dir.join(format!("{stem}.private")));
    let zone = format!(
        "$TTL 1\n@ SOA ns host {serial} 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n"
    );
    std::fs::write(dir.join("plain"), format!("{zone}{}", read(&key))).unwrap();
    tool(&["dnssec-signzone", "-z", "-o", apex, "-O", "full", "plain", &stem], dir)?;
    Some((read(&dir.join("plain.signed")), read(&key), read(&private)))
}

/// Goal: a zone that others signed stays as it is until somebody says strip; the choice is explained.
/// Without its keys it is stripped only when its parent no longer vouches for them: no resolver fails.
#[test]
fn a_pre_signed_zone_stays_so_or_is_stripped_and_signed_here() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let Some((signed, ..)) = presigned(home.path(), CHILD) else { return };
    import(&server, CHILD, &signed);
    assert_eq!(status(&server, CHILD)["state"], "presigned");
    switch(&server, PARENT, true);
    let parent = state(&server, PARENT, "ds_pending");
    let dsset = format!("dsset-{CHILD}");
    let ds = read(&home.path().join(dsset));
    let ds: Vec<&str> = ds.split_once(" DS").unwrap().1.split_whitespace().collect();
    let ds = format!("{} {}", ds[..3].join(" "), ds[3..].concat());
    let edit_ds = |op: &str| {
        let mut edit = json!({"op": op, "name": "child", "type": "DS", "records": [ds]});
        if op == "add" {
            edit["ttl"] = json!(2);
        }
        let body = json!({ "zones": [{ "zone": PARENT, "edits": [edit] }] });
        server.api("POST", "/v1/change-orders", Some(&body));
    };
    edit_ds("add");
    let anchor = format!("{PARENT} DS {}", parent["ds"][0].as_str().unwrap());
    let unbound = unbound(home.path(), &server, &[anchor]);
    let www = format!("www.{CHILD}");
    if let Some(unbound) = &unbound {
        comes_to(unbound.address, &www, (0, true), &status(&server, CHILD));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching = unbound.as_ref().map(|unbound| watch(unbound.address, Arc::clone(&stop)));

    let before = [records(&server, CHILD, "DNSKEY"), records(&server, CHILD, "SOA")];
    let path = format!("/v1/zones/{CHILD}/dnssec?push=true");
    let (code, why) = refused(&server, "PUT", &path, &json!({"on": true}));
    assert_eq!(code, 422);
    assert!(why.contains("leave it so") && why.contains("strip"), "{why}");
    let (code, why) = refused(&server, "PUT", &path, &json!({"on": false}));
    assert!(code == 422 && why.contains("nothing is signed here"), "{code} {why}");
    verify_with_tools(&server, home.path(), CHILD);
    server.api("PUT", &path, Some(&json!({"on": true, "strip": true})));
    wait(&server, CHILD, "has looked at its parent", |status| {
        status["parent"]["looked_at"].is_string() && tags(status).len() == 2
    });
    thread::sleep(Duration::from_secs(5));
    let after = [records(&server, CHILD, "DNSKEY"), records(&server, CHILD, "SOA")];
    assert_eq!(before, after, "its parent vouches for a key that is not here");

    edit_ds("remove");
    wait(&server, CHILD, "is secure", is_secure_at_rest);
    let keys = rdata(&server, CHILD, "DNSKEY");
    assert!(keys.len() == 1 && !before[0].concat().contains(&keys[0]), "{keys:?}");
    verify_with_tools(&server, home.path(), CHILD);
    stop.store(true, Ordering::Relaxed);
    if let Some(watching) = watching {
        let (asked, failed) = watching.join().unwrap();
        assert!(
            asked > 50 && failed.is_empty(),
            "{failed:#?}\n{:#}",
            status(&server, CHILD)["history"]
        );
    }
}

/// Goal: with its keys brought along, a zone that others signed is signed here at once, by the same key.
#[test]
fn a_pre_signed_zone_is_taken_over_with_its_key() {
    let home = tempfile::tempdir().unwrap();
    let server = server(home.path());
    keep_policy(&server, &[]);
    let Some((signed, public, private)) = presigned(home.path(), "signed.test.") else { return };
    import(&server, "signed.test.", &signed);
    let keys = rdata(&server, "signed.test.", "DNSKEY");
    let body = json!({"public": public, "private": private});
    server.api("POST", "/v1/zones/signed.test./dnssec/keys", Some(&body));
    let path = "/v1/zones/signed.test./dnssec?push=true";
    server.api("PUT", path, Some(&json!({"on": true, "strip": true})));
    wait(&server, "signed.test.", "is signed here", |status| status["first_expiry_at"].is_string());
    assert_eq!(rdata(&server, "signed.test.", "DNSKEY"), keys, "the key its parent knows");
    let edit =
        json!({"op": "add", "name": "new", "type": "A", "ttl": 60, "records": ["192.0.2.9"]});
    let body = json!({ "zones": [{ "zone": "signed.test.", "edits": [edit] }] });
    server.api("POST", "/v1/change-orders", Some(&body));
    assert!(is_signed(&server, "new.signed.test.", "A"));
    verify_with_tools(&server, home.path(), "signed.test.");
}
