//! Mail addresses (RFC 5321 §4.1.2, RFC 6531 for UTF-8).

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A domain name in lower case, internationalised labels as A-labels (`xn--…`), so that equal domains are
/// equal values. Address literals (`[192.0.2.1]`) are kept with their brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(Box<str>);

/// The part of an address before the `@`, unquoted, in its own spelling. Only the site that owns the domain
/// may read meaning into it (RFC 5321 §2.4).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalPart(Box<str>);

/// `local-part@domain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// Before the `@`.
    pub local: LocalPart,
    /// After it.
    pub domain: Domain,
}

/// Where a message's failures are reported to: an address, or nowhere, `<>` (RFC 5321 §3.6.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<local-part@domain>`
    Address(Address),
}

/// Why a string is no address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// There is no `@` outside quotes.
    #[error("an address needs the form local-part@domain")]
    NoAt,
    /// RFC 5321 §4.5.3.1.1: at most 64 octets.
    #[error("the part before '@' must have 1 to 64 bytes")]
    LocalPartLength,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("the part before '@' is neither a dot-atom nor a well-formed quoted string")]
    BadLocalPart,
    /// The domain is no host name and no address literal.
    #[error("{0:?} is no domain name")]
    BadDomain(String),
}

impl Domain {
    /// RFC 1035 §2.3.4.
    const LEN_MAX: usize = 253;

    /// Reads a domain name or an address literal.
    pub fn parse(text: &str) -> Result<Domain, AddressError> {
        let bad = || AddressError::BadDomain(text.chars().take(80).collect());
        // An A-label is never shorter than a quarter of its U-label in UTF-8: longer input cannot become valid.
        if text.len() > 4 * Domain::LEN_MAX {
            return Err(bad());
        }
        if let Some(literal) = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            return Domain::parse_literal(literal).ok_or_else(bad);
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| bad())?;
        let label_ok = |label: &str| {
            let hyphen_outside = label.starts_with('-') || label.ends_with('-');
            (1..=63).contains(&label.len())
                && !hyphen_outside
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if ascii.len() > Domain::LEN_MAX || !ascii.split('.').all(label_ok) {
            return Err(bad());
        }
        Ok(Domain(ascii.into()))
    }

    /// RFC 5321 §4.1.3.
    fn parse_literal(literal: &str) -> Option<Domain> {
        let lower = literal.to_ascii_lowercase();
        match lower.strip_prefix("ipv6:") {
            Some(v6) => v6
                .parse::<std::net::Ipv6Addr>()
                .ok()
                .map(|ip| Domain(format!("[ipv6:{ip}]").into())),
            None => lower
                .parse::<std::net::Ipv4Addr>()
                .ok()
                .map(|ip| Domain(format!("[{ip}]").into())),
        }
    }

    /// The domain in ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an address literal, not a name.
    pub fn is_literal(&self) -> bool {
        self.0.starts_with('[')
    }
}

impl LocalPart {
    /// RFC 5321 §4.5.3.1.1.
    const LEN_MAX: usize = 64;

    /// Reads a local part as it stands on the wire: a dot-string or a quoted string.
    pub fn parse(text: &str) -> Result<LocalPart, AddressError> {
        let value = match text.strip_prefix('"') {
            Some(rest) => unquote(rest).ok_or(AddressError::BadLocalPart)?,
            None if is_dot_string(text) => text.to_owned(),
            None if text.is_empty() => return Err(AddressError::LocalPartLength),
            None => return Err(AddressError::BadLocalPart),
        };
        if value.is_empty() || value.len() > LocalPart::LEN_MAX {
            return Err(AddressError::LocalPartLength);
        }
        Ok(LocalPart(value.into()))
    }

    /// The value, without quotes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `separator` and what follows it, as in `user+detail`. Neither may be empty
    /// for it to count as a subaddress.
    pub fn split_subaddress(&self, separator: char) -> Option<(LocalPart, &str)> {
        let (user, detail) = self.0.split_once(separator)?;
        (!user.is_empty() && !detail.is_empty()).then(|| (LocalPart(user.into()), detail))
    }

    /// The same local part in lower case: how Mailrook's own domains compare them.
    #[must_use]
    pub fn to_lowercase(&self) -> LocalPart {
        LocalPart(self.0.to_lowercase().into())
    }
}

/// The inside of a quoted string and its closing quote (RFC 5321 §4.1.2, `Quoted-string`).
fn unquote(rest: &str) -> Option<String> {
    let mut value = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(value),
            '\\' => match chars.next()? {
                c @ ' '..='~' => value.push(c),
                _ => return None,
            },
            c if c.is_control() => return None,
            c => value.push(c),
        }
    }
}

/// RFC 5321 §4.1.2 `Dot-string`, with RFC 6531 §3.3's UTF-8.
fn is_dot_string(text: &str) -> bool {
    let is_atext = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || (!c.is_ascii() && !c.is_control())
    };
    !text.is_empty()
        && text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

impl Address {
    /// Reads `local-part@domain`, without angle brackets.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        // A quoted local part may hold `@`; a domain cannot.
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::NoAt)?;
        Ok(Address {
            local: LocalPart::parse(local)?,
            domain: Domain::parse(domain)?,
        })
    }

    /// The address as the directory's tables hold it: the local part in lower case.
    #[must_use]
    pub fn to_lowercase(&self) -> Address {
        Address {
            local: self.local.to_lowercase(),
            domain: self.domain.clone(),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// With angle brackets, as in `Return-Path` and `MAIL FROM`.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Address(address) => write!(f, "<{address}>"),
        }
    }
}

macro_rules! as_string {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = AddressError;
            fn try_from(text: String) -> Result<$name, AddressError> {
                $name::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}

as_string!(Domain);
as_string!(LocalPart);
as_string!(Address);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_rfc_permits() {
        for (text, printed) in [
            ("user@example.test", "user@example.test"),
            ("User+Tag@EXAMPLE.Test", "User+Tag@example.test"),
            ("\"a b\"@example.test", "\"a b\"@example.test"),
            ("\"plain\"@example.test", "plain@example.test"),
            ("\"a@b\"@example.test", "\"a@b\"@example.test"),
            ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
            ("user@[192.0.2.1]", "user@[192.0.2.1]"),
            ("user@[IPv6:2001:db8::1]", "user@[ipv6:2001:db8::1]"),
        ] {
            assert_eq!(
                Address::parse(text).map(|a| a.to_string()).as_deref(),
                Ok(printed),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in [
            "",
            "@",
            "user",
            "user@",
            "@example.test",
            "a..b@example.test",
            ".a@example.test",
            "a b@example.test",
            "user@exa mple.test",
            "user@-example.test",
            "user@example..test",
            "user@[300.0.0.1]",
            "\"open@example.test",
            "\"a\"b@example.test",
            "a\r\nb@example.test",
            "\"a\r\"@example.test",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?} was accepted");
        }
        assert!(Address::parse(&format!("{}@example.test", "x".repeat(65))).is_err());
        assert!(Address::parse(&format!("x@{}", "a.".repeat(200))).is_err());
    }

    proptest! {
        #[test]
        fn prints_what_it_reads_back(text in "\\PC{0,40}@[a-z\\[\\]0-9.:-]{0,20}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
