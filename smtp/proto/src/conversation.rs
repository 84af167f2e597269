//! Tests as conversations.
//!
//! A script has lines `C: …` (the client says this and `<CR><LF>`), `c: …` (the client says this alone, with `\r`, `\n`
//! and `\0` as escapes) and `S: …` (the server answers just this line; a closing `*` stands for any rest). Each
//! script runs several times, its bytes cut in pieces of every size, and must go the same way.
//!
//! The driver here accepts everything, except: the sender `banned@` and the recipient `unknown@` are refused with
//! 550, the recipient `later@` with 451, data for a recipient `nodata@` with 451, a hello of `bad.test` with 550. PLAIN
//! succeeds with the password `secret`, LOGIN asks twice.

use std::sync::Arc;

use mailrook_types::Domain;

use crate::{
    Event, ForwardPath, Reply, Service, Session, SessionConfig, Step,
    reply::{EnhancedCode as E, ReplyCode as R},
};

/// A driver with a session and what it has seen.
pub(crate) struct Driver {
    pub(crate) session: Session,
    pub(crate) events: Vec<String>,
    pub(crate) mails: Vec<Vec<u8>>,
    pub(crate) output: Vec<u8>,
    pub(crate) closed: bool,
    body: Vec<u8>,
    no_data: bool,
    auth_steps: u32,
}

pub(crate) fn config(service: Service) -> SessionConfig {
    SessionConfig::new(service, Domain::parse("mx.example.test").unwrap())
}

/// Submission with everything on.
pub(crate) fn submission() -> SessionConfig {
    SessionConfig {
        starttls: true,
        auth_required: true,
        dsn: true,
        mechanisms_tls: vec!["SCRAM-SHA-256".into(), "PLAIN".into(), "LOGIN".into()],
        ..config(Service::Submission)
    }
}

impl Driver {
    pub(crate) fn new(config: SessionConfig, tls: bool) -> Driver {
        let mut session = Session::new(Arc::new(config), tls);
        session.accept();
        let mut driver = Driver {
            session,
            events: Vec::new(),
            mails: Vec::new(),
            output: Vec::new(),
            closed: false,
            body: Vec::new(),
            no_data: false,
            auth_steps: 0,
        };
        driver.flush();
        driver
    }

    /// Gives the session `input` until it wants more.
    pub(crate) fn feed(&mut self, mut input: &[u8]) {
        loop {
            let (taken, step) = self.session.step(input);
            input = &input[taken..];
            match step {
                Step::Event(event) => self.on_event(event),
                Step::Text(text) => self.body.extend_from_slice(text),
                Step::NeedInput => {
                    assert!(input.is_empty());
                    break;
                }
                Step::Flush => {}
                Step::Closed => break,
            }
            self.flush();
        }
        self.flush();
    }

    fn flush(&mut self) {
        assert!(self.session.output().len() < 2 * crate::limits::OUTPUT_MAX);
        self.output.extend_from_slice(self.session.output());
        self.session.output_sent(self.session.output().len());
    }

    fn on_event(&mut self, event: Event) {
        self.events.push(format!("{event:?}"));
        let refused = || Reply::new(R::MailboxUnavailable550, E::NO_SUCH_MAILBOX, "no");
        let later = || Reply::new(R::LocalError451, E::SYSTEM, "later");
        match event {
            Event::Hello { name, .. } if name.as_str() == "bad.test" => {
                self.session.reject(refused())
            }
            Event::Mail(mail) if mail.reverse_path.to_string().starts_with("<banned@") => {
                self.session.reject(refused())
            }
            Event::Hello { .. } | Event::Mail(_) => {
                self.no_data = false;
                self.session.accept();
            }
            Event::Rcpt(rcpt) => match &rcpt.path {
                ForwardPath::Address(to) if to.local.as_str() == "unknown" => {
                    self.session.reject(refused())
                }
                ForwardPath::Address(to) if to.local.as_str() == "later" => {
                    self.session.reject(later())
                }
                path => {
                    self.no_data |=
                        matches!(path, ForwardPath::Address(to) if to.local.as_str() == "nodata");
                    self.session.accept();
                }
            },
            Event::Data if self.no_data => self.session.reject(later()),
            Event::Data => {
                self.body.clear();
                self.session.accept();
            }
            Event::End { octets } => {
                assert_eq!(octets, self.body.len() as u64);
                let stored = Reply::new(R::Ok250, E::OTHER, format!("stored {octets}"));
                self.session
                    .finish(&vec![stored; self.session.replies_due()]);
                self.mails.push(std::mem::take(&mut self.body));
            }
            Event::Aborted(_) | Event::Reset => self.body.clear(),
            Event::Auth {
                initial: None,
                mechanism,
            } => {
                self.auth_steps = u32::from(mechanism == "LOGIN");
                self.session.challenge(if mechanism == "LOGIN" {
                    b"Username:"
                } else {
                    b""
                });
            }
            Event::Auth {
                initial: Some(bytes),
                ..
            }
            | Event::AuthResponse(bytes) => self.on_auth(&bytes.0),
            Event::AuthCancelled => {}
            Event::StartTls => self.session.tls_started(),
            Event::Close(_) => self.closed = true,
        }
    }

