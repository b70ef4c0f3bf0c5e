//! The load generator: asks over UDP in a closed loop and counts what comes back.
//!
//! A window of queries is under way at any time; answers make room for new ones. An answer counts
//! when its ID is that of a query under way *and* its question is octet for octet the one asked;
//! anything else is a stray. Batched in both directions, so that asking costs less than any server's
//! answering and the server under test is what saturates.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::questions::Questions;
use crate::sys::{self, Batch, Outbox, Wait};

/// A query not answered within this time is lost, and its place in the window free again.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// Datagrams taken by one receiving system call.
const RECEIVE: usize = 64;

/// How long and how hard to ask.
#[derive(Debug, Clone)]
pub struct Plan {
    pub server: SocketAddr,
    /// Queries under way at any time.
    pub window: usize,
    /// Datagrams the kernel may carry together; 1 sends each on its own.
    pub segments: usize,
    pub time: Duration,
    /// Ends the run early after so many queries.
    pub count: u64,
    /// Queries a second, one at a time; none asks as fast as answers come.
    pub rate: Option<u32>,
}

impl Plan {
    /// Saturates `server` for `time`.
    pub fn saturate(server: SocketAddr, time: Duration) -> Self {
        Self { server, window: 192, segments: 8, time, count: u64::MAX, rate: None }
    }
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub asked: u64,
    pub answered: u64,
    pub lost: u64,
    /// Datagrams that answer nothing that is under way.
    pub stray: u64,
    /// Answers by RCODE.
    pub rcodes: [u64; 16],
    /// Answers with the TC bit.
    pub truncated: u64,
    /// Answers with at least one record in the answer section.
    pub with_answer: u64,
    /// Octets of all answers, headers included.
    pub octets: u64,
    pub elapsed: Duration,
    /// Time from query to answer.
    pub latency: Latency,
}

impl Report {
    /// Counts one answer by its header; the question has been compared already.
    pub fn count(&mut self, answer: &[u8]) {
        self.answered += 1;
        self.octets += answer.len() as u64;
        self.rcodes[(answer[3] & 15) as usize] += 1;
        self.truncated += u64::from(answer[2] >> 1 & 1);
        self.with_answer += u64::from(answer[6] != 0 || answer[7] != 0);
    }

    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }
}

/// Times in buckets whose width grows with the time: 16 to every doubling, from 64 ns on.
#[derive(Debug, Clone)]
pub struct Latency(Vec<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(vec![0; 16 * 40])
    }
}

impl Latency {
    /// Counts one time.
    pub fn add(&mut self, time: Duration) {
        let units = (time.as_nanos() as u64 >> 2) | 16;
        let power = 63 - units.leading_zeros() as u64;
        let bucket = ((power - 4) * 16 + ((units >> (power - 4)) & 15)) as usize;
        let last = self.0.len() - 1;
        self.0[bucket.min(last)] += 1;
    }

    /// The time not passed by `share` of all; zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let all: u64 = self.0.iter().sum();
        let mut left = (all as f64 * share).ceil() as u64;
        for (bucket, &count) in self.0.iter().enumerate() {
            if count >= left && left > 0 {
                let (power, part) = (bucket as u64 / 16, bucket as u64 % 16);
                return Duration::from_nanos((16 + part) << power << 2);
            }
            left -= count;
        }
        Duration::ZERO
    }
}

/// A query under way.
struct Slot {
    /// The query as sent: its first two octets are the ID, which changes with each use of the slot.
    octets: [u8; 320],
    question_len: usize,
    sent: Option<Instant>,
    turn: u16,
}

/// The queries under way, found by ID: slot in the low bits, turn in the high ones.
pub struct Window {
    slots: Vec<Slot>,
    free: Vec<u16>,
    bits: u32,
}

impl Window {
    /// Places for `size` queries, all free.
    pub fn new(size: usize) -> Self {
        let bits = size.next_power_of_two().trailing_zeros();
        let slot = |_| Slot { octets: [0; 320], question_len: 0, sent: None, turn: 0 };
        Self { slots: (0..size).map(slot).collect(), free: (0..size as u16).collect(), bits }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// When the query that `answer` answers was sent; its place is free again.
    pub fn settle(&mut self, answer: &[u8]) -> Option<Instant> {
        if answer.len() < 12 || answer[2] & 0x80 == 0 {
            return None;
        }
        let id = u16::from_be_bytes([answer[0], answer[1]]);
        let at = id & ((1 << self.bits) - 1);
        let slot = self.slots.get_mut(at as usize)?;
        let end = 12 + slot.question_len;
        let same = answer[..2] == slot.octets[..2]
            && answer.get(12..end) == Some(&slot.octets[12..end])
            && slot.sent.is_some();
        if !same {
            return None;
        }
        self.free.push(at);
        slot.sent.take()
    }

    /// Gives up queries sent before `limit`; returns how many.
    pub fn give_up(&mut self, limit: Instant) -> u64 {
        let before = self.free.len();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.sent.is_some_and(|sent| sent < limit) {
                slot.sent = None;
                self.free.push(at as u16);
            }
        }
        (self.free.len() - before) as u64
    }

