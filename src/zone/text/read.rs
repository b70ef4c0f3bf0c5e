//! A zone file from its first octet to its last: entries, directives, TTLs.

use std::rc::Rc;

use super::faults::{Faults, Place};
use super::gather::{Gathered, OwnerAt};
use super::generate::Generate;
use super::{Fault, INCLUDE_DEPTH_MAX, INCLUDES_MAX, INPUT_OCTETS_MAX, Options, Parsed, TTL_MAX};
use crate::wire::name::push_name;
use crate::wire::rdata::scan::{ScanError, Scanner, Token};
use crate::wire::rdata::{RdataError, parse_into, seconds};
use crate::wire::{Class, Type};

/// The octets that some editors put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What some editors begin files in UTF-16 with, by the order of its octets.
const UTF16_MARKS: [&[u8]; 2] = [b"\xFF\xFE", b"\xFE\xFF"];

/// Characters of the file that a fault repeats: enough to find the place, never a megabyte.
const QUOTED_CHARACTERS_MAX: usize = 64;

/// Reads a zone file.
///
/// # Errors
///
/// Every fault of the file, by place, warnings among them.
pub fn parse(input: &[u8], options: Options<'_>) -> Result<Parsed, Vec<Fault>> {
    let mut reader = Reader::new(input, options);
    reader.file(0, input);
    reader.finish()
}

/// What keeps one entry from being read.
pub(super) struct Wrong {
    at: usize,
    what: String,
}

impl Wrong {
    pub(super) fn new(at: usize, what: impl Into<String>) -> Wrong {
        Wrong { at, what: what.into() }
    }
}

impl From<ScanError> for Wrong {
    fn from(error: ScanError) -> Wrong {
        Wrong::new(error.at, error.fault.to_string())
    }
}

impl From<RdataError> for Wrong {
    fn from(error: RdataError) -> Wrong {
        Wrong::new(error.at, error.to_string())
    }
}

/// Whose the next record without an owner is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// No record before it had one.
    None,
    /// That one could not be read: its records are checked, and dropped.
    Unreadable,
    Known(OwnerAt),
}

/// The state that one line leaves to the next.
struct Reader<'i, 'o> {
    options: Options<'o>,
    faults: Faults<'i>,
    all: Gathered,
    /// In wire form.
    origin: Option<Box<[u8]>>,
    owner: Owner,
    /// How the owner was written, as long as the origin is the same.
    owner_text: Vec<u8>,
    /// Of the last `$TTL`. It holds in whatever file comes next, until another.
    default_ttl: Option<u32>,
    /// Stated by the last record that stated one ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §5.1).
    last_ttl: Option<u32>,
    source: u16,
    /// Where the `$GENERATE` stands whose lines are being read.
    generating_at: Option<u32>,
    generated: usize,
    octets_read: usize,
    depth: usize,
    stopped: bool,
}

impl<'i, 'o> Reader<'i, 'o> {
    fn new(input: &'i [u8], options: Options<'o>) -> Reader<'i, 'o> {
        let origin = options.origin.as_ref().or(options.apex.as_ref());
        let origin = origin.map(|origin| origin.as_wire().into());
        Reader {
            options,
            faults: Faults::new(input),
            all: Gathered::for_text(input.len()),
            origin,
            owner: Owner::None,
            owner_text: Vec::new(),
            default_ttl: None,
            last_ttl: None,
            source: 0,
            generating_at: None,
            generated: 0,
            octets_read: 0,
            depth: 0,
            stopped: false,
        }
    }

    fn finish(mut self) -> Result<Parsed, Vec<Fault>> {
        let apex = self.options.apex.clone().or_else(|| self.all.soa_owner());
        let Some(apex) = apex else {
            // Without its name nothing of the zone can be judged, but what was read stays reported.
            let what = "zone has no SOA, so its name is not known: add the SOA, or name the zone";
            self.faults.error(Place::default(), what.into());
            return Err(self.faults.finish());
        };
        let mut parsed = self.all.pack(&apex, &mut self.faults);
        let failed = self.faults.has_errors();
        let faults = self.faults.finish();
        if failed {
            return Err(faults);
        }
        parsed.warnings = faults;
        Ok(parsed)
    }

