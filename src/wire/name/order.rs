//! The canonical order of names ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.1), on octets in uncompressed wire form.

use std::cmp::Ordering;

use super::NAME_OCTETS_MAX;

/// Labels of one name, the root not counted: each takes two octets at least.
const LABELS_MAX: usize = NAME_OCTETS_MAX / 2;

/// Where the labels of an uncompressed name start, leftmost first, and how many there are.
fn label_starts(wire: &[u8]) -> ([u8; LABELS_MAX], usize) {
    let (mut starts, mut count, mut at) = ([0; LABELS_MAX], 0, 0usize);
    while let Some(&len @ 1..) = wire.get(at) {
        let Some(slot) = starts.get_mut(count) else { break };
        *slot = at as u8;
        count += 1;
        at += 1 + usize::from(len);
    }
    (starts, count)
}

/// Labels that most names have at most.
const LABELS_FEW: usize = 12;

/// As [`label_starts`], of a name with few labels; none for one with more.
fn few_label_starts(wire: &[u8]) -> Option<([u8; LABELS_FEW], usize)> {
    let (mut starts, mut count, mut at) = ([0; LABELS_FEW], 0, 0usize);
    while let Some(&len @ 1..) = wire.get(at) {
        *starts.get_mut(count)? = at as u8;
        count += 1;
        at += 1 + usize::from(len);
    }
    Some((starts, count))
}

/// The label whose length octet stands at `start`.
fn label_at(wire: &[u8], start: u8) -> &[u8] {
    let from = usize::from(start) + 1;
    let len = wire.get(usize::from(start)).map_or(0, |&len| usize::from(len));
    wire.get(from..from + len).unwrap_or_default()
}

/// Appends the [key](super::Name::key) of a name in uncompressed wire form.
pub fn push_key(wire: &[u8], key: &mut Vec<u8>) {
    let mut push = |starts: &[u8]| {
        starts.iter().rev().for_each(|start| push_key_label(label_at(wire, *start), key));
    };
    match few_label_starts(wire) {
        Some((starts, count)) => push(starts.get(..count).unwrap_or_default()),
        None => {
            let (starts, count) = label_starts(wire);
            push(starts.get(..count).unwrap_or_default());
        }
    }
}

fn push_key_label(label: &[u8], key: &mut Vec<u8>) {
    if label.iter().all(|&octet| octet > 1) {
        let from = key.len();
        key.extend_from_slice(label);
        key.get_mut(from..).unwrap_or_default().make_ascii_lowercase();
    } else {
        for octet in label {
            match octet.to_ascii_lowercase() {
                0 => key.extend_from_slice(&[1, 1]),
                1 => key.extend_from_slice(&[1, 2]),
                plain => key.push(plain),
            }
        }
    }
    key.push(0);
}

/// Compares two names in uncompressed wire form canonically ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.1).
pub fn canonical_cmp(left: &[u8], right: &[u8]) -> Ordering {
    match (few_label_starts(left), few_label_starts(right)) {
        (Some((lefts, left_count)), Some((rights, right_count))) => {
            let lefts = lefts.get(..left_count).unwrap_or_default();
            cmp_labels((left, lefts), (right, rights.get(..right_count).unwrap_or_default()))
        }
        _ => {
            let ((lefts, left_count), (rights, right_count)) =
                (label_starts(left), label_starts(right));
            let lefts = lefts.get(..left_count).unwrap_or_default();
            cmp_labels((left, lefts), (right, rights.get(..right_count).unwrap_or_default()))
        }
    }
}

/// Compares two names by their labels, which start at these places.
fn cmp_labels((left, lefts): (&[u8], &[u8]), (right, rights): (&[u8], &[u8])) -> Ordering {
    for (&l, &r) in lefts.iter().rev().zip(rights.iter().rev()) {
        let folded = |octet: &u8| octet.to_ascii_lowercase();
        let (l, r) = (label_at(left, l), label_at(right, r));
        // Mostly both are spelled the same.
        if l == r {
            continue;
        }
        match l.iter().map(folded).cmp(r.iter().map(folded)) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    lefts.len().cmp(&rights.len())
}