    /// Puts a new query under way; none if no place is free.
    pub fn ask(&mut self, questions: &mut Questions, now: Instant) -> Option<&[u8]> {
        let at = self.free.pop()?;
        let slot = &mut self.slots[at as usize];
        slot.turn = slot.turn.wrapping_add(1);
        let id = at | (u32::from(slot.turn) << self.bits) as u16;
        let (len, question_len) = questions.write(id, &mut slot.octets);
        slot.question_len = question_len;
        slot.sent = Some(now);
        Some(&slot.octets[..len])
    }
}

/// Asks as planned and reports.
pub fn run(plan: &Plan, questions: &mut Questions) -> io::Result<Report> {
    let socket = UdpSocket::bind((local_for(plan.server), 0))?;
    socket.connect(plan.server)?;
    sys::widen_buffers(&socket);
    match plan.rate {
        None => saturate(plan, questions, &socket),
        Some(rate) => trickle(plan, questions, &socket, rate),
    }
}

fn local_for(server: SocketAddr) -> &'static str {
    if server.is_ipv4() { "127.0.0.1" } else { "::1" }
}

/// Keeps the window full.
fn saturate(plan: &Plan, questions: &mut Questions, socket: &UdpSocket) -> io::Result<Report> {
    let mut report = Report::default();
    let mut window = Window::new(plan.window);
    let (mut inbox, mut outbox) = (Batch::new(RECEIVE), Outbox::new(plan.segments));
    // New queries wait until a good number of places is free: a query sent alone costs both sides most.
    let enough = (plan.window / 4).clamp(1, RECEIVE);
    let start = Instant::now();
    let mut now = start;
    let mut heard = start;
    loop {
        let open = now - start < plan.time && report.asked < plan.count;
        if open && window.free.len() >= enough {
            while report.asked < plan.count
                && let Some(query) = window.ask(questions, now)
            {
                outbox.push(query);
                report.asked += 1;
            }
            outbox.send(socket)?;
        }
        if !open && window.is_idle() {
            break;
        }
        let came = receive(socket, &mut inbox, &mut window, &mut report)?;
        now = Instant::now();
        if came > 0 {
            heard = now;
        } else if now - heard > LOST_AFTER {
            report.lost += window.give_up(now - LOST_AFTER);
            heard = now;
        }
        if came < RECEIVE / 2 {
            pause();
        }
    }
    report.elapsed = now - start;
    Ok(report)
}

/// One query at a time, evenly spread: what a client sees of a server that has little to do.
fn trickle(
    plan: &Plan,
    questions: &mut Questions,
    socket: &UdpSocket,
    rate: u32,
) -> io::Result<Report> {
    let mut report = Report::default();
    let mut window = Window::new(1);
    let (mut inbox, mut outbox) = (Batch::new(1), Outbox::new(1));
    let start = Instant::now();
    while start.elapsed() < plan.time && report.asked < plan.count {
        let due = start + Duration::from_secs(1) * report.asked as u32 / rate;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        if let Some(query) = window.ask(questions, Instant::now()) {
            outbox.push(query);
            report.asked += 1;
        }
        outbox.send(socket)?;
        let sent = Instant::now();
        while !window.is_idle() {
            receive(socket, &mut inbox, &mut window, &mut report)?;
            if sent.elapsed() > LOST_AFTER {
                report.lost += window.give_up(Instant::now());
            }
        }
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// Takes what has come; returns how many datagrams that was.
fn receive(
    socket: &UdpSocket,
    inbox: &mut Batch,
    window: &mut Window,
    report: &mut Report,
) -> io::Result<usize> {
    let came = inbox.receive(socket, Wait::Not)?;
    let now = Instant::now();
    for i in 0..came {
        let answer = inbox.received(i);
        match window.settle(answer) {
            Some(sent) => {
                report.count(answer);
                report.latency.add(now - sent);
            }
            None => report.stray += 1,
        }
    }
    Ok(came)
}

/// Lets answers gather: a socket asked without rest is a lock the server must wait for.
fn pause() {
    for _ in 0..200 {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_sixteenth() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|us| latency.add(Duration::from_micros(us)));

        for share in [0.01, 0.5, 0.99, 1.0] {
            let (got, true_us) = (latency.quantile(share).as_nanos() as f64, share * 1e6);
            assert!((got - true_us).abs() <= true_us / 14.0, "{share}: {got} ns, not {true_us}");
        }
    }

    #[test]
    fn an_answer_to_another_question_is_a_stray() {
        let mut window = Window::new(4);
        let slot = &mut window.slots[1];
        slot.octets[..17].copy_from_slice(b"\x00\x01\0\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01");
        slot.question_len = 5;
        slot.sent = Some(Instant::now());
        window.free.retain(|&at| at != 1);

        assert!(window.settle(b"\x00\x01\x80\0\0\x01\0\0\0\0\0\0\x01b\0\0\x01").is_none());
        assert!(window.settle(b"\x00\x05\x80\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01").is_none());
        assert!(window.settle(b"\x00\x01\x80\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01").is_some());
        assert!(window.settle(b"\x00\x01\x80\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01").is_none());
    }
}