    /// Reads one file.
    fn file(&mut self, source: u16, text: &[u8]) {
        self.source = source;
        self.octets_read = self.octets_read.saturating_add(text.len());
        if self.octets_read > INPUT_OCTETS_MAX {
            self.stop(
                0,
                format!("zone file is longer than {INPUT_OCTETS_MAX} octets: split the zone"),
            );
            return;
        }
        if UTF16_MARKS.iter().any(|mark| text.starts_with(mark)) {
            self.faults.error(self.place(0), "file is UTF-16: save it as UTF-8 or ASCII".into());
            return;
        }
        let mut scanner = Scanner::new(text);
        if text.starts_with(BYTE_ORDER_MARK) {
            scanner.skip(BYTE_ORDER_MARK.len());
        }
        while !scanner.at_end() && !self.stopped {
            if let Err(wrong) = self.entry(&mut scanner) {
                self.faults.error(self.place(wrong.at), wrong.what);
                // What cannot be cut into tokens was reported once; a second fault would be its echo.
                let _ = scanner.next_entry();
            } else if let Err(error) = scanner.next_entry() {
                self.faults.error(self.place(error.at), error.fault.to_string());
            }
        }
    }

    fn place(&self, at: usize) -> Place {
        Place { source: self.source, at: self.generating_at.unwrap_or(at as u32) }
    }

    fn stop(&mut self, at: usize, what: String) {
        self.stopped = true;
        self.faults.last_error(self.place(at), what);
    }

    /// Reads one entry: a record, a directive, or nothing but blanks and comments.
    fn entry(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        let owner_left_out = scanner.at_blank();
        let Some(first) = scanner.token()? else { return Ok(()) };
        if first.text.starts_with(b"$") && !first.quoted && self.generating_at.is_none() {
            return self.directive(first, scanner);
        }
        if owner_left_out {
            if self.owner == Owner::None {
                let what = "record has no owner and none stands before it: write its name at the start of the line";
                self.owner = Owner::Unreadable;
                return Err(Wrong::new(first.at, what));
            }
            return self.record(first, first.at, scanner);
        }
        let unreadable = self.set_owner(first);
        let next = scanner.token()?;
        unreadable?;
        let Some(next) = next else {
            let what =
                format!("{} stands alone: write a type and data behind it", quoted(first.text));
            return Err(Wrong::new(first.at, what));
        };
        self.record(next, first.at, scanner)
    }

    fn set_owner(&mut self, token: Token<'_>) -> Result<(), Wrong> {
        if token.text == self.owner_text && matches!(self.owner, Owner::Known(_)) {
            return Ok(());
        }
        let at = self.all.octets.len();
        if let Err(error) = push_name(token.text, self.origin.as_deref(), &mut self.all.octets) {
            self.all.octets.truncate(at);
            self.owner = Owner::Unreadable;
            self.owner_text.clear();
            return Err(Wrong::new(token.at, format!("owner {}: {error}", quoted(token.text))));
        }
        let place = self.place(token.at);
        if !token.text.is_ascii() {
            let what = format!(
                "owner {} has octets beyond ASCII: write an international name in its xn-- form",
                quoted(token.text)
            );
            self.faults.warn(place, what);
        }
        self.owner = Owner::Known(self.all.begin(at));
        self.owner_text.clear();
        self.owner_text.extend_from_slice(token.text);
        Ok(())
    }

