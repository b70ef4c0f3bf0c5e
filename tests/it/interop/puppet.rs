//! A primary of the test's own: what it answers, and how it ends, is in the test's hands.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

use nameplane::wire::{Name, Type, rdata};
use serde_json::json;

use super::primaries::ZONE;
use crate::server::{PATIENCE, Server};

/// A server of [`ZONE`].
pub(super) struct Puppet {
    pub address: SocketAddr,
    /// What it sends, message by message, to whatever is asked.
    pub script: Arc<Mutex<Script>>,
}

#[derive(Default)]
pub(super) struct Script {
    /// The SOA it answers by UDP: its serial; none is silence.
    pub serial: Option<u32>,
    /// Whether it hears no datagram, though it serves.
    pub is_deaf: bool,
    /// The messages of a transfer, records as text.
    pub messages: Vec<Vec<String>>,
    pub then: Then,
    /// How often it was asked by UDP.
    pub asked: usize,
    /// The types of the transfers it was asked for, and how many the other side gave up.
    pub transfers: Vec<u16>,
    pub given_up: usize,
}

/// What a transfer does behind its messages.
#[derive(Default, Clone, Copy)]
pub(super) enum Then {
    #[default]
    HangUp,
    /// Sends the last message again and again, after a pause each time, until the script says otherwise.
    GoOn(Duration),
    /// Sends a message that never ends, octet by octet, after a pause each time.
    Drip(Duration),
}

pub(super) fn soa(serial: u32, expire: u32) -> String {
    format!("{ZONE} 60 SOA ns.{ZONE} host.{ZONE} {serial} 2 1 {expire} 60")
}

fn wire_record(text: &str) -> Vec<u8> {
    let mut words = text.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (owner, ttl, rtype) = (Name::parse(word()).unwrap(), word(), word());
    let rtype: Type = rtype.parse().unwrap();
    let rdata = rdata::parse(rtype, word(), None).unwrap();
    let mut out = owner.as_wire().to_vec();
    out.extend(rtype.0.to_be_bytes());
    out.extend([0, 1]);
    out.extend(ttl.parse::<u32>().unwrap().to_be_bytes());
    out.extend((rdata.len() as u16).to_be_bytes());
    out.extend(rdata);
    out
}

/// Where the name ends that is asked about.
fn type_at(query: &[u8]) -> usize {
    12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 1
}

fn wire_answer(query: &[u8], records: &[String]) -> Vec<u8> {
    let question = type_at(query) + 4;
    let mut message = query[..question].to_vec();
    message[2] = 0x84;
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    message[8..12].fill(0);
    records.iter().for_each(|record| message.extend(wire_record(record)));
    message
}

impl Puppet {
    pub fn start() -> Puppet {
        Puppet::start_on("127.0.0.1")
    }

    /// Starts on an address of loopback.
    pub fn start_on(address: &str) -> Puppet {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((address, 0)).unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let told = Arc::clone(&script);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((len, client)) = udp.recv_from(&mut query) {
                let serial = {
                    let mut told = told.lock().unwrap();
                    told.asked += 1;
                    told.serial.filter(|_| !told.is_deaf)
                };
                if let Some(serial) = serial {
                    let answer = wire_answer(&query[..len], &[soa(serial, 4)]);
                    let _ = udp.send_to(&answer, client);
                }
            }
        });
        let told = Arc::clone(&script);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let Ok(stream) = stream else { return };
                let told = Arc::clone(&told);
                std::thread::spawn(move || transfer(stream, &told));
            }
        });
        Puppet { address, script }
    }

    pub fn says(&self, serial: Option<u32>, messages: &[&[String]]) {
        self.goes_on(serial, messages, Then::HangUp);
    }

    pub fn goes_on(&self, serial: Option<u32>, messages: &[&[String]], then: Then) {
        let mut script = self.script.lock().unwrap();
        script.serial = serial;
        script.messages = messages.iter().map(|records| records.to_vec()).collect();
        script.then = then;
    }

    /// Serves the zone at `serial`, with these records beside the ones it needs.
    pub fn serves(&self, serial: u32, more: &[&str]) {
        self.serves_for(4, serial, more);
    }

    /// The same, for as many seconds as `expire`.
    pub fn serves_for(&self, expire: u32, serial: u32, more: &[&str]) {
        let ns = format!("{ZONE} 60 NS ns.{ZONE}");
        let address = format!("ns.{ZONE} 60 A 192.0.2.1");
        let mut records = vec![soa(serial, expire), ns, address];
        records.extend(more.iter().map(|text| (*text).to_owned()));
        records.push(soa(serial, expire));
        self.says(Some(serial), &[&records]);
    }

    pub fn followed_by(&self, server: &Server) {
        follow_all(server, &[self]);
    }

    pub fn asked(&self) -> usize {
        self.script.lock().unwrap().asked
    }

    pub fn transfers(&self) -> usize {
        self.script.lock().unwrap().transfers.len()
    }
}

/// Has `server` follow these, in this order.
pub(super) fn follow_all(server: &Server, puppets: &[&Puppet]) {
    let all: Vec<_> =
        puppets.iter().map(|puppet| json!({"address": puppet.address.to_string()})).collect();
    let path = format!("/v1/zones/{ZONE}/primaries");
    server.api("PUT", &path, Some(&json!({"primaries": all})));
}

/// Answers one connection by the script.
fn transfer(mut stream: TcpStream, told: &Mutex<Script>) {
    let mut len = [0; 2];
    if stream.read_exact(&mut len).is_err() {
        return;
    }
    let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
    if stream.read_exact(&mut query).is_err() {
        return;
    }
    let (messages, then) = {
        let mut told = told.lock().unwrap();
        let at = type_at(&query);
        told.transfers.push(u16::from_be_bytes([query[at], query[at + 1]]));
        let messages = if told.serial.is_none() { Vec::new() } else { told.messages.clone() };
        (messages, told.then)
    };
    let mut send = |records: &[String]| {
        let answer = wire_answer(&query, records);
        stream.write_all(&[&(answer.len() as u16).to_be_bytes(), &answer[..]].concat())
    };
    for records in &messages {
        let _ = send(records);
    }
    match (then, messages.last()) {
        (Then::GoOn(pause), Some(last)) => {
            let goes_on = || matches!(told.lock().unwrap().then, Then::GoOn(_));
            while goes_on() && send(last).is_ok() {
                sleep(pause);
            }
        }
        (Then::Drip(pause), _) => {
            while stream.write_all(&[0xFF]).is_ok() {
                sleep(pause);
            }
        }
        _ => return,
    }
    told.lock().unwrap().given_up += 1;
}

/// A NOTIFY for `ZONE` from an address of its own; the RCODE of its answer.
pub(super) fn notify(server: &Server, from: &str) -> u8 {
    let mut message = vec![0x12, 0x34, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(Name::parse(ZONE).unwrap().as_wire());
    message.extend([0, 6, 0, 1]);
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&message, server.dns).unwrap();
    let mut answer = [0; 512];
    let len = socket.recv(&mut answer).unwrap();
    assert!(len >= 12 && answer[..2] == message[..2]);
    answer[3] & 15
}
