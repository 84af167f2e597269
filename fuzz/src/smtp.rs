//! SMTP and LMTP sessions: the same however the input is cut, whatever is decided.

use std::sync::Arc;

use mailrook_smtp_proto::{
    BareNewlines, EnhancedCode, Event, ForwardPath, Reply, ReplyCode, Service, Session,
    SessionConfig, Step, limits,
};
use mailrook_types::{Address, Domain, ReversePath};

use crate::{
    Target,
    choices::{Choices, pieces},
};

pub(crate) const SMTP_SESSION: Target = Target {
    name: "smtp_session",
    run: smtp_session,
    seeds: || {
        let mx = "EHLO a.test\r\nMAIL FROM:<a@b.test> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<c@d.test>\r\nDATA\r\n\
S: x\r\n\r\n..dot\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<\"a>b\"@d.test>\r\nBDAT 5\r\nhelloBDAT 3 LAST\r\nabcQUIT\r\n";
        let submission = "EHLO [192.0.2.1]\r\nAUTH LOGIN\r\nAAAA\r\nAAAA\r\nMAIL FROM:<j\u{fc}@b.test> SMTPUTF8 RET=HDRS \
ENVID=a+2Bb\r\nRCPT TO:<@r.test:c@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+40d\r\nDATA\r\na\rb\nc\n.\n\r\n.\r\nNOOP\r\n";
        let lmtp = "LHLO a\r\nMAIL FROM:<a@b.test> BODY=BINARYMIME\r\nRCPT TO:<postmaster>\r\nRCPT TO:<c@d.test>\r\n\
BDAT 4 LAST\r\na\0\n\rVRFY x\r\nHELP\r\nSTARTTLS\r\nEHLO again\r\n";
        let prefix = |switches: u8| [switches, 5, 0];
        vec![
            [&prefix(0)[..], mx.as_bytes()].concat(),
            [&prefix(1 | 32), submission.as_bytes()].concat(),
            [&prefix(2), lmtp.as_bytes()].concat(),
            [&prefix(1 | 8)[..], b"EHLO a\r\nSTARTTLS\r\n"].concat(),
        ]
    },
    dictionary: SMTP_WORDS,
    len_max: 5_000,
    rounds: 120_000,
};

const SMTP_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\n.\n",
    b"EHLO x\r\n",
    b"HELO x\r\n",
    b"LHLO x\r\n",
    b"MAIL FROM:<",
    b"MAIL FROM:<>\r\n",
    b"RCPT TO:<",
    b"RCPT TO:<a@b.test>\r\n",
    b">\r\n",
    b"DATA\r\n",
    b"BDAT 2\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 99999999999999999999\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN ",
    b"AUTH LOGIN\r\n",
    b"*\r\n",
    b"=\r\n",
    b"AAAA\r\n",
    b"VRFY a\r\n",
    b"EXPN a\r\n",
    b" SIZE=",
    b" BODY=BINARYMIME",
    b" SMTPUTF8",
    b" AUTH=<>",
    b" RET=FULL",
    b" ENVID=",
    b" NOTIFY=NEVER",
    b" ORCPT=rfc822;",
    b"+3D",
    b"@",
    b"\"",
    b"\\",
    b"[IPv6:::1]",
    b"@a.test:",
    b"%",
    b"!",
    b"\xc3\xbc",
    b"\0",
    b"\xff",
    b"GET / HTTP/1.0\r\n",
];

/// A session of the service and with the decisions that the first bytes choose.
///
/// # Panics
/// If the cuts of the input change anything, or a reply or message is not well formed.
pub fn smtp_session(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (switches, seed, decisions) = (choices.byte(), choices.byte(), choices.byte());
    let bytes = choices.rest();
    let whole = hold(switches, decisions, &[bytes]);
    let cut = hold(switches, decisions, &pieces(bytes, seed));
    // Whether something follows STARTTLS in the same read is the one thing that the cuts decide (RFC 3207 §4.2).
    match whole.events.split_last() {
        Some((last, before)) if last == "Close(PlaintextAfterStartTls)" => {
            assert!(cut.events.starts_with(before), "{cut:?}, {whole:?}");
            let event = cut.events.get(before.len());
            assert!(event == Some(last) || event.is_some_and(|event| event == "StartTls"));
        }
        _ => assert_eq!(cut, whole, "the cuts matter"),
    }
    check_replies(&whole.output);
    check_mails(&whole, switches, bytes);
}

fn config(switches: u8) -> SessionConfig {
    let service = [Service::Mx, Service::Submission, Service::Lmtp, Service::Mx];
    let service = service[usize::from(switches & 3)];
    let hostname = Domain::parse("mx.example.test").expect("a domain's name");
    let mechanisms = vec!["SCRAM-SHA-256".into(), "PLAIN".into(), "LOGIN".into()];
    SessionConfig {
        size_max: 2_000,
        rcpt_max: 5,
        mail_max: 4,
        starttls: switches & 8 != 0,
        auth_required: service == Service::Submission,
        mechanisms_tls: mechanisms.clone(),
        mechanisms_plaintext: mechanisms,
        dsn: switches & 64 == 0,
        bare_newlines: [BareNewlines::Refuse, BareNewlines::Normalise]
            [usize::from(switches >> 4 & 1)],
        ..SessionConfig::new(service, hostname)
    }
}

/// What became of a session.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    events: Vec<String>,
    mails: Vec<Vec<u8>>,
    output: Vec<u8>,
    closed: bool,
}

