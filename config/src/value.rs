//! Kinds of values: sizes, durations, addresses, names.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use mailrook_net::Network;
use mailrook_types::Domain;
use serde::{Serialize, Serializer};
use toml::de::DeValue;

use super::{
    Role,
    reader::{Value, nearest},
};

/// How many bytes, as an operator writes it: `"50MB"`, `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A span of time, as an operator writes it: `"5m"`, `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// `*:25`: every address of this machine, IPv4 and IPv6.
    Any(u16),
    /// `192.0.2.1:25`, `[2001:db8::1]:25`
    Tcp(SocketAddr),
    /// `unix:/run/mailrook/lmtp.sock`
    Unix(PathBuf),
    /// `systemd:imap`: the sockets of that `FileDescriptorName=`.
    Systemd(String),
}

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

const SPANS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("ms", 1),
    ("m", 60_000),
    ("s", 1_000),
];

impl Size {
    /// Reads `50MB`, in any case of letters.
    pub fn parse(text: &str) -> Result<Size, String> {
        let wrong = || {
            format!("{text:?} is no size; write a number with a unit, as in \"50MB\" or \"64KiB\"")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit = unit.trim_start();
        let known = SIZES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit));
        let (_, factor) = known.ok_or_else(wrong)?;
        number
            .checked_mul(*factor)
            .map(Size)
            .ok_or_else(|| format!("{text:?} is too large"))
    }

    /// As a number for memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// In the unit that gives the smallest number.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let fitting = SIZES.iter().filter(fits).max_by_key(|(_, factor)| *factor);
        let (unit, factor) = fitting.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Span {
    /// Reads `5m`, `1h30m`, `500ms`.
    pub fn parse(text: &str) -> Result<Span, String> {
        let wrong = || {
            format!(
                "{text:?} is no duration; write numbers with units, as in \"30s\", \"5m\" or \"1h30m\""
            )
        };
        let mut rest = text.trim();
        let mut total: u64 = 0;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, behind) = rest.split_at(digits);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, behind) = behind.split_at(letters);
            let (_, factor) = SPANS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(wrong)?;
            let part = number.checked_mul(*factor).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = behind.trim_start();
        }
        Ok(Span(Duration::from_millis(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            if left >= factor {
                write!(f, "{}{unit}", left / factor)?;
                left %= factor;
            }
        }
        Ok(())
    }
}

impl Address {
    /// Reads one address.
    pub fn parse(text: &str) -> Result<Address, String> {
        let wrong = || {
            format!(
                "{text:?} is no address to listen on; write \"*:25\", \"192.0.2.1:25\", \"[2001:db8::1]:25\", \
                 \"unix:/run/mailrook/lmtp.sock\" or \"systemd:NAME\""
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(Address::Unix(path.into()))
            } else {
                Err(wrong())
            };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return if name.is_empty() {
                Err(wrong())
            } else {
                Ok(Address::Systemd(name.to_owned()))
            };
        }
        if let Some(port) = text.strip_prefix("*:") {
            return port.parse().map(Address::Any).map_err(|_| wrong());
        }
        text.parse().map(Address::Tcp).map_err(|_| wrong())
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Any(_) | Address::Systemd(_) => false,
            Address::Tcp(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Any(port) => write!(f, "*:{port}"),
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

macro_rules! serialize_as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialize_as_text!(Size, Span, Address);

/// A string.
pub fn string(value: &Value<'_, '_>) -> Result<String, String> {
    let text = value.value.as_str();
    text.map(str::to_owned)
        .ok_or_else(|| format!("a string is expected, this is {}", value.kind()))
}

/// Something that is written as a string.
pub fn text<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value<'_, '_>) -> Result<T, String> {
    move |value| parse(&string(value)?)
}

/// A string that says something: not empty, at most 512 bytes on one line.
pub fn word(value: &Value<'_, '_>) -> Result<String, String> {
    let text = string(value)?;
    if text.is_empty() || text.len() > 512 || text.chars().any(char::is_control) {
        return Err("a text on one line is expected, of 1 to 512 bytes".to_owned());
    }
    Ok(text)
}

/// A list of strings, at most 64: more addresses or networks than that are written as larger ones.
pub fn list<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Value<'_, '_>) -> Result<Vec<T>, String> {
    move |value| {
        let wrong = || format!("a list of strings is expected, this is {}", value.kind());
        let items = value.value.as_array().ok_or_else(wrong)?;
        if items.len() > 64 {
            return Err("at most 64 entries are expected".to_owned());
        }
        let parse = |item: &toml::Spanned<DeValue<'_>>| {
            let item = Value {
                value: item.get_ref(),
                folder: value.folder,
            };
            parse(&string(&item)?)
        };
        items.iter().map(parse).collect()
    }
}

