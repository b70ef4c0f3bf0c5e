//! TCP: who may connect, how many, for how long.
//!
//! Plain TCP is accepted by threads of its own ([`plain`](super::plain)), what is encrypted by tasks of the runtime.
//! Connections are counted by address and in all. The fuller the house, the shorter an idle
//! connection may stay; when it is full, the next waits in the kernel's queue until one leaves, which
//! then is soon.
//!
//! Promises: no address can take all places; the server ends within the drain time it is given.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::late::{Listener, Stream};
use super::stream::{End, House, converse, stopped};
use crate::metrics::CONNECTIONS;
use crate::serve::Transport;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;

/// What is left of an idle connection's time when the house is full.
const IDLE_FULL: Duration = Duration::from_millis(500);

/// How long accepting rests when the process is out of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Opens a listening socket on `address`.
///
/// # Errors
///
/// What the system says, as when the address is taken.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections inherit it: one system call for all.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The places of all stream transports together.
pub struct Places {
    all: Arc<Semaphore>,
    max: usize,
    per_address_max: usize,
    idle_full: Duration,
    idle: Duration,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection's place; free again when dropped.
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub fn new(max: usize, per_address_max: usize, idle: Duration) -> Arc<Places> {
        Arc::new(Places {
            all: Arc::new(Semaphore::new(max)),
            max,
            per_address_max,
            idle_full: IDLE_FULL.min(idle),
            idle,
            open: AtomicUsize::new(0),
            by_address: Mutex::new(HashMap::new()),
        })
    }

    /// Waits until there is room for one more.
    pub async fn room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.all).acquire_owned().await;
        room.expect("nobody closes the semaphore")
    }

    /// Room for one more, if there is any now.
    pub fn room_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).try_acquire_owned().ok()
    }

    /// Gives the room to `address`; none if it has its share. A balancer's share is all there is.
    pub fn take(
        self: &Arc<Self>,
        room: OwnedSemaphorePermit,
        address: IpAddr,
        balancer: bool,
    ) -> Option<Place> {
        let address = whose(address);
        let mut all = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= self.per_address_max && !balancer {
            return None;
        }
        *count += 1;
        drop(all);
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { places: Arc::clone(self), address, _permit: room })
    }

    /// A place for `address` without waiting; none if there is no room or it has its share.
    pub fn take_now(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.take(self.room_now()?, address, false)
    }

    /// Whether more than half of all places are taken.
    pub fn is_crowded(&self) -> bool {
        self.open() > self.max / 2
    }

    /// Waits until every place is free, or `at_most` has passed.
    pub async fn empty(&self, at_most: Duration) {
        let _ = timeout(at_most, self.all.acquire_many(self.max as u32)).await;
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How long a connection may be idle now: all its time up to half full, then ever less.
    pub fn idle(&self) -> Duration {
        let (open, half) = (self.open(), self.max / 2);
        if open <= half {
            return self.idle;
        }
        let left = self.max.saturating_sub(open) as f64 / (self.max - half).max(1) as f64;
        self.idle_full + (self.idle - self.idle_full).mul_f64(left)
    }

    /// Has clients that want to know be told how long they may be idle now.
    pub(super) fn tell_idle(&self, house: &House) {
        let tenths = self.idle().as_millis() / 100;
        house.desk.shared().set_keepalive(tenths.try_into().unwrap_or(u16::MAX));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open.fetch_sub(1, Ordering::Relaxed);
        let mut all = self.places.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

/// Whom an address stands for: in IPv6 a host has a whole /64.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

/// Accepts on `listener` until the server stops, and has each connection answered by `serve`.
pub async fn accept<F>(
    listener: Listener,
    house: Arc<House>,
    places: Arc<Places>,
    serve: impl Fn(TcpStream, SocketAddr, Arc<House>, Arc<Places>) -> F,
) where
    F: Future<Output = End> + Send + 'static,
{
    let mut stop = house.stop.clone();
    loop {
        let room = tokio::select! {
            room = places.room() => room,
            () = stopped(&mut stop) => return,
        };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(_) => {
                    sleep(REST).await;
                    continue;
                }
            },
            () = stopped(&mut stop) => return,
        };
        let balancer = house.balancers.contains(peer.ip());
        let Some(place) = places.take(room, peer.ip(), balancer) else {
            house.desk.count(&CONNECTIONS, 1);
            continue;
        };
        house.desk.count(&CONNECTIONS, 0);
        places.tell_idle(&house);
        let conversation = serve(stream, peer, Arc::clone(&house), Arc::clone(&places));
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            count(&house, conversation.await);
            drop(place);
        });
    }
}

