//! A zone file from its first octet to its last: entries, directives, TTLs.

use std::ops::Range;
use std::rc::Rc;

use super::faults::{Faults, Place};
use super::gather::{Gathered, OwnerAt, Places};
use super::generate::Generate;
use super::pieces::Extent;
use super::{Fault, INCLUDE_DEPTH_MAX, INCLUDES_MAX, INPUT_OCTETS_MAX, Options, Parsed, TTL_MAX};
use crate::wire::name::push_name;
use crate::wire::rdata::scan::{ScanError, Scanner, Token};
use crate::wire::rdata::{RdataError, parse_into, seconds};
use crate::wire::{Class, Type};
use crate::zone::check;
use crate::zone::tree::PackedZone;

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
    let mut reader = Reader::new(input, input.len(), options);
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
pub(super) enum Owner {
    /// No record before it had one.
    None,
    /// That one could not be read: its records are checked, and dropped.
    Unreadable,
    Known(OwnerAt),
}

impl Owner {
    /// The same, where what was gathered stands `octets` further behind.
    pub(super) fn moved(self, octets: usize) -> Owner {
        match self {
            Owner::Known(at) => Owner::Known(at.moved(octets)),
            other => other,
        }
    }
}

/// The state that one line leaves to the next.
pub(super) struct Reader<'i, 'o> {
    pub(super) options: Options<'o>,
    pub(super) faults: Faults<'i>,
    pub(super) all: Gathered,
    pub(super) extent: Extent,
    /// In wire form.
    pub(super) origin: Option<Box<[u8]>>,
    pub(super) owner: Owner,
    /// Where the owner was written, as long as the origin and what is read are the same.
    pub(super) owner_text: Range<usize>,
    /// Of the last `$TTL`. It holds in whatever file comes next, until another.
    pub(super) default_ttl: Option<u32>,
    /// Stated by the last record that stated one ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035) §5.1).
    pub(super) last_ttl: Option<u32>,
    source: u16,
    /// Where the `$GENERATE` stands whose lines are being read.
    generating_at: Option<u32>,
    generated: usize,
    octets_read: usize,
    depth: usize,
    pub(super) stopped: bool,
}

