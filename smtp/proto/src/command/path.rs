//! Reverse-path and forward-path (RFC 5321 §4.1.2).

use mailrook_types::{Address, AddressError, Domain};

/// RFC 5321 §4.5.3.1.3: a path has at most 256 octets, its angle brackets included.
const PATH_LEN_MAX: usize = 256;

/// A recipient as RCPT names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardPath {
    /// `<postmaster>` without a domain, in any case (RFC 5321 §4.1.1.3).
    Postmaster,
    /// `<local-part@domain>`. A source route before it is dropped.
    Address(Address),
}

/// Parts `<path>` from what follows it. The path may hold quoted `>`.
pub(super) fn split(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('<')?;
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let rest = &inside[at + 1..];
                let parted = rest.is_empty() || rest.starts_with(' ');
                return (at + 2 <= PATH_LEN_MAX && parted).then(|| (&inside[..at], rest));
            }
            _ => {}
        }
    }
    None
}

/// Reads the inside of a path, without its angle brackets.
pub(super) fn mailbox(path: &str) -> Result<Address, AddressError> {
    Address::parse(without_route(path)?)
}

/// RFC 5321 §4.1.2 and appendix C: a source route must be read and is best ignored: the mail goes to the mailbox,
/// not along the route.
fn without_route(path: &str) -> Result<&str, AddressError> {
    if !path.starts_with('@') {
        return Ok(path);
    }
    let mut in_brackets = false;
    let colon = path.find(|c| {
        match c {
            '[' => in_brackets = true,
            ']' => in_brackets = false,
            _ => {}
        }
        c == ':' && !in_brackets
    });
    let (route, rest) = path.split_at(colon.ok_or(AddressError::NoAt)?);
    for hop in route.split(',') {
        Domain::parse(hop.strip_prefix('@').ok_or(AddressError::NoAt)?)?;
    }
    Ok(&rest[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_closing_bracket() {
        assert_eq!(split("<a@b.test> X"), Some(("a@b.test", " X")));
        assert_eq!(
            split("<\"a>b\\\"\"@b.test>"),
            Some(("\"a>b\\\"\"@b.test", ""))
        );
        assert_eq!(split("<>"), Some(("", "")));
        for text in [
            "",
            "a@b.test",
            "<a@b.test",
            "<\"a@b.test>",
            "<a@b.test>X",
            "<<a@b.test>>",
        ] {
            assert_eq!(
                split(text).filter(|(path, _)| mailbox(path).is_ok()),
                None,
                "{text}"
            );
        }
        assert_eq!(split(&format!("<{}>", "x".repeat(255))), None);
    }

    #[test]
    fn drops_source_routes() {
        for text in [
            "u@b.test",
            "@r.test:u@b.test",
            "@r.test,@s.test:u@b.test",
            "@[IPv6:::1]:u@b.test",
        ] {
            assert_eq!(mailbox(text).unwrap().to_string(), "u@b.test");
        }
        for text in [
            "@r.test",
            "@r.test:",
            "@:u@b.test",
            "@r.test,s.test:u@b.test",
            "@r..test:u@b.test",
        ] {
            assert!(mailbox(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_spelling_means_another_host() {
        // Each is a mailbox at b.test with an odd local part, and nothing else.
        for text in [
            "u%r.test@b.test",
            "r.test!u@b.test",
            "\"u@r.test\"@b.test",
            "\"u%r.test\"@b.test",
        ] {
            assert_eq!(mailbox(text).unwrap().domain.as_str(), "b.test", "{text}");
        }
        assert!(mailbox("u@r.test@b.test").is_err());
    }
}
