//! The load generator: asks over UDP in a closed loop and counts what comes back.
//!
//! A window of queries is under way at any time; answers make room for new ones. An answer counts
//! when its ID is that of a query under way *and* its question is octet for octet the one asked;
//! anything else is a stray. Batched in both directions, so that asking costs less than any server's
//! answering and the server under test is what saturates.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::questions::Questions;
use crate::sys::{self, Batch, Outbox, Wait};

/// A query not answered within this time is lost, and its place in the window free again.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// How many naps late a query may be: one that takes twice as long is none to speak of.
const LATE_NAPS: u32 = 2;

/// Datagrams taken by one receiving system call.
const RECEIVE: usize = 64;

/// How queries cross the kernel on their way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sending {
    /// Many to a system call, but each an skb of its own, as a network delivers them.
    #[default]
    Plain,
    /// Up to eight of one length cross as one skb (UDP GSO) and are cut at the server's socket: asking
    /// becomes cheaper than any answering, and so does taking a query from the socket.
    Gso,
}

impl Sending {
    /// The word for it on command lines and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Sending::Plain => "plain",
            Sending::Gso => "gso",
        }
    }

    pub fn parse(word: &str) -> Option<Sending> {
        [Sending::Plain, Sending::Gso].into_iter().find(|sending| sending.name() == word)
    }

    /// Datagrams the kernel may carry together.
    fn segments(self) -> usize {
        match self {
            Sending::Plain => 1,
            Sending::Gso => 8,
        }
    }
}

/// How long and how hard to ask.
#[derive(Debug, Clone)]
pub struct Plan {
    pub server: SocketAddr,
    /// Queries under way at any time, over all flows.
    pub window: usize,
    /// Sockets asked from: a server's workers share its queries by where they come from.
    pub flows: usize,
    pub sending: Sending,
    pub time: Duration,
    /// Ends the run early after so many queries.
    pub count: u64,
    /// Queries a second, evenly spread; none asks as fast as answers come.
    pub rate: Option<u32>,
    /// Whether an answer's time ends when it comes out of the network, as the kernel notes it, and not
    /// when the load gets round to it.
    pub stamped: bool,
    /// Sleep for this long where no query is due: others have the core meanwhile. None looks without rest.
    pub nap: Option<Duration>,
}

impl Plan {
    /// Saturates `server` for `time`.
    pub fn saturate(server: SocketAddr, time: Duration) -> Self {
        let sending = Sending::Plain;
        Self {
            server,
            window: 192,
            flows: 1,
            sending,
            time,
            count: u64::MAX,
            rate: None,
            stamped: false,
            nap: None,
        }
    }

    /// Asks `rate` times a second, one query at a time: what a client sees of an idle server.
    pub fn trickle(server: SocketAddr, time: Duration, rate: u32) -> Self {
        Self { window: 1, rate: Some(rate), ..Self::saturate(server, time) }
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
    let flows = plan.flows.max(1);
    let mut flows = (0..flows).map(|_| Flow::open(plan, flows)).collect::<io::Result<Vec<_>>>()?;
    match plan.rate {
        None => saturate(plan, questions, &mut flows),
        Some(rate) => paced(plan, questions, &mut flows, rate),
    }
}

/// One socket with the queries under way on it.
struct Flow {
    socket: UdpSocket,
    window: Window,
    inbox: Batch,
    outbox: Outbox,
    /// The same moment on the clock of queries and on that of arrivals.
    clocks: (Instant, Duration),
}

/// One moment on both clocks: of several readings that with the least between.
fn clocks() -> (Instant, Duration) {
    let read = |_| {
        let before = Instant::now();
        let real = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (before.elapsed(), before, real)
    };
    let (_, instant, real) = (0..32).map(read).min().expect("32 are some");
    (instant, real)
}

impl Flow {
    fn open(plan: &Plan, flows: usize) -> io::Result<Self> {
        let local = if plan.server.is_ipv4() { "127.0.0.1" } else { "::1" };
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(plan.server)?;
        sys::widen_buffers(&socket);
        let inbox = match plan.stamped {
            true => {
                sys::stamp_arrivals(&socket)?;
                Batch::stamped(RECEIVE)
            }
            false => Batch::new(RECEIVE),
        };
        Ok(Self {
            socket,
            window: Window::new((plan.window / flows).max(1)),
            inbox,
            outbox: Outbox::new(plan.sending.segments()),
            clocks: clocks(),
        })
    }

