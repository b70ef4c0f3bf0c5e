//! EDNS(0): what a query's OPT says, and the OPT of a reply ([RFC 6891]).
//!
//! Unknown options and flags are ignored (§6.1.2), client subnet among them: answers here do not
//! depend on who asks, which is what its absence from the reply says ([RFC 7871] §7.1.2).
//!
//! [RFC 6891]: https://www.rfc-editor.org/rfc/rfc6891
//! [RFC 7871]: https://www.rfc-editor.org/rfc/rfc7871

use super::Serial;

/// The highest version spoken.
pub const EDNS_VERSION: u8 = 0;

/// Octets of an OPT record without options.
pub const OPT_OCTETS: usize = 11;

/// Octets a UDP reply may have without EDNS ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §4.2.1); a smaller OPT means this too.
pub const UDP_OCTETS_MIN: u16 = 512;

/// Size that padded replies are a multiple of ([RFC 8467](https://www.rfc-editor.org/rfc/rfc8467) §4.1).
pub const PADDING_BLOCK: usize = 468;

/// Octets of a COOKIE option: client's part and a server's part as [RFC 9018](https://www.rfc-editor.org/rfc/rfc9018) makes it.
pub const COOKIE_OCTETS: usize = 24;

const DNSSEC_OK: u16 = 0x8000;

/// Option codes.
pub mod option {
    pub const NSID: u16 = 3;
    pub const CLIENT_SUBNET: u16 = 8;
    pub const COOKIE: u16 = 10;
    pub const KEEPALIVE: u16 = 11;
    pub const PADDING: u16 = 12;
    pub const EDE: u16 = 15;
    pub const REPORT_CHANNEL: u16 = 18;
    pub const ZONEVERSION: u16 = 19;
}

/// A COOKIE option as it came: eight octets of the client, then none or 8 to 32 of a server.
#[derive(Debug, Clone, Copy)]
pub struct Cookie {
    octets: [u8; 40],
    len: u8,
}

impl Cookie {
    /// # Errors
    ///
    /// [`BadOpt`] for a length that [RFC 7873](https://www.rfc-editor.org/rfc/rfc7873) §5.2.2 does not know.
    pub fn new(octets: &[u8]) -> Result<Cookie, BadOpt> {
        if !matches!(octets.len(), 8 | 16..=40) {
            return Err(BadOpt);
        }
        let mut cookie = Cookie { octets: [0; 40], len: octets.len() as u8 };
        for (slot, octet) in cookie.octets.iter_mut().zip(octets) {
            *slot = *octet;
        }
        Ok(cookie)
    }

    /// The client's part.
    pub fn client(&self) -> [u8; 8] {
        self.octets.first_chunk().copied().unwrap_or_default()
    }

    /// The server's part, empty if the client has none yet.
    pub fn server(&self) -> &[u8] {
        self.octets.get(8..usize::from(self.len)).unwrap_or_default()
    }
}

/// What the OPT of a query says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edns {
    /// Octets the client takes over UDP, as it said.
    pub payload: u16,
    pub version: u8,
    pub dnssec_ok: bool,
    pub cookie: Option<Cookie>,
    /// Whether the client asks for the server's id ([RFC 5001](https://www.rfc-editor.org/rfc/rfc5001)).
    pub nsid: bool,
    /// Whether the client knows the TCP keepalive option ([RFC 7828](https://www.rfc-editor.org/rfc/rfc7828)).
    pub keepalive: bool,
    /// Whether the client pads, and so wants padding ([RFC 7830](https://www.rfc-editor.org/rfc/rfc7830)).
    pub padding: bool,
    /// Whether the client asks for the zone's version ([RFC 9660](https://www.rfc-editor.org/rfc/rfc9660)).
    pub zone_version: bool,
}

/// An OPT whose options do not fill it exactly or have an impossible length. The client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadOpt;

impl Edns {
    /// What CLASS and TTL of an OPT say.
    #[inline]
    pub fn new(class: u16, ttl: u32) -> Edns {
        Edns {
            payload: class,
            version: (ttl >> 16) as u8,
            dnssec_ok: ttl as u16 & DNSSEC_OK != 0,
            ..Edns::default()
        }
    }

