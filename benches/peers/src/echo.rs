//! The null echo: what a UDP server costs that only flips QR and sends the datagram back.
//!
//! It batches as nameplane's UDP worker does (blocking `recvmmsg` with `MSG_WAITFORONE`, one
//! `sendmmsg`), so that the difference to a real server is the answering and nothing else.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys::{self, Batch, Wait};

/// Datagrams taken by one system call: nameplane's figure.
const BATCH: usize = 32;

/// Echoes until the process is ended; each reply is `pad` octets longer than its query. Several workers
/// share the address as nameplane's do, with a socket each.
pub fn serve(listen: SocketAddr, pad: usize, workers: usize) -> io::Result<()> {
    let open = || {
        let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)?;
        socket.bind(&listen.into())?;
        Ok(UdpSocket::from(socket))
    };
    let sockets = (0..workers.max(1)).map(|_| open()).collect::<io::Result<Vec<_>>>()?;
    let work = |socket: UdpSocket| move || echo(&socket, pad);
    let threads: Vec<_> = sockets.into_iter().map(|socket| thread::spawn(work(socket))).collect();
    let panicked = |_| Err(io::Error::other("a worker panicked"));
    threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(panicked))
}

fn echo(socket: &UdpSocket, pad: usize) -> io::Result<()> {
    sys::widen_buffers(socket);
    let mut batch = Batch::new(BATCH);
    loop {
        let count = batch.receive(socket, Wait::ForOne)?;
        for i in 0..count {
            if let Some(flags) = batch.received(i).get_mut(2) {
                *flags ^= 0x80;
            }
        }
        batch.send_back(socket, count, pad)?;
    }
}
