//! A policy's text (RFC 8461 §3.2), and which hosts it names.

use std::{fmt, time::Duration};

use thiserror::Error;

use super::fetch::POLICY_BYTES_MAX;
use crate::DnsName;

/// RFC 8461 §3.2: at most about a year.
pub const MAX_AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// Patterns that a policy may have. Real ones have up to a dozen.
pub const MX_PATTERNS_MAX: usize = 256;

/// Whether a policy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// Failures are only reported.
    Testing,
    /// There is none (any more).
    None,
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether it holds.
    pub mode: Mode,
    /// The hosts. At least one, unless the mode is none.
    pub mx: Vec<MxPattern>,
    /// How long it may be kept.
    pub max_age: Duration,
}

/// A host, or all that are one label below a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxPattern {
    name: DnsName,
    is_wildcard: bool,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// No text, or too much.
    #[error("the policy is no text of at most {POLICY_BYTES_MAX} bytes")]
    NoText,
    /// A line without a colon.
    #[error("line {0} is no \"key: value\"")]
    BadLine(usize),
    /// It does not begin with its version, or has another one.
    #[error("it does not begin with \"version: STSv1\"")]
    Version,
    /// There is none, or none of the three.
    #[error("its mode is none of enforce, testing and none")]
    Mode,
    /// There is none, or it is no number.
    #[error("its max_age is no number of seconds")]
    MaxAge,
    /// There is none, too many, or one that is no name.
    #[error("its mx lines name no hosts, or too many")]
    Mx,
}

impl Policy {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::NoText);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| PolicyError::NoText)?;
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim_matches([' ', '\t']);
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(PolicyError::BadLine(i + 1))?;
            let (key, value) = (key.trim_end(), value.trim_matches([' ', '\t']));
            match key {
                "mx" if mx.len() == MX_PATTERNS_MAX => return Err(PolicyError::Mx),
                "mx" => mx.push(MxPattern::parse(value).ok_or(PolicyError::Mx)?),
                // RFC 8461 §3.2: of a key that comes twice the first one counts.
                "version" => _ = version.get_or_insert(value),
                "mode" => _ = mode.get_or_insert(value),
                "max_age" => _ = max_age.get_or_insert(value),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError::Version);
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError::Mode),
        };
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError::Mx);
        }
        let seconds = max_age.ok_or(PolicyError::MaxAge)?;
        Ok(Policy {
            mode,
            mx,
            max_age: parse_seconds(seconds)
                .ok_or(PolicyError::MaxAge)?
                .min(MAX_AGE_MAX),
        })
    }

    /// Whether it names this host (RFC 8461 §4.1).
    pub fn matches(&self, host: &DnsName) -> bool {
        self.mx.iter().any(|pattern| pattern.matches(host))
    }
}

/// RFC 8461 §3.2: up to ten digits.
fn parse_seconds(text: &str) -> Option<Duration> {
    let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = is_number.then(|| text.parse().ok())??;
    Some(Duration::from_secs(seconds))
}

/// As it was written; reads as the same.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        writeln!(f, "version: STSv1\nmode: {mode}")?;
        for pattern in &self.mx {
            writeln!(f, "mx: {pattern}")?;
        }
        writeln!(f, "max_age: {}", self.max_age.as_secs())
    }
}

impl MxPattern {
    fn parse(text: &str) -> Option<MxPattern> {
        let (name, is_wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let name = DnsName::parse(name).ok()?;
        Some(MxPattern { name, is_wildcard })
    }

    /// A wildcard stands for exactly one label.
    pub fn matches(&self, host: &DnsName) -> bool {
        match self.is_wildcard {
            true => host.parent().is_some_and(|parent| parent == self.name),
            false => *host == self.name,
        }
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8461 §3.2
    const EXAMPLE: &str = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\n\
        mx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n";

    #[test]
    fn the_rfcs_example() {
        let policy = Policy::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, Duration::from_secs(604_800));
        for (host, matches) in [
            ("mail.example.com", true),
            ("MAIL.Example.com", true),
            ("backupmx.example.com", true),
            ("mx1.example.net", true),
            ("example.net", false),
            ("a.b.example.net", false),
            ("evilexample.net", false),
            ("other.example.com", false),
        ] {
            assert_eq!(
                policy.matches(&DnsName::parse(host).unwrap()),
                matches,
                "{host}"
            );
        }
        assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
    }

    #[test]
    fn what_is_no_policy() {
        let with = |from: &str, to: &str| Policy::parse(EXAMPLE.replace(from, to).as_bytes());
        assert_eq!(with("STSv1", "STSv2"), Err(PolicyError::Version));
        assert_eq!(with("enforce", "force"), Err(PolicyError::Mode));
        assert_eq!(with("604800", "-1"), Err(PolicyError::MaxAge));
        assert_eq!(with("604800", "12345678901"), Err(PolicyError::MaxAge));
        assert_eq!(with("max_age", "maxage"), Err(PolicyError::MaxAge));
        assert_eq!(with("mail.example.com", "a b"), Err(PolicyError::Mx));
        assert_eq!(with("mx:", "host:"), Err(PolicyError::Mx));
        assert_eq!(with("mode: enforce", "mode"), Err(PolicyError::BadLine(2)));
        let html = Policy::parse(b"<!doctype html>\n<html></html>");
        assert_eq!(html, Err(PolicyError::BadLine(1)));
        assert_eq!(Policy::parse(b"\xff"), Err(PolicyError::NoText));
        assert_eq!(
            Policy::parse(&vec![b'\n'; POLICY_BYTES_MAX + 1]),
            Err(PolicyError::NoText)
        );
    }

    #[test]
    fn what_may_be_otherwise() {
        let lines = "version:STSv1\nmode:none\nmode: enforce\nmax_age: 9999999999\nnew: thing";
        let policy = Policy::parse(lines.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::None, MAX_AGE_MAX));
        assert!(policy.mx.is_empty());
    }
}
