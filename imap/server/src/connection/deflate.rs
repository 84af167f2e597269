//! COMPRESS=DEFLATE (RFC 4978): raw DEFLATE (RFC 1951) both ways.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// How much is unpacked at a time; a few bytes of input may stand for a thousand times as many.
const STEP: usize = 16 * 1024;

/// Both directions of a compressed connection.
pub(super) struct Deflate {
    /// Made when there is something to send. A stream that was brought to a byte's end by a sync flush can be
    /// continued by a fresh compressor, which refers to nothing before it: an idle session need not keep the old one.
    packer: Option<Compress>,
    unpacker: Decompress,
    packed: Vec<u8>,
    used: usize,
    /// The last step filled its room: more may come of what was taken in already.
    more: bool,
}

impl Deflate {
    /// `packed` was read before.
    pub(super) fn new(packed: Vec<u8>) -> Deflate {
        Deflate {
            packer: None,
            unpacker: Decompress::new(false),
            packed,
            used: 0,
            more: false,
        }
    }

    /// Where packed input is read into, with room.
    pub(super) fn packed(&mut self) -> &mut Vec<u8> {
        self.packed.reserve(STEP);
        &mut self.packed
    }

    /// Unpacks a piece into `input`. False if more packed input is needed first.
    pub(super) fn inflate(&mut self, input: &mut Vec<u8>) -> io::Result<bool> {
        while self.more || self.used < self.packed.len() {
            input.reserve(STEP);
            let before = (self.unpacker.total_in(), self.unpacker.total_out());
            let status = self
                .unpacker
                .decompress_vec(&self.packed[self.used..], input, FlushDecompress::Sync)
                .map_err(|_| damaged())?;
            let taken = self.unpacker.total_in() - before.0;
            let made = self.unpacker.total_out() - before.1;
            self.used += usize::try_from(taken).map_err(|_| damaged())?;
            self.more = input.len() == input.capacity();
            if self.used == self.packed.len() {
                self.packed.clear();
                self.used = 0;
            }
            if made > 0 {
                return Ok(true);
            }
            // The client has ended the compressed stream, or it makes no sense.
            if status == Status::StreamEnd || (taken == 0 && status == Status::Ok) {
                return Err(damaged());
            }
            if taken == 0 {
                self.more = false;
                break;
            }
        }
        Ok(false)
    }

    /// Packs `output`; with `last`, so that the client can unpack all of it.
    pub(super) fn deflate(&mut self, output: &[u8], last: bool) -> io::Result<Vec<u8>> {
        let packer = self
            .packer
            .get_or_insert_with(|| Compress::new(Compression::fast(), false));
        let flush = if last {
            FlushCompress::Sync
        } else {
            FlushCompress::None
        };
        let mut packed = Vec::with_capacity(output.len() / 2 + 64);
        let start = packer.total_in();
        loop {
            let used = usize::try_from(packer.total_in() - start).map_err(|_| damaged())?;
            packer
                .compress_vec(&output[used..], &mut packed, flush)
                .map_err(|_| damaged())?;
            let all_used = packer.total_in() - start == output.len() as u64;
            if all_used && packed.len() < packed.capacity() {
                return Ok(packed);
            }
            packed.reserve(packed.len().max(64));
        }
    }

    /// Gives back what an idle session does not need. Only when everything was flushed with `last`.
    pub(super) fn release(&mut self) {
        self.packer = None;
        if self.packed.is_empty() {
            self.packed = Vec::new();
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "broken DEFLATE stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_stream_goes_on() {
        let mut ours = Deflate::new(Vec::new());
        let mut theirs = Deflate::new(Vec::new());
        for round in 0..5usize {
            let text = format!("* {round} EXISTS\r\n").repeat(10_000 * round + 1);
            let packed = ours.deflate(text.as_bytes(), true).unwrap();
            ours.release();
            theirs.packed().extend_from_slice(&packed);
            let mut read = Vec::new();
            while theirs.inflate(&mut read).unwrap() {}
            assert_eq!(read, text.as_bytes());
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut theirs = Deflate::new(vec![0xff; 100]);
        assert!(theirs.inflate(&mut Vec::new()).is_err());
    }
}
