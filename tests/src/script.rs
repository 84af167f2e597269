//! Conversations: what the client says and what the server must answer, as the RFCs print them.
//!
//! A line is one of
//! ```text
//! C: a1 SELECT INBOX          send this and CRLF
//! C- {5+}\r\nhello            send this without CRLF; `\r \n \t \0 \\ \xNN` are escapes in every line
//! S: a1 OK ...                the server's next line must match
//! S* * 3 EXISTS               among the lines before the next `S:` there is one that matches, in any order
//! S! * ... EXPUNGE            among the lines before the next `S:` there is none that matches
//! S~ a1 OK ...                the same as `S:`, with any lines before it
//! C2: a1 NOOP                 the same on a second connection (up to 9), opened when it first appears
//! TLS                         hand the connection to TLS (`TLS2` for the second)
//! DEFLATE                     start compression
//! END                         the server closes the connection
//! # …                         a comment
//! ```
//! In patterns `...` stands for anything, `<<name>>` for the value that `name` has; a name without a value takes what
//! stands there (no spaces, brackets or parentheses). `(~a b c)` is a list in any order; with `...` as a member it may
//! hold more. Letters match without regard to case. An IMAP literal belongs to the line that announces it.
//! Before an `S:` that follows `S*` or `S!` lines any other line may come, too.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::{Conn, tls_config, wire_error};

mod pattern;

pub use pattern::matches;

/// More lines than this before the awaited one, and the server is talking nonsense.
const LINES_SKIPPED_MAX: usize = 10_000;

/// A conversation in progress.
pub struct Script {
    port: u16,
    ca: Option<PathBuf>,
    imap: bool,
    tls_at_once: bool,
    connections: HashMap<char, Conn>,
    variables: HashMap<String, String>,
    transcript: Vec<String>,
}