    /// Reads TTL and class in either order, or neither, then type and data.
    fn record(
        &mut self,
        first: Token<'_>,
        at: usize,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), Wrong> {
        let (mut ttl, mut class) = (None, None);
        let mut token = first;
        let rtype = loop {
            if class.is_none() && token.text.eq_ignore_ascii_case(b"IN") {
                class = Some(Class::IN);
            } else if token.text.first().is_some_and(u8::is_ascii_digit) && ttl.is_none() {
                ttl = Some(stated_ttl(token)?);
            } else if let Some(rtype) = Type::from_text(token.text) {
                require_data(rtype, token)?;
                break rtype;
            } else if let (Some(other), None) = (Class::from_text(token.text), class) {
                require_internet(other, token)?;
                class = Some(other);
            } else {
                return Err(unknown_type(token));
            }
            token = scanner.token()?.ok_or_else(|| {
                Wrong::new(token.at, "record ends before its type: write a type and data")
            })?;
        };
        self.last_ttl = ttl.or(self.last_ttl);
        let rdata_at = self.all.octets.len();
        let read = parse_into(rtype, scanner, self.origin.as_deref(), &mut self.all.octets);
        if let Err(error) = read {
            self.all.octets.truncate(rdata_at);
            return Err(error.into());
        }
        let ttl = match ttl {
            Some(ttl) => ttl,
            None => self.left_out_ttl(rtype, rdata_at, at)?,
        };
        if matches!(self.owner, Owner::Known(_)) {
            self.all.record(rtype, ttl, rdata_at, self.place(at));
        }
        if self.all.len() > self.options.limits.records {
            let most = self.options.limits.records;
            self.stop(at, format!("zone has more than {most} records, which is the limit: split it, or ask for a higher limit"));
        }
        Ok(())
    }

    /// The TTL of a record that states none: of the last `$TTL` ([RFC 2308](https://www.rfc-editor.org/rfc/rfc2308) §4), of the last record that
    /// stated one, the default, and for a SOA that is first, its minimum.
    fn left_out_ttl(&mut self, rtype: Type, rdata_at: usize, at: usize) -> Result<u32, Wrong> {
        let known = self.default_ttl.or(self.last_ttl).or(self.options.default_ttl);
        if let Some(ttl) = known {
            return Ok(ttl);
        }
        let rdata = self.all.octets.get(rdata_at..).unwrap_or_default();
        match rdata.last_chunk::<4>() {
            Some(&minimum) if rtype == Type::SOA => {
                let ttl = u32::from_be_bytes(minimum).min(TTL_MAX);
                let what = format!(
                    "SOA has no TTL and no $TTL stands before it: its minimum, {ttl}, is used"
                );
                self.faults.warn(self.place(at), what);
                self.last_ttl = Some(ttl);
                Ok(ttl)
            }
            _ => {
                // Said once: the lines that follow would all repeat it.
                self.last_ttl = Some(0);
                let what = "record has no TTL and none stands before it: begin the file with a line such as `$TTL 1h`";
                Err(Wrong::new(at, what))
            }
        }
    }

