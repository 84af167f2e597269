//! One stream type for TCP, unix sockets and tests, with TLS over each.

use std::{
    fmt, io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustls::ProtocolVersion;
use socket2::SockRef;
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;

use crate::{TlsAcceptor, TlsError, tls::Accepted};

/// A connection's bytes. It has no buffers of its own but TLS's.
pub struct Stream {
    inner: Inner,
    traffic: Arc<Traffic>,
}

/// How much went over a connection, as its session sees it: without TLS's own bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Bytes that the session has read.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes that the session has written.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    fn note_sent(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            self.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

enum Inner {
    Plain(Transport),
    Tls(Box<Tls>),
}

enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Duplex(DuplexStream),
}

/// Boxed, lest a plain connection pay for it.
struct Tls {
    stream: TlsStream<Transport>,
    end_point: Option<Arc<[u8]>>,
}

/// What a log or a `Received` header says of a TLS connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<String>,
}

/// What SASL may bind to.
#[derive(Clone, Default)]
pub struct TlsBindings {
    /// `tls-exporter` (RFC 9266), of TLS 1.3: for older versions it needs properties that rustls does not tell.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929 §4).
    pub server_end_point: Option<Arc<[u8]>>,
}

impl Stream {
    /// Two ends of a connection in memory, with `capacity` bytes on the way in each direction.
    pub fn duplex(capacity: usize) -> (Stream, Stream) {
        let (a, b) = tokio::io::duplex(capacity);
        (a.into(), b.into())
    }

    /// Does a TLS handshake as the server. The caller has read nothing beyond the client's request for TLS, or drops
    /// what it has (RFC 3207 §4.2, RFC 9051 §6.2.1): none of it may be taken for something said under TLS.
    ///
    /// After an error the connection is gone.
    pub async fn start_tls(self, acceptor: &TlsAcceptor) -> Result<Stream, TlsError> {
        match self.inner {
            Inner::Plain(transport) => {
                // On the heap: the handshake's future is large, and would stay a part of the session's.
                let Accepted { stream, end_point } = Box::pin(acceptor.accept(transport)).await?;
                Ok(Stream {
                    inner: Inner::Tls(Box::new(Tls { stream, end_point })),
                    traffic: self.traffic,
                })
            }
            Inner::Tls(_) => Err(TlsError::AlreadyActive),
        }
    }

    /// Waits until there is something to read, an end or an error, without a buffer to read into. Cancel-safe.
    pub async fn wait_readable(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// [`Stream::wait_readable`] for who polls.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.inner {
            // What tokio holds for readable may have been read up already; a look makes sure.
            Inner::Plain(Transport::Tcp(tcp)) => tcp
                .poll_peek(cx, &mut ReadBuf::new(&mut [0]))
                .map_ok(|_| ()),
            Inner::Plain(Transport::Unix(unix)) => loop {
                ready!(unix.poll_read_ready(cx))?;
                let look = || SockRef::from(&*unix).peek(&mut [MaybeUninit::uninit()]);
                match unix.try_io(Interest::READABLE, look) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    looked => return Poll::Ready(looked.map(|_| ())),
                }
            },
            // A duplex cannot tell; its reader waits with a buffer.
            Inner::Plain(Transport::Duplex(_)) => Poll::Ready(Ok(())),
            // TLS keeps a decrypted record until it is read.
            Inner::Tls(tls) => {
                ready!(Pin::new(&mut tls.stream).poll_fill_buf(cx))?;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// What went over it so far, and will.
    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Whether TLS is active.
    pub fn is_tls(&self) -> bool {
        matches!(self.inner, Inner::Tls(_))
    }

    /// The TLS connection's properties.
    pub fn tls_info(&self) -> Option<TlsInfo> {
        let Inner::Tls(tls) = &self.inner else {
            return None;
        };
        let connection = tls.stream.get_ref().1;
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLS",
        };
        let cipher = connection
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown");
        Some(TlsInfo {
            version,
            cipher,
            server_name: connection.server_name().map(str::to_owned),
        })
    }

