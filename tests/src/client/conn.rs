//! One connection: plain TCP, TLS, or either with DEFLATE on top, read by lines and by counts.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Protocol, Socket, Type};

use super::wire_error;

/// How long a test waits for one answer. Long, since the machines that run tests are busy; a hang still ends.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
thread_local! {
    static PATIENCE: Cell<Duration> = const { Cell::new(READ_TIMEOUT) };
}

/// How long the connections that this thread makes from now on wait: a client of a cluster goes to the next node instead
/// of waiting for a dead one.
pub fn set_patience(patience: Duration) {
    PATIENCE.set(patience);
}

/// Read at most this much at once: large enough that the load generator is not the limit of a bulk fetch.
const READ_BYTES: usize = 256 * 1024;
/// No line of any answer is longer; a server that sends one is broken.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Gone,
}

struct Deflate {
    inflate: Decompress,
    deflate: Compress,
    raw: Vec<u8>,
}

/// A buffered connection.
pub struct Conn {
    stream: Stream,
    deflate: Option<Box<Deflate>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// A TLS configuration that trusts the certificates of `ca_pem_file` and nothing else.
pub fn tls_config(ca_pem_file: &Path) -> io::Result<Arc<ClientConfig>> {
    let pem = fs::read(ca_pem_file)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|e| wire_error(format!("{}: {e:?}", ca_pem_file.display())))?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(Arc::new(
        ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    ))
}

