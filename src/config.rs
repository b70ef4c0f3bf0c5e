//! The settings file: what an operator decides before there are customers.
//!
//! Each setting is written once, in the table at the foot of this file: its type, its default as
//! TOML, and what it means. From it come the parser, the defaults, and the reference page of the
//! manual ([`reference`]).
//!
//! Promises: every fault of a file is reported at once, each with its line; an unknown key is a
//! fault, never ignored; without a file everything has a default that works on loopback.
//!
//! Does not: read environment, look at addresses or directories, or know what the settings are for.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// UDP threads for one address: no machine has more cores.
pub const UDP_WORKERS_MAX: u32 = 1_024;

/// Octets of a UDP answer: everybody takes the least, and no path needs more than the most.
pub const UDP_OCTETS: std::ops::RangeInclusive<u16> = 512..=4096;

/// Octets of a text that is told in one string of a TXT record.
pub const TXT_OCTETS_MAX: usize = 255;

/// Answers a second, and limited ones to one that is sent truncated, that a bucket of the rate limit counts.
pub const RATE_MAX: u16 = 32_767;
pub const SLIP_MAX: u8 = 15;

/// What is wrong in a settings file. The operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A type a setting can have.
trait Setting: Sized {
    /// What must stand there, for a fault's text and the reference.
    const FORM: &'static str;

    /// Reads one value; `None` when it is of another form.
    fn read(value: &DeValue<'_>) -> Option<Self>;
}

impl Setting for bool {
    const FORM: &'static str = "true or false";
    fn read(value: &DeValue<'_>) -> Option<bool> {
        value.as_bool()
    }
}

impl Setting for u8 {
    const FORM: &'static str = "a whole number from 0 to 255";
    fn read(value: &DeValue<'_>) -> Option<u8> {
        u64::read(value)?.try_into().ok()
    }
}

impl Setting for u16 {
    const FORM: &'static str = "a whole number from 0 to 65535";
    fn read(value: &DeValue<'_>) -> Option<u16> {
        u64::read(value)?.try_into().ok()
    }
}

impl Setting for u32 {
    const FORM: &'static str = "a whole number from 0 to 4294967295";
    fn read(value: &DeValue<'_>) -> Option<u32> {
        u64::read(value)?.try_into().ok()
    }
}

impl Setting for u64 {
    const FORM: &'static str = "a whole number, 0 or greater";
    fn read(value: &DeValue<'_>) -> Option<u64> {
        let number = value.as_integer()?;
        u64::from_str_radix(number.as_str(), number.radix()).ok()
    }
}

impl Setting for String {
    const FORM: &'static str = "a text in quotes";
    fn read(value: &DeValue<'_>) -> Option<String> {
        value.as_str().map(str::to_owned)
    }
}

impl Setting for PathBuf {
    const FORM: &'static str = "a path in quotes";
    fn read(value: &DeValue<'_>) -> Option<PathBuf> {
        value.as_str().map(PathBuf::from)
    }
}

impl Setting for SocketAddr {
    const FORM: &'static str =
        "an address with its port in quotes, as \"127.0.0.1:53\" or \"[::1]:53\"";
    fn read(value: &DeValue<'_>) -> Option<SocketAddr> {
        value.as_str()?.parse().ok()
    }
}

impl Setting for IpNet {
    const FORM: &'static str =
        "a prefix or address in quotes, as \"192.0.2.0/24\" or \"2001:db8::1\"";
    fn read(value: &DeValue<'_>) -> Option<IpNet> {
        let text = value.as_str()?;
        text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    }
}

/// A secret of 16 octets, written as 32 hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Setting for Secret {
    const FORM: &'static str = "32 hex digits in quotes";
    fn read(value: &DeValue<'_>) -> Option<Secret> {
        let text = value.as_str().filter(|text| text.len() == 32)?;
        let mut octets = [0; 16];
        for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).ok()?;
            *octet = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Secret(octets))
    }
}