    fn directive(&mut self, name: Token<'_>, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        match name.text.to_ascii_uppercase().as_slice() {
            b"$TTL" => {
                let ttl = stated_ttl(self.argument(name, scanner, "a TTL, such as 1h")?)?;
                self.default_ttl = Some(ttl);
                no_more(scanner)
            }
            b"$ORIGIN" => {
                let token = self.argument(name, scanner, "a name")?;
                self.set_origin(token)?;
                no_more(scanner)
            }
            b"$INCLUDE" => self.include(name, scanner),
            b"$GENERATE" => self.generate(name, scanner),
            _ => {
                let what = format!(
                    "{} is not a directive: there are $ORIGIN, $TTL, $INCLUDE and $GENERATE",
                    quoted(name.text)
                );
                Err(Wrong::new(name.at, what))
            }
        }
    }

    fn argument<'t>(
        &self,
        name: Token<'_>,
        scanner: &mut Scanner<'t>,
        wants: &str,
    ) -> Result<Token<'t>, Wrong> {
        let missing =
            || Wrong::new(name.at, format!("{} needs {wants} behind it", quoted(name.text)));
        scanner.token()?.ok_or_else(missing)
    }

    fn set_origin(&mut self, token: Token<'_>) -> Result<(), Wrong> {
        let mut wire = Vec::new();
        push_name(token.text, self.origin.as_deref(), &mut wire).map_err(|error| {
            Wrong::new(token.at, format!("origin {}: {error}", quoted(token.text)))
        })?;
        self.origin = Some(wire.into());
        self.owner_text.clear();
        Ok(())
    }

    /// `$INCLUDE file [origin]`. Origin and owner are afterwards what they were ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §5.1).
    fn include(&mut self, name: Token<'_>, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        let path = self.argument(name, scanner, "a file")?;
        let origin = scanner.token()?;
        no_more(scanner)?;
        let text = self.open(path)?;
        let Some(source) = self.faults.enter(&quoted(path.text), Rc::clone(&text), INCLUDES_MAX)
        else {
            let what =
                format!("$INCLUDE opens more than {INCLUDES_MAX} files: does one include itself?");
            self.stop(name.at, what);
            return Ok(());
        };
        let before = (self.origin.clone(), self.owner, self.source);
        if let Some(origin) = origin {
            self.set_origin(origin)?;
        }
        self.owner_text.clear();
        self.depth += 1;
        self.file(source, &text);
        self.depth -= 1;
        (self.origin, self.owner, self.source) = before;
        self.owner_text.clear();
        if let Owner::Known(owner) = self.owner {
            self.all.resume(owner);
        }
        Ok(())
    }

    fn open(&mut self, path: Token<'_>) -> Result<Rc<[u8]>, Wrong> {
        let name = String::from_utf8_lossy(path.text).into_owned();
        if self.depth >= INCLUDE_DEPTH_MAX {
            let what = format!(
                "$INCLUDE {name} nests deeper than {INCLUDE_DEPTH_MAX}: does a file include itself?"
            );
            return Err(Wrong::new(path.at, what));
        }
        let Some(open) = self.options.includes.as_mut() else {
            let what = format!(
                "$INCLUDE {name} is not followed here: put the records of that file in its place"
            );
            return Err(Wrong::new(path.at, what));
        };
        match open(&name) {
            Ok(text) => Ok(text.into()),
            Err(why) => Err(Wrong::new(path.at, format!("$INCLUDE {name}: {why}"))),
        }
    }

    /// `$GENERATE range owner [TTL] [class] type data`: each number makes one entry.
    fn generate(&mut self, name: Token<'_>, scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
        let generate = Generate::read(name, scanner)?;
        let left = self.options.limits.generate.saturating_sub(self.generated);
        if generate.count() > left as u64 {
            let most = self.options.limits.generate;
            let what = format!(
                "$GENERATE makes more than {most} records, which is the limit: take a smaller range or a wildcard"
            );
            return Err(Wrong::new(name.at, what));
        }
        self.generating_at = Some(name.at as u32);
        let mut line = Vec::new();
        let mut result = Ok(());
        for number in generate.numbers() {
            line.clear();
            result = generate.line(number, &mut line).and_then(|()| {
                self.entry(&mut Scanner::new(&line)).map_err(|wrong| {
                    let text = quoted(&line);
                    Wrong::new(0, format!("$GENERATE makes `{text}` of {number}: {}", wrong.what))
                })
            });
            self.generated += 1;
            if result.is_err() || self.stopped {
                break;
            }
        }
        self.generating_at = None;
        result.map_err(|wrong| Wrong::new(name.at, wrong.what))
    }
}

fn stated_ttl(token: Token<'_>) -> Result<u32, Wrong> {
    let ttl = seconds(token.text).filter(|&ttl| ttl <= TTL_MAX);
    ttl.ok_or_else(|| {
        let what = format!(
            "TTL {} is not a number of seconds up to {TTL_MAX}, nor one with units such as 1h30m",
            quoted(token.text)
        );
        Wrong::new(token.at, what)
    })
}

