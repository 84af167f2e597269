//! What the tests share: structures in a form that reads at a glance, and mail to try them on.
#![allow(dead_code)] // each test file uses its own share

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use mailrook_mime::{body_range, derive, slice};
use mailrook_types::{BodyPart, EnvelopeAddress, PartContent};

/// With the line ends of mail.
pub fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The structure of a message: a leaf as `type/subtype;name=value encoding lines "body"`, a multipart as
/// `type/subtype;name=value[part | part]`, a message as `type/subtype{subject: part}`.
pub fn structure(raw: &[u8]) -> String {
    show(raw, &derive(raw).structure)
}

pub fn show(raw: &[u8], part: &BodyPart) -> String {
    let fields = &part.fields;
    let mut out = format!("{}/{}", fields.media_type, fields.media_subtype);
    for (name, value) in &fields.parameters {
        out += &format!(";{name}={}", text(value));
    }
    match &part.content {
        PartContent::Multipart(multipart) => {
            let parts: Vec<_> = multipart.parts.iter().map(|part| show(raw, part)).collect();
            out += &format!("[{}]", parts.join(" | "));
        }
        PartContent::Message {
            envelope,
            body,
            lines,
        } => {
            let subject = envelope.subject.as_deref().map_or("-".into(), text);
            out += &format!(" {lines}{{{subject}: {}}}", show(raw, body));
        }
        PartContent::Text(text_part) => {
            let body = text(slice(raw, body_range(part)));
            out += &format!(" {} {} \"{body}\"", fields.encoding, text_part.lines);
        }
        PartContent::Basic => {
            let body = text(slice(raw, body_range(part)));
            out += &format!(" {} \"{body}\"", fields.encoding);
        }
    }
    out
}

/// An address list: `name <mailbox@host>`, a group as `{name` … `}`.
pub fn addresses(list: &[EnvelopeAddress]) -> String {
    let shown = list.iter().map(
        |address| match (&address.name, &address.mailbox, &address.host) {
            (None, Some(group), None) => format!("{{{}", text(group)),
            (None, None, None) => "}".into(),
            (None, Some(mailbox), Some(host)) => format!("<{}@{}>", text(mailbox), text(host)),
            (Some(name), Some(mailbox), Some(host)) => {
                format!("{} <{}@{}>", text(name), text(mailbox), text(host))
            }
            odd => panic!("no address has this form: {odd:?}"),
        },
    );
    shown.collect::<Vec<_>>().join(", ")
}

/// An ordinary message of about `size` bytes: trace fields, a signature, two alternatives. `seed` varies its words.
pub fn typical_mail(seed: u64, size: usize) -> Vec<u8> {
    let mut words = Words(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (name, topic) = (words.word(), words.word());
    let signature: String = (0..340)
        .map(|_| char::from(b'A' + (words.next() % 26) as u8))
        .collect();
    let mut mail = format!(
        "Return-Path: <{name}@example.org>\nReceived: from mx{seed}.example.org (mx.example.org [192.0.2.7])\n\
         \tby mail.example.test (Mailrook) with ESMTPS id 4XyZ{seed}\n\tfor <user1@example.test>; Fri, 21 Nov 1997 09:55:06 -0600\n\
         DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\n\
         \th=from:to:subject:date:message-id:mime-version:content-type;\n\tb={signature}\n\
         From: \"{name} Smith\" <{name}@example.org>\nTo: User One <user1@example.test>, other@example.test\n\
         Cc: =?utf-8?Q?J=C3=BCrgen?= <juergen@example.net>\nSubject: Re: =?utf-8?B?w7xiZXI=?= {topic} and more\n\
         Date: Fri, 21 Nov 1997 09:55:06 -0600\nMessage-ID: <{seed}.{topic}@example.org>\n\
         In-Reply-To: <1.{topic}@example.org>\nReferences: <0.{topic}@example.org> <1.{topic}@example.org>\n\
         MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=\"----=_Part_{seed}\"\n\n"
    );
    let half = size.saturating_sub(mail.len()) / 2;
    mail += &format!(
        "------=_Part_{seed}\nContent-Type: text/plain; charset=utf-8\n\n{}\n",
        words.prose(half)
    );
    let html = words.prose(half);
    mail += &format!(
        "------=_Part_{seed}\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
         <html><body><p style=3D\"margin:0\">{html}</p></body></html>\n------=_Part_{seed}--\n"
    );
    crlf(&mail)
}

const VOCABULARY: f64 = 20_000.0;

/// Words from a fixed sequence (xorshift64), with frequencies as uneven as a language's.
pub struct Words(pub u64);

impl Words {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A word of a language of 20,000, each half as frequent as the one of half its rank (Zipf's law).
    pub fn word(&mut self) -> String {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        Self::ranked(VOCABULARY.powf(uniform) as u64)
    }

    /// A word that is as likely rare as frequent.
    pub fn any_word(&mut self) -> String {
        Self::ranked(self.next() % VOCABULARY as u64)
    }

    fn ranked(rank: u64) -> String {
        const ONSETS: [&str; 20] = [
            "", "b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "st", "tr",
            "pl", "th", "k",
        ];
        const NUCLEI: [&str; 8] = ["a", "e", "i", "o", "u", "ea", "ou", "e"];
        const CODAS: [&str; 14] = [
            "", "", "n", "r", "s", "t", "l", "d", "ng", "st", "ck", "m", "y", "nt",
        ];
        let mut word = Words((rank + 1).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
        let syllables = 1 + (rank > 30) as u64 + word.next() % 2;
        let mut pick = |list: &[&'static str]| list[(word.next() >> 20) as usize % list.len()];
        (0..syllables)
            .map(|_| [pick(&ONSETS), pick(&NUCLEI), pick(&CODAS)].concat())
            .collect()
    }

    pub fn prose(&mut self, bytes: usize) -> String {
        let mut text = String::new();
        let mut line = 0;
        while text.len() < bytes {
            let word = self.word();
            line += word.len() + 1;
            text += &word;
            text.push(if line > 70 { '\n' } else { ' ' });
            if line > 70 {
                line = 0;
            }
        }
        text
    }
}

/// CPU time of this thread, where the kernel tells it: other work on the machine must not fail a test.
pub fn cpu_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}