    /// Takes the options of an OPT in; those of an unknown version are not read.
    ///
    /// # Errors
    ///
    /// [`BadOpt`]; answer with FORMERR.
    pub fn read_options(&mut self, rdata: &[u8]) -> Result<(), BadOpt> {
        let mut rest = if self.version == EDNS_VERSION { rdata } else { &[] };
        while !rest.is_empty() {
            let (&[c0, c1, l0, l1], tail) = rest.split_first_chunk::<4>().ok_or(BadOpt)?;
            let len = usize::from(u16::from_be_bytes([l0, l1]));
            let (value, tail) = tail.split_at_checked(len).ok_or(BadOpt)?;
            rest = tail;
            match u16::from_be_bytes([c0, c1]) {
                // A second cookie is the client's confusion; the first counts (RFC 7873 §5.2).
                option::COOKIE if self.cookie.is_none() => self.cookie = Some(Cookie::new(value)?),
                option::NSID => self.nsid = true,
                option::KEEPALIVE => self.keepalive = true,
                option::PADDING => self.padding = true,
                option::ZONEVERSION if !value.is_empty() => return Err(BadOpt), // RFC 9660 §3.1
                option::ZONEVERSION => self.zone_version = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// Octets the client takes over UDP, never below what all take.
    pub fn udp_octets(&self) -> u16 {
        self.payload.max(UDP_OCTETS_MIN)
    }
}

/// An Extended DNS Error ([RFC 8914](https://www.rfc-editor.org/rfc/rfc8914)): why, for a person to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ede<'a> {
    pub code: u16,
    pub text: &'a str,
}

#[rustfmt::skip]
impl<'a> Ede<'a> {
    pub const OTHER: u16 = 0;           pub const SYNTHESIZED: u16 = 29;
    pub const NSEC_MISSING: u16 = 12;   pub const NSEC3_ITERATIONS: u16 = 27;
    pub const NOT_READY: u16 = 14;      pub const PROHIBITED: u16 = 18;
    pub const NOT_AUTHORITATIVE: u16 = 20;
    pub const NOT_SUPPORTED: u16 = 21;  pub const INVALID_DATA: u16 = 24;

    /// An error of `code`, with a text of at most a line.
    pub const fn new(code: u16, text: &'a str) -> Ede<'a> {
        Ede { code, text }
    }
}

/// The OPT of a reply, as far as the query and the settings decide it. Only what is set is sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct OptReply<'a> {
    /// Octets this server takes over UDP.
    pub payload: u16,
    pub dnssec_ok: bool,
    pub cookie: Option<[u8; COOKIE_OCTETS]>,
    pub nsid: Option<&'a [u8]>,
    /// How long an idle connection stays, in units of 100 ms.
    pub keepalive: Option<u16>,
    /// The name of the agent to report errors to, uncompressed ([RFC 9567](https://www.rfc-editor.org/rfc/rfc9567)).
    pub report: Option<&'a [u8]>,
    /// Whether the reply is filled up to a multiple of [`PADDING_BLOCK`].
    pub padding: bool,
    /// Whether the client asked for the zone's version.
    pub zone_version: bool,
}

/// What only the answer decides of an OPT.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Learned<'a> {
    pub ede: Option<Ede<'a>>,
    /// Labels of the zone's name, and its serial.
    pub version: Option<(u8, Serial)>,
}

impl OptReply<'_> {
    /// Octets to keep free for everything but what may be left out: EDE and padding.
    #[inline]
    pub(super) fn reserve(&self) -> usize {
        OPT_OCTETS
            + if self.cookie.is_some() { 4 + COOKIE_OCTETS } else { 0 }
            + self.nsid.map_or(0, |id| 4 + id.len())
            + if self.keepalive.is_some() { 6 } else { 0 }
            + self.report.map_or(0, |agent| 4 + agent.len())
            + if self.zone_version { 10 } else { 0 }
    }

    /// Writes the record at `at`; EDE and padding only as far as `end` allows. Returns where it ends.
    #[inline]
    pub(super) fn write(
        &self,
        learned: &Learned<'_>,
        out: &mut [u8],
        at: usize,
        end: usize,
        rcode: u16,
    ) -> usize {
        let [p0, p1] = self.payload.to_be_bytes();
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        let mut pen = Pen { out, at, end };
        pen.put(&[0, 0, 41, p0, p1, (rcode >> 4) as u8, EDNS_VERSION, flags, 0, 0, 0]);
        let options = self.cookie.is_some() | self.nsid.is_some() | self.keepalive.is_some();
        let options = options | self.report.is_some() | self.padding;
        if options | learned.version.is_some() | learned.ede.is_some() {
            self.write_options(learned, &mut pen);
        }
        pen.at
    }

