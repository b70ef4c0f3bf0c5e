//! A stream of messages, each behind its length: TCP, TLS, and a QUIC stream alike ([RFC 7766]).
//!
//! Whole messages are answered as they come, many replies in one write. What others must be asked
//! for comes back when it is ready, in any order (§6.2.1.1), and meanwhile the stream goes on.
//!
//! Promises: no message is read while replies wait unsent, so a peer that does not read holds at most
//! [`OUTPUT_OCTETS`] and one message here; every wait has an end ([`Patience`]).
//!
//! Does not: count connections (see [`tcp`](super::tcp)).
//!
//! [RFC 7766]: https://www.rfc-editor.org/rfc/rfc7766

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::{now_s, proxy, tapped};
use crate::serve::asks::Peer;
use crate::serve::{Desk, Messages, Outcome, Prefixes, Transport};
use crate::tap::{NOWHERE, Tap, Way};

/// Replies are written once they fill this much, or once there is no whole message left to answer.
const OUTPUT_OCTETS: usize = 64 * 1024;

/// Messages of one stream that others are asked about at once; the next waits its turn.
const ASKED_MAX: usize = 8;

/// Octets first made room for; most streams carry one question.
const INPUT_OCTETS: usize = 512;

/// Octets of a message's length.
pub(super) const LENGTH_OCTETS: usize = 2;

/// How long a stream may keep us waiting.
#[derive(Debug, Clone)]
pub struct Patience {
    /// For a message, from its first octet to its last.
    pub half_message: Duration,
    /// For the peer to take what was written.
    pub slow_reader: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { half_message: Duration::from_secs(5), slow_reader: Duration::from_secs(10) }
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, or the server stops.
    Closed,
    /// Nothing was asked for too long.
    Idle,
    /// The peer did not read, or did not finish a message.
    Slow,
    /// The peer sent what is no message, or the connection failed.
    Broken,
}

/// What all streams of a server have in common.
pub struct House {
    pub desk: Arc<Desk>,
    pub patience: Patience,
    /// Who tells by the PROXY protocol for whom it speaks.
    pub balancers: Prefixes,
    /// Who gets copies of what passes.
    pub tap: Option<Tap>,
    /// True once the server stops.
    pub stop: watch::Receiver<bool>,
}

/// Returns once the server stops, or has forgotten to say so.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whether the server stops.
pub(super) fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

impl House {
    /// Who speaks on a new stream from `peer`: itself, or a client it tells of first.
    ///
    /// # Errors
    ///
    /// [`End`] when a balancer tells nothing, or too late.
    pub async fn client<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: SocketAddr,
    ) -> Result<SocketAddr, End> {
        if !self.balancers.contains(peer.ip()) {
            return Ok(peer);
        }
        match timeout(self.patience.half_message, proxy::take(stream)).await {
            Ok(Ok(told)) => Ok(told.client.unwrap_or(peer)),
            Ok(Err(_)) => Err(End::Broken),
            Err(_) => Err(End::Slow),
        }
    }
}

/// A piece of what somebody else was asked for.
enum Piece {
    More(Vec<u8>),
    Last(Vec<u8>),
    Broken,
}

/// Where a conversation stands that somebody else began.
#[derive(Debug, Default)]
pub struct Begun {
    /// What was read and not answered.
    pub input: Vec<u8>,
    /// What of a reply the peer did not take yet.
    pub output: Vec<u8>,
    /// A message that others must be asked about.
    pub asked: Option<Vec<u8>>,
}

/// Answers the messages of `stream` until it ends; `idle` says how long it may be silent now.
pub async fn converse<S>(
    stream: S,
    transport: Transport,
    peer: impl Into<Peer>,
    house: &House,
    idle: impl Fn() -> Duration,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    go_on(stream, transport, peer, house, idle, Begun::default()).await
}

/// As [`converse`], from where the conversation stands.
pub async fn go_on<S>(
    stream: S,
    transport: Transport,
    peer: impl Into<Peer>,
    house: &House,
    idle: impl Fn() -> Duration,
    begun: Begun,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut conversation = Conversation {
        stream,
        transport,
        peer: peer.into(),
        house,
        input: begun.input,
        begun: None,
        output: begun.output,
        answers: None,
        asked: 0,
        no_more: false,
        heard: false,
    };
    if let Some(message) = begun.asked {
        conversation.ask(message);
    }
    conversation.run(idle).await
}

