//! The PROXY header: the same however the network cuts it, bounded, and nothing behind it is touched.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use mailrook_net::proxy_protocol::{self, HEADER_LEN_MAX, Proxied, ProxyError};
use tokio::io::{AsyncRead, ReadBuf};

use crate::{Target, choices};

pub(crate) const PROXY_HEADER: Target = Target {
    name: "proxy_header",
    run: proxy_header,
    seeds: || {
        const V2: &[u8] = b"\x01\r\n\r\n\0\r\nQUIT\n";
        vec![
            b"\x01PROXY TCP4 192.0.2.1 198.51.100.1 56324 143\r\na LOGIN".to_vec(),
            b"\x02PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n".to_vec(),
            b"\x03PROXY UNKNOWN\r\nEHLO".to_vec(),
            b"\x04PROXY UNKNOWN ff:: ff:: 1 2\r\n".to_vec(),
            [
                V2,
                b"\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\xdc\x04\0\x8frest",
            ]
            .concat(),
            [V2, b"\x21\x21\0\x24", &[7; 36], b"rest"].concat(),
            [V2, b"\x20\0\0\0rest"].concat(),
            [V2, b"\x21\x31\0\xd8", &[1; 216]].concat(),
            [V2, b"\x21\x11\0\x13", &[9; 12], b"\x03\0\x04abcd"].concat(),
        ]
    },
    dictionary: &[
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x21\x11\0\x0c",
        b"\x20\0\0\0",
        b"\x21\x21\0\x24",
        b"\x10\0",
        b"\x10\x01",
        b"\xff\xff",
        b" 65535",
        b" 65536",
        b" +1",
        b"255.255.255.255",
        b"::ffff:1.2.3.4",
    ],
    len_max: 5_000,
    rounds: 300_000,
};

/// Reads a header.
///
/// # Panics
/// If it depends on how it is cut, more is read than a header may have, or one of version 1 does not print as it was
/// read.
pub fn proxy_header(input: &[u8]) {
    let Some((seed, input)) = input.split_first() else {
        return;
    };
    let whole = read(vec![input]);
    let cut = read(choices::pieces(input, *seed));
    assert_eq!(whole, cut);
    let (proxied, taken) = whole;
    assert!(taken <= HEADER_LEN_MAX);
    if let Ok(Proxied::Client {
        source,
        destination,
    }) = proxied
    {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        assert_eq!(source.is_ipv4(), destination.is_ipv4());
        let (from, to) = (source.ip(), destination.ip());
        let (from_port, to_port) = (source.port(), destination.port());
        let line = format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n");
        assert_eq!(read(vec![line.as_bytes()]), (proxied, line.len()));
    }
}

/// What was read, or whether it was for the connection's sake that nothing was; and of how many bytes.
fn read(pieces: Vec<&[u8]>) -> (Result<Proxied, bool>, usize) {
    let mut stream = Pieces { pieces, taken: 0 };
    let proxied = {
        let mut reading = Box::pin(proxy_protocol::read(&mut stream));
        match reading
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(proxied) => proxied,
            Poll::Pending => panic!("there is nothing to wait for"),
        }
    };
    let proxied = proxied.map_err(|error| matches!(error, ProxyError::Io(_)));
    (proxied, stream.taken)
}

/// A stream that gives one piece at a time, and then ends.
struct Pieces<'p> {
    pieces: Vec<&'p [u8]>,
    taken: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(piece) = self.pieces.first().copied() else {
            return Poll::Ready(Ok(()));
        };
        let (given, left) = piece.split_at(piece.len().min(buffer.remaining()));
        buffer.put_slice(given);
        self.taken += given.len();
        match left.is_empty() {
            true => drop(self.pieces.remove(0)),
            false => self.pieces[0] = left,
        }
        Poll::Ready(Ok(()))
    }
}