fn require_internet(class: Class, token: Token<'_>) -> Result<(), Wrong> {
    match class {
        Class::IN => Ok(()),
        other => {
            let what = format!("class {other} is not served here, only IN: remove the record");
            Err(Wrong::new(token.at, what))
        }
    }
}

fn require_data(rtype: Type, token: Token<'_>) -> Result<(), Wrong> {
    match rtype.is_meta() {
        false => Ok(()),
        true => {
            let what = format!("{rtype} is a type of messages, not of zones: remove the record");
            Err(Wrong::new(token.at, what))
        }
    }
}

fn unknown_type(token: Token<'_>) -> Wrong {
    let text = quoted(token.text);
    let what = format!(
        "{text} is neither a TTL, a class nor a record type: write an unknown type as TYPE and its number"
    );
    Wrong::new(token.at, what)
}

fn no_more(scanner: &mut Scanner<'_>) -> Result<(), Wrong> {
    match scanner.token()? {
        None => Ok(()),
        Some(extra) => {
            let what =
                format!("{} is more than the directive takes: remove it", quoted(extra.text));
            Err(Wrong::new(extra.at, what))
        }
    }
}

/// A piece of the file as a fault repeats it.
fn quoted(text: &[u8]) -> String {
    let head = text.get(..QUOTED_CHARACTERS_MAX * 4).unwrap_or(text);
    let head = String::from_utf8_lossy(head);
    let mut short: String = head.chars().take(QUOTED_CHARACTERS_MAX).collect();
    if short.len() < text.len() && short != head {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, Severity, write};
    use super::*;
    use crate::wire::Name;
    use crate::zone::tree::PackedZone;

    const HEAD: &str = "$TTL 1h\n@ SOA ns hostmaster 7 1h 10m 1w 5m\n NS ns\nns A 192.0.2.1\n";

    fn options<'a>() -> Options<'a> {
        Options { apex: Some(Name::parse("example.com.").unwrap()), ..Options::default() }
    }

    fn read(text: &str) -> Parsed {
        parse(text.as_bytes(), options()).unwrap_or_else(|faults| panic!("{faults:?}"))
    }

    /// The zone as written again, without its first line.
    fn shown(parsed: &Parsed) -> Vec<String> {
        let mut text = String::new();
        write(&PackedZone::new(parsed.apex.clone(), &parsed.packed), &mut text).unwrap();
        text.lines().skip(1).map(|line| line.replace('\t', " ")).collect()
    }

    /// What `body` adds to a small zone.
    fn added(body: &str) -> Vec<String> {
        let all = shown(&read(&format!("{HEAD}{body}")));
        let head = shown(&read(HEAD));
        all.into_iter().filter(|line| !head.contains(line)).collect()
    }

    fn faults(body: &str) -> Vec<String> {
        let all = match parse(format!("{HEAD}{body}").as_bytes(), options()) {
            Ok(parsed) => parsed.warnings,
            Err(faults) => faults,
        };
        all.iter()
            .map(|fault| Fault { line: fault.line - 4, ..fault.clone() }.to_string())
            .collect()
    }

    #[test]
    fn ttl_and_class_stand_in_either_order_or_not_at_all() {
        for body in ["a 60 IN A 192.0.2.2", "a IN 60 A 192.0.2.2", "a 1m A 192.0.2.2"] {
            assert_eq!(added(body), ["a 60 IN A 192.0.2.2"], "{body}");
        }
        assert_eq!(added("a IN A 192.0.2.2"), ["a 3600 IN A 192.0.2.2"]);
        assert_eq!(added("a CLASS1 TYPE1 \\# 4 C0000202"), ["a 3600 IN A 192.0.2.2"]);
    }

    #[test]
    fn an_owner_left_out_is_the_last_one() {
        let lines = added("a A 192.0.2.2\n  TXT x\n$ORIGIN sub\n\tTXT y\nb A 192.0.2.3\n");
        assert_eq!(
            lines,
            [
                "a 3600 IN A 192.0.2.2",
                "a 3600 IN TXT \"x\"",
                "a 3600 IN TXT \"y\"",
                "b.sub 3600 IN A 192.0.2.3"
            ]
        );
    }

    #[test]
    fn rfc2308_4_a_ttl_left_out_is_the_default_or_the_last() {
        let text = "@ 5m SOA ns h 1 1 1 1 9\n@ NS ns.x.\na A 192.0.2.1\nb 60 A 192.0.2.1\nc A 192.0.2.1\n$TTL 7\nd A 192.0.2.1\ne 8 A 192.0.2.1\nf A 192.0.2.1\n";
        let ttls: Vec<String> = shown(&read(text))
            .iter()
            .map(|line| line.split(' ').nth(1).unwrap().to_string())
            .collect();
        assert_eq!(ttls, ["300", "300", "300", "60", "60", "7", "8", "7"]);

        let parsed = read("@ SOA ns h 1 1 1 1 9\n@ NS ns.x.\n");
        assert_eq!(shown(&parsed)[1], "@ 9 IN NS ns.x.");
        assert_eq!(parsed.warnings.len(), 1);
        let fault = &parse(b"a A 192.0.2.1\nb A 192.0.2.2", options()).unwrap_err()[..];
        assert!(matches!(fault, [only] if only.what.contains("$TTL")), "{fault:?}");
    }

    #[test]
    fn lines_end_as_any_system_ends_them() {
        let windows = format!("\u{FEFF}{HEAD}a TXT x ; y\n").replace('\n', "\r\n");
        assert_eq!(shown(&read(&windows)), shown(&read(&format!("{HEAD}a TXT x"))));
    }

    #[test]
    fn case_is_kept_and_joins_owners() {
        let lines = added("WwW A 192.0.2.2\nwww A 192.0.2.3\nm MX 1 Mail.Example.COM.\n");
        assert_eq!(
            lines,
            [
                "m 3600 IN MX 1 Mail.Example.COM.",
                "WwW 3600 IN A 192.0.2.2",
                "WwW 3600 IN A 192.0.2.3"
            ]
        );
    }

    #[test]
    fn signatures_stand_with_what_they_cover() {
        let sig = |covered: &str| {
            format!("a RRSIG {covered} 8 3 3600 20300101000000 20200101000000 1 @ AAAA\n")
        };
        let parsed = read(&format!("{HEAD}{}a A 192.0.2.2\n", sig("A")));
        let node = crate::zone::packed::nodes(&parsed.packed).nth(1).unwrap();
        assert_eq!(node.rrset(Type::A).unwrap().sig_count, 1);
        assert!(node.rrset(Type::RRSIG).is_none() && !parsed.signed);

        let orphan = faults(&sig("MX"));
        assert_eq!(
            orphan,
            [
                "1:1: warning: a.example.com. RRSIG covers MX, which a.example.com. does not have: it is left out; remove it or add the MX"
            ]
        );
    }

    #[test]
    fn all_faults_of_a_file_are_found_at_once() {
        let body = "a A 192.0.2\nb 3600 IN\nc FOO x\n\td A 192.0.2.1\n$FOO\nb..c A 192.0.2.1\ne TXT \"open\nf MX ten x\nx.example.org. A 192.0.2.1\ng CH A 192.0.2.1\nh ANY x\ni (A 192.0.2.1\n";
        assert_eq!(
            faults(body),
            [
                "1:5: error: A address is not an IPv4 address such as 192.0.2.1",
                "2:8: error: record ends before its type: write a type and data",
                "3:3: error: FOO is neither a TTL, a class nor a record type: write an unknown type as TYPE and its number",
                "4:2: error: d is neither a TTL, a class nor a record type: write an unknown type as TYPE and its number",
                "5:1: error: $FOO is not a directive: there are $ORIGIN, $TTL, $INCLUDE and $GENERATE",
                "6:1: error: owner b..c: name has an empty label",
                "7:7: error: quoted string is not closed in its line: add the missing \"",
                "8:6: error: MX preference is not a number from 0 to 65535",
                "9:1: error: x.example.org. is outside the zone example.com.: remove it, or load it with its own zone",
                "10:3: error: class CH is not served here, only IN: remove the record",
                "11:3: error: ANY is a type of messages, not of zones: remove the record",
                "12:3: error: parenthesis is never closed, so everything behind it was not read: add the missing )",
            ]
        );
    }

    #[test]
    fn what_is_odd_is_read_with_a_warning() {
        assert_eq!(
            faults("a 60 A 192.0.2.2\na 90 A 192.0.2.3\na 60 A 192.0.2.2\n"),
            [
                "2:1: warning: a.example.com. A has records with TTL 60 and 90: the lowest is used for all; write one TTL (RFC 2181 §5.2)",
                "3:1: warning: a.example.com. has this A twice: the second is left out",
            ]
        );
        assert_eq!(added("a 90 A 192.0.2.2\na 60 A 192.0.2.3\n")[0], "a 60 IN A 192.0.2.2");
        assert!(faults("b\u{FC}cher A 192.0.2.1")[0].contains("xn--"));
    }

    #[test]
    fn generate_makes_a_line_per_number() {
        assert_eq!(
            added("$GENERATE 1-5/2 host$ A 192.0.2.${10}\n"),
            [
                "host1 3600 IN A 192.0.2.11",
                "host3 3600 IN A 192.0.2.13",
                "host5 3600 IN A 192.0.2.15"
            ]
        );
        assert_eq!(
            added("$GENERATE 10-10 h${0,4}-${0,0,x}-${5,3,X}-\\$ 60 IN TXT ${0,7,n}\n"),
            ["h0010-a-00F-\\$ 60 IN TXT \"a.0.0.0\""]
        );
        assert_eq!(added("$GENERATE 0-1 $.0 PTR h$.example.\n").len(), 2);
    }

    #[test]
    fn generate_is_bounded_and_its_faults_are_said_once() {
        let limits = Limits { generate: 10, ..Limits::default() };
        let text = format!("{HEAD}$GENERATE 0-5 a$ A 192.0.2.$\n$GENERATE 0-5 b$ A 192.0.2.$\n");
        let faults_found = parse(text.as_bytes(), Options { limits, ..options() }).unwrap_err();
        assert_eq!(faults_found.len(), 1);
        assert_eq!(faults_found[0].line, 6);
        assert_eq!(faults("$GENERATE 250-300 a$ A 192.0.2.$\n").len(), 1);
        for bad in ["5-1 a", "1-5/0 a", "x a", "0-99999999999 a", "0-4294967295 a$ A 1.2.3.4"] {
            assert_eq!(faults(&format!("$GENERATE {bad}\n")).len(), 1, "{bad}");
        }
        assert!(faults("$GENERATE 1-2 a${-5} A 192.0.2.1\n")[0].contains("negative"));
        assert!(faults("$GENERATE 1-2 a${1,2,q} A 192.0.2.1\n")[0].contains("base one of"));
    }

    #[test]
    fn include_reads_through_the_callback_and_leaves_origin_and_owner_alone() {
        let mut open = |name: &str| match name {
            "hosts" => Ok(b"b A 192.0.2.3\n$ORIGIN deep\nc A 192.0.2.4\n".to_vec()),
            other => Err(format!("there is no {other}")),
        };
        let text =
            format!("{HEAD}a A 192.0.2.2\n$INCLUDE hosts sub\n TXT still-a\n$INCLUDE none\n");
        let faults = parse(text.as_bytes(), Options { includes: Some(&mut open), ..options() });
        assert_eq!(
            faults.unwrap_err()[0].to_string(),
            "8:10: error: $INCLUDE none: there is no none"
        );

        let text = text.replace("$INCLUDE none\n", "");
        let parsed =
            parse(text.as_bytes(), Options { includes: Some(&mut open), ..options() }).unwrap();
        let mut lines = shown(&parsed).split_off(2);
        lines.retain(|line| !line.starts_with("ns"));
        assert_eq!(
            lines,
            [
                "a 3600 IN A 192.0.2.2",
                "a 3600 IN TXT \"still-a\"",
                "b.sub 3600 IN A 192.0.2.3",
                "c.deep.sub 3600 IN A 192.0.2.4"
            ]
        );
    }

    #[test]
    fn a_fault_in_an_included_file_names_it_and_a_loop_ends() {
        let mut open = |_: &str| Ok(b"\na A 1\n$INCLUDE self\n".to_vec());
        let text = format!("{HEAD}$INCLUDE self\n");
        let faults =
            parse(text.as_bytes(), Options { includes: Some(&mut open), ..options() }).unwrap_err();
        assert!(faults[0].to_string().starts_with("self:2:5: error: A address"));
        assert_eq!(faults.len(), INCLUDE_DEPTH_MAX + 1);

        let mut twice = |_: &str| Ok(b"$INCLUDE a\n".repeat(10));
        let ended = parse(text.as_bytes(), Options { includes: Some(&mut twice), ..options() });
        assert!(ended.unwrap_err().iter().any(|fault| fault.what.contains("more than 1000 files")));
        assert!(faults_without_includes().contains("in its place"));
    }

    fn faults_without_includes() -> String {
        faults("$INCLUDE x\n").concat()
    }

    #[test]
    fn a_fault_repeats_little_of_the_file() {
        let long = "x".repeat(100_000);
        assert!(faults(&format!("a {long}\n"))[0].len() < 300);
        assert!(faults(&format!("{long}\n"))[0].len() < 300);
    }

    #[test]
    fn a_file_in_utf16_is_told_so_once() {
        let text: Vec<u8> = HEAD.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let faults = parse(&[b"\xFF\xFE".as_slice(), &text].concat(), options()).unwrap_err();
        assert_eq!(faults.len(), 1);
        assert!(faults[0].what.contains("UTF-8"));
    }

    #[test]
    fn a_name_that_ends_with_the_zone_twice_is_pointed_out() {
        let found =
            faults("www.example.com A 192.0.2.1\na MX 10 mail.Example.com\nb NS x.example.com.\n");
        assert_eq!(
            found,
            [
                "1:1: warning: www.example.com.example.com. ends with the zone's name twice: is a dot missing at its end?",
                "2:1: warning: a.example.com. MX names mail.Example.com.example.com., which ends with the zone's name twice: is a dot missing at its end?",
            ]
        );
    }

    #[test]
    fn limits_on_records_hold() {
        let limits = Limits { records: 3, ..Limits::default() };
        let text = format!("{HEAD}a A 192.0.2.2\nb A 192.0.2.3\n");
        let faults = parse(text.as_bytes(), Options { limits, ..options() }).unwrap_err();
        assert_eq!((faults.len(), faults[0].line), (1, 5));
    }

    #[test]
    fn the_apex_is_where_the_soa_stands() {
        let text = "$ORIGIN Example.net.\n@ 60 SOA ns h 5 1 1 1 1\n@ NS ns\n";
        let parsed = parse(text.as_bytes(), Options::default()).unwrap();
        assert_eq!(parsed.apex.to_string(), "Example.net.");
        assert_eq!(parsed.serial.map(|serial| serial.0), Some(5));
        assert_eq!((parsed.names, parsed.rrsets, parsed.records), (1, 2, 2));
        let faults = parse(b"$ORIGIN x.\na 60 A 192.0.2.1\n", Options::default()).unwrap_err();
        assert!(faults[0].what.contains("no SOA"));
        assert_eq!(faults[0].severity, Severity::Error);
        assert!(parse(b"", Options::default()).is_err());
    }
}
