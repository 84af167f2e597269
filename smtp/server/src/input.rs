//! What was read of the client and not yet given to the session.

use std::io;

use mailrook_net::Stream;
use tokio::io::AsyncReadExt;

/// A pipelined group of commands fits, as a rule.
const COMMANDS_LEN: usize = 4 * 1024;
/// Message text comes in segments of this size at most from a fast peer; larger reads gain nothing measurable.
const TEXT_LEN: usize = 32 * 1024;

/// A buffer that is there only while there is something in it, or text is coming.
#[derive(Default)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    /// What waits for the session.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The session took `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads more, once all was consumed; zero is the end. While a command is awaited no buffer is held.
    pub(crate) async fn read(&mut self, stream: &mut Stream, text: bool) -> io::Result<usize> {
        let len = if text { TEXT_LEN } else { COMMANDS_LEN };
        if !text {
            self.buffer = Vec::new();
            stream.wait_readable().await?;
        }
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
        self.end = stream.read(&mut self.buffer).await?;
        self.start = 0;
        Ok(self.end)
    }

    /// Reads what has come already, without waiting.
    pub(crate) async fn read_ready(&mut self, stream: &mut Stream) {
        if self.buffer.len() < self.end + COMMANDS_LEN {
            self.buffer.resize(self.end + COMMANDS_LEN, 0);
        }
        // An end or error is met again by the next read.
        tokio::select! {
            biased;
            Ok(count) = stream.read(&mut self.buffer[self.end..]) => self.end += count,
            () = std::future::ready(()) => {}
        }
    }
}
