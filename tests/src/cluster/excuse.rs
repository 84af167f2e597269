//! Which errors a client may see while nodes fail: those that say "not now". Whatever says "no" is a broken promise.
//!
//! P6: unknown is not absent. A user, mailbox or password that is there must never be denied, however much has failed.

use std::io::{Error, ErrorKind};

/// Response codes of IMAP and POP3 for "try again later" (RFC 5530 §3, RFC 3206 §4, RFC 2449 §8.1.1).
const NOT_NOW: [&str; 4] = ["[UNAVAILABLE]", "[SYS/TEMP]", "[IN-USE]", "[INUSE]"];

/// Whether a client may be told so.
pub fn is_excused(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::TimedOut
        | ErrorKind::WouldBlock
        | ErrorKind::UnexpectedEof => true,
        _ => is_not_now(&error.to_string()),
    }
}

fn is_not_now(said: &str) -> bool {
    // RFC 5321 §4.2.1: 4yz is transient.
    let transient = said
        .split_once("server said ")
        .is_some_and(|(_, reply)| reply.starts_with('4'));
    transient
        || NOT_NOW.iter().any(|code| said.contains(code))
        // A node that stops says so before it closes.
        || said.starts_with("* BYE")
        || said.contains("stream ended within")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::wire_error;

    #[test]
    fn not_now_is_excused_and_no_is_not() {
        for said in [
            "t3 NO [UNAVAILABLE] not now",
            "-ERR [SYS/TEMP] not now",
            "expected 250, server said 451 4.3.0 try again",
            "* BYE shutting down",
        ] {
            assert!(is_excused(&wire_error(said)), "{said}");
        }
        for said in [
            "t3 NO [AUTHENTICATIONFAILED] wrong",
            "t3 NO [NONEXISTENT] no such mailbox",
            "t3 BAD what",
            "-ERR [AUTH] wrong",
            "expected 250, server said 550 5.1.1 no such user",
        ] {
            assert!(!is_excused(&wire_error(said)), "{said}");
        }
        assert!(is_excused(&ErrorKind::ConnectionReset.into()));
    }
}