impl<'i, 'o> Reader<'i, 'o> {
    /// A reader of `input`, or of so many octets of it.
    pub(super) fn new(input: &'i [u8], octets: usize, options: Options<'o>) -> Reader<'i, 'o> {
        let origin = options.origin.as_ref().or(options.apex.as_ref());
        let origin = origin.map(|origin| origin.as_wire().into());
        Reader {
            options,
            faults: Faults::new(input),
            all: Gathered::for_text(octets),
            extent: Extent::Whole,
            origin,
            owner: Owner::None,
            owner_text: 0..0,
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
        let mut parsed = self.all.pack(&apex, &mut self.faults, self.options.hands);
        if self.options.rules {
            self.rules(&parsed);
        }
        let failed = self.faults.has_errors();
        let faults = self.faults.finish();
        if failed {
            return Err(faults);
        }
        parsed.warnings = faults;
        Ok(parsed)
    }

    /// Reports the rules that the zone breaks, each where it is broken.
    fn rules(&mut self, parsed: &Parsed) {
        let faulty = self.faults.has_errors();
        let broken = match check::check_typed(&PackedZone::new(parsed.apex.clone(), &parsed.packed))
        {
            Ok(broken) => broken,
            Err(fault) => return self.faults.error(Place::default(), fault.to_string()),
        };
        let places = Places::of(&self.all, broken.iter().map(|(broken, _)| &broken.owner));
        for (broken, rtype) in broken {
            match places.last(&broken.owner, rtype) {
                Some(place) => self.faults.broken(place, broken),
                // What is missing may stand in one of the lines that could not be read.
                None if faulty => {}
                None => {
                    let place = places.first(&broken.owner).unwrap_or_default();
                    self.faults.broken(place, broken);
                }
            }
        }
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
        if source == 0 && self.options.hands > 1 {
            self.pieces(text, &mut scanner);
        }
        self.entries(&mut scanner, text.len());
    }

    /// Reads entries up to the first that begins at `until` or behind it.
    pub(super) fn entries(&mut self, scanner: &mut Scanner<'_>, until: usize) {
        while scanner.at() < until && !self.stopped {
            if let Err(wrong) = self.entry(scanner) {
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
            if self.owner == Owner::None && self.bind() {
                return Ok(());
            }
            if self.owner == Owner::None {
                let what = "record has no owner and none stands before it: write its name at the start of the line";
                self.owner = Owner::Unreadable;
                return Err(Wrong::new(first.at, what));
            }
            return self.record(&first, first.at, scanner);
        }
        let unreadable = self.set_owner(&first, scanner);
        let next = scanner.token()?;
        unreadable?;
        let Some(next) = next else {
            let what =
                format!("{} stands alone: write a type and data behind it", quoted(first.text));
            return Err(Wrong::new(first.at, what));
        };
        self.record(&next, first.at, scanner)
    }

    fn set_owner(&mut self, token: &Token<'_>, scanner: &Scanner<'_>) -> Result<(), Wrong> {
        let before = scanner.taken(self.owner_text.start, self.owner_text.end);
        if !before.is_empty() && token.text == before && matches!(self.owner, Owner::Known(_)) {
            return Ok(());
        }
        let at = self.all.octets.len();
        if let Err(error) = push_name(token.text, self.origin.as_deref(), &mut self.all.octets) {
            self.all.octets.truncate(at);
            self.owner = Owner::Unreadable;
            self.owner_text = 0..0;
            return Err(Wrong::new(token.at, format!("owner {}: {error}", quoted(token.text))));
        }
        let place = self.place(token.at);
        if !token.text.is_ascii() {
            // It is told of an owner once, where the lines before have another.
            if self.owner == Owner::None && self.bind() {
                return Ok(());
            }
            let what = format!(
                "owner {} has octets beyond ASCII: write an international name in its xn-- form",
                quoted(token.text)
            );
            self.faults.warn(place, what);
        }
        self.owner = Owner::Known(self.all.begin(at));
        let from = token.at + usize::from(token.quoted);
        self.owner_text = from..from + token.text.len();
        Ok(())
    }

    /// Reads TTL and class in either order, or neither, then type and data.
    fn record(
        &mut self,
        first: &Token<'_>,
        at: usize,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), Wrong> {
        let (mut ttl, mut class) = (None, None);
        let mut token = *first;
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
        let from = self.all.octets.len();
        let read = self.data(rtype, ttl, at, scanner);
        if read.is_err() || !matches!(self.owner, Owner::Known(_)) {
            self.all.octets.truncate(from);
        }
        read?;
        if self.all.len() > self.options.limits.records {
            let most = self.options.limits.records;
            self.stop(at, format!("zone has more than {most} records, which is the limit: split it, or ask for a higher limit"));
        }
        Ok(())
    }

    /// Reads data, and adds the record if it has an owner.
    fn data(
        &mut self,
        rtype: Type,
        ttl: Option<u32>,
        at: usize,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), Wrong> {
        let rdata_at = self.all.begin_record();
        parse_into(rtype, scanner, self.origin.as_deref(), &mut self.all.octets)?;
        let ttl = match ttl {
            Some(ttl) => ttl,
            None => self.left_out_ttl(rtype, rdata_at, at)?,
        };
        if matches!(self.owner, Owner::Known(_)) {
            self.all.record(rtype, ttl, rdata_at, self.place(at));
        }
        Ok(())
    }

    /// The TTL of a record that states none: of the last `$TTL` ([RFC 2308](https://www.rfc-editor.org/rfc/rfc2308) §4), of the last record that
    /// stated one, the default, and for a SOA that is first, its minimum.
    fn left_out_ttl(&mut self, rtype: Type, rdata_at: usize, at: usize) -> Result<u32, Wrong> {
        let stated = self.default_ttl.or(self.last_ttl);
        if stated.is_none() && self.bind() {
            return Ok(0);
        }
        let known = stated.or(self.options.default_ttl);
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
        if self.bind() {
            return Ok(());
        }
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
        self.owner_text = 0..0;
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
        self.owner_text = 0..0;
        self.depth += 1;
        self.file(source, &text);
        self.depth -= 1;
        (self.origin, self.owner, self.source) = before;
        self.owner_text = 0..0;
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
            self.owner_text = 0..0;
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
        self.owner_text = 0..0;
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
mod tests;
