//! The table of all record types: for each its number, its mnemonic, and its RDATA field by field.
//!
//! Everything else here only interprets it: text to octets ([`super::read`]), octets to text
//! ([`super::show`]), octets checked, walked and decompressed ([`super::walk`]). A new type is a new
//! line; only a shape nobody used before needs a new [`Form`].
//!
//! [The registry](https://www.iana.org/assignments/dns-parameters) is the source. A type assigned
//! without a text form of its own has no line of fields and is written as `\#` ([RFC 3597] §5).
//!
//! [RFC 3597]: https://www.rfc-editor.org/rfc/rfc3597

use crate::wire::Type;

/// How one field of RDATA stands in text and on the wire. All numbers are big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    U8,
    U16,
    U32,
    U64,
    /// Seconds in 32 bits; text may use units, `1h30m`.
    Seconds,
    /// A moment in 32 bits; text is `YYYYMMDDHHmmSS` ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §3.2).
    Time,
    /// A number of 8 bits that text may also give by name, and how it is shown.
    Code8(&'static [(&'static str, u8)], Shown),
    /// As `Code8`, of 16 bits.
    Code16(&'static [(&'static str, u16)], Shown),
    /// A type's number; text is its mnemonic.
    TypeCode,
    V4,
    V6,
    Name(NameRule),
    /// Names up to the end; may be none.
    Names,
    /// One character-string ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §3.3).
    Text,
    /// One to so many character-strings up to the end.
    Texts(usize),
    /// Octets up to the end, written as one string: no length on the wire, so no limit of 255.
    Octets,
    /// A character-string of letters and digits ([RFC 8659](https://www.rfc-editor.org/rfc/rfc8659) §4.1).
    Tag,
    /// Octets up to the end, at least so many, in hexadecimal; text may hold blanks.
    Hex(usize),
    /// Octets up to the end, at least so many, in base64; text may hold blanks.
    Base64(usize),
    /// As `Base64(0)`, but none is written `-` ([draft-durand-doa-over-dns](https://www.ietf.org/archive/id/draft-durand-doa-over-dns-03.txt)).
    Base64OrDash,
    /// Length octet and octets in hexadecimal; none is written `-` ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §3.3).
    Salt,
    /// Length octet and octets in base32hex without padding ([RFC 5155](https://www.rfc-editor.org/rfc/rfc5155) §3.3).
    Hash,
    /// Type bit maps up to the end ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §4.1.2); none only where the flag allows.
    Types {
        may_be_empty: bool,
    },
    /// The type bit map of NXT: one map of up to 16 octets ([RFC 2535](https://www.rfc-editor.org/rfc/rfc2535) §5.2).
    OldTypes,
    /// 64 bits as four groups of four hexadecimal digits ([RFC 6742](https://www.rfc-editor.org/rfc/rfc6742) §2.1.3).
    Groups,
    /// So many octets as pairs of hexadecimal digits joined by `-` ([RFC 7043](https://www.rfc-editor.org/rfc/rfc7043)).
    Eui(usize),
    /// `0x`, digits, dots ([RFC 1706](https://www.rfc-editor.org/rfc/rfc1706) §5).
    Nsap,
    /// An ATM address: hexadecimal, or `+` and digits.
    Atma,
    /// Protocol and services ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §3.4.2).
    Services,
    /// A location ([RFC 1876](https://www.rfc-editor.org/rfc/rfc1876)).
    Loc,
    /// Address prefixes ([RFC 3123](https://www.rfc-editor.org/rfc/rfc3123)).
    Apl,
    /// SvcParams ([RFC 9460](https://www.rfc-editor.org/rfc/rfc9460) §2).
    SvcParams,
    /// What the second octet of the RDATA, masked, announces: nothing, an address or a name ([RFC 4025](https://www.rfc-editor.org/rfc/rfc4025) §2.5).
    Gateway {
        mask: u8,
    },
    /// The discovery bit and the relay type in one octet ([RFC 8777](https://www.rfc-editor.org/rfc/rfc8777) §4).
    RelayType,
    /// Algorithm, host identity tag and public key ([RFC 5205](https://www.rfc-editor.org/rfc/rfc5205) §5).
    HostIdentity,
    /// Prefix length and the rest of the address ([RFC 2874](https://www.rfc-editor.org/rfc/rfc2874) §3.1).
    A6Suffix,
    /// A name that is there unless the prefix length is 0.
    A6Name,
}

