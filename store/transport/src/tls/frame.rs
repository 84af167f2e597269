//! The frames that a connection is made of. All numbers are big-endian.
//!
//! ```text
//! length  4   of what follows: 9 + body
//! kind    1
//! id      8   of the request or stream; the code of a rejection; 0 where there is none
//! body
//! ```
//!
//! | kind | | from | body |
//! |---|---|---|---|
//! | 1 | hello | both | see [`super::hello`]; the first frame each way |
//! | 2 | reject | both | text: why the sender closes the connection; its last frame |
//! | 3 | join | dialer without a certificate | the request; the only frame |
//! | 4 | joined | acceptor | the answer to it |
//! | 16 | request | dialer | the request |
//! | 17 | reply | acceptor | the reply |
//! | 18 | failure | acceptor | text: the handler's refusal |
//! | 19 | open | dialer | the request that opens a stream |
//! | 20 | item | both | an item of a stream |
//! | 21 | end | both | empty: no more items from the sender |
//! | 22 | credit | both | items (4) and bytes (4) that were taken: as many more may be sent |
//! | 23 | cancel | both | empty: no reply, or no more items, are wanted |
//! | 24 | ping | dialer | its introduction |
//! | 25 | pong | acceptor | empty |
//!
//! Ids grow with each request and stream of a connection. A kind that is not in the table ends the connection: what a newer
//! version adds, it sends only after the hellos have agreed on that version.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{RejectCode, Rejection};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Hello = 1,
    Reject = 2,
    Join = 3,
    Joined = 4,
    Request = 16,
    Reply = 17,
    Failure = 18,
    Open = 19,
    Item = 20,
    End = 21,
    Credit = 22,
    Cancel = 23,
    Ping = 24,
    Pong = 25,
}

impl Kind {
    const ALL: [Kind; 14] = [
        Kind::Hello,
        Kind::Reject,
        Kind::Join,
        Kind::Joined,
        Kind::Request,
        Kind::Reply,
        Kind::Failure,
        Kind::Open,
        Kind::Item,
        Kind::End,
        Kind::Credit,
        Kind::Cancel,
        Kind::Ping,
        Kind::Pong,
    ];

    fn from_wire(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The length itself.
const LENGTH_BYTES: usize = 4;

/// Kind and id.
const FIXED_BYTES: usize = 9;

/// What precedes the body.
pub(crate) const HEADER_BYTES: usize = LENGTH_BYTES + FIXED_BYTES;

/// A body below is copied out of the buffer it was read into, which it would keep alive as a whole otherwise.
const COPIED_BODY_MAX: usize = 16 << 10;

/// What is read at once: a few TLS records of 16 KiB.
const READ_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    pub(crate) body: Bytes,
}

impl Frame {
    pub(crate) fn new(kind: Kind, id: u64, body: Bytes) -> Frame {
        Frame { kind, id, body }
    }

    /// A text that a person may come to read.
    pub(crate) fn text(kind: Kind, id: u64, text: &str) -> Frame {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Frame::new(kind, id, Bytes::copy_from_slice(&text.as_bytes()[..end]))
    }

    /// Why the sender closes the connection.
    pub(crate) fn reject(rejection: &Rejection) -> Frame {
        Frame::text(Kind::Reject, rejection.code.to_wire(), &rejection.words)
    }

    /// Reads [`Frame::reject`].
    pub(crate) fn rejection(&self) -> Rejection {
        Rejection {
            code: RejectCode::from_wire(self.id),
            words: text_of(&self.body),
        }
    }

    /// What precedes the body.
    pub(crate) fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        // Bodies are checked against ITEM_BYTES_MAX before they become frames.
        let length = (FIXED_BYTES + self.body.len()) as u32;
        let mut rest = &mut header[..];
        rest.put_u32(length);
        rest.put_u8(self.kind as u8);
        rest.put_u64(self.id);
        header
    }
}

/// Reasons and refusals are cut to this.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 10;

/// The text of a body, made harmless for logs.
pub(crate) fn text_of(body: &[u8]) -> String {
    let body = &body[..body.len().min(TEXT_BYTES_MAX)];
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(body).chars().map(clean).collect()
}

/// How the bytes of a peer break the rules above.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {found} bytes, more than the {max} that are taken here")]
    TooLong { found: usize, max: usize },
    #[error("a frame of {0} bytes, less than its kind and id take")]
    TooShort(usize),
    #[error("a frame of the unknown kind {0}; is the other node of a newer version?")]
    UnknownKind(u8),
}

/// Why there is no next frame.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the other node broke the protocol: {0}")]
    Frame(#[from] FrameError),
    #[error("the other node closed the connection")]
    End,
}

/// Cuts what is read into frames.
pub(crate) struct Decoder {
    buffer: BytesMut,
    body_max: usize,
}