/// What a node does: at least one, none twice, in their order.
pub fn roles(value: &Value<'_, '_>) -> Result<Vec<Role>, String> {
    let named = list(|text| {
        let found = Role::ALL.into_iter().find(|role| role.name() == text);
        found.ok_or_else(|| {
            let all = Role::ALL.map(|role| format!("{:?}", role.name()));
            let hint = match nearest(text, Role::ALL.into_iter().map(Role::name)) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => String::new(),
            };
            format!("{text:?} is none of {}{hint}", all.join(", "))
        })
    })(value)?;
    if named.is_empty() {
        return Err("a node has at least one role; leave it out for all of them".to_owned());
    }
    let has = |role: &Role| named.contains(role);
    Ok(Role::ALL.into_iter().filter(has).collect())
}

/// `true` or `false`.
pub fn boolean(value: &Value<'_, '_>) -> Result<bool, String> {
    value
        .value
        .as_bool()
        .ok_or_else(|| format!("true or false is expected, this is {}", value.kind()))
}

/// A whole number within bounds.
pub fn number(min: u64, max: u64) -> impl Fn(&Value<'_, '_>) -> Result<u64, String> {
    move |value| {
        let wrong = || format!("a number from {min} to {max} is expected");
        let integer = value
            .value
            .as_integer()
            .ok_or_else(|| format!("{}, this is {}", wrong(), value.kind()))?;
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| wrong())?;
        if (min..=max).contains(&number) {
            Ok(number)
        } else {
            Err(wrong())
        }
    }
}

/// A size within bounds.
pub fn size(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&Value<'_, '_>) -> Result<Size, String> {
    move |value| {
        let size = Size::parse(&string(value).map_err(|_| {
            format!(
                "a size in quotes is expected, as in \"50MB\"; this is {}",
                value.kind()
            )
        })?)?;
        let bounds = Size::parse(min)?..=Size::parse(max)?;
        if bounds.contains(&size) {
            Ok(size)
        } else {
            Err(format!("a size from {min} to {max} is expected"))
        }
    }
}

/// A duration within bounds.
pub fn span(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&Value<'_, '_>) -> Result<Span, String> {
    move |value| {
        let span = Span::parse(&string(value).map_err(|_| {
            format!(
                "a duration in quotes is expected, as in \"5m\"; this is {}",
                value.kind()
            )
        })?)?;
        let bounds = Span::parse(min)?..=Span::parse(max)?;
        if bounds.contains(&span) {
            Ok(span)
        } else {
            Err(format!("a duration from {min} to {max} is expected"))
        }
    }
}

/// A path; a relative one starts at the configuration's folder.
pub fn path(value: &Value<'_, '_>) -> Result<PathBuf, String> {
    let text = string(value)?;
    if text.is_empty() {
        return Err("a path is expected".to_owned());
    }
    Ok(value.folder.join(text))
}

/// One of several words.
pub fn choice<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Value<'_, '_>) -> Result<T, String> {
    move |value| {
        let text = string(value)?;
        if let Some((_, known)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*known);
        }
        let all: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let hint = match nearest(&text, words.iter().map(|(word, _)| *word)) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => String::new(),
        };
        Err(format!("{text:?} is none of {}{hint}", all.join(", ")))
    }
}

/// A host's name.
pub fn hostname(text: &str) -> Result<Domain, String> {
    match Domain::parse(text) {
        Ok(name) if !name.is_literal() => Ok(name),
        _ => Err(format!("{text:?} is no host name")),
    }
}

/// A network.
pub fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_print_what_they_read() {
        for text in ["50MB", "64KiB", "1GiB", "3B", "1TB"] {
            assert_eq!(Size::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Size::parse("50 mb"), Ok(Size(50_000_000)));
        for text in ["", "MB", "5", "5 parsecs", "-1MB", "99999999999TB", "1.5GB"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
        for text in ["30s", "5m", "1h30m", "500ms", "7d", "0s"] {
            assert_eq!(Span::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "5", "m", "5 minutes", "1.5h", "99999999999999999d"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        for text in [
            "*:25",
            "192.0.2.1:25",
            "[::1]:25",
            "unix:/run/x.sock",
            "systemd:imap",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "25",
            ":25",
            "localhost:25",
            "*:99999",
            "unix:relative",
            "systemd:",
            "::1:25x",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let local = |text| Address::parse(text).unwrap().is_local();
        assert!(
            local("127.0.0.1:25")
                && local("[::1]:25")
                && local("unix:/x")
                && !local("*:25")
                && !local("10.0.0.1:1")
        );
    }
}