/// How a code that has a name is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Number,
    Name,
}

/// What may be done to a name inside RDATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameRule {
    /// May be compressed ([RFC 3597](https://www.rfc-editor.org/rfc/rfc3597) §4), lower case in canonical form.
    Well,
    /// As `Well`, and its addresses are additional data.
    WellTarget,
    /// Never compressed, lower case in canonical form ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) §6.2).
    Folded,
    /// As `Folded`, and its addresses are additional data.
    FoldedTarget,
    /// Never compressed, case kept in canonical form ([RFC 6840](https://www.rfc-editor.org/rfc/rfc6840) §5.1).
    Plain,
    /// As `Plain`, and its addresses are additional data.
    PlainTarget,
}

impl NameRule {
    pub(super) fn compressible(self) -> bool {
        matches!(self, NameRule::Well | NameRule::WellTarget)
    }

    pub(super) fn folded(self) -> bool {
        !matches!(self, NameRule::Plain | NameRule::PlainTarget)
    }

    pub(super) fn target(self) -> bool {
        matches!(self, NameRule::WellTarget | NameRule::FoldedTarget | NameRule::PlainTarget)
    }
}

/// One field: what people call it, and how it stands.
pub(super) type Field = (&'static str, Form);

/// One type.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) rtype: Type,
    pub(super) mnemonic: &'static str,
    /// None: the type has no text form but `\#`, or never stands in a zone.
    pub(super) fields: Option<&'static [Field]>,
}

const fn kind(code: u16, mnemonic: &'static str, fields: &'static [Field]) -> Kind {
    Kind { rtype: Type(code), mnemonic, fields: Some(fields) }
}

const fn bare(code: u16, mnemonic: &'static str) -> Kind {
    Kind { rtype: Type(code), mnemonic, fields: None }
}

/// DNSSEC algorithms by name ([RFC 4034](https://www.rfc-editor.org/rfc/rfc4034) A.1 and the registry).
const ALGORITHMS: &[(&str, u8)] = &[
    ("RSAMD5", 1),
    ("DH", 2),
    ("DSA", 3),
    ("ECC", 4),
    ("RSASHA1", 5),
    ("DSA-NSEC3-SHA1", 6),
    ("RSASHA1-NSEC3-SHA1", 7),
    ("RSASHA256", 8),
    ("RSASHA512", 10),
    ("ECC-GOST", 12),
    ("ECDSAP256SHA256", 13),
    ("ECDSAP384SHA384", 14),
    ("ED25519", 15),
    ("ED448", 16),
    ("SM2SM3", 17),
    ("ECC-GOST12", 23),
    ("INDIRECT", 252),
    ("PRIVATEDNS", 253),
    ("PRIVATEOID", 254),
];