impl Decoder {
    /// Takes bodies up to `body_max`.
    pub(crate) fn new(body_max: usize) -> Decoder {
        let buffer = BytesMut::new();
        Decoder { buffer, body_max }
    }

    /// From now on.
    pub(crate) fn set_body_max(&mut self, body_max: usize) {
        self.body_max = body_max;
    }

    /// The next frame, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((kind, length)) = self.announced()? else {
            return Ok(None);
        };
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let whole = self.buffer.split_to(LENGTH_BYTES + length);
        let mut id = [0; 8];
        id.copy_from_slice(&whole[LENGTH_BYTES + 1..HEADER_BYTES]);
        let body = if whole.len() - HEADER_BYTES <= COPIED_BODY_MAX {
            Bytes::copy_from_slice(&whole[HEADER_BYTES..])
        } else {
            whole.freeze().slice(HEADER_BYTES..)
        };
        Ok(Some(Frame::new(kind, u64::from_be_bytes(id), body)))
    }

    /// Kind and length of the next frame, once they are there. They are judged before the rest is waited for.
    fn announced(&self) -> Result<Option<(Kind, usize)>, FrameError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length) as usize;
        if length < FIXED_BYTES {
            return Err(FrameError::TooShort(length));
        }
        if length > FIXED_BYTES + self.body_max {
            let (found, max) = (length - FIXED_BYTES, self.body_max);
            return Err(FrameError::TooLong { found, max });
        }
        let Some(&kind) = rest.first() else {
            return Ok(None);
        };
        let kind = Kind::from_wire(kind).ok_or(FrameError::UnknownKind(kind))?;
        Ok(Some((kind, length)))
    }

    /// Reads once more.
    pub(crate) async fn fill(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<(), ReadError> {
        // A long frame gets its place at once, so that it is not moved while it grows.
        let missing = match self.announced()? {
            Some((_, length)) => (LENGTH_BYTES + length).saturating_sub(self.buffer.len()),
            None => 0,
        };
        self.buffer.reserve(missing.max(READ_BYTES));
        match from.read_buf(&mut self.buffer).await? {
            0 => Err(ReadError::End),
            _ => Ok(()),
        }
    }

    /// Reads until there is a frame.
    pub(crate) async fn read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Result<Frame, ReadError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.fill(from).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8], piece: usize, body_max: usize) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::new(body_max);
        let mut frames = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn encode(frames: &[Frame]) -> Vec<u8> {
        let whole = |frame: &Frame| [&frame.header()[..], &frame.body].concat();
        frames.iter().flat_map(whole).collect()
    }

    #[test]
    fn the_wire_is_as_documented() {
        let frame = Frame::new(Kind::Request, 0x0102, Bytes::from_static(b"hi"));
        let wire = [0, 0, 0, 11, 16, 0, 0, 0, 0, 0, 0, 1, 2, b'h', b'i'];
        assert_eq!(encode(&[frame]), wire);
    }

    #[test]
    fn what_is_wrong_is_said_before_it_is_waited_for() {
        let error = |bytes: &[u8]| decode(bytes, 100, 100).unwrap_err();
        assert_eq!(
            error(&[0, 0, 0, 110]),
            FrameError::TooLong {
                found: 101,
                max: 100
            }
        );
        assert_eq!(error(&[0, 0, 0, 8]), FrameError::TooShort(8));
        assert_eq!(error(&[0, 0, 0, 20, 99]), FrameError::UnknownKind(99));
        assert_eq!(decode(&[0, 0, 0, 109, 16], 100, 100), Ok(vec![]));
    }

    #[test]
    fn a_text_is_cut_between_letters_and_cleaned() {
        let frame = Frame::text(Kind::Reject, 0, &"ü".repeat(TEXT_BYTES_MAX));
        assert_eq!(text_of(&frame.body), "ü".repeat(TEXT_BYTES_MAX / 2));
        assert_eq!(text_of(b"a\r\n\x1b[0mb"), "a   [0mb");
    }

    fn frames() -> impl Strategy<Value = Vec<Frame>> {
        let kind = prop::sample::select(&Kind::ALL[..]);
        let body = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), COPIED_BODY_MAX - 2..COPIED_BODY_MAX + 2),
        ];
        let frame = (kind, any::<u64>(), body)
            .prop_map(|(kind, id, body)| Frame::new(kind, id, body.into()));
        prop::collection::vec(frame, 0..4)
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(frames in frames(), piece in 1usize..5000) {
            let wire = encode(&frames);
            prop_assert_eq!(decode(&wire, piece, 1 << 20).unwrap(), frames);
        }

        #[test]
        fn no_bytes_are_too_much(bytes: Vec<u8>, piece in 1usize..20) {
            if let Ok(frames) = decode(&bytes, piece, 64) {
                prop_assert!(bytes.starts_with(&encode(&frames)));
            }
        }
    }
}