/// A list; a single value stands for a list of one.
impl<T: Setting> Setting for Vec<T> {
    const FORM: &'static str = T::FORM;
    fn read(value: &DeValue<'_>) -> Option<Vec<T>> {
        match value.as_array() {
            Some(array) => array.iter().map(|value| T::read(value.get_ref())).collect(),
            None => T::read(value).map(|one| vec![one]),
        }
    }
}

/// Absent is written by leaving the key out, or as `""`.
impl<T: Setting> Setting for Option<T> {
    const FORM: &'static str = T::FORM;
    fn read(value: &DeValue<'_>) -> Option<Option<T>> {
        match value.as_str() {
            Some("") => Some(None),
            _ => T::read(value).map(Some),
        }
    }
}

/// One setting as the reference shows it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub section: &'static str,
    pub key: &'static str,
    /// As TOML.
    pub default: &'static str,
    pub form: &'static str,
    pub meaning: &'static str,
}

/// Collects faults while keys are taken out of a parsed file; what is left over is unknown.
struct Reader<'t> {
    text: &'t str,
    root: DeTable<'t>,
    /// Where each key stood that was taken.
    places: Vec<(&'static str, &'static str, usize)>,
    faults: Vec<Fault>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, root: DeTable<'t>) -> Reader<'t> {
        Reader { text, root, places: Vec::new(), faults: Vec::new() }
    }

    fn take<T: Setting>(&mut self, entry: &Entry) -> Option<T> {
        let mut table = &mut self.root;
        for part in entry.section.split('.') {
            let DeValue::Table(inner) = table.get_mut(part)?.get_mut() else { return None };
            table = inner;
        }
        let value = table.remove(entry.key)?;
        self.places.push((entry.section, entry.key, value.span().start));
        let read = T::read(value.get_ref());
        if read.is_none() {
            let what = format!("[{}] {} must be {}", entry.section, entry.key, entry.form);
            self.fault(value.span().start, what);
        }
        read
    }

    /// What no key is wrong in by itself, told at the key that is there.
    fn together(&mut self, config: &Config) {
        for (section, key, what) in wrong_together(config) {
            let place = self.places.iter().find(|(of, named, _)| (*of, *named) == (section, key));
            self.fault(place.map_or(0, |(.., at)| *at), format!("[{section}] {what}"));
        }
    }

    fn fault(&mut self, at: usize, what: String) {
        let line = 1 + self.text.bytes().take(at).filter(|&octet| octet == b'\n').count();
        self.faults.push(Fault { line, what });
    }

    /// Everything no setting has taken is a key nobody knows.
    fn leftovers(&mut self) {
        let mut left = Vec::new();
        collect_leftovers(&self.root, "", &mut left);
        for (at, path) in left {
            let near = ENTRIES.iter().map(|entry| format!("{}.{}", entry.section, entry.key));
            let near = near.max_by_key(|known| likeness(known, &path)).unwrap_or_default();
            self.fault(at, format!("unknown key {path}: did you mean {near}?"));
        }
    }
}