    fn write_options(&self, learned: &Learned<'_>, pen: &mut Pen<'_>) {
        let rdata_at = pen.at;
        if let Some(cookie) = &self.cookie {
            pen.option(option::COOKIE, &[cookie]);
        }
        if let Some(id) = self.nsid {
            pen.option(option::NSID, &[id]);
        }
        if let Some(units) = self.keepalive {
            pen.option(option::KEEPALIVE, &[&units.to_be_bytes()]);
        }
        if let Some(agent) = self.report {
            pen.option(option::REPORT_CHANNEL, &[agent]);
        }
        if let Some((labels, serial)) = learned.version {
            // Type 0: the SOA's serial (RFC 9660 §3.2).
            pen.option(option::ZONEVERSION, &[&[labels, 0], &serial.0.to_be_bytes()]);
        }
        if let Some(ede) = learned.ede {
            let left = pen.end.saturating_sub(pen.at);
            let text = if left >= 6 + ede.text.len() { ede.text } else { "" };
            if left >= 6 {
                pen.option(option::EDE, &[&ede.code.to_be_bytes(), text.as_bytes()]);
            }
        }
        if self.padding {
            pen.pad();
        }
        let end = pen.at;
        if let Some(len) = pen.out.get_mut(rdata_at.saturating_sub(2)..rdata_at) {
            len.copy_from_slice(&((end - rdata_at) as u16).to_be_bytes());
        }
    }
}

/// Writes behind what it wrote. Room was reserved, but there may be less than that behind a long name: an
/// option for which there is none is left out.
struct Pen<'a> {
    out: &'a mut [u8],
    at: usize,
    /// Where the message must end.
    end: usize,
}

impl Pen<'_> {
    #[inline]
    fn put(&mut self, octets: &[u8]) {
        if let Some(slot) = self.out.get_mut(self.at..self.at + octets.len()) {
            slot.copy_from_slice(octets);
            self.at += octets.len();
        }
    }

    fn option(&mut self, code: u16, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        if self.at + 4 + len > self.end {
            return;
        }
        self.put(&code.to_be_bytes());
        self.put(&(len as u16).to_be_bytes());
        for part in parts {
            self.put(part);
        }
    }

    fn pad(&mut self) {
        let bare = self.at + 4;
        if bare > self.end {
            return;
        }
        let padded = bare.next_multiple_of(PADDING_BLOCK).min(self.end);
        self.put(&option::PADDING.to_be_bytes());
        self.put(&((padded - bare) as u16).to_be_bytes());
        if let Some(zeros) = self.out.get_mut(bare..padded) {
            zeros.fill(0);
            self.at = padded;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_are_ignored_and_known_ones_found() {
        let rdata = [
            &[0xff, 0xfe, 0, 1, 9][..],             // unassigned
            &[0, 8, 0, 4, 0, 1, 0, 0],              // client subnet
            &[0, 3, 0, 0],                          // NSID
            &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8], // COOKIE
            &[0, 12, 0, 2, 0, 0],                   // padding
        ]
        .concat();

        let mut edns = Edns::new(4096, 0x0000_8000);
        edns.read_options(&rdata).unwrap();

        assert!(edns.nsid && edns.padding && edns.dnssec_ok && !edns.keepalive);
        let cookie = edns.cookie.unwrap();
        assert_eq!(cookie.client(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(cookie.server().is_empty());
    }

    #[test]
    fn options_that_do_not_fill_the_opt_are_refused() {
        for rdata in [&[0, 3, 0][..], &[0, 3, 0, 1], &[0, 3, 0, 0, 0], &[0, 10, 0, 3, 1, 2, 3]] {
            assert_eq!(Edns::new(512, 0).read_options(rdata), Err(BadOpt), "{rdata:?}");
        }
        // RFC 7873 §5.2.2: 8, or 16 to 40.
        for len in 0..80 {
            let good = len == 8 || (16..=40).contains(&len);
            assert_eq!(Cookie::new(&vec![0; len]).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn options_of_another_version_are_not_read() {
        let mut edns = Edns::new(512, 0x0001_0000);
        assert_eq!((edns.read_options(&[1, 2, 3]), edns.version), (Ok(()), 1));
    }
}
