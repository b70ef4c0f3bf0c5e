//! The sets of zones everything is measured on, and the questions that go with each.
//!
//! A set is a directory: `zones/` with one file per zone, named as its apex; `zones.list` with lines
//! `apex path`; `hits.txt`, every question with a positive answer (of a TLD: with a referral);
//! `apexes.txt`, below which names that do not exist are asked; `facts.txt`. The same seed writes
//! the same octets, so a set is made once and kept.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::questions::Random;

/// One of the sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Many small zones of ten records or so, as a hosting company has them.
    Hosting,
    /// One zone of a million names.
    Big,
    /// One zone of delegations, with glue and DS.
    Tld,
    /// One zone of 100 000 names, signed, with NSEC.
    Nsec,
    /// The same zone, signed, with NSEC3.
    Nsec3,
    /// A million hosting zones.
    Million,
    /// The zone of 100 000 names before it is signed.
    Plain,
}

/// The apex of the zone that is signed.
pub const SIGNED: &str = "signed.test";

/// A set on disk.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub set: Set,
    pub dir: PathBuf,
    pub zones: u64,
    pub records: u64,
}

impl Set {
    pub const ALL: [Set; 7] =
        [Set::Hosting, Set::Big, Set::Tld, Set::Nsec, Set::Nsec3, Set::Million, Set::Plain];

    /// The word for it on the command line and in the table.
    pub fn name(self) -> &'static str {
        match self {
            Set::Hosting => "hosting",
            Set::Big => "big",
            Set::Tld => "tld",
            Set::Nsec => "nsec",
            Set::Nsec3 => "nsec3",
            Set::Million => "million",
            Set::Plain => "plain",
        }
    }

    pub fn parse(word: &str) -> Option<Set> {
        Set::ALL.into_iter().find(|set| set.name() == word)
    }

    /// Zones, names or delegations of the full size.
    fn size(self) -> usize {
        match self {
            Set::Hosting | Set::Nsec | Set::Nsec3 | Set::Plain => 100_000,
            Set::Big | Set::Tld | Set::Million => 1_000_000,
        }
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Set::Nsec | Set::Nsec3)
    }

    /// What it is, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Set::Hosting => "100 000 hosting zones of about 10 records",
            Set::Big => "one zone of 1 M names",
            Set::Tld => "one zone of 1 M delegations with glue and DS",
            Set::Nsec => "one signed zone of 100 000 names, NSEC, P-256",
            Set::Nsec3 => "one signed zone of 100 000 names, NSEC3 without salt, P-256",
            Set::Million => "1 M hosting zones, 12 M records",
            Set::Plain => "one unsigned zone of 100 000 names",
        }
    }
}

impl Dataset {
    /// The set below `root`, written now if it is not there; `divisor` makes it smaller.
    pub fn open(root: &Path, set: Set, divisor: usize) -> io::Result<Self> {
        let size = (set.size() / divisor.max(1)).max(100);
        let dir = root.join(format!("{}-{size}", set.name()));
        if !dir.join("facts.txt").exists() {
            eprintln!("writing {} ({size}) to {}", set.name(), dir.display());
            fs::create_dir_all(dir.join("zones"))?;
            let mut writer = Writer::create(&dir)?;
            match set {
                Set::Hosting => hosting(&mut writer, size, 0)?,
                Set::Million => hosting(&mut writer, size, 2)?,
                Set::Big => one_zone(&mut writer, "big.test", size)?,
                Set::Nsec | Set::Nsec3 | Set::Plain => one_zone(&mut writer, SIGNED, size)?,
                Set::Tld => tld(&mut writer, size)?,
            }
            let (zones, mut records) = writer.finish()?;
            if set.is_signed() {
                records = sign(&dir, SIGNED, set == Set::Nsec3)?;
            }
            fs::write(dir.join("facts.txt"), format!("{zones} {records}\n"))?;
        }
        let facts = fs::read_to_string(dir.join("facts.txt"))?;
        let mut numbers = facts.split_whitespace().filter_map(|word| word.parse().ok());
        let zones = numbers.next().unwrap_or(0);
        Ok(Self { set, dir: fs::canonicalize(dir)?, zones, records: numbers.next().unwrap_or(0) })
    }

    /// (apex without its final dot, file) of every zone.
    pub fn zones(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let list = fs::read_to_string(self.list())?;
        let pair = |line: &str| line.split_once(' ').map(|(apex, path)| (apex.into(), path.into()));
        Ok(list.lines().filter_map(pair).collect())
    }

    pub fn list(&self) -> PathBuf {
        self.dir.join("zones.list")
    }

    pub fn hits(&self) -> PathBuf {
        self.dir.join("hits.txt")
    }

    pub fn apexes(&self) -> PathBuf {
        self.dir.join("apexes.txt")
    }
}

