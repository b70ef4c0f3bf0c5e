//! The fuzz targets' corpora, put to the same claims on the stable toolchain.

#[path = "../fuzz/claims.rs"]
mod claims;

use std::fs;

fn replay(target: &str, claim: fn(&[u8])) {
    let mut count = 0;
    for entry in fs::read_dir(format!("tests/fuzz/corpus/{target}")).unwrap() {
        let path = entry.unwrap().path();
        // Shown only if the claim fails: the file that broke it.
        println!("{}", path.display());
        claim(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "an empty corpus proves nothing");
}

#[test]
fn the_corpus_of_messages_keeps_its_claims() {
    replay("message", claims::message);
}

#[test]
fn the_corpus_of_queries_keeps_its_claims() {
    replay("query", claims::query);
}

#[test]
fn the_corpus_of_opt_records_keeps_its_claims() {
    replay("edns", claims::edns);
}

#[test]
fn the_corpus_of_zone_files_keeps_its_claims() {
    replay("zone", claims::zone);
}