/// What is wrong only with several settings together, or with the number of one: section, key, and why.
fn wrong_together(config: &Config) -> Vec<(&'static str, &'static str, String)> {
    let mut wrong = Vec::new();
    if config.dns.listen.is_empty() {
        wrong.push(("dns", "listen", "listen names no address: nobody could ask".to_owned()));
    }
    if config.dns.udp_workers > UDP_WORKERS_MAX {
        let what = format!("udp_workers is more than {UDP_WORKERS_MAX} threads for each address");
        wrong.push(("dns", "udp_workers", what));
    }
    if !UDP_OCTETS.contains(&config.dns.udp_octets_max) {
        let (least, most) = (UDP_OCTETS.start(), UDP_OCTETS.end());
        let what = format!("udp_octets_max must be from {least} to {most}");
        wrong.push(("dns", "udp_octets_max", what));
    }
    for (key, text) in [("server_id", &config.dns.server_id), ("version", &config.dns.version)] {
        if text.as_ref().is_some_and(|text| text.len() > TXT_OCTETS_MAX) {
            wrong.push(("dns", key, format!("{key} has more than {TXT_OCTETS_MAX} octets")));
        }
    }
    let limit = &config.rate_limit;
    for (key, value, most) in [
        ("responses_per_second", limit.responses_per_second, RATE_MAX),
        ("slip", limit.slip.into(), SLIP_MAX.into()),
    ] {
        if value > most {
            wrong.push(("dns.rate_limit", key, format!("{key} is more than {most}")));
        }
    }
    let shut =
        |resolver: &&SocketAddr| !config.net.dial.iter().any(|net| net.contains(&resolver.ip()));
    if let Some(resolver) = config.net.resolvers.iter().find(shut) {
        let what = format!("resolver {resolver} is not among dial: it would never be asked");
        wrong.push(("net", "resolvers", what));
    }
    let (tls, primaries) = (&config.tls, &config.primaries);
    for (section, certificate, key) in [
        ("dns.tls", tls.certificate.is_some(), tls.key.is_some()),
        ("primaries", primaries.certificate.is_some(), primaries.key.is_some()),
    ] {
        if certificate != key {
            let there = if certificate { "certificate" } else { "key" };
            wrong.push((section, there, "needs both certificate and key, or neither".to_owned()));
        }
    }
    wrong
}

fn collect_leftovers(table: &DeTable<'_>, prefix: &str, left: &mut Vec<(usize, String)>) {
    for (key, value) in table {
        let path = match prefix {
            "" => key.get_ref().to_string(),
            _ => format!("{prefix}.{}", key.get_ref()),
        };
        let known = ENTRIES
            .iter()
            .any(|entry| entry.section == path || entry.section.starts_with(&format!("{path}.")));
        match value.get_ref() {
            DeValue::Table(inner) if known => collect_leftovers(inner, &path, left),
            _ => left.push((key.span().start, path)),
        }
    }
}

/// How many pairs of neighbouring letters two keys share: enough to guess a typing error.
fn likeness(one: &str, other: &str) -> usize {
    one.as_bytes().windows(2).filter(|pair| other.as_bytes().windows(2).any(|p| p == *pair)).count()
}

impl Config {
    /// Reads a settings file.
    ///
    /// # Errors
    ///
    /// All faults in order of their lines. A file that is no TOML has one.
    pub fn parse(text: &str) -> Result<Config, Vec<Fault>> {
        let root = match DeTable::parse(text) {
            Ok(root) => Spanned::into_inner(root),
            Err(error) => {
                let mut reader = Reader::new(text, DeTable::new());
                let at = error.span().map_or(0, |span| span.start);
                reader.fault(at, error.message().to_owned());
                return Err(reader.faults);
            }
        };
        let mut reader = Reader::new(text, root);
        let config = Config::read(&mut reader);
        reader.together(&config);
        reader.leftovers();
        if reader.faults.is_empty() {
            return Ok(config);
        }
        reader.faults.sort_by_key(|fault| fault.line);
        Err(reader.faults)
    }
}

/// The reference of all settings as Markdown, for the manual.
pub fn reference() -> String {
    let mut page = String::new();
    let mut section = "";
    for entry in ENTRIES {
        if entry.section != section {
            section = entry.section;
            page.push_str(&format!(
                "\n### `[{section}]`\n\n| key | default | form | meaning |\n| --- | --- | --- | --- |\n"
            ));
        }
        let Entry { key, default, form, meaning, .. } = entry;
        let default = if default.is_empty() { "–".to_owned() } else { format!("`{default}`") };
        page.push_str(&format!("| `{key}` | {default} | {form} | {} |\n", meaning.trim()));
    }
    page
}