/// Certificate types ([RFC 4398](https://www.rfc-editor.org/rfc/rfc4398) §2.1).
const CERTIFICATES: &[(&str, u16)] = &[
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Certificate usages, selectors and matching types ([RFC 7218](https://www.rfc-editor.org/rfc/rfc7218) §2).
const TLSA_USAGES: &[(&str, u8)] =
    &[("PKIX-TA", 0), ("PKIX-EE", 1), ("DANE-TA", 2), ("DANE-EE", 3), ("PRIVCERT", 255)];
const TLSA_SELECTORS: &[(&str, u8)] = &[("CERT", 0), ("SPKI", 1), ("PRIVSEL", 255)];
const TLSA_MATCHES: &[(&str, u8)] =
    &[("FULL", 0), ("SHA2-256", 1), ("SHA2-512", 2), ("PRIVMATCH", 255)];

/// Notification schemes ([RFC 9859](https://www.rfc-editor.org/rfc/rfc9859) §2.2).
const DSYNC_SCHEMES: &[(&str, u8)] = &[("NOTIFY", 1)];

const ALGORITHM: Form = Form::Code8(ALGORITHMS, Shown::Number);

const SIGNATURE: &[Field] = &[
    ("type covered", Form::TypeCode),
    ("algorithm", ALGORITHM),
    ("labels", Form::U8),
    ("original TTL", Form::Seconds),
    ("expiration", Form::Time),
    ("inception", Form::Time),
    ("key tag", Form::U16),
    ("signer", Form::Name(NameRule::Folded)),
    ("signature", Form::Base64(1)),
];

// An empty key is what CDNSKEY says to ask for the deletion of DS, and what KEY says for "no key".
const PUBLIC_KEY: &[Field] = &[
    ("flags", Form::U16),
    ("protocol", Form::U8),
    ("algorithm", ALGORITHM),
    ("key", Form::Base64(0)),
];

const DIGEST: &[Field] = &[
    ("key tag", Form::U16),
    ("algorithm", ALGORITHM),
    ("digest type", Form::U8),
    ("digest", Form::Hex(1)),
];

const TLSA: &[Field] = &[
    ("certificate usage", Form::Code8(TLSA_USAGES, Shown::Number)),
    ("selector", Form::Code8(TLSA_SELECTORS, Shown::Number)),
    ("matching type", Form::Code8(TLSA_MATCHES, Shown::Number)),
    ("data", Form::Hex(1)),
];

const SERVICE: &[Field] = &[
    ("priority", Form::U16),
    ("target", Form::Name(NameRule::PlainTarget)),
    ("parameters", Form::SvcParams),
];

const TEXTS: &[Field] = &[("text", Form::Texts(usize::MAX))];
const WELL: Form = Form::Name(NameRule::Well);
const FOLDED: Form = Form::Name(NameRule::Folded);
const PLAIN: Form = Form::Name(NameRule::Plain);
const HOST: Form = Form::Name(NameRule::WellTarget);
const FOLDED_HOST: Form = Form::Name(NameRule::FoldedTarget);

/// All types, by number.
pub(super) static TABLE: &[Kind] = &[
    kind(1, "A", &[("address", Form::V4)]),
    kind(2, "NS", &[("name server", HOST)]),
    kind(3, "MD", &[("mail destination", HOST)]),
    kind(4, "MF", &[("mail forwarder", HOST)]),
    kind(5, "CNAME", &[("target", WELL)]),
    kind(
        6,
        "SOA",
        &[
            ("primary", WELL),
            ("mailbox", WELL),
            ("serial", Form::U32),
            ("refresh", Form::Seconds),
            ("retry", Form::Seconds),
            ("expire", Form::Seconds),
            ("minimum", Form::Seconds),
        ],
    ),
    kind(7, "MB", &[("mailbox host", HOST)]),
    kind(8, "MG", &[("group member", WELL)]),
    kind(9, "MR", &[("new mailbox", WELL)]),
    bare(10, "NULL"),
    kind(11, "WKS", &[("address", Form::V4), ("services", Form::Services)]),
    kind(12, "PTR", &[("target", WELL)]),
    kind(13, "HINFO", &[("CPU", Form::Text), ("OS", Form::Text)]),
    kind(14, "MINFO", &[("responsible mailbox", WELL), ("error mailbox", WELL)]),
    kind(15, "MX", &[("preference", Form::U16), ("exchange", HOST)]),
    kind(16, "TXT", TEXTS),
    kind(17, "RP", &[("mailbox", FOLDED), ("text name", FOLDED)]),
    kind(18, "AFSDB", &[("subtype", Form::U16), ("host", FOLDED_HOST)]),
    kind(19, "X25", &[("PSDN address", Form::Text)]),
    kind(20, "ISDN", &[("ISDN address", Form::Texts(2))]),
    kind(21, "RT", &[("preference", Form::U16), ("intermediate host", FOLDED_HOST)]),
    kind(22, "NSAP", &[("address", Form::Nsap)]),
    kind(23, "NSAP-PTR", &[("target", PLAIN)]),
    kind(24, "SIG", SIGNATURE),
    kind(25, "KEY", PUBLIC_KEY),
    kind(26, "PX", &[("preference", Form::U16), ("RFC 822 name", FOLDED), ("X.400 name", FOLDED)]),
    kind(
        27,
        "GPOS",
        &[("longitude", Form::Text), ("latitude", Form::Text), ("altitude", Form::Text)],
    ),
    kind(28, "AAAA", &[("address", Form::V6)]),
    kind(29, "LOC", &[("location", Form::Loc)]),
    kind(30, "NXT", &[("next name", FOLDED), ("types", Form::OldTypes)]),
    kind(31, "EID", &[("endpoint", Form::Hex(1))]),
    kind(32, "NIMLOC", &[("locator", Form::Hex(1))]),
    kind(
        33,
        "SRV",
        &[
            ("priority", Form::U16),
            ("weight", Form::U16),
            ("port", Form::U16),
            ("target", FOLDED_HOST),
        ],
    ),
    kind(34, "ATMA", &[("address", Form::Atma)]),
    kind(
        35,
        "NAPTR",
        &[
            ("order", Form::U16),
            ("preference", Form::U16),
            ("flags", Form::Text),
            ("services", Form::Text),
            ("regular expression", Form::Text),
            ("replacement", FOLDED_HOST),
        ],
    ),
    kind(36, "KX", &[("preference", Form::U16), ("exchanger", FOLDED_HOST)]),
    kind(
        37,
        "CERT",
        &[
            ("certificate type", Form::Code16(CERTIFICATES, Shown::Name)),
            ("key tag", Form::U16),
            ("algorithm", ALGORITHM),
            ("certificate", Form::Base64(1)),
        ],
    ),
    kind(38, "A6", &[("prefix length and suffix", Form::A6Suffix), ("prefix name", Form::A6Name)]),
    kind(39, "DNAME", &[("target", FOLDED)]),
    kind(40, "SINK", &[("coding", Form::U8), ("subcoding", Form::U8), ("data", Form::Base64(0))]),
    bare(41, "OPT"),
    kind(42, "APL", &[("prefixes", Form::Apl)]),
    kind(43, "DS", DIGEST),
    kind(
        44,
        "SSHFP",
        &[("algorithm", Form::U8), ("fingerprint type", Form::U8), ("fingerprint", Form::Hex(1))],
    ),
    kind(
        45,
        "IPSECKEY",
        &[
            ("precedence", Form::U8),
            ("gateway type", Form::U8),
            ("algorithm", Form::U8),
            ("gateway", Form::Gateway { mask: 0xFF }),
            ("key", Form::Base64(0)),
        ],
    ),
    kind(46, "RRSIG", SIGNATURE),
    kind(47, "NSEC", &[("next name", PLAIN), ("types", Form::Types { may_be_empty: false })]),
    kind(48, "DNSKEY", PUBLIC_KEY),
    kind(49, "DHCID", &[("identifier", Form::Base64(1))]),
    kind(
        50,
        "NSEC3",
        &[
            ("hash algorithm", Form::U8),
            ("flags", Form::U8),
            ("iterations", Form::U16),
            ("salt", Form::Salt),
            ("next hashed owner", Form::Hash),
            ("types", Form::Types { may_be_empty: true }),
        ],
    ),
    kind(
        51,
        "NSEC3PARAM",
        &[
            ("hash algorithm", Form::U8),
            ("flags", Form::U8),
            ("iterations", Form::U16),
            ("salt", Form::Salt),
        ],
    ),
    kind(52, "TLSA", TLSA),
    kind(53, "SMIMEA", TLSA),
    kind(55, "HIP", &[("host identity", Form::HostIdentity), ("rendezvous servers", Form::Names)]),
    kind(56, "NINFO", TEXTS),
    kind(57, "RKEY", PUBLIC_KEY),
    kind(58, "TALINK", &[("previous", PLAIN), ("next", PLAIN)]),
    kind(59, "CDS", DIGEST),
    kind(60, "CDNSKEY", PUBLIC_KEY),
    kind(61, "OPENPGPKEY", &[("key", Form::Base64(1))]),
    kind(
        62,
        "CSYNC",
        &[
            ("serial", Form::U32),
            ("flags", Form::U16),
            ("types", Form::Types { may_be_empty: true }),
        ],
    ),
    kind(
        63,
        "ZONEMD",
        &[
            ("serial", Form::U32),
            ("scheme", Form::U8),
            ("hash algorithm", Form::U8),
            ("digest", Form::Hex(1)),
        ],
    ),
    kind(64, "SVCB", SERVICE),
    kind(65, "HTTPS", SERVICE),
    kind(
        66,
        "DSYNC",
        &[
            ("type", Form::TypeCode),
            ("scheme", Form::Code8(DSYNC_SCHEMES, Shown::Name)),
            ("port", Form::U16),
            ("target", PLAIN),
        ],
    ),
    kind(67, "HHIT", &[("data", Form::Base64(1))]),
    kind(68, "BRID", &[("data", Form::Base64(1))]),
    kind(99, "SPF", TEXTS),
    bare(100, "UINFO"),
    bare(101, "UID"),
    bare(102, "GID"),
    bare(103, "UNSPEC"),
    kind(104, "NID", &[("preference", Form::U16), ("node identifier", Form::Groups)]),
    kind(105, "L32", &[("preference", Form::U16), ("locator", Form::V4)]),
    kind(106, "L64", &[("preference", Form::U16), ("locator", Form::Groups)]),
    kind(
        107,
        "LP",
        &[("preference", Form::U16), ("locator name", Form::Name(NameRule::PlainTarget))],
    ),
    kind(108, "EUI48", &[("address", Form::Eui(6))]),
    kind(109, "EUI64", &[("address", Form::Eui(8))]),
    bare(128, "NXNAME"),
    bare(249, "TKEY"),
    bare(250, "TSIG"),
    bare(251, "IXFR"),
    bare(252, "AXFR"),
    bare(253, "MAILB"),
    bare(254, "MAILA"),
    bare(255, "ANY"),
    kind(256, "URI", &[("priority", Form::U16), ("weight", Form::U16), ("target", Form::Octets)]),
    kind(257, "CAA", &[("flags", Form::U8), ("tag", Form::Tag), ("value", Form::Octets)]),
    kind(258, "AVC", TEXTS),
    kind(
        259,
        "DOA",
        &[
            ("enterprise", Form::U32),
            ("type", Form::U32),
            ("location", Form::U8),
            ("media type", Form::Text),
            ("data", Form::Base64OrDash),
        ],
    ),
    kind(
        260,
        "AMTRELAY",
        &[
            ("precedence", Form::U8),
            ("discovery and relay type", Form::RelayType),
            ("relay", Form::Gateway { mask: 0x7F }),
        ],
    ),
    kind(261, "RESINFO", TEXTS),
    kind(262, "WALLET", TEXTS),
    kind(263, "CLA", TEXTS),
    kind(264, "IPN", &[("node number", Form::U64)]),
    kind(32768, "TA", DIGEST),
    kind(32769, "DLV", DIGEST),
];

/// Types below this number are found by one look; the few above by a search.
const DIRECT: usize = 265;

/// Position in [`TABLE`] plus one, by number.
static BY_CODE: [u8; DIRECT] = {
    assert!(TABLE.len() < 255, "positions are kept in one octet");
    let mut index = [0; DIRECT];
    let mut at = 0;
    while at < TABLE.len() {
        let code = TABLE[at].rtype.0 as usize;
        assert!(at == 0 || TABLE[at - 1].rtype.0 < TABLE[at].rtype.0, "the table is not sorted");
        if code < DIRECT {
            index[code] = at as u8 + 1;
        }
        at += 1;
    }
    index
};

/// Slots of the hash table over mnemonics: at most half are taken.
const SLOTS: usize = 256;

/// Position in [`TABLE`] plus one, by mnemonic; collisions go to the next free slot.
static BY_MNEMONIC: [u8; SLOTS] = {
    assert!(TABLE.len() * 2 <= SLOTS, "the hash table is too full to be fast");
    let mut slots = [0; SLOTS];
    let mut at = 0;
    while at < TABLE.len() {
        let mut slot = slot_of(TABLE[at].mnemonic.as_bytes());
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8 + 1;
        at += 1;
    }
    slots
};

// Not keyed: its keys are the mnemonics above, fixed when this is compiled.
const fn slot_of(mnemonic: &[u8]) -> usize {
    let mut hash = mnemonic.len();
    let mut at = 0;
    while at < mnemonic.len() {
        hash = (hash * 31) ^ (mnemonic[at].to_ascii_uppercase() as usize);
        hash &= 0xFF_FFFF;
        at += 1;
    }
    (hash ^ (hash >> 8)) % SLOTS
}

/// The line of a type; none for one the registry did not know.
pub(super) fn by_type(rtype: Type) -> Option<&'static Kind> {
    match BY_CODE.get(usize::from(rtype.0)) {
        Some(0) => None,
        Some(&position) => TABLE.get(usize::from(position) - 1),
        None => TABLE
            .iter()
            .rev()
            .take_while(|kind| kind.rtype >= rtype)
            .find(|kind| kind.rtype == rtype),
    }
}

/// The line of a mnemonic, whatever its case.
pub(super) fn by_mnemonic(mnemonic: &[u8]) -> Option<&'static Kind> {
    let mut slot = slot_of(mnemonic);
    loop {
        let position = usize::from(*BY_MNEMONIC.get(slot)?).checked_sub(1)?;
        let kind = TABLE.get(position)?;
        if kind.mnemonic.as_bytes().eq_ignore_ascii_case(mnemonic) {
            return Some(kind);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The fields of a type that has a text form of its own.
pub(super) fn fields(rtype: Type) -> Option<&'static [Field]> {
    by_type(rtype).and_then(|kind| kind.fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found_by_number_and_by_mnemonic() {
        for kind in TABLE {
            assert_eq!(by_type(kind.rtype).unwrap().mnemonic, kind.mnemonic);
            let lower = kind.mnemonic.to_ascii_lowercase();
            assert_eq!(by_mnemonic(lower.as_bytes()).unwrap().rtype, kind.rtype);
        }
        assert!(by_type(Type(54)).is_none() && by_type(Type(40000)).is_none());
        assert!(by_mnemonic(b"NOSUCH").is_none() && by_mnemonic(b"").is_none());
    }

    #[test]
    fn what_runs_to_the_end_stands_last() {
        for kind in TABLE {
            for (at, (name, form)) in kind.fields.unwrap_or_default().iter().enumerate() {
                let to_the_end = matches!(
                    form,
                    Form::Names
                        | Form::Texts(_)
                        | Form::Octets
                        | Form::Hex(_)
                        | Form::Base64(_)
                        | Form::Base64OrDash
                        | Form::Types { .. }
                        | Form::OldTypes
                        | Form::Nsap
                        | Form::Atma
                        | Form::Services
                        | Form::Apl
                        | Form::SvcParams
                );
                let last = at + 1 == kind.fields.unwrap().len();
                assert!(last || !to_the_end, "{} {name}", kind.mnemonic);
            }
        }
    }
}