struct Conversation<'h, S> {
    stream: S,
    transport: Transport,
    peer: Peer,
    house: &'h House,
    input: Vec<u8>,
    /// When the message that is not yet whole began.
    begun: Option<Instant>,
    output: Vec<u8>,
    /// What others say, from when they are first asked.
    answers: Option<(mpsc::Sender<Piece>, mpsc::Receiver<Piece>)>,
    /// Messages others are being asked about.
    asked: usize,
    /// The peer has closed its side.
    no_more: bool,
    /// Whether a message came.
    heard: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<'_, S> {
    async fn run(&mut self, idle: impl Fn() -> Duration) -> End {
        let mut stop = self.house.stop.clone();
        let mut quiet_since = Instant::now();
        loop {
            let busy = match self.answer_whole_messages() {
                Ok(busy) => busy,
                Err(end) => return end,
            };
            if let Err(end) = self.flush().await {
                return end;
            }
            if busy {
                quiet_since = Instant::now();
                if self.asked < ASKED_MAX {
                    continue;
                }
            }
            if self.no_more && self.breaks_off() {
                return End::Broken;
            }
            let done = self.no_more || is_stopped(&stop);
            if done && self.asked == 0 {
                let _ = self.stream.shutdown().await;
                return End::Closed;
            }
            let (deadline, end) = match self.begun {
                Some(begun) => (begun + self.house.patience.half_message, End::Slow),
                None => (quiet_since + idle(), End::Idle),
            };
            let reading = !done && self.asked < ASKED_MAX;
            tokio::select! {
                read = timeout_at(deadline, read_more(&mut self.stream, &mut self.input)), if reading => match read {
                    Ok(Ok(0)) => self.no_more = true,
                    Ok(Ok(_)) => quiet_since = Instant::now(),
                    Ok(Err(_)) => return End::Broken,
                    Err(_) if self.asked == 0 || end == End::Slow => return end,
                    Err(_) => quiet_since = Instant::now(),
                },
                Some(piece) = next_piece(&mut self.answers), if self.asked > 0 => {
                    quiet_since = Instant::now();
                    match piece {
                        Piece::More(message) => self.frame(&message),
                        Piece::Last(message) => {
                            self.frame(&message);
                            self.asked -= 1;
                        }
                        Piece::Broken => return End::Broken,
                    }
                }
                () = stopped(&mut stop), if !done => {}
            }
        }
    }

    /// Whether a stream of QUIC ended without its one message, or in the middle of more
    /// ([RFC 9250](https://www.rfc-editor.org/rfc/rfc9250) §4.3.3).
    fn breaks_off(&self) -> bool {
        self.transport == Transport::Doq && !(self.heard && self.input.is_empty())
    }

    /// Answers what has come in whole, up to a fill of the output. Returns whether more is left.
    fn answer_whole_messages(&mut self) -> Result<bool, End> {
        let begun = Instant::now();
        let (mut taken, mut answered) = (0, 0);
        let mut more = false;
        while let Some(message) = whole_message(self.input.get(taken..).unwrap_or_default()) {
            if self.output.len() >= OUTPUT_OCTETS || self.asked >= ASKED_MAX {
                more = true;
                break;
            }
            if std::mem::replace(&mut self.heard, true) && self.transport == Transport::Doq {
                return Err(End::Broken); // one query a stream
            }
            taken += LENGTH_OCTETS + message.len();
            let length_at = self.output.len();
            self.output.extend_from_slice(&[0; LENGTH_OCTETS]);
            let desk = &self.house.desk;
            if let Some(tap) = &self.house.tap {
                tapped::message(
                    tap,
                    Way::Query,
                    self.transport,
                    self.peer.address,
                    NOWHERE,
                    message,
                );
            }
            match desk.handle(self.transport, self.peer.address, message, now_s(), &mut self.output)
            {
                Outcome::Reply(len) => {
                    answered += 1;
                    put_length(&mut self.output, length_at, len);
                    if let Some(tap) = &self.house.tap {
                        let reply = self.output.get(length_at + LENGTH_OCTETS..);
                        let reply = reply.unwrap_or_default();
                        tapped::message(
                            tap,
                            Way::Response,
                            self.transport,
                            self.peer.address,
                            NOWHERE,
                            reply,
                        );
                    }
                }
                // A peer of a stream that sends anything but queries is not one to talk to.
                Outcome::Silent => return Err(End::Broken),
                Outcome::Ask(_) => {
                    self.output.truncate(length_at);
                    let message = message.to_vec();
                    self.ask(message);
                }
            }
        }
        if answered > 0 {
            let nanos = begun.elapsed().as_nanos() as u64;
            self.house.desk.observe(self.transport, nanos, answered);
        }
        self.input.drain(..taken);
        self.begun = match (self.input.is_empty() || more, self.begun) {
            (true, _) => None,
            (false, Some(begun)) if taken == 0 => Some(begun),
            (false, _) => Some(Instant::now()),
        };
        Ok(more)
    }

    /// Has others asked about a message.
    fn ask(&mut self, message: Vec<u8>) {
        self.asked += 1;
        let (answers, _) = self.answers.get_or_insert_with(|| mpsc::channel(1));
        ask(&self.house.desk, self.transport, self.peer, message, answers.clone());
    }

    fn frame(&mut self, message: &[u8]) {
        if !message.is_empty() {
            let length_at = self.output.len();
            self.output.extend_from_slice(&[0; LENGTH_OCTETS]);
            self.output.extend_from_slice(message);
            put_length(&mut self.output, length_at, message.len());
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.output.is_empty() {
            return Ok(());
        }
        let write = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        match timeout(self.house.patience.slow_reader, write).await {
            Ok(Ok(())) => {
                self.output.clear();
                self.output.shrink_to(OUTPUT_OCTETS);
                Ok(())
            }
            Ok(Err(_)) => Err(End::Broken),
            Err(_) => Err(End::Slow),
        }
    }
}

