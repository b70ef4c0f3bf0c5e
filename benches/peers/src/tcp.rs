//! The load generator over TCP: a connection for each query, or many queries down few connections.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::load::{Plan, Report, Window};
use crate::questions::Questions;

/// Connections open at any time.
const CONNECTIONS: usize = 16;

/// Queries under way on each connection when they are pipelined.
const PIPELINED: usize = 32;

/// A connection silent for this long is given up, and its queries are lost.
const SILENT: Duration = Duration::from_secs(1);

/// The same when the turn is over.
const LAST_WORD: Duration = Duration::from_millis(50);

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Connect, ask once, close.
    Once,
    /// Ask [`PIPELINED`] at once, again and again.
    Pipelined,
}

/// One connection with the queries under way on it.
struct Connection {
    stream: BufReader<TcpStream>,
    window: Window,
    octets: Vec<u8>,
}

/// Asks as planned and reports.
pub fn run(plan: &Plan, questions: &mut Questions, how: Use) -> io::Result<Report> {
    let mut report = Report::default();
    let mut dialled = 0;
    let per_turn = if how == Use::Once { 1 } else { PIPELINED };
    let mut dial = || {
        dialled += 1;
        connect(plan.server, dialled, per_turn)
    };
    let mut connections: Vec<Option<Connection>> = (0..CONNECTIONS).map(|_| None).collect();
    let start = Instant::now();
    let mut turn = 0;
    while start.elapsed() < plan.time && report.asked < plan.count {
        let place = &mut connections[turn % CONNECTIONS];
        turn += 1;
        // What was asked a turn ago is heard now: every connection has had that long to answer.
        let kept = place.take().and_then(|mut connection| {
            let whole = connection.hear(&mut report);
            (whole && how == Use::Pipelined).then_some(connection)
        });
        let mut connection = match kept.map_or_else(&mut dial, Ok) {
            Ok(connection) => connection,
            Err(_) => {
                report.lost += 1;
                continue;
            }
        };
        connection.ask(questions, &mut report)?;
        *place = Some(connection);
    }
    for connection in connections.iter_mut().flatten() {
        // What was asked at the very end is heard if it comes soon; the turn is over.
        connection.stream.get_ref().set_read_timeout(Some(LAST_WORD))?;
        connection.hear(&mut report);
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// Connects from one of many loopback addresses: one alone runs out of ports.
fn connect(server: SocketAddr, dialled: u32, window: usize) -> io::Result<Connection> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
    if server.is_ipv4() {
        let from = Ipv4Addr::from(0x7F00_0002 + dialled % 4000);
        socket.bind(&SocketAddr::from((from, 0)).into())?;
    }
    socket.connect_timeout(&server.into(), SILENT)?;
    socket.set_tcp_nodelay(true)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SILENT))?;
    Ok(Connection {
        stream: BufReader::with_capacity(1 << 16, stream),
        window: Window::new(window),
        octets: Vec::new(),
    })
}

impl Connection {
    /// Fills the window with one write.
    fn ask(&mut self, questions: &mut Questions, report: &mut Report) -> io::Result<()> {
        self.octets.clear();
        let now = Instant::now();
        while let Some(query) = self.window.ask(questions, now) {
            self.octets.extend_from_slice(&(query.len() as u16).to_be_bytes());
            self.octets.extend_from_slice(query);
            report.asked += 1;
        }
        match self.stream.get_mut().write_all(&self.octets) {
            // The server may have closed meanwhile: hearing notices, and counts what was lost.
            Err(error)
                if error.kind() != io::ErrorKind::BrokenPipe
                    && error.kind() != io::ErrorKind::ConnectionReset =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Reads until every query under way is answered; false if the server gave up before.
    fn hear(&mut self, report: &mut Report) -> bool {
        let mut len = [0; 2];
        while !self.window.is_idle() {
            let heard = self.stream.read_exact(&mut len).and_then(|()| {
                self.octets.resize(u16::from_be_bytes(len) as usize, 0);
                self.stream.read_exact(&mut self.octets)
            });
            if heard.is_err() {
                report.lost += self.window.give_up(Instant::now());
                return false;
            }
            match self.window.settle(&self.octets) {
                Some(sent) => {
                    report.count(&self.octets);
                    report.latency.add(sent.elapsed());
                }
                None => report.stray += 1,
            }
        }
        true
    }
}