/// Counts how a stream ended, if not as it should.
pub(super) fn count(house: &House, end: End) {
    match end {
        End::Closed => {}
        End::Idle => house.desk.count(&CONNECTIONS, 2),
        End::Slow => house.desk.count(&CONNECTIONS, 3),
        End::Broken => house.desk.count(&CONNECTIONS, 4),
    }
}

/// Answers one connection of plain TCP.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    house: Arc<House>,
    places: Arc<Places>,
) -> End {
    let mut stream = Stream::new(stream);
    match house.client(&mut stream, peer).await {
        Ok(client) => converse(stream, Transport::Tcp, client, &house, || places.idle()).await,
        Err(end) => end,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::watch;

    use super::*;
    use crate::serve::testing::{desk, framed, version_query};
    use crate::serve::{Prefixes, Refuse};
    use crate::transport::stream::Patience;

    async fn server(
        max: usize,
        per_address: usize,
    ) -> (SocketAddr, Arc<Places>, watch::Sender<bool>) {
        let (stop, stopping) = watch::channel(false);
        let house = House {
            desk: desk(Refuse),
            patience: Patience::default(),
            balancers: Prefixes::default(),
            tap: None,
            stop: stopping,
        };
        let places = Places::new(max, per_address, Duration::from_secs(60));
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let listener = Listener::new(socket).unwrap();
        tokio::spawn(accept(listener, Arc::new(house), Arc::clone(&places), serve));
        (address, places, stop)
    }

    async fn asks_in_vain(stream: &mut TcpStream) -> bool {
        let _ = stream.write_all(&framed(&version_query(1))).await;
        stream.read_u16().await.is_err()
    }

    #[tokio::test]
    async fn an_address_gets_its_share_and_no_more_until_one_leaves() {
        let (address, places, _stop) = server(10, 2).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(!asks_in_vain(&mut first).await && !asks_in_vain(&mut second).await);

        let mut third = TcpStream::connect(address).await.unwrap();
        assert!(asks_in_vain(&mut third).await);

        drop(first);
        while places.open() > 1 {
            tokio::task::yield_now().await;
        }
        let mut fourth = TcpStream::connect(address).await.unwrap();
        assert!(!asks_in_vain(&mut fourth).await);
    }

    #[tokio::test]
    async fn a_full_house_takes_the_next_when_one_leaves() {
        let (address, _places, _stop) = server(1, 10).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        assert!(!asks_in_vain(&mut first).await);
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(&framed(&version_query(2))).await.unwrap();
        drop(first);
        assert!(second.read_u16().await.is_ok());
    }

    #[tokio::test]
    async fn the_idle_time_shrinks_as_the_house_fills() {
        let places = Places::new(4, 9, Duration::from_secs(10));
        let mut held = Vec::new();
        let mut idle = Vec::new();
        for _ in 0..4 {
            idle.push(places.idle());
            let room = places.room().await;
            held.push(places.take(room, "192.0.2.1".parse().unwrap(), false).unwrap());
        }
        idle.push(places.idle());
        assert_eq!(idle[..3], [Duration::from_secs(10); 3]);
        assert!(idle[3] < idle[2] && idle[4] == IDLE_FULL, "{idle:?}");
        drop(held);
        assert_eq!((places.open(), places.idle()), (0, Duration::from_secs(10)));
    }

    #[test]
    fn a_host_of_ipv6_is_its_64_and_a_mapped_address_is_ipv4() {
        let whose = |text: &str| whose(text.parse().unwrap());
        assert_eq!(whose("2001:db8::1"), whose("2001:db8::ffff:1"));
        assert_ne!(whose("2001:db8:0:1::1"), whose("2001:db8::1"));
        assert_eq!(whose("::ffff:192.0.2.1"), whose("192.0.2.1"));
    }
}