struct Driver {
    session: Session,
    held: Held,
    body: Vec<u8>,
    decisions: u32,
}

fn hold(switches: u8, decisions: u8, pieces: &[&[u8]]) -> Held {
    let mut driver = Driver {
        session: Session::new(Arc::new(config(switches)), switches & 32 != 0),
        held: Held {
            events: Vec::new(),
            mails: Vec::new(),
            output: Vec::new(),
            closed: false,
        },
        body: Vec::new(),
        decisions: u32::from(decisions),
    };
    driver.session.accept();
    pieces.iter().for_each(|piece| driver.feed(piece));
    driver.held
}

impl Driver {
    fn feed(&mut self, mut input: &[u8]) {
        loop {
            let (taken, step) = self.session.step(input);
            input = &input[taken..];
            match step {
                Step::Event(event) => {
                    assert!(!self.held.closed, "{event:?} after the end");
                    self.held.events.push(format!("{event:?}"));
                    self.decide(event);
                }
                Step::Text(text) => self.body.extend_from_slice(text),
                Step::NeedInput => {
                    assert!(input.is_empty());
                    break;
                }
                Step::Flush => assert!(self.session.output().len() > limits::OUTPUT_MAX),
                Step::Closed => break,
            }
            let out = self.session.output();
            assert!(
                out.len() <= 2 * limits::OUTPUT_MAX,
                "{} bytes wait",
                out.len()
            );
            self.held.output.extend_from_slice(out);
            self.session.output_sent(self.session.output().len());
        }
    }

    /// Mostly yes; the first byte of the input says when not.
    fn refuses(&mut self) -> bool {
        let state = self.decisions.wrapping_mul(1_664_525);
        self.decisions = if self.decisions == 0 {
            0
        } else {
            state.wrapping_add(1_013_904_223)
        };
        self.decisions >> 29 == 1
    }

    fn decide(&mut self, event: Event) {
        let refused = Reply::new(
            ReplyCode::MailboxUnavailable550,
            EnhancedCode::NO_SUCH_MAILBOX,
            "no",
        );
        let refuses = self.refuses();
        match event {
            Event::End { octets } => {
                assert_eq!(octets, self.body.len() as u64);
                let reply = if refuses {
                    refused
                } else {
                    Reply::new(ReplyCode::Ok250, EnhancedCode::OTHER, "stored")
                };
                self.session
                    .finish(&vec![reply; self.session.replies_due()]);
                self.held.mails.push(std::mem::take(&mut self.body));
            }
            Event::Aborted(_) | Event::Reset => self.body.clear(),
            Event::AuthCancelled => {}
            Event::StartTls => self.session.tls_started(),
            Event::Close(_) => self.held.closed = true,
            Event::Auth { initial: None, .. } => self.session.challenge(b"Username:"),
            question => {
                check_paths(&question);
                if matches!(question, Event::Data | Event::Mail(_)) {
                    self.body.clear();
                }
                if refuses {
                    self.session.reject(refused);
                } else {
                    self.session.accept();
                }
            }
        }
    }
}

/// An address that gets through is one, in whatever spelling it came.
fn check_paths(event: &Event) {
    let address = match event {
        Event::Mail(mail) => match &mail.reverse_path {
            ReversePath::Address(address) => address,
            ReversePath::Null => return,
        },
        Event::Rcpt(rcpt) => match &rcpt.path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => return,
        },
        _ => return,
    };
    assert_eq!(Address::parse(&address.to_string()).as_ref(), Ok(address));
}

/// RFC 5321 §4.2: lines of at most 512 octets that begin with a code, ASCII alone.
fn check_replies(output: &[u8]) {
    assert!(output.is_empty() || output.ends_with(b"\r\n"));
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        // A challenge may be longer, RFC 4954 §4; here none is.
        assert!(line.len() <= limits::REPLY_LINE_MAX && line.ends_with(b"\r\n"));
        let text = &line[..line.len() - 2];
        assert!(text.len() >= 3 && text[..3].iter().all(u8::is_ascii_digit));
        assert!(matches!(text.get(3), None | Some(b' ' | b'-')));
        assert!(
            text.iter().all(|byte| matches!(byte, b' '..=b'~')),
            "{}",
            line.escape_ascii()
        );
    }
}

/// No message holds a bare CR or LF but a binary one; without BDAT each ends where the client's bytes have the end.
fn check_mails(held: &Held, switches: u8, bytes: &[u8]) {
    let upper = bytes.to_ascii_uppercase();
    let has = |word: &[u8]| upper.windows(word.len()).any(|window| window == word);
    if !has(b"BINARYMIME") {
        for mail in &held.mails {
            let without = |text: &[u8]| {
                text.split(|byte| *byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            };
            let lines = without(mail);
            let (last, ended) = lines.split_last().expect("split gives one at least");
            assert!(!last.contains(&b'\r'), "{}", mail.escape_ascii());
            for line in ended {
                assert_eq!(
                    line.iter().position(|byte| *byte == b'\r'),
                    Some(line.len() - 1)
                );
            }
        }
    }
    if !has(b"BDAT") {
        let ends = bytes
            .windows(5)
            .filter(|window| window == b"\r\n.\r\n")
            .count();
        assert!(held.mails.len() <= ends, "a message ended elsewhere");
    }
    let size_max = config(switches).size_max;
    assert!(held.mails.iter().all(|mail| mail.len() as u64 <= size_max));
}