    /// Takes what has come; returns how many datagrams that was.
    fn receive(&mut self, report: &mut Report) -> io::Result<usize> {
        let came = self.inbox.receive(&self.socket, Wait::Not)?;
        let now = Instant::now();
        for i in 0..came {
            let (instant, real) = self.clocks;
            let since = self.inbox.arrived(i).and_then(|at| at.checked_sub(real));
            let now = since.map_or(now, |since| instant + since);
            let answer = self.inbox.received(i);
            match self.window.settle(answer) {
                Some(sent) => {
                    report.count(answer);
                    report.latency.add(now.saturating_duration_since(sent));
                }
                None => report.stray += 1,
            }
        }
        Ok(came)
    }
}

/// Keeps the windows full.
fn saturate(plan: &Plan, questions: &mut Questions, flows: &mut [Flow]) -> io::Result<Report> {
    let mut report = Report::default();
    // New queries wait until a good number of places is free: a query sent alone costs both sides most.
    let enough = (plan.window / flows.len() / 4).clamp(1, RECEIVE);
    let start = Instant::now();
    let mut now = start;
    let mut heard = start;
    loop {
        let open = now - start < plan.time && report.asked < plan.count;
        let mut came = 0;
        for flow in &mut *flows {
            if open && flow.window.free.len() >= enough {
                while report.asked < plan.count
                    && let Some(query) = flow.window.ask(questions, now)
                {
                    flow.outbox.push(query);
                    report.asked += 1;
                }
                flow.outbox.send(&flow.socket)?;
            }
            came += flow.receive(&mut report)?;
        }
        if !open && flows.iter().all(|flow| flow.window.is_idle()) {
            break;
        }
        now = Instant::now();
        if came > 0 {
            heard = now;
        } else if now - heard > LOST_AFTER {
            for flow in &mut *flows {
                report.lost += flow.window.give_up(now - LOST_AFTER);
            }
            heard = now;
        }
        if came < RECEIVE / 2 {
            pause();
        }
    }
    report.elapsed = now - start;
    Ok(report)
}

/// Evenly spread queries, as many under way as the window allows; those not sent in time are sent late
/// and not dropped, and count from when they are sent. A load that naps leaves out what others kept it from
/// sending meanwhile: on a core of its own it would not have come in a burst.
fn paced(
    plan: &Plan,
    questions: &mut Questions,
    flows: &mut [Flow],
    rate: u32,
) -> io::Result<Report> {
    let mut report = Report::default();
    let start = Instant::now();
    let mut now = start;
    let mut looked = start;
    let mut turn = 0;
    let mut left_out = 0.0f64;
    loop {
        let open = now - start < plan.time && report.asked < plan.count;
        if !open && flows.iter().all(|flow| flow.window.is_idle()) {
            break;
        }
        let due = (now - start).as_secs_f64() * f64::from(rate);
        if let Some(nap) = plan.nap {
            let at_once = (LATE_NAPS * nap).as_secs_f64() * f64::from(rate);
            left_out = left_out.max(due - at_once - report.asked as f64);
        }
        while open && (report.asked as f64) + left_out < due {
            turn += 1;
            let flow = &mut flows[turn % plan.flows.max(1)];
            let Some(query) = flow.window.ask(questions, Instant::now()) else { break };
            flow.outbox.push(query);
            flow.outbox.send(&flow.socket)?;
            report.asked += 1;
        }
        let give_up = now - looked > LOST_AFTER;
        for flow in &mut *flows {
            flow.receive(&mut report)?;
            if give_up {
                report.lost += flow.window.give_up(now - LOST_AFTER);
            }
        }
        if give_up {
            looked = now;
        }
        if let Some(nap) = plan.nap {
            thread::sleep(nap);
        }
        now = Instant::now();
    }
    report.elapsed = start.elapsed();
    Ok(report)
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