/// Writes the files of one set and counts what goes into them.
struct Writer {
    dir: PathBuf,
    list: BufWriter<File>,
    hits: BufWriter<File>,
    apexes: BufWriter<File>,
    zone: BufWriter<File>,
    zones: u64,
    records: u64,
    random: Random,
}

impl Writer {
    fn create(dir: &Path) -> io::Result<Self> {
        let open = |name: &str| Ok::<_, io::Error>(BufWriter::new(File::create(dir.join(name))?));
        Ok(Self {
            dir: fs::canonicalize(dir)?,
            list: open("zones.list")?,
            hits: open("hits.txt")?,
            apexes: open("apexes.txt")?,
            zone: open("zones/.first")?,
            zones: 0,
            records: 0,
            random: Random::new(7),
        })
    }

    /// Starts the file of one zone with its SOA and two name servers out of its bailiwick.
    fn start(&mut self, apex: &str) -> io::Result<()> {
        let path = self.dir.join("zones").join(apex);
        writeln!(self.list, "{apex} {}", path.display())?;
        writeln!(self.apexes, "{apex} A")?;
        self.zone = BufWriter::with_capacity(1 << 16, File::create(path)?);
        self.zones += 1;
        writeln!(self.zone, "$ORIGIN {apex}.\n$TTL 3600")?;
        self.record("@ SOA ns1.hoster.example. hostmaster.hoster.example. 2026112101 10800 3600 604800 3600")?;
        self.record("@ NS ns1.hoster.example.")?;
        self.record("@ NS ns2.hoster.example.")
    }

    fn record(&mut self, line: &str) -> io::Result<()> {
        self.records += 1;
        writeln!(self.zone, "{line}")
    }

    fn hit(&mut self, name: &str, rtype: &str) -> io::Result<()> {
        writeln!(self.hits, "{name} {rtype}")
    }

    fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from(0xC612_0000 | self.random.below(1 << 17) as u32) // 198.18.0.0/15
    }

    fn v6(&mut self) -> Ipv6Addr {
        let low = self.random.next();
        Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low))
    }

    fn finish(mut self) -> io::Result<(u64, u64)> {
        for file in [&mut self.list, &mut self.hits, &mut self.apexes, &mut self.zone] {
            file.flush()?;
        }
        fs::remove_file(self.dir.join("zones/.first"))?;
        shuffle(&self.dir.join("hits.txt"), &mut self.random)?;
        Ok((self.zones, self.records))
    }
}

const WORDS: [&str; 32] = [
    "garden", "bakery", "river", "studio", "north", "clinic", "timber", "coffee", "harbour",
    "lake", "piano", "travel", "stone", "vet", "yoga", "print", "solar", "farm", "wine", "school",
    "tax", "roof", "kids", "bike", "hotel", "metal", "photo", "law", "dental", "book", "shoe",
    "pet",
];

/// Hosting customers: SOA, two NS, addresses, mail, SPF, a few hosts; `more` further hosts each.
fn hosting(writer: &mut Writer, zones: usize, more: usize) -> io::Result<()> {
    for n in 0..zones {
        let [a, b] = [0; 2].map(|_| WORDS[writer.random.below(WORDS.len())]);
        let top = if n % 4 == 0 { "example" } else { "test" };
        let apex = format!("{a}-{b}{n}.{top}");
        writer.start(&apex)?;
        let (web, mail) = (writer.v4(), writer.v4());
        writer.record(&format!("@ A {web}"))?;
        writer.record("@ MX 10 mail")?;
        writer.record("@ 300 TXT \"v=spf1 a mx include:spf.hoster.example -all\"")?;
        writer.record(&format!("mail A {mail}"))?;
        for (name, rtype) in [("", "A"), ("", "MX"), ("", "TXT"), ("mail.", "A"), ("www.", "A")] {
            writer.hit(&format!("{name}{apex}"), rtype)?;
        }
        if n % 10 < 4 {
            // Not `@`: YADIFA 2.6 reads it as a label here.
            writer.record(&format!("www CNAME {apex}."))?;
        } else {
            writer.record(&format!("www A {web}"))?;
        }
        if n % 10 < 6 {
            let v6 = writer.v6();
            writer.record(&format!("@ AAAA {v6}"))?;
            writer.hit(&apex, "AAAA")?;
        }
        if n % 2 == 0 {
            writer.record("autodiscover CNAME autodiscover.hoster.example.")?;
            writer.hit(&format!("autodiscover.{apex}"), "A")?;
            writer.record("_imaps._tcp SRV 0 1 993 mail")?;
            writer.hit(&format!("_imaps._tcp.{apex}"), "SRV")?;
        }
        writer.record("ftp 86400 CNAME www")?;
        writer.hit(&format!("ftp.{apex}"), "A")?;
        for i in 0..more {
            let address = writer.v4();
            writer.record(&format!("{}{i} A {address}", WORDS[n % 32]))?;
            writer.hit(&format!("{}{i}.{apex}", WORDS[n % 32]), "A")?;
        }
    }
    Ok(())
}

