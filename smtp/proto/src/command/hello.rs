//! HELO, EHLO (RFC 5321 §4.1.1.1) and LHLO (RFC 2033 §4.1).

use std::{fmt, net::IpAddr};

use mailrook_types::Domain;

use crate::{limits, reply::Reply};

/// How the client introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloVerb {
    /// No extensions.
    Helo,
    /// SMTP with extensions.
    Ehlo,
    /// LMTP.
    Lhlo,
}

/// The name that the client gave itself: graphic ASCII, without characters that would break a header comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloName(String);

impl HelloName {
    /// Takes whatever can stand in a Received field: what clients say here is often wrong, and RFC 5321 §4.1.4
    /// forbids to refuse mail because a name cannot be verified.
    pub(crate) fn parse(text: &str) -> Result<HelloName, Reply> {
        let allowed = |c: char| {
            c.is_ascii_graphic() && !matches!(c, '(' | ')' | '<' | '>' | '\\' | '"' | ';' | ',')
        };
        if text.is_empty() || text.len() > limits::HELLO_NAME_LEN_MAX || !text.chars().all(allowed)
        {
            return Err(super::arguments_wrong(
                "a domain name or an address literal",
            ));
        }
        Ok(HelloName(text.to_owned()))
    }

    /// The name as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a domain name with at least one dot, or an address literal, as RFC 5321 §4.1.1.1 wants it.
    pub fn is_well_formed(&self) -> bool {
        match Domain::parse(&self.0) {
            Ok(domain) => {
                domain.is_literal()
                    || (domain.as_str().contains('.') && self.0.parse::<IpAddr>().is_err())
            }
            Err(_) => false,
        }
    }
}

impl fmt::Display for HelloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_names() {
        for (name, well_formed) in [
            ("mx.example.test", true),
            ("[192.0.2.1]", true),
            ("[IPv6:2001:db8::1]", true),
            ("localhost", false),
            ("192.0.2.1", false),
            ("[300.0.2.1]", false),
            ("a_b.example.test", false),
            ("-", false),
        ] {
            assert_eq!(
                HelloName::parse(name).unwrap().is_well_formed(),
                well_formed,
                "{name}"
            );
        }
    }

    #[test]
    fn nothing_that_breaks_a_header_gets_in() {
        for name in [
            "",
            "a b",
            "a(b)",
            "a\"b",
            "x\r\ny",
            "caf\u{e9}",
            &"x".repeat(256),
        ] {
            assert!(HelloName::parse(name).is_err(), "{name:?}");
        }
    }
}