    /// What SASL may bind to; nothing without TLS.
    pub fn tls_bindings(&self) -> TlsBindings {
        let Inner::Tls(tls) = &self.inner else {
            return TlsBindings::default();
        };
        let connection = tls.stream.get_ref().1;
        let exporter = (connection.protocol_version() == Some(ProtocolVersion::TLSv1_3))
            .then(|| {
                connection
                    .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
                    .ok()
            })
            .flatten();
        TlsBindings {
            exporter,
            server_end_point: tls.end_point.clone(),
        }
    }

    /// Sends a few bytes if they go out at once, for who is refused.
    pub(crate) fn try_send(&self, bytes: &[u8]) {
        // The connection is closed next, whether or not this was sent.
        let _ = match &self.inner {
            Inner::Plain(Transport::Tcp(tcp)) => tcp.try_write(bytes),
            Inner::Plain(Transport::Unix(unix)) => unix.try_write(bytes),
            Inner::Plain(Transport::Duplex(_)) | Inner::Tls(_) => Ok(0),
        };
    }
}

impl From<Transport> for Stream {
    fn from(transport: Transport) -> Stream {
        Stream {
            inner: Inner::Plain(transport),
            traffic: Arc::default(),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(tcp: TcpStream) -> Stream {
        Transport::Tcp(tcp).into()
    }
}

impl From<UnixStream> for Stream {
    fn from(unix: UnixStream) -> Stream {
        Transport::Unix(unix).into()
    }
}

impl From<DuplexStream> for Stream {
    fn from(duplex: DuplexStream) -> Stream {
        Transport::Duplex(duplex).into()
    }
}

/// Calls a method of whatever is inside, pinned.
macro_rules! pinned {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Transport::Tcp(tcp) => {
                let $stream = Pin::new(tcp);
                $call
            }
            Transport::Unix(unix) => {
                let $stream = Pin::new(unix);
                $call
            }
            Transport::Duplex(duplex) => {
                let $stream = Pin::new(duplex);
                $call
            }
        }
    };
}

macro_rules! pinned_inner {
    ($inner:expr, $stream:ident => $call:expr) => {
        match $inner {
            Inner::Plain(transport) => {
                let $stream = Pin::new(transport);
                $call
            }
            Inner::Tls(tls) => {
                let $stream = Pin::new(&mut tls.stream);
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pinned!(self.get_mut(), stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        pinned!(self.get_mut(), stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pinned!(self.get_mut(), stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned!(self.get_mut(), stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned!(self.get_mut(), stream => stream.poll_shutdown(cx))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Stream { inner, traffic } = self.get_mut();
        let before = buf.filled().len();
        let read = pinned_inner!(inner, stream => stream.poll_read(cx, buf));
        let count = buf.filled().len() - before;
        traffic.received.fetch_add(count as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Stream { inner, traffic } = self.get_mut();
        let written = pinned_inner!(inner, stream => stream.poll_write(cx, buf));
        traffic.note_sent(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Stream { inner, traffic } = self.get_mut();
        let written = pinned_inner!(inner, stream => stream.poll_write_vectored(cx, bufs));
        traffic.note_sent(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned_inner!(&mut self.get_mut().inner, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pinned_inner!(&mut self.get_mut().inner, stream => stream.poll_shutdown(cx))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.inner {
            Inner::Plain(Transport::Tcp(_)) => "Stream(TCP)",
            Inner::Plain(Transport::Unix(_)) => "Stream(unix)",
            Inner::Plain(Transport::Duplex(_)) => "Stream(duplex)",
            Inner::Tls(_) => "Stream(TLS)",
        })
    }
}

/// The exported key is shown to nobody.
impl fmt::Debug for TlsBindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsBindings")
            .field("exporter", &self.exporter.is_some())
            .field("server_end_point", &self.server_end_point.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests;