/// The next piece of what others were asked for; none if nobody was.
async fn next_piece(
    answers: &mut Option<(mpsc::Sender<Piece>, mpsc::Receiver<Piece>)>,
) -> Option<Piece> {
    let (_, answered) = answers.as_mut()?;
    answered.recv().await
}

/// Reads what there is. Room is made for the rest of the message begun, and no more than that.
async fn read_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    input: &mut Vec<u8>,
) -> std::io::Result<usize> {
    let wanted = match input.first_chunk::<LENGTH_OCTETS>() {
        Some(length) => LENGTH_OCTETS + usize::from(u16::from_be_bytes(*length)),
        None => 0,
    };
    input.reserve(wanted.saturating_sub(input.len()).max(INPUT_OCTETS));
    stream.read_buf(input).await
}

/// The first message of `input`, if all of it is there.
pub(super) fn whole_message(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<LENGTH_OCTETS>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn put_length(output: &mut [u8], at: usize, len: usize) {
    if let Some(slot) = output.get_mut(at..at + LENGTH_OCTETS) {
        slot.copy_from_slice(&(len as u16).to_be_bytes());
    }
}

/// Asks on a thread that may wait; pieces of the answer follow one another as they are taken.
fn ask(
    desk: &Arc<Desk>,
    transport: Transport,
    peer: Peer,
    message: Vec<u8>,
    answers: mpsc::Sender<Piece>,
) {
    let desk = Arc::clone(desk);
    tokio::task::spawn_blocking(move || {
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let mut reply = Vec::new();
            match desk.ask(transport, peer, &message, now_s(), &mut reply) {
                None => drop(answers.blocking_send(Piece::Last(reply))),
                Some(messages) => transfer(messages, &answers),
            }
        }));
        if asked.is_err() {
            let _ = answers.blocking_send(Piece::Broken); // or its stream would wait for ever
        }
    });
}

