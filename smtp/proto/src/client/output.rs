//! What waits to be written.

use zeroize::Zeroize;

use crate::limits;

/// Bytes that wait to be written. What was written is dropped once nothing waits, so that each byte is moved once.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes written since the connection's start.
    written: u64,
    /// It holds credentials: it is wiped, not only dropped.
    secret: bool,
}

impl Output {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends credentials.
    pub(super) fn push_secret(&mut self, bytes: &[u8]) {
        // Growth would leave a copy behind: the line's end has room, too.
        self.bytes.reserve_exact(bytes.len() + b"\r\n".len());
        self.secret = true;
        self.push(bytes);
    }

    /// For an encoder to append to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Bytes since the connection's start, up to and with the last that waits.
    pub(super) fn end(&self) -> u64 {
        self.written + self.waiting().len() as u64
    }

    /// Bytes since the connection's start that were written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    pub(super) fn sent(&mut self, count: usize) {
        assert!(count <= self.waiting().len(), "more was sent than waited");
        self.sent += count;
        self.written += count as u64;
        if self.is_empty() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        if self.secret {
            self.bytes.zeroize();
        }
        self.bytes.clear();
        // A connection that is kept for later should not hold a message's buffer.
        if self.bytes.capacity() > 2 * limits::CHUNK_LEN {
            self.bytes = Vec::new();
        }
        self.sent = 0;
        self.secret = false;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.clear();
    }
}