/// One zone with so many hosts, three in ten with both kinds of address.
fn one_zone(writer: &mut Writer, apex: &str, names: usize) -> io::Result<()> {
    writer.start(apex)?;
    for n in 0..names {
        let host = format!("{}{n}", WORDS[writer.random.below(WORDS.len())]);
        let address = writer.v4();
        writer.record(&format!("{host} A {address}"))?;
        writer.hit(&format!("{host}.{apex}"), "A")?;
        if n % 10 < 3 {
            let address = writer.v6();
            writer.record(&format!("{host} AAAA {address}"))?;
            writer.hit(&format!("{host}.{apex}"), "AAAA")?;
        }
    }
    Ok(())
}

/// Delegations: two name servers each, at one of a thousand hosters of the same TLD or (one in five)
/// below the cut with glue; three in ten with a DS.
fn tld(writer: &mut Writer, delegations: usize) -> io::Result<()> {
    writer.start("tld")?;
    let hosters = (delegations / 100).clamp(1, 1000);
    for n in 0..delegations {
        let domain = format!("{}{n}", WORDS[writer.random.below(WORDS.len())]);
        let own = n < hosters || n % 5 == 0;
        let servers = if own { format!("{domain}.tld.") } else { hoster(n % hosters) };
        for i in 1..=2 {
            writer.record(&format!("{domain} 172800 NS ns{i}.{servers}"))?;
            if own {
                let address = writer.v4();
                writer.record(&format!("ns{i}.{domain} 172800 A {address}"))?;
            }
        }
        if n < hosters {
            // The name that others use for this hoster: glue of a sibling, not of the cut itself.
            let name = hoster(n);
            for i in 1..=2 {
                let address = writer.v4();
                writer.record(&format!("ns{i}.{name} 172800 A {address}"))?;
            }
            writer.record(&format!("{name} 172800 NS ns1.{name}"))?;
            writer.record(&format!("{name} 172800 NS ns2.{name}"))?;
        }
        if n % 10 < 3 {
            let digest: String = (0..4).map(|_| format!("{:016X}", writer.random.next())).collect();
            writer.record(&format!("{domain} 86400 DS {} 13 2 {digest}", n % 65536))?;
        }
        writer.hit(&format!("www.{domain}.tld"), "A")?;
    }
    Ok(())
}

fn hoster(n: usize) -> String {
    format!("hoster-{n}.tld.")
}

/// Makes a key-signing and a zone-signing key for a zone; returns their files without the endings.
pub fn keys(dir: &Path, apex: &str) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for flag in ["KSK", "ZSK"] {
        let mut keygen = Command::new("dnssec-keygen");
        keygen.args(["-q", "-a", "ECDSAP256SHA256", "-K"]).arg(dir);
        if flag == "KSK" {
            keygen.args(["-f", "KSK"]);
        }
        let said = succeed(keygen.arg(apex))?;
        made.push(dir.join(String::from_utf8_lossy(&said).trim()));
    }
    Ok(made)
}

/// Signs the one zone of a set in place with BIND's `dnssec-signzone`; returns its records.
fn sign(dir: &Path, apex: &str, nsec3: bool) -> io::Result<u64> {
    let zone = dir.join("zones").join(apex);
    let signed = dir.join("signed");
    keys(dir, apex)?;
    let mut signer = Command::new("dnssec-signzone");
    signer.args(["-S", "-q", "-P", "-x", "-O", "full", "-e", "20360101000000", "-o", apex, "-K"]);
    signer.arg(dir).arg("-d").arg(dir).arg("-f").arg(&signed);
    if nsec3 {
        signer.args(["-3", "-", "-H", "0"]);
    }
    succeed(signer.arg(&zone))?;
    fs::rename(&signed, &zone)?;
    let text = fs::read_to_string(&zone)?;
    Ok(text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).count() as u64)
}

/// Runs a command that must end with 0; returns what it said.
pub fn succeed(command: &mut Command) -> io::Result<Vec<u8>> {
    let output = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("{}: {error}", command.get_program().display()))
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(io::Error::other(format!("{command:?} ended with {}: {said}", output.status)))
}

/// Puts the lines of a file into a random order, so that Zipf's favourites are not neighbours.
fn shuffle(path: &Path, random: &mut Random) -> io::Result<()> {
    let text = fs::read_to_string(path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    for i in (1..lines.len()).rev() {
        lines.swap(i, random.below(i + 1));
    }
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()
}
