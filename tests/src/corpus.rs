//! Mail as it is in the world, from a seed.
//!
//! The sizes follow BENCH rule 7: median about 8 KB, one in ten above 50 KB, a few of 1 MB and more. Two thirds have
//! HTML beside the text, one in six an attachment; a fifth of the texts is not ASCII, in five charsets and three
//! transfer encodings. Headers are those of mailing lists, newsletters and people. Every message carries an
//! `X-Ledger-Id` and a unique Message-ID.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

mod words;

use words::{CYRILLIC, GERMAN, JAPANESE, NAMES, WORDS};

/// The mail generator.
pub struct Corpus {
    random: StdRng,
    seed: u64,
    made: u64,
}

/// One message with CRLF line ends.
#[derive(Debug, Clone)]
pub struct Message {
    /// The value of its `X-Ledger-Id`.
    pub id: String,
    /// The octets.
    pub bytes: Vec<u8>,
}

impl Corpus {
    /// The same seed gives the same mail.
    pub fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            seed,
            made: 0,
        }
    }

    /// A message of a size as they are in the world.
    pub fn message(&mut self) -> Message {
        let target = self.size();
        self.build(target)
    }

    /// A message of real shape that is at most `bytes_max` long.
    pub fn message_up_to(&mut self, bytes_max: usize) -> Message {
        let target = self.size().min(bytes_max.saturating_sub(2_000).max(500));
        self.build(target)
    }

    /// A text message of exactly this many octets (at least 400), as the delivery loads use.
    pub fn fixed(&mut self, octets: usize) -> Message {
        let (id, mut head) = self.head("text/plain; charset=us-ascii", "7bit");
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        while bytes.len() < octets {
            let line = self.line(WORDS, 72);
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.truncate(octets - 2);
        while matches!(bytes.last(), Some(b'\r' | b'\n' | b' ')) {
            bytes.pop();
        }
        bytes.resize(octets - 2, b'x');
        bytes.extend_from_slice(b"\r\n");
        Message { id, bytes }
    }

    /// The smallest mail that has all headers a client lists: for mailboxes of 100,000.
    pub fn tiny(&mut self) -> Message {
        let (id, head) = self.head("text/plain; charset=us-ascii", "7bit");
        Message {
            id,
            bytes: format!("{head}\r\n{}\r\n", self.line(WORDS, 60)).into_bytes(),
        }
    }

    /// Log-normal around 6.5 KB of content (headers bring the median to 8 KB), cut at 6 MB.
    fn size(&mut self) -> usize {
        let (u, v): (f64, f64) = (self.random.random_range(1e-9..1.0), self.random.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        let size = 6_500.0 * (1.35 * normal).exp();
        // One in 150 carries photographs or a document.
        let size = if self.random.random_ratio(1, 150) {
            size.max(400_000.0) * 2.5
        } else {
            size
        };
        size.clamp(600.0, 6_000_000.0) as usize
    }

    fn build(&mut self, target: usize) -> Message {
        match self.random.random_range(0..12) {
            0..=3 => self.text_only(target),
            4..=9 if target < 200_000 => self.alternative(target),
            _ => self.with_attachment(target),
        }
    }

    fn text_only(&mut self, target: usize) -> Message {
        let (content_type, encoding, body) = self.text_part("plain", target);
        let (id, head) = self.head(&content_type, encoding);
        Message {
            id,
            bytes: [head.as_bytes(), b"\r\n", &body].concat(),
        }
    }

    fn alternative(&mut self, target: usize) -> Message {
        let boundary = format!("=_alt_{:016x}", self.random.next_u64());
        let (id, head) = self.head(
            &format!("multipart/alternative;\r\n boundary=\"{boundary}\""),
            "7bit",
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\nThis is a multi-part message in MIME format.\r\n");
        let plain = self.text_part("plain", target / 4);
        let html = self.text_part("html", target * 3 / 4);
        push_parts(&mut bytes, &boundary, &[plain, html]);
        Message { id, bytes }
    }

    fn with_attachment(&mut self, target: usize) -> Message {
        let boundary = format!("----=_Part_{:016x}", self.random.next_u64());
        let (id, head) = self.head(&format!("multipart/mixed; boundary=\"{boundary}\""), "7bit");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(b"\r\n");
        let text = self.text_part("plain", (target / 8).clamp(200, 6_000));
        let mut raw = vec![0; target * 3 / 5];
        self.random.fill_bytes(&mut raw);
        // Documents and photographs are compressed already, but not all of an attachment is: a tenth repeats.
        let repeat = raw.len() / 10;
        raw[..repeat].fill(b' ');
        let number = self.random.random_range(1..999);
        let kind = [
            "application/pdf; name=\"Rechnung",
            "image/jpeg; name=\"IMG_",
            "application/zip; name=\"files",
        ];
        let kind = kind[self.random.random_range(0..kind.len())];
        let content_type = format!(
            "{kind}{number}.bin\"\r\nContent-Disposition: attachment; filename=\"{number}.bin\""
        );
        push_parts(
            &mut bytes,
            &boundary,
            &[text, (content_type, "base64", base64_lines(&raw))],
        );
        Message { id, bytes }
    }

    /// Content type, transfer encoding and encoded body of a text of about `target` octets.
    fn text_part(&mut self, subtype: &str, target: usize) -> (String, &'static str, Vec<u8>) {
        let (words, charset, encoding) = match self.random.random_range(0..15) {
            0 => (GERMAN, "iso-8859-1", "quoted-printable"),
            1 => (GERMAN, "utf-8", "quoted-printable"),
            2 => (CYRILLIC, "utf-8", "base64"),
            3 => (JAPANESE, "utf-8", "base64"),
            4 => (GERMAN, "utf-8", "8bit"),
            5..=8 => (WORDS, "utf-8", "quoted-printable"),
            _ => (WORDS, "us-ascii", "7bit"),
        };
        let mut text = String::with_capacity(target + 200);
        while text.len() < target {
            let line = self.line(words, 70);
            if subtype == "html" {
                text.push_str(&format!(
                    "<p style=\"margin:0;font-family:sans-serif\">{line}</p>\r\n"
                ));
            } else {
                text.push_str(&line);
                text.push_str("\r\n");
            }
        }
        let bytes = match charset {
            // Every letter of the German words is in Latin-1, where code points are octets.
            "iso-8859-1" => text
                .chars()
                .map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?'))
                .collect(),
            _ => text.into_bytes(),
        };
        let body = match encoding {
            "base64" => base64_lines(&bytes),
            "quoted-printable" => quoted_printable(&bytes),
            _ => bytes,
        };
        (format!("text/{subtype}; charset={charset}"), encoding, body)
    }

    fn line(&mut self, words: &[&str], width: usize) -> String {
        let mut line = String::with_capacity(width + 16);
        while line.len() < width {
            line.push_str(words[self.random.random_range(0..words.len())]);
            line.push(if self.random.random_ratio(1, 11) {
                ','
            } else {
                ' '
            });
        }
        line.trim_end().to_owned()
    }

    /// The header block without the empty line.
    fn head(&mut self, content_type: &str, encoding: &str) -> (String, String) {
        self.made += 1;
        let id = format!(
            "{:x}-{:x}-{:08x}",
            self.seed,
            self.made,
            self.random.next_u32()
        );
        let name = |random: &mut StdRng| NAMES[random.random_range(0..NAMES.len())];
        let (from, to, domain) = (
            name(&mut self.random),
            name(&mut self.random),
            name(&mut self.random),
        );
        let subject = match self.random.random_range(0..6) {
            0 => format!("=?UTF-8?B?{}?=", BASE64.encode(self.line(GERMAN, 24))),
            1 => format!("Re: [list] {}", self.line(WORDS, 30)),
            _ => self.line(WORDS, 34),
        };
        let (day, hour, minute) = (
            self.random.random_range(1..29),
            self.random.random_range(0..24),
            self.random.random_range(0..60),
        );
        let mut head = String::with_capacity(1_500);
        if self.random.random_ratio(2, 3) {
            head.push_str(&format!(
                "Received: from mx{day}.{domain}.example (mx{day}.{domain}.example [192.0.2.{day}])\r\n\tby relay.example.net \
                 (Postfix) with ESMTPS id {id}\r\n\tfor <{to}@example.net>; Mon, {day} Jun 2026 {hour:02}:{minute:02}:11 +0000 (UTC)\r\n\
                 DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}.example; s=s2026;\r\n\th=from:to:subject:date; \
                 bh={};\r\n\tb={}\r\n",
                BASE64.encode(self.random.random::<[u8; 32]>()),
                BASE64.encode(self.random.random::<[u8; 32]>()),
            ));
        }
        head.push_str(&format!(
            "Date: Mon, {day} Jun 2026 {hour:02}:{minute:02}:10 +0200\r\nFrom: \"{from} {domain}\" <{from}@{domain}.example>\r\n\
             To: {to} <{to}@example.net>\r\nSubject: {subject}\r\nMessage-ID: <{id}@{domain}.example>\r\n\
             X-Ledger-Id: {id}\r\nMIME-Version: 1.0\r\n"
        ));
        if self.random.random_ratio(1, 2) {
            head.push_str(&format!(
                "In-Reply-To: <{:x}@{domain}.example>\r\nReferences: <{:x}@{domain}.example>\r\n\t<{:x}@{domain}.example>\r\n\
                 User-Agent: Mozilla Thunderbird\r\nList-Unsubscribe: <https://{domain}.example/u/{:x}>\r\n",
                self.random.next_u64(),
                self.random.next_u64(),
                self.random.next_u64(),
                self.random.next_u64(),
            ));
        }
        head.push_str(&format!(
            "Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n"
        ));
        (id, head)
    }
}

fn push_parts(bytes: &mut Vec<u8>, boundary: &str, parts: &[(String, &'static str, Vec<u8>)]) {
    for (content_type, encoding, body) in parts {
        let head = format!(
            "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
}

fn base64_lines(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 3 / 2);
    for chunk in bytes.chunks(57) {
        out.extend_from_slice(BASE64.encode(chunk).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// RFC 2045 §6.7, with the soft line breaks it asks for.
fn quoted_printable(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() * 5 / 4);
    let mut column = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let line_end = byte == b'\r' && bytes.get(at + 1) == Some(&b'\n');
        if line_end || byte == b'\n' {
            out.push(byte);
            column = 0;
            continue;
        }
        if column >= 72 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        let before_end = byte == b' ' && bytes.get(at + 1) == Some(&b'\r');
        if (b' '..=b'~').contains(&byte) && byte != b'=' && !before_end {
            out.push(byte);
            column += 1;
        } else {
            out.extend_from_slice(format!("={byte:02X}").as_bytes());
            column += 3;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_world() {
        let mut corpus = Corpus::new(1);
        let mut sizes: Vec<usize> = (0..1_500).map(|_| corpus.message().bytes.len()).collect();
        sizes.sort_unstable();
        let at = |share: f64| sizes[(sizes.len() as f64 * share) as usize];
        assert!((6_000..10_000).contains(&at(0.5)), "median {}", at(0.5));
        assert!(
            (30_000..110_000).contains(&at(0.9)),
            "90th percentile {}",
            at(0.9)
        );
        assert!(sizes.iter().filter(|&&s| s > 1_000_000).count() >= 2);
        assert!(sizes[sizes.len() - 1] < 26_000_000);
    }

    #[test]
    fn the_same_seed_gives_the_same_mail_with_clean_line_ends() {
        let (mut a, mut b) = (Corpus::new(7), Corpus::new(7));
        for _ in 0..200 {
            let (a, b) = (a.message(), b.message());
            assert_eq!(a.bytes, b.bytes);
            assert!(
                a.bytes
                    .split(|&b| b == b'\n')
                    .rev()
                    .skip(1)
                    .all(|l| l.ends_with(b"\r") && l.len() < 998)
            );
        }
        assert_eq!(a.fixed(4096).bytes.len(), 4096);
        assert_eq!(a.fixed(65_536).bytes.len(), 65_536);
        assert_ne!(a.message().id, a.message().id);
    }
}
