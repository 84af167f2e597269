//! Replies of a POP3 server (RFC 1939 §3, RFC 2449 §8, RFC 3206).

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::writer::{push_number, push_text};

/// What an error tells to programs (RFC 2449 §8.1, RFC 3206 §4, RFC 6856 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseCode {
    /// `IN-USE`: another session holds the mailbox.
    InUse,
    /// `LOGIN-DELAY`: too soon after the last login.
    LoginDelay,
    /// `SYS/TEMP`: try again later.
    SysTemp,
    /// `SYS/PERM`: somebody has to mend it.
    SysPerm,
    /// `AUTH`: the credentials are wrong, or not good for this.
    Auth,
    /// `UTF8`: this needs the UTF8 command first.
    Utf8,
}

impl ResponseCode {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ResponseCode::InUse => "IN-USE",
            ResponseCode::LoginDelay => "LOGIN-DELAY",
            ResponseCode::SysTemp => "SYS/TEMP",
            ResponseCode::SysPerm => "SYS/PERM",
            ResponseCode::Auth => "AUTH",
            ResponseCode::Utf8 => "UTF8",
        }
    }
}

/// What CAPA tells, beside what is always there: TOP, UIDL, RESP-CODES, AUTH-RESP-CODE, PIPELINING, EXPIRE NEVER
/// and UTF8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities<'a> {
    /// `USER`: names and passwords in clear are permitted here and now.
    pub user: bool,
    /// `STLS`: TLS can be begun.
    pub stls: bool,
    /// `SASL`: the mechanisms; left out where there is none.
    pub sasl: &'a [&'a str],
    /// `IMPLEMENTATION`: who is serving; left out where it is empty.
    pub implementation: &'a str,
}

/// Prints replies into a buffer.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// Prints into `out`.
    pub fn new(out: &'b mut Vec<u8>) -> Writer<'b> {
        Writer { out }
    }

    /// The buffer, for a message's bytes behind `+OK`.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// `+OK text`
    pub fn ok(&mut self, text: &str) {
        self.out.extend_from_slice(b"+OK");
        if !text.is_empty() {
            self.out.push(b' ');
            push_text(self.out, text, true);
        }
        self.end_line();
    }

    /// `-ERR [CODE] text`
    pub fn err(&mut self, code: Option<ResponseCode>, text: &str) {
        self.out.extend_from_slice(b"-ERR ");
        if let Some(code) = code {
            self.out.push(b'[');
            self.out.extend_from_slice(code.as_str().as_bytes());
            self.out.extend_from_slice(b"] ");
        }
        // RFC 2449 §8: a text that starts with a bracket would be read as a code.
        push_text(self.out, text.trim_start_matches('['), true);
        self.end_line();
    }

    /// `+ base64`: a SASL challenge, which may be empty.
    pub fn challenge(&mut self, challenge: &[u8]) {
        self.out.extend_from_slice(b"+ ");
        self.out
            .extend_from_slice(STANDARD.encode(challenge).as_bytes());
        self.end_line();
    }

    /// `+OK count bytes`: the answer to STAT.
    pub fn stat(&mut self, messages: u32, bytes: u64) {
        self.out.extend_from_slice(b"+OK ");
        self.pair(messages, bytes);
    }

    /// `+OK number bytes`: the answer to LIST with a number.
    pub fn list_one(&mut self, message: u32, bytes: u64) {
        self.stat(message, bytes);
    }

    /// `number bytes`: a line of the answer to LIST.
    pub fn list_line(&mut self, message: u32, bytes: u64) {
        self.pair(message, bytes);
    }

    /// `+OK number id`: the answer to UIDL with a number.
    pub fn uidl_one(&mut self, message: u32, id: &str) {
        self.out.extend_from_slice(b"+OK ");
        self.uidl_line(message, id);
    }

    /// `number id`: a line of the answer to UIDL. The id has 1 to 70 characters from `!` to `~` (RFC 1939 §7).
    pub fn uidl_line(&mut self, message: u32, id: &str) {
        push_number(self.out, u64::from(message));
        self.out.push(b' ');
        push_text(self.out, id, false);
        self.end_line();
    }

    /// `.`: the end of an answer of several lines.
    pub fn end(&mut self) {
        self.out.extend_from_slice(b".\r\n");
    }

    /// The whole answer to CAPA.
    pub fn capabilities(&mut self, capabilities: &Capabilities<'_>) {
        self.ok("Capability list follows");
        self.out
            .extend_from_slice(b"TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n");
        self.out.extend_from_slice(b"EXPIRE NEVER\r\nUTF8\r\n");
        if capabilities.user {
            self.out.extend_from_slice(b"USER\r\n");
        }
        if capabilities.stls {
            self.out.extend_from_slice(b"STLS\r\n");
        }
        if !capabilities.sasl.is_empty() {
            self.out.extend_from_slice(b"SASL");
            for mechanism in capabilities.sasl {
                self.out.push(b' ');
                self.out.extend_from_slice(mechanism.as_bytes());
            }
            self.end_line();
        }
        if !capabilities.implementation.is_empty() {
            self.out.extend_from_slice(b"IMPLEMENTATION ");
            push_text(self.out, capabilities.implementation, false);
            self.end_line();
        }
        self.end();
    }

    fn pair(&mut self, message: u32, bytes: u64) {
        push_number(self.out, u64::from(message));
        self.out.push(b' ');
        push_number(self.out, bytes);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl FnOnce(&mut Writer<'_>)) -> String {
        let mut out = Vec::new();
        print(&mut Writer::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prints_replies() {
        let seen = printed(|w| {
            w.ok("");
            w.ok("Mailrook ready");
            w.err(Some(ResponseCode::SysTemp), "try\r\nlater");
            w.err(None, "[AUTH] no");
            w.challenge(b"x");
            w.stat(2, 320);
            w.list_line(1, 120);
            w.uidl_one(2, "QhdPYR:00WBw1Ph7x7");
            w.end();
        });
        let lines = [
            "+OK",
            "+OK Mailrook ready",
            "-ERR [SYS/TEMP] try??later",
            "-ERR AUTH] no",
            "+ eA==",
            "+OK 2 320",
            "1 120",
            "+OK 2 QhdPYR:00WBw1Ph7x7",
            ".",
            "",
        ];
        assert_eq!(seen, lines.join("\r\n"));
    }

    #[test]
    fn prints_capabilities() {
        let sasl: &[&str] = &["PLAIN", "SCRAM-SHA-256"];
        let all = Capabilities {
            user: true,
            stls: true,
            sasl,
            implementation: "Mailrook",
        };
        let seen = printed(|w| w.capabilities(&all));
        let always =
            "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUTF8\r\n";
        let rest = "USER\r\nSTLS\r\nSASL PLAIN SCRAM-SHA-256\r\nIMPLEMENTATION Mailrook\r\n.\r\n";
        assert_eq!(
            seen,
            format!("+OK Capability list follows\r\n{always}{rest}")
        );
        let few = printed(|w| w.capabilities(&Capabilities::default()));
        assert_eq!(few, format!("+OK Capability list follows\r\n{always}.\r\n"));
    }
}
