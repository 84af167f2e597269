//! SMTP and LMTP, as a client that pipelines the envelope the way MTAs do.

use std::io;
use std::net::Ipv4Addr;

use super::{Conn, wire_error};

/// One reply: the code and the text of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpReply {
    /// The three digits.
    pub code: u16,
    /// The text of each line, without code and separator.
    pub lines: Vec<String>,
}

impl SmtpReply {
    /// Whether the server took it: 2yz.
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The reply itself, or an error that quotes it.
    pub fn expect(self, code: u16) -> io::Result<Self> {
        if self.code == code {
            Ok(self)
        } else {
            Err(wire_error(format!(
                "expected {code}, server said {} {}",
                self.code,
                self.lines.join(" / ")
            )))
        }
    }
}

/// A client session of SMTP or LMTP.
pub struct Smtp {
    /// The connection, for whatever the methods do not say.
    pub conn: Conn,
    /// The EHLO or LHLO keywords, one a line.
    pub capabilities: Vec<String>,
}

/// The message with CRLF line ends, leading dots doubled, and the final `<CRLF>.<CRLF>` (RFC 5321 §4.5.2).
pub fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 64 + 5);
    let mut at_line_start = true;
    for &byte in message {
        if at_line_start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        at_line_start = byte == b'\n';
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

impl Smtp {
    /// Connects, reads the greeting and says EHLO.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::open(Ipv4Addr::LOCALHOST, port, "EHLO client.example.test")
    }

    /// Connects, reads the greeting and says LHLO.
    pub fn connect_lmtp(port: u16) -> io::Result<Self> {
        Self::open(Ipv4Addr::LOCALHOST, port, "LHLO client.example.test")
    }

    fn open(source: Ipv4Addr, port: u16, hello: &str) -> io::Result<Self> {
        let mut smtp = Self {
            conn: Conn::connect_from(source, port)?,
            capabilities: Vec::new(),
        };
        smtp.reply()?.expect(220)?;
        smtp.capabilities = smtp.command(hello)?.expect(250)?.lines;
        Ok(smtp)
    }

    /// Reads one reply, all its lines.
    pub fn reply(&mut self) -> io::Result<SmtpReply> {
        let mut lines = Vec::new();
        loop {
            let line = self.conn.line()?;
            let text = String::from_utf8_lossy(&line).into_owned();
            let code: u16 = text
                .get(..3)
                .and_then(|c| c.parse().ok())
                .ok_or_else(|| wire_error(format!("no reply code: {text}")))?;
            lines.push(text.get(4..).unwrap_or("").to_owned());
            match line.get(3) {
                Some(b'-') => {}
                Some(b' ') | None => return Ok(SmtpReply { code, lines }),
                Some(_) => {
                    return Err(wire_error(format!(
                        "neither space nor dash after the code: {text}"
                    )));
                }
            }
        }
    }

    /// Sends one command and reads its reply.
    pub fn command(&mut self, line: &str) -> io::Result<SmtpReply> {
        self.conn.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// One message to one or more recipients by SMTP, the envelope in one write.
    /// `stuffed` comes from [`dot_stuffed`]. The error says what was refused.
    pub fn send_stuffed(
        &mut self,
        from: &str,
        recipients: &[&str],
        stuffed: &[u8],
    ) -> io::Result<SmtpReply> {
        self.envelope(from, recipients)?;
        self.conn.send(stuffed)?;
        self.reply()?.expect(250)
    }

    /// The same by LMTP: one reply for each recipient (RFC 2033 §4.2).
    pub fn lmtp_stuffed(
        &mut self,
        from: &str,
        recipients: &[&str],
        stuffed: &[u8],
    ) -> io::Result<Vec<SmtpReply>> {
        self.lmtp_begin(from, recipients, stuffed)?;
        recipients.iter().map(|_| self.reply()).collect()
    }

    /// The same without reading the recipients' replies: [`Smtp::reply`] gives them one by one.
    pub fn lmtp_begin(
        &mut self,
        from: &str,
        recipients: &[&str],
        stuffed: &[u8],
    ) -> io::Result<()> {
        self.envelope(from, recipients)?;
        self.conn.send(stuffed)
    }

    fn envelope(&mut self, from: &str, recipients: &[&str]) -> io::Result<()> {
        let mut lines = format!("MAIL FROM:<{from}>\r\n");
        for recipient in recipients {
            lines.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
        }
        lines.push_str("DATA\r\n");
        self.conn.send(lines.as_bytes())?;
        self.reply()?.expect(250)?;
        for _ in recipients {
            self.reply()?.expect(250)?;
        }
        self.reply()?.expect(354)?;
        Ok(())
    }

    /// Ends the session in good order.
    pub fn quit(mut self) -> io::Result<()> {
        self.command("QUIT")?.expect(221)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_at_line_starts_only() {
        assert_eq!(
            dot_stuffed(b".a\r\nb.c\r\n..d"),
            b"..a\r\nb.c\r\n...d\r\n.\r\n"
        );
        assert_eq!(dot_stuffed(b""), b"\r\n.\r\n");
    }
}