macro_rules! settings {
    ($($(#[doc = $section_doc:literal])* $path:literal $field:ident: $section:ident {
        $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal,)*
    })*) => {
        /// All settings of one server.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config { $($(#[doc = $section_doc])* pub $field: $section,)* }

        $($(#[doc = $section_doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $section { $($(#[doc = $doc])* pub $key: $type,)* })*

        /// Every setting, in the order of the reference.
        pub const ENTRIES: &[Entry] = &[$($(Entry {
            section: $path,
            key: stringify!($key),
            default: $default,
            form: <$type as Setting>::FORM,
            meaning: concat!($($doc),*),
        },)*)*];

        impl Config {
            fn read(reader: &mut Reader<'_>) -> Config {
                let mut entries = ENTRIES.iter();
                Config { $($field: $section { $($key: {
                    let entry = entries.next().expect("one entry for each field, in order");
                    reader.take(entry).unwrap_or_else(|| default_of(entry))
                },)* },)* }
            }
        }

        impl Default for Config {
            fn default() -> Config {
                Config::read(&mut Reader::new("", DeTable::new()))
            }
        }
    };
}

/// The default of a setting, read by the same code as the operator's value.
fn default_of<T: Setting>(entry: &Entry) -> T {
    let text = format!("value = {}", entry.default);
    let table = DeTable::parse(&text).map(Spanned::into_inner).unwrap_or_default();
    let value = table.get("value").and_then(|value| T::read(value.get_ref()));
    value.expect("every default is TOML of its own form; a test reads them all")
}

settings! {
    /// Where and how queries are answered.
    "dns" dns: Dns {
        /// Addresses answered on, by UDP and TCP. Without this key an IPv6 address is left out where there is no IPv6.
        listen: Vec<SocketAddr> = r#"["127.0.0.1:5300", "[::1]:5300"]"#,
        /// UDP threads for each address, and as many for TCP; 0 is one of each for each core.
        udp_workers: u32 = "0",
        /// Whether each UDP thread of an address has a core of its own. All else keeps to the cores that `udp_workers` leaves, if it leaves any: then answers share theirs with no commit.
        pin: bool = "false",
        /// The largest UDP answer, in octets, whatever the query's EDNS allows: 512 to 4096.
        udp_octets_max: u16 = "1232",
        /// DNS cookie secrets (RFC 9018): the first signs, all verify. Made at random at each start if absent.
        cookie_secret: Vec<Secret> = "[]",
        /// UDP queries a second without a valid cookie past which a cookie, or TCP, is demanded of all but the exempt (`dns.rate_limit`); 0 is never.
        cookies_required_above: u32 = "0",
        /// The domain resolvers may report errors to (RFC 9567), told in every answer with EDNS; absent: none.
        report_agent: Option<String> = r#""""#,
        /// What NSID and `id.server` answer, at most 255 octets; absent: nothing.
        server_id: Option<String> = r#""""#,
        /// What `version.bind` answers, at most 255 octets; absent: refused.
        version: Option<String> = r#""""#,
        /// Load balancers that tell the client by the PROXY protocol, version 2; nothing else is taken from them.
        balancers: Vec<IpNet> = "[]",
    }
    /// Response rate limiting, for UDP without a valid cookie.
    "dns.rate_limit" rate_limit: RateLimit {
        /// Whether answers are limited at all.
        enabled: bool = "true",
        /// Equal answers for each client prefix and second, at most 32767; 0 is without a limit.
        responses_per_second: u16 = "200",
        /// Every how many-th limited answer is sent truncated instead of dropped, at most every 15th; 0 drops all.
        slip: u8 = "2",
        /// Clients never limited.
        exempt: Vec<IpNet> = r#"["127.0.0.0/8", "::1/128"]"#,
        /// Counts what would be limited and sends it all the same.
        dry_run: bool = "false",
    }
    /// TCP and the transports upon it.
    "dns.tcp" tcp: Tcp {
        /// Connections open at once.
        connections_max: u32 = "1024",
        /// Connections open at once from one address.
        connections_per_address_max: u32 = "64",
        /// Seconds an idle connection is kept when few are open; less when many are.
        idle_timeout_s: u16 = "10",
    }
    /// The encrypted transports. In a demo they listen on loopback, with a certificate made at start.
    "dns.tls" tls: Tls {
        /// PEM file of the certificate and those that sign it, read again when it changes; absent: one is made at start.
        certificate: Option<PathBuf> = r#""""#,
        /// PEM file of its key.
        key: Option<PathBuf> = r#""""#,
        /// Whether clients of DNS over TLS are asked for a certificate of theirs, so that lists of who may transfer can name it (`pin`). They need not have one.
        client_certificates: bool = "false",
        /// Addresses of DNS over TLS; its port is 853.
        dot: Vec<SocketAddr> = "[]",
        /// Addresses of DNS over QUIC; its port is 853.
        doq: Vec<SocketAddr> = "[]",
        /// Addresses of DNS over HTTPS, HTTP/2 and HTTP/3; its port is 443.
        doh: Vec<SocketAddr> = "[]",
    }
    /// Copies of all messages that pass, for a dnstap collector. Costs CPU on every query.
    "dnstap" dnstap: Dnstap {
        /// A collector's unix socket; connected again whenever it goes away.
        socket: Option<PathBuf> = r#""""#,
        /// A file, begun anew at each start; ignored beside a socket.
        file: Option<PathBuf> = r#""""#,
    }
    /// The API and, later, the portal.
    "http" http: Http {
        /// The address of the API.
        listen: SocketAddr = r#""127.0.0.1:8080""#,
        /// Names under which browsers and tools may call it, besides its own address and `localhost`.
        hosts: Vec<String> = "[]",
        /// Calls one token may make in a minute, more get 429; 0 is without a limit. The operator's tokens have none.
        token_requests_per_minute: u32 = "6000",
    }
    /// The data directory.
    "store" store: Store {
        /// Where everything durable is kept.
        dir: PathBuf = r#""./nameplane-data""#,
        /// Octets left free on the disk: below this, writes stop and answers go on.
        free_bytes_min: u64 = "268435456",
    }
    /// What the server may do on its own.
    "net" net: Net {
        /// Prefixes the server may talk to by itself: NOTIFY, probes, transfers in, parent checks, resolvers. A wide prefix does not open the special-purpose and private ranges in it: name those themselves. A demo stays on loopback.
        dial: Vec<IpNet> = r#"["127.0.0.0/8", "::1/128"]"#,
        /// Resolvers asked for the addresses of name servers that stand in no zone kept here, in this order; they must be among `dial`.
        resolvers: Vec<SocketAddr> = "[]",
    }
    /// The clock that signatures are dated by.
    "clock" clock: Clock {
        /// A file that whoever keeps the clock right touches each time it was synchronised, at least once a day, as systemd-timesyncd does: with it the clock is trusted however long the server was off. Empty: an operator's word is needed after a week.
        synchronised: Option<PathBuf> = r#""/run/systemd/timesync/synchronized""#,
    }
    /// Zone transfers out.
    "transfer" transfer: Transfer {
        /// Prefixes that may transfer every zone, beside those that lists of zones and organisations name.
        allow: Vec<IpNet> = "[]",
        /// Transfers at once.
        at_once_max: u32 = "200",
        /// Transfers at once to one address.
        at_once_per_address_max: u32 = "20",
        /// Seconds one transfer may take.
        time_max_s: u32 = "7200",
    }
    /// Zone transfers in: zones whose primary is elsewhere.
    "primaries" primaries: Primaries {
        /// Zones that ask their primaries at once.
        zones_at_once: u32 = "8",
        /// Octets of one transferred zone, uncompressed; whatever is larger is given up.
        transfer_octets_max: u64 = "1073741824",
        /// Seconds one transfer may take.
        transfer_s_max: u32 = "3600",
        /// Octets a second that a transfer brings at least, after its first ten seconds.
        transfer_octets_per_s_min: u32 = "1024",
        /// Zones that one catalog may name; a catalog with more names none.
        catalog_zones_max: u32 = "1000000",
        /// PEM file of the authorities that certify primaries reached over TLS by their name.
        authorities: Option<PathBuf> = r#""""#,
        /// PEM file of the certificate shown to primaries that ask for one over TLS; absent: none is shown.
        certificate: Option<PathBuf> = r#""""#,
        /// PEM file of its key.
        key: Option<PathBuf> = r#""""#,
    }
    /// Dynamic update (RFC 2136). Signed with TSIG, a key's own policy says what it may change; who sends unsigned updates stands here.
    "update" update: Update {
        /// Prefixes whose unsigned updates are taken, as of an operator, at once.
        allow_unsigned: Vec<IpNet> = "[]",
    }
    /// What is written to standard error.
    "log" log: Log {
        /// `error`, `warn`, `info`, `debug`, or a filter by module as `info,nameplane::maintain=debug`.
        level: String = r#""info""#,
        /// One JSON object a line instead of text.
        json: bool = "false",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_of_its_own_form() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
        assert_eq!(Config::default().dns.listen.len(), 2);
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_line() {
        let text =
            "[dns]\nlisten = \"nowhere\"\nudp_worker = 2\n\n[stor]\ndir = \"x\"\n[net]\ndial = 7\n";
        let faults = Config::parse(text).unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 5, 8], "{faults:?}");
        assert!(faults[1].what.contains("did you mean dns.udp_workers?"), "{faults:?}");
    }

    #[test]
    fn what_is_wrong_only_together_is_told_with_the_rest_and_its_line() {
        let text = "[dns]\nlisten = []\nudp_workers = 5000\nlisten_on = 1\n[dns.tls]\ndot = \"[::1]:853\"\nkey = \"k\"\n\n[primaries]\ncertificate = \"c\"\n";
        let faults = Config::parse(text).unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 4, 7, 10], "{faults:?}");
        assert!(faults[3].what.contains("[dns.tls] needs both certificate and key"), "{faults:?}");
    }

    #[test]
    fn values_that_would_never_serve_are_refused() {
        let long = "é".repeat(128);
        for (line, good) in [
            ("[dns]\nudp_octets_max = 511", false),
            ("[dns]\nudp_octets_max = 512", true),
            ("[dns]\nudp_octets_max = 4096", true),
            ("[dns]\nudp_octets_max = 4097", false),
            (&format!("[dns]\nserver_id = {long:?}"), false),
            (&format!("[dns]\nversion = {long:?}"), false),
            (&format!("[dns]\nversion = {:?}", &long[..254]), true),
            ("[dns.rate_limit]\nresponses_per_second = 32767", true),
            ("[dns.rate_limit]\nresponses_per_second = 32768", false),
            ("[dns.rate_limit]\nslip = 15", true),
            ("[dns.rate_limit]\nslip = 16", false),
            ("[net]\nresolvers = [\"127.0.0.1:53\", \"192.0.2.1:53\"]", false),
            ("[net]\nresolvers = \"192.0.2.1:53\"\ndial = \"192.0.2.0/24\"", true),
        ] {
            let faults = Config::parse(line).err().unwrap_or_default();
            assert_eq!(faults.is_empty(), good, "{line}: {faults:?}");
            assert!(faults.iter().all(|fault| fault.line == 2), "{faults:?}");
        }
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        let faults = Config::parse("[dns]\nlisten = \n").unwrap_err();
        assert_eq!(faults[0].line, 2);
    }

    #[test]
    fn one_value_stands_for_a_list_of_one() {
        let config = Config::parse("[net]\ndial = \"192.0.2.1\"\n").unwrap();
        assert_eq!(config.net.dial, ["192.0.2.1/32".parse().unwrap()]);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let text = "[dns]\ncookie_secret = \"000102030405060708090a0b0c0d0e0f\"";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.dns.cookie_secret[0].0[15], 15);
        assert!(!format!("{config:?}").contains("0a"), "{config:?}");
    }
}