impl Script {
    /// A conversation with the server on this loopback port.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            ca: None,
            imap: false,
            tls_at_once: false,
            connections: HashMap::new(),
            variables: HashMap::new(),
            transcript: Vec::new(),
        }
    }

    /// A conversation in IMAP, where lines carry literals.
    pub fn imap(port: u16) -> Self {
        Self {
            imap: true,
            ..Self::new(port)
        }
    }

    /// The certificate that TLS must be signed by.
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// TLS from the first byte (ports 465, 993, 995).
    #[must_use]
    pub fn tls_at_once(mut self) -> Self {
        self.tls_at_once = true;
        self
    }

    /// Gives `<<name>>` a value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// The value that `<<name>>` has by now; empty if it has none.
    pub fn value(&self, name: &str) -> String {
        self.variables.get(name).cloned().unwrap_or_default()
    }

    /// Plays a text; panics with the transcript where the server departs from it.
    ///
    /// # Panics
    /// That is the purpose.
    pub fn play(&mut self, text: &str) -> &mut Self {
        if let Err(error) = self.try_play(text) {
            panic!(
                "{error}\n--- transcript ---\n{}\n",
                self.transcript.join("\n")
            );
        }
        self
    }

    /// Plays a text; the error says which line failed and what came instead.
    pub fn try_play(&mut self, text: &str) -> io::Result<()> {
        let mut wanted: Vec<String> = Vec::new();
        let mut unwanted: Vec<String> = Vec::new();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            let step = Step::parse(line)?;
            match step.verb {
                Verb::Send | Verb::SendRaw => {
                    if !wanted.is_empty() || !unwanted.is_empty() {
                        return Err(wire_error(format!(
                            "`S*` or `S!` without an `S:` before `{line}`"
                        )));
                    }
                    self.send(&step)?;
                }
                Verb::Among => wanted.push(step.text),
                Verb::Never => unwanted.push(step.text),
                Verb::Expect | Verb::Eventually => {
                    let (wanted, unwanted) =
                        (std::mem::take(&mut wanted), std::mem::take(&mut unwanted));
                    let skip =
                        step.verb == Verb::Eventually || !wanted.is_empty() || !unwanted.is_empty();
                    self.expect(&step, skip, wanted, &unwanted)?;
                }
                Verb::Tls => {
                    let ca = self
                        .ca
                        .clone()
                        .ok_or_else(|| wire_error("TLS needs a CA"))?;
                    self.connection(step.connection)?
                        .start_tls(tls_config(&ca)?)?;
                }
                Verb::Deflate => self.connection(step.connection)?.start_deflate(),
                Verb::End => self.expect_end(step.connection)?,
            }
        }
        if wanted.is_empty() && unwanted.is_empty() {
            Ok(())
        } else {
            Err(wire_error(
                "the text ends with `S*` or `S!` lines that no `S:` closes",
            ))
        }
    }

    /// The connection of this number, opened if it is new.
    pub fn connection(&mut self, number: char) -> io::Result<&mut Conn> {
        if !self.connections.contains_key(&number) {
            let mut conn = Conn::connect(self.port)?;
            if self.tls_at_once {
                let ca = self
                    .ca
                    .clone()
                    .ok_or_else(|| wire_error("TLS needs a CA"))?;
                conn.start_tls(tls_config(&ca)?)?;
            }
            conn.set_read_timeout(Duration::from_secs(30))?;
            self.connections.insert(number, conn);
        }
        self.connections
            .get_mut(&number)
            .ok_or_else(|| wire_error("no such connection"))
    }

    fn send(&mut self, step: &Step) -> io::Result<()> {
        let mut text = step.text.clone();
        for (name, value) in &self.variables {
            text = text.replace(&format!("<<{name}>>"), value);
        }
        self.transcript
            .push(format!("C{}: {}", step.connection, shortened(&text)));
        let mut bytes = unescaped(&text);
        if step.verb == Verb::Send {
            bytes.extend_from_slice(b"\r\n");
        }
        self.connection(step.connection)?.send(&bytes)
    }

    fn next_line(&mut self, number: char) -> io::Result<String> {
        let imap = self.imap;
        let conn = self.connection(number)?;
        let mut line = conn.line()?;
        while let Some(count) = imap.then(|| literal(&line)).flatten() {
            line.extend_from_slice(b"\r\n");
            conn.read_into(&mut line, count)?;
            line.extend_from_slice(&conn.line()?);
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        self.transcript
            .push(format!("S{number}: {}", shortened(&text)));
        Ok(text)
    }

    fn expect(
        &mut self,
        step: &Step,
        skip: bool,
        wanted: Vec<String>,
        unwanted: &[String],
    ) -> io::Result<()> {
        let (number, last) = (step.connection, &step.text);
        let mut missing = wanted;
        for _ in 0..LINES_SKIPPED_MAX {
            let line = self.next_line(number).map_err(|e| {
                wire_error(format!(
                    "expected `{last}` (and before it {missing:?}) on connection {number}: {e}"
                ))
            })?;
            if let Some(pattern) = unwanted
                .iter()
                .find(|p| matches(p, &line, &mut self.variables.clone()))
            {
                return Err(wire_error(format!(
                    "`{pattern}` must not come, but came: `{}`",
                    shortened(&line)
                )));
            }
            if let Some(at) = missing
                .iter()
                .position(|p| matches(p, &line, &mut self.variables))
            {
                missing.remove(at);
            } else if matches(last, &line, &mut self.variables) {
                return if missing.is_empty() {
                    Ok(())
                } else {
                    Err(wire_error(format!(
                        "`{}` came before {missing:?}",
                        shortened(&line)
                    )))
                };
            } else if !skip || is_other_answer(last, &line) {
                return Err(wire_error(format!(
                    "expected `{last}`, server said `{}`",
                    shortened(&line)
                )));
            }
        }
        Err(wire_error(format!("`{last}` never came")))
    }

    fn expect_end(&mut self, number: char) -> io::Result<()> {
        match self.connection(number)?.line_or_end() {
            Ok(None) => Ok(()),
            Ok(Some(line)) => Err(wire_error(format!(
                "expected the end, server said `{}`",
                String::from_utf8_lossy(&line)
            ))),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(e) => Err(e),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Send,
    SendRaw,
    Expect,
    Eventually,
    Among,
    Never,
    Tls,
    Deflate,
    End,
}

struct Step {
    verb: Verb,
    connection: char,
    text: String,
}

impl Step {
    fn parse(line: &str) -> io::Result<Self> {
        for (word, verb) in [
            ("TLS", Verb::Tls),
            ("DEFLATE", Verb::Deflate),
            ("END", Verb::End),
        ] {
            if let Some(rest) = line.strip_prefix(word).filter(|r| r.len() <= 1) {
                return Ok(Self {
                    verb,
                    connection: rest.chars().next().unwrap_or('1'),
                    text: String::new(),
                });
            }
        }
        let bad = || wire_error(format!("not a line of a conversation: `{line}`"));
        let mut rest = line.get(1..).ok_or_else(bad)?;
        let connection = rest
            .chars()
            .next()
            .filter(char::is_ascii_digit)
            .unwrap_or('1');
        rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let verb = match (line.chars().next(), rest.chars().next()) {
            (Some('C'), Some(':')) => Verb::Send,
            (Some('C'), Some('-')) => Verb::SendRaw,
            (Some('S'), Some(':')) => Verb::Expect,
            (Some('S'), Some('~')) => Verb::Eventually,
            (Some('S'), Some('*')) => Verb::Among,
            (Some('S'), Some('!')) => Verb::Never,
            _ => return Err(bad()),
        };
        let text = rest[1..].strip_prefix(' ').unwrap_or(&rest[1..]).to_owned();
        Ok(Self {
            verb,
            connection,
            text,
        })
    }
}

/// Whether the line answers the awaited command, but otherwise than wanted: `a1 NO …` where `a1 OK ...` was. Nothing
/// that is wanted can follow.
fn is_other_answer(wanted: &str, line: &str) -> bool {
    let tag = wanted.split(' ').next().unwrap_or("");
    let is_tag = !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric());
    is_tag
        && line
            .strip_prefix(tag)
            .is_some_and(|rest| rest.starts_with(' '))
}

fn literal(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let open = inside.iter().rposition(|&b| b == b'{')?;
    String::from_utf8_lossy(&inside[open + 1..]).parse().ok()
}

fn shortened(text: &str) -> String {
    let text = text.replace('\r', "\\r").replace('\n', "\\n");
    if text.chars().count() <= 400 {
        text
    } else {
        format!("{}…", text.chars().take(400).collect::<String>())
    }
}

/// Turns `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` into bytes. Another backslash stands for itself, as in `\Seen`.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = || {
            bytes
                .get(at + 2..at + 4)
                .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok())
        };
        let (byte, used) = match (bytes[at], bytes.get(at + 1)) {
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'0')) => (0, 2),
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', Some(b'x')) => hex().map_or((b'\\', 1), |byte| (byte, 4)),
            (byte, _) => (byte, 1),
        };
        out.push(byte);
        at += used;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn plays_two_connections_and_reports_a_departure() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(b"* OK ready\r\n").unwrap();
                let mut line = String::new();
                BufReader::new(stream.try_clone().unwrap())
                    .read_line(&mut line)
                    .unwrap();
                stream
                    .write_all(
                        b"* 2 EXISTS\r\n* FLAGS ()\r\n* 1 FETCH (X {3}\r\na\r\n)\r\na1 OK done\r\n",
                    )
                    .unwrap();
            }
        });
        let mut script = Script::imap(port);
        script.play("S: * OK ...\nC: a1 X\nS* * <<n>> EXISTS\nS* * 1 FETCH (X {3}\\r\\na\\r\\n)\nS! * ... EXPUNGE\nS: a1 OK ...\nEND");
        assert_eq!(script.value("n"), "2");
        let error = script
            .try_play("S2: * OK ...\nC2: a1 X\nS2: * 3 EXISTS")
            .unwrap_err()
            .to_string();
        assert!(error.contains("server said `* 2 EXISTS`"), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn escapes_leave_imap_flags_alone() {
        assert_eq!(unescaped("\\Seen \\x41\\r\\n"), b"\\Seen A\r\n");
    }
}