fn transfer(mut messages: Box<dyn Messages>, answers: &mpsc::Sender<Piece>) {
    loop {
        let mut message = Vec::new();
        let (piece, more) = match messages.next(now_s(), &mut message) {
            Ok(true) => (Piece::More(message), true),
            Ok(false) => (Piece::Last(Vec::new()), false),
            Err(_) => (Piece::Broken, false),
        };
        // An error here means that the stream is gone, and with it the wish for the rest.
        if answers.blocking_send(piece).is_err() || !more {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::metrics::WORKERS;
    use crate::serve::testing::{Falls, Gate, axfr, desk, framed, update, version_query};
    use crate::serve::{Asks, Refuse};

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(40);

    struct Peer {
        stream: DuplexStream,
        end: JoinHandle<End>,
        stop: watch::Sender<bool>,
        desk: Arc<Desk>,
    }

    /// A stream of `pipe` octets each way, answered by a server of so much patience.
    fn peer(asks: impl Asks, pipe: usize, patience: Patience, idle: Duration) -> Peer {
        let (stream, theirs) = duplex(pipe);
        let (stop, stopping) = watch::channel(false);
        let desk = desk(asks);
        let house = House {
            desk: Arc::clone(&desk),
            patience,
            balancers: Prefixes::default(),
            tap: None,
            stop: stopping,
        };
        let end = tokio::spawn(async move {
            let peer = SocketAddr::from(([127, 0, 0, 1], 4444));
            converse(theirs, Transport::Tcp, peer, &house, || idle).await
        });
        Peer { stream, end, stop, desk }
    }

    fn patient() -> Patience {
        Patience { half_message: LONG, slow_reader: LONG }
    }

    async fn message(stream: &mut DuplexStream) -> Vec<u8> {
        let mut message = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut message).await.unwrap();
        message
    }

    fn id(message: &[u8]) -> u8 {
        message[1]
    }

    #[tokio::test]
    async fn pipelined_queries_are_all_answered_and_the_end_is_clean() {
        let mut peer = peer(Refuse, 1 << 16, patient(), LONG);
        let queries: Vec<u8> = (0..200).flat_map(|id| framed(&version_query(id))).collect();
        peer.stream.write_all(&queries).await.unwrap();
        for at in 0..200 {
            let reply = message(&mut peer.stream).await;
            assert_eq!((id(&reply), reply[7]), (at, 1));
        }
        peer.stream.shutdown().await.unwrap();
        assert_eq!(peer.end.await.unwrap(), End::Closed);
    }

    #[tokio::test]
    async fn a_conversation_that_somebody_began_goes_on_from_where_it_stands() {
        let (mut stream, theirs) = duplex(1);
        let (_stop, stopping) = watch::channel(false);
        let (desk, patience) = (desk(Refuse), patient());
        let (balancers, tap) = (Prefixes::default(), None);
        let house = House { desk, patience, balancers, tap, stop: stopping };
        let begun = Begun {
            input: framed(&version_query(2)),
            output: framed(&[0, 1, 5]),
            asked: Some(update(3)),
        };
        tokio::spawn(async move {
            let peer = SocketAddr::from(([127, 0, 0, 1], 4444));
            go_on(theirs, Transport::Tcp, peer, &house, || LONG, begun).await
        });
        for wanted in 1..4 {
            assert_eq!(id(&message(&mut stream).await), wanted);
        }
    }

    #[tokio::test]
    async fn messages_may_come_octet_by_octet() {
        let mut peer = peer(Refuse, 1, patient(), LONG);
        for octet in framed(&version_query(9)) {
            peer.stream.write_u8(octet).await.unwrap();
        }
        assert_eq!(id(&message(&mut peer.stream).await), 9);
    }

    #[tokio::test]
    async fn a_slow_answer_does_not_hold_up_the_next() {
        let (gate, open) = Gate::new(0, 0);
        let mut peer = peer(gate, 1 << 16, patient(), LONG);
        peer.stream.write_all(&framed(&update(1))).await.unwrap();
        peer.stream.write_all(&framed(&version_query(2))).await.unwrap();
        assert_eq!(id(&message(&mut peer.stream).await), 2);
        open.send(()).unwrap();
        assert_eq!(id(&message(&mut peer.stream).await), 1);
    }

    #[tokio::test]
    async fn a_stream_waits_its_turn_once_so_many_messages_are_asked_about() {
        let (gate, open) = Gate::new(0, 0);
        let mut peer = peer(gate, 1 << 16, patient(), LONG);
        for number in 0..ASKED_MAX as u16 {
            peer.stream.write_all(&framed(&update(number))).await.unwrap();
        }
        peer.stream.write_all(&framed(&version_query(99))).await.unwrap();
        assert!(timeout(SHORT, message(&mut peer.stream)).await.is_err());

        open.send(()).unwrap();

        assert!(id(&message(&mut peer.stream).await) < ASKED_MAX as u8);
        assert_eq!(id(&message(&mut peer.stream).await), 99);
    }

    #[tokio::test]
    async fn who_is_asked_and_panics_breaks_the_stream_and_is_counted() {
        let mut peer = peer(Falls, 1 << 16, patient(), LONG);
        peer.stream.write_all(&framed(&update(1))).await.unwrap();
        assert_eq!(peer.end.await.unwrap(), End::Broken);
        assert_eq!(peer.desk.shared().registry.total(&WORKERS, 0), 1);
    }

    #[tokio::test]
    async fn an_answer_asked_for_comes_even_if_the_peer_has_closed_its_side() {
        let (gate, open) = Gate::new(0, 0);
        let mut peer = peer(gate, 1 << 16, patient(), LONG);
        peer.stream.write_all(&framed(&update(1))).await.unwrap();
        peer.stream.shutdown().await.unwrap();
        open.send(()).unwrap();
        assert_eq!(id(&message(&mut peer.stream).await), 1);
        assert_eq!(peer.end.await.unwrap(), End::Closed);
    }

    #[tokio::test]
    async fn a_transfer_waits_for_a_slow_peer_one_message_at_a_time() {
        let (gate, _) = Gate::new(30, 16_000);
        let mut peer = peer(gate, 100, patient(), LONG);
        peer.stream.write_all(&framed(&axfr(1))).await.unwrap();
        for left in (0..30).rev() {
            let piece = message(&mut peer.stream).await;
            assert_eq!((piece.len(), piece[0]), (16_000, left));
        }
    }

    #[tokio::test]
    async fn who_asks_nothing_is_let_go() {
        let peer = peer(Refuse, 100, patient(), SHORT);
        assert_eq!(peer.end.await.unwrap(), End::Idle);
    }

    #[tokio::test]
    async fn half_a_message_is_not_waited_for_however_it_trickles() {
        let patience = Patience { half_message: SHORT, slow_reader: LONG };
        let mut peer = peer(Refuse, 1, patience, LONG);
        let trickle = async {
            for octet in framed(&version_query(1)).into_iter().take(20) {
                if peer.stream.write_u8(octet).await.is_err() {
                    break;
                }
                tokio::time::sleep(SHORT / 8).await;
            }
        };
        let (end, ()) = tokio::join!(&mut peer.end, trickle);
        assert_eq!(end.unwrap(), End::Slow);
    }

    #[tokio::test]
    async fn who_does_not_read_is_let_go() {
        let patience = Patience { half_message: LONG, slow_reader: SHORT };
        let mut peer = peer(Refuse, 64, patience, LONG);
        peer.stream.write_all(&framed(&version_query(1))).await.unwrap();
        peer.stream.write_all(&framed(&version_query(2))).await.unwrap();
        assert_eq!(peer.end.await.unwrap(), End::Slow);
    }

    #[tokio::test]
    async fn what_is_no_query_ends_the_stream() {
        for nonsense in [framed(b""), framed(b"short"), framed(&[0x80; 12])] {
            let mut peer = peer(Refuse, 100, patient(), LONG);
            peer.stream.write_all(&nonsense).await.unwrap();
            assert_eq!(peer.end.await.unwrap(), End::Broken);
        }
    }

    #[tokio::test]
    async fn a_stopping_server_answers_what_it_has_and_ends() {
        let (gate, open) = Gate::new(0, 0);
        let mut peer = peer(gate, 1 << 16, patient(), LONG);
        peer.stream.write_all(&framed(&version_query(1))).await.unwrap();
        peer.stream.write_all(&framed(&update(2))).await.unwrap();
        assert_eq!(id(&message(&mut peer.stream).await), 1);
        peer.stop.send(true).unwrap();
        open.send(()).unwrap();
        assert_eq!(id(&message(&mut peer.stream).await), 2);
        assert_eq!(peer.end.await.unwrap(), End::Closed);
    }
}
