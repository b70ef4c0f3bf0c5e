//! The null echo: what a UDP server costs that only flips QR and sends the datagram back.
//!
//! It batches as nameplane's UDP worker does (blocking `recvmmsg` with `MSG_WAITFORONE`, one
//! `sendmmsg`), so that the difference to a real server is the answering and nothing else.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::sys::{self, Batch, Wait};

/// Datagrams taken by one system call: nameplane's figure.
const BATCH: usize = 32;

/// Echoes until the process is ended; each reply is `pad` octets longer than its query.
pub fn serve(listen: SocketAddr, pad: usize) -> io::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    sys::widen_buffers(&socket);
    let mut batch = Batch::new(BATCH);
    loop {
        let count = batch.receive(&socket, Wait::ForOne)?;
        for i in 0..count {
            if let Some(flags) = batch.received(i).get_mut(2) {
                *flags ^= 0x80;
            }
        }
        batch.send_back(&socket, count, pad)?;
    }
}