    fn on_auth(&mut self, response: &[u8]) {
        if self.auth_steps == 1 {
            self.auth_steps = 2;
            self.session.challenge(b"Password:");
        } else if response.ends_with(b"secret") {
            self.session.accept();
        } else {
            self.session.reject(Reply::new(
                R::AuthFailed535,
                E::BAD_CREDENTIALS,
                "wrong credentials",
            ));
        }
    }
}

/// Holds the conversation in pieces of several sizes. Returns the driver of the last.
pub(crate) fn converse(config: &SessionConfig, script: &str) -> Driver {
    converse_from(config, false, script)
}

/// The same, with TLS from the start.
pub(crate) fn converse_tls(config: &SessionConfig, script: &str) -> Driver {
    converse_from(config, true, script)
}

fn converse_from(config: &SessionConfig, tls: bool, script: &str) -> Driver {
    let run = |size| {
        let mut driver = Driver::new(config.clone(), tls);
        hold(&mut driver, script, size);
        driver
    };
    let whole = run(usize::MAX);
    for size in [1, 2, 3, 5, 16, 61] {
        let pieces = run(size);
        assert_eq!(pieces.events, whole.events, "in pieces of {size}");
        assert_eq!(pieces.mails, whole.mails, "in pieces of {size}");
        assert_eq!(pieces.closed, whole.closed, "in pieces of {size}");
    }
    whole
}

fn hold(driver: &mut Driver, script: &str, size: usize) {
    let mut said = Vec::new();
    for line in script
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
    {
        match line.split_at(2.min(line.len())) {
            ("C:", rest) => {
                said.extend_from_slice(rest.strip_prefix(' ').unwrap_or(rest).as_bytes());
                said.extend_from_slice(b"\r\n");
            }
            ("c:", rest) => {
                let raw = rest.strip_prefix(' ').unwrap_or(rest);
                said.extend_from_slice(
                    raw.replace("\\r", "\r")
                        .replace("\\n", "\n")
                        .replace("\\0", "\0")
                        .as_bytes(),
                );
            }
            ("S:", rest) => {
                std::mem::take(&mut said)
                    .chunks(size.max(1))
                    .for_each(|piece| driver.feed(piece));
                expect(driver, rest.strip_prefix(' ').unwrap_or(rest), script);
            }
            _ => panic!("not a line of a conversation: {line}"),
        }
    }
    said.chunks(size.max(1))
        .for_each(|piece| driver.feed(piece));
    let rest = String::from_utf8_lossy(&driver.output);
    assert!(rest.is_empty(), "the server said more: {rest}\nin {script}");
}

fn expect(driver: &mut Driver, expected: &str, script: &str) {
    let end = memchr::memmem::find(&driver.output, b"\r\n");
    let end = end.unwrap_or_else(|| panic!("expected {expected:?}, got nothing\nin {script}"));
    let line: Vec<u8> = driver.output.drain(..end + 2).take(end).collect();
    let line = String::from_utf8(line).expect("replies are ASCII");
    let matches = match expected.strip_suffix('*') {
        Some(prefix) => line.starts_with(prefix),
        None => line == expected,
    };
    assert!(matches, "expected {expected:?}, got {line:?}\nin {script}");
}
