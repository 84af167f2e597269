//! The wire of a session: TLS and DEFLATE below, buffers that an idle session does not have.

mod deflate;

use std::{
    io::{self, IoSlice},
    time::Duration,
};

use mailrook_net::{Stream, TlsAcceptor};
use mailrook_sasl::ChannelBindings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use deflate::Deflate;

/// How much is read at a time: a full TLS record (RFC 8446 §5.1).
const READ_LEN: usize = 16 * 1024;

/// Output is sent when there is so much of it, however much is still to come: large enough that the system calls cost
/// nothing, small enough that 1,000 clients that stop reading cost little.
pub(crate) const FLUSH_LEN: usize = 64 * 1024;

/// A session's connection with what was read and not yet used, and what was written and not yet sent.
pub(crate) struct Wire {
    /// `None` only while a handshake has it, and after one that failed.
    stream: Option<Stream>,
    input: Vec<u8>,
    used: usize,
    output: Vec<u8>,
    /// What was written last may not have left: TLS and DEFLATE hold some of it until they are told.
    unflushed: bool,
    /// Bytes are being sent, or were as that was given up.
    is_sending: bool,
    deflate: Option<Box<Deflate>>,
    write_timeout: Duration,
}

impl Wire {
    pub(crate) fn new(stream: Stream, write_timeout: Duration) -> Wire {
        Wire {
            stream: Some(stream),
            input: Vec::new(),
            used: 0,
            output: Vec::new(),
            unflushed: false,
            is_sending: false,
            deflate: None,
            write_timeout,
        }
    }

    /// What was read and not yet used.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input[self.used..]
    }

    /// Marks the first `count` bytes of [`Wire::input`] as used.
    pub(crate) fn consume(&mut self, count: usize) {
        self.used += count;
        debug_assert!(self.used <= self.input.len(), "more was used than was read");
        if self.used >= self.input.len() {
            self.input.clear();
            self.used = 0;
        }
    }

    /// Waits for more input, and reads it. False at the end of the stream. Cancel-safe.
    ///
    /// The caller has used all that was complete; what is left of a line moves to the front.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        if self.used > 0 {
            self.input.drain(..self.used);
            self.used = 0;
        }
        if let Some(deflate) = &mut self.deflate
            && deflate.inflate(&mut self.input)?
        {
            return Ok(true);
        }
        if self.input.is_empty() {
            self.release();
        }
        let stream = self.stream.as_mut().ok_or_else(closed)?;
        stream.wait_readable().await?;
        match &mut self.deflate {
            None => {
                self.input.reserve(READ_LEN);
                Ok(stream.read_buf(&mut self.input).await? > 0)
            }
            Some(deflate) => loop {
                if stream.read_buf(deflate.packed()).await? == 0 {
                    return Ok(false);
                }
                if deflate.inflate(&mut self.input)? {
                    return Ok(true);
                }
            },
        }
    }

    /// Gives back what an idle session does not need.
    fn release(&mut self) {
        self.input = Vec::new();
        if self.output.is_empty() {
            self.output = Vec::new();
        }
        if let Some(deflate) = &mut self.deflate
            && !self.unflushed
        {
            deflate.release();
        }
    }

    /// Whether the client has not taken what it is being sent.
    pub(crate) fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Where responses are written; sent by [`Wire::flush`].
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Sends the output if there is much of it. Called between responses, so that memory stays bounded whatever is asked for.
    pub(crate) async fn relieve(&mut self) -> io::Result<()> {
        if self.output.len() >= FLUSH_LEN {
            self.send_output(false).await?;
        }
        Ok(())
    }

    /// Sends bytes after what is in the output, without a copy if they are many.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.deflate.is_some() || self.output.len() + bytes.len() < FLUSH_LEN {
            // DEFLATE copies anyway; a piece at a time.
            for piece in bytes.chunks(FLUSH_LEN) {
                self.output.extend_from_slice(piece);
                self.relieve().await?;
            }
            return Ok(());
        }
        self.send_output(false).await?;
        self.write(bytes).await
    }

    /// Sends `head`, which is empty then, and `bytes`: without a copy, and as a rule in one system call.
    pub(crate) async fn send_both(&mut self, head: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
        if self.deflate.is_some() || !self.output.is_empty() {
            self.send(head).await?;
            head.clear();
            return self.send(bytes).await;
        }
        (self.unflushed, self.is_sending) = (true, true);
        let stream = self.stream.as_mut().ok_or_else(closed)?;
        let mut written = 0;
        while written < head.len() {
            let rest = [IoSlice::new(&head[written..]), IoSlice::new(bytes)];
            written += sent(self.write_timeout, stream.write_vectored(&rest)).await?;
        }
        let rest = &bytes[written - head.len()..];
        head.clear();
        self.write(rest).await
    }

    /// Sends all output, and what is held of the output before.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() && !self.unflushed {
            return Ok(());
        }
        self.send_output(true).await?;
        self.is_sending = true;
        let stream = self.stream.as_mut().ok_or_else(closed)?;
        timeout(self.write_timeout, stream.flush())
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        (self.unflushed, self.is_sending) = (false, false);
        Ok(())
    }

    async fn send_output(&mut self, last: bool) -> io::Result<()> {
        let mut output = std::mem::take(&mut self.output);
        match &mut self.deflate {
            None => self.write(&output).await?,
            Some(deflate) => {
                let packed = deflate.deflate(&output, last)?;
                self.write(&packed).await?;
            }
        }
        output.clear();
        // What is written while nothing is awaited may have made it larger than it needs to be.
        output.shrink_to(2 * FLUSH_LEN);
        self.output = output;
        Ok(())
    }

    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        (self.unflushed, self.is_sending) = (true, true);
        let stream = self.stream.as_mut().ok_or_else(closed)?;
        while !bytes.is_empty() {
            let written = sent(self.write_timeout, stream.write(bytes)).await?;
            bytes = &bytes[written..];
        }
        self.is_sending = false;
        Ok(())
    }

    /// Does a TLS handshake. What the client sent before it is forgotten (RFC 9051 §6.2.1, RFC 2595 §4).
    pub(crate) async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> io::Result<()> {
        self.input = Vec::new();
        self.used = 0;
        let stream = self.stream.take().ok_or_else(closed)?;
        let stream = stream.start_tls(acceptor).await.map_err(io::Error::other)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Compresses from here on, both ways (RFC 4978). All output has been sent; input that has been read already is taken for
    /// compressed.
    pub(crate) fn start_deflate(&mut self) {
        let rest = self.input().to_vec();
        self.input = Vec::new();
        self.used = 0;
        self.deflate = Some(Box::new(Deflate::new(rest)));
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.deflate.is_some()
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }

    /// What SCRAM-SHA-256-PLUS binds to.
    pub(crate) fn bindings(&self) -> ChannelBindings {
        let stream = self.stream.as_ref();
        stream.map(mailrook_auth::bindings).unwrap_or_default()
    }

    /// Sends what is left and ends the stream; a client that does not take it is not waited for long.
    pub(crate) async fn close(mut self) {
        let goodbye = async {
            self.flush().await?;
            match &mut self.stream {
                Some(stream) => stream.shutdown().await,
                None => Ok(()),
            }
        };
        // The client may be gone already: there is nobody to tell.
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

/// A client that reads at all takes its goodbye at once.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How much a write took: something, within the time.
async fn sent(
    within: Duration,
    write: impl Future<Output = io::Result<usize>>,
) -> io::Result<usize> {
    match timeout(within, write).await {
        Ok(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
        Ok(written) => written,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