impl Conn {
    /// Connects to a port of the loopback address.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::connect_from(Ipv4Addr::LOCALHOST, port)
    }

    /// Connects from a given loopback address (127.0.0.0/8), so that many connections do not run out of ports.
    pub fn connect_from(source: Ipv4Addr, port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        if source != Ipv4Addr::LOCALHOST {
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        let target = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let patience = PATIENCE.get();
        socket.connect_timeout(&target.into(), patience)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        Ok(Self {
            stream: Stream::Plain(socket.into()),
            deflate: None,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        })
    }

    /// Connects to a port that speaks TLS from the first byte.
    pub fn connect_tls(port: u16, config: Arc<ClientConfig>) -> io::Result<Self> {
        let mut conn = Self::connect(port)?;
        conn.start_tls(config)?;
        Ok(conn)
    }

    /// Hands the connection to TLS, as after the answer to STARTTLS. What was read ahead is dropped on purpose.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>) -> io::Result<()> {
        let Stream::Plain(tcp) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(wire_error("TLS already begun"));
        };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.start = 0;
        self.end = 0;
        self.stream = Stream::Tls(Box::new(stream));
        Ok(())
    }

    /// RFC 5929 `tls-server-end-point` needs the server's certificate.
    pub fn server_certificate(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Tls(tls) => tls
                .conn
                .peer_certificates()
                .and_then(|c| c.first())
                .map(|c| c.to_vec()),
            _ => None,
        }
    }

    /// Starts DEFLATE in both directions (RFC 4978).
    pub fn start_deflate(&mut self) {
        let raw = self.buffer[self.start..self.end].to_vec();
        self.start = 0;
        self.end = 0;
        self.deflate = Some(Box::new(Deflate {
            inflate: Decompress::new(false),
            deflate: Compress::new(Compression::fast(), false),
            raw,
        }));
    }

    /// Another deadline for the reads that follow.
    pub fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.tcp()?.set_read_timeout(Some(timeout))
    }

    /// Another deadline for the writes that follow.
    pub fn set_write_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.tcp()?.set_write_timeout(Some(timeout))
    }

    /// Closes our half; the server sees the end of the input and may still answer.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.tcp()?.shutdown(Shutdown::Write)
    }

    fn tcp(&self) -> io::Result<&TcpStream> {
        match &self.stream {
            Stream::Plain(tcp) => Ok(tcp),
            Stream::Tls(tls) => Ok(&tls.sock),
            Stream::Gone => Err(wire_error("connection gone")),
        }
    }

    fn stream_read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match Self::read_once(stream, buffer) {
                // signal(7): a read with a timeout ends so when the process, or the whole machine, was paused.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    fn read_once(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<usize> {
        match stream {
            Stream::Plain(tcp) => tcp.read(buffer),
            // A peer that closes without close_notify is at its end all the same.
            Stream::Tls(tls) => match tls.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
            Stream::Gone => Ok(0),
        }
    }

    fn stream_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            Stream::Gone => Err(wire_error("connection gone")),
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(zip) = &mut self.deflate else {
            return self.stream_write(bytes);
        };
        let mut out = Vec::with_capacity(bytes.len() + 1024);
        let before = zip.deflate.total_in();
        loop {
            let done =
                usize::try_from(zip.deflate.total_in() - before).map_err(io::Error::other)?;
            out.reserve(4096);
            zip.deflate
                .compress_vec(&bytes[done..], &mut out, FlushCompress::Sync)
                .map_err(io::Error::other)?;
            let done =
                usize::try_from(zip.deflate.total_in() - before).map_err(io::Error::other)?;
            if done == bytes.len() && out.len() < out.capacity() {
                break;
            }
        }
        self.stream_write(&out)
    }

    /// Reads more into the buffer. Zero means the end.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // Small at first: ten thousand idle connections live in one load generator.
        let wanted = self.end
            + if self.end == 0 && self.buffer.len() < 4096 {
                4096
            } else {
                READ_BYTES
            };
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let count = match &mut self.deflate {
            None => Self::stream_read(&mut self.stream, &mut self.buffer[self.end..])?,
            Some(zip) => Self::fill_inflated(&mut self.stream, zip, &mut self.buffer[self.end..])?,
        };
        self.end += count;
        Ok(count)
    }

    fn fill_inflated(stream: &mut Stream, zip: &mut Deflate, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let (read, wrote) = (zip.inflate.total_in(), zip.inflate.total_out());
            zip.inflate
                .decompress(&zip.raw, out, FlushDecompress::Sync)
                .map_err(io::Error::other)?;
            let used = usize::try_from(zip.inflate.total_in() - read).map_err(io::Error::other)?;
            let made =
                usize::try_from(zip.inflate.total_out() - wrote).map_err(io::Error::other)?;
            zip.raw.drain(..used);
            if made > 0 {
                return Ok(made);
            }
            let mut chunk = [0; 16384];
            let count = Self::stream_read(stream, &mut chunk)?;
            if count == 0 {
                return Ok(0);
            }
            zip.raw.extend_from_slice(&chunk[..count]);
        }
    }

    /// The next line without its line end; `None` at the end of the stream.
    pub fn line_or_end(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            let data = &self.buffer[self.start..self.end];
            if let Some(at) = data[seen..].iter().position(|&b| b == b'\n') {
                let mut line = &data[..seen + at];
                if line.last() == Some(&b'\r') {
                    line = &line[..line.len() - 1];
                }
                let line = line.to_vec();
                self.start += seen + at + 1;
                return Ok(Some(line));
            }
            seen = data.len();
            if seen > LINE_BYTES_MAX {
                return Err(wire_error("a line without end"));
            }
            if self.fill()? == 0 {
                return if seen == 0 {
                    Ok(None)
                } else {
                    Err(wire_error("stream ended within a line"))
                };
            }
        }
    }

    /// The next line; the end of the stream is an error.
    pub fn line(&mut self) -> io::Result<Vec<u8>> {
        self.line_or_end()?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::UnexpectedEof, "server closed the connection")
        })
    }

    /// Exactly `count` bytes, appended to `out`.
    pub fn read_into(&mut self, out: &mut Vec<u8>, mut count: usize) -> io::Result<()> {
        loop {
            let take = count.min(self.end - self.start);
            out.extend_from_slice(&self.buffer[self.start..self.start + take]);
            self.start += take;
            count -= take;
            if count == 0 {
                return Ok(());
            }
            if self.fill()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "server closed within a literal",
                ));
            }
        }
    }

    /// Drops exactly `count` bytes of input.
    pub fn skip(&mut self, mut count: usize) -> io::Result<()> {
        loop {
            let take = count.min(self.end - self.start);
            self.start += take;
            count -= take;
            if count == 0 {
                return Ok(());
            }
            if self.fill()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "server closed within a literal",
                ));
            }
        }
    }

    /// Drops a dot-ended answer (RFC 1939 §3) and gives its octets: for bulk reading, where lines need not be kept.
    pub fn skip_to_dot(&mut self) -> io::Result<u64> {
        let mut octets = 0;
        // The status line's end stands before the first line.
        let mut tail = *b"\0\0\0\r\n";
        loop {
            let data = &self.buffer[self.start..self.end];
            // The end can lie across two reads: the last four bytes are carried over.
            let window = [&tail[..], data].concat();
            if let Some(at) = window.windows(5).position(|w| w == b"\r\n.\r\n") {
                self.start += at;
                return Ok(octets + at as u64);
            }
            octets += data.len() as u64;
            let keep = window.len() - tail.len();
            tail.copy_from_slice(&window[keep..]);
            self.start = self.end;
            if self.fill()? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "server closed within a message",
                ));
            }
        }
    }

    /// Reads until the server closes; gives what came. A reset counts as a close.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) if self.end - self.start > LINE_BYTES_MAX => {
                    return Err(wire_error("stream without end"));
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break,
                Err(e) => return Err(e),
            }
        }
        let rest = self.buffer[self.start..self.end].to_vec();
        self.start = self.end;
        Ok(rest)
    }
}
