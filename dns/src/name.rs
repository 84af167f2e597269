//! Domain names as mail asks for them: ASCII, in lower case, without the last dot.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A domain name that can be asked for. Underscores may be in it (`_25._tcp`); internationalised labels are A-labels.
/// The empty name is the root, which a null MX names (RFC 7505).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(Box<str>);

/// Why a text is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no domain name")]
pub struct NameError(String);

impl DnsName {
    /// RFC 1035 §2.3.4, in text.
    const LEN_MAX: usize = 253;
    /// RFC 1035 §2.3.4.
    const LABEL_LEN_MAX: usize = 63;

    /// The name of the root.
    pub fn root() -> DnsName {
        DnsName("".into())
    }

    /// Reads a name, with or without its last dot.
    pub fn parse(text: &str) -> Result<DnsName, NameError> {
        let bad = || NameError(text.chars().take(80).collect());
        // An A-label is never shorter than a quarter of its U-label in UTF-8.
        if text.len() > 4 * DnsName::LEN_MAX {
            return Err(bad());
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        let lower = match text.is_ascii() {
            true => text.to_ascii_lowercase(),
            false => idna::domain_to_ascii(text).map_err(|_| bad())?,
        };
        let is_label = |label: &str| {
            (1..=DnsName::LABEL_LEN_MAX).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/'))
        };
        if lower.len() > DnsName::LEN_MAX || !lower.split('.').all(is_label) {
            return Err(bad());
        }
        Ok(DnsName(lower.into()))
    }

    /// This name below a prefix, such as `_mta-sts`.
    pub fn below(&self, prefix: &str) -> Result<DnsName, NameError> {
        DnsName::parse(&format!("{prefix}.{}", self.0))
    }

    /// In ASCII, without the last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The name without its first label, unless that is the root.
    pub fn parent(&self) -> Option<DnsName> {
        let (_, rest) = self.0.split_once('.')?;
        Some(DnsName(rest.into()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "." } else { &self.0 })
    }
}

impl TryFrom<String> for DnsName {
    type Error = NameError;

    fn try_from(text: String) -> Result<DnsName, NameError> {
        DnsName::parse(&text)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> String {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_equal_values() {
        let name = |text: &str| DnsName::parse(text).unwrap();
        assert_eq!(name("MX.Example.ORG."), name("mx.example.org"));
        assert_eq!(name("bücher.example").as_str(), "xn--bcher-kva.example");
        let tlsa = name("mx.example.org").below("_25._tcp").unwrap();
        assert_eq!(tlsa.as_str(), "_25._tcp.mx.example.org");
        assert_eq!(tlsa.parent(), Some(name("_tcp.mx.example.org")));
    }

    #[test]
    fn what_cannot_be_asked_is_no_name() {
        let long = "a".repeat(64);
        let total = "a.".repeat(130);
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "[192.0.2.1]",
            "a\0",
            &long,
            &total,
        ] {
            assert!(DnsName::parse(text).is_err(), "{text:?}");
        }
    }
}
