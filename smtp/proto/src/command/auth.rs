//! AUTH (RFC 4954 §4).

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Command, arguments_wrong};
use crate::reply::{EnhancedCode, Reply, ReplyCode};

/// RFC 4422 §3.1: a mechanism's name has at most 20 characters.
const MECHANISM_LEN_MAX: usize = 20;

/// Reads what follows `AUTH `.
pub(super) fn parse(arguments: &str) -> Result<Command, Reply> {
    let mut words = arguments.split(' ').filter(|word| !word.is_empty());
    let (mechanism, initial) = (words.next().unwrap_or(""), words.next());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let well_formed =
        (1..=MECHANISM_LEN_MAX).contains(&mechanism.len()) && mechanism.bytes().all(allowed);
    if !well_formed || words.next().is_some() {
        return Err(arguments_wrong("AUTH mechanism [initial-response]"));
    }
    let initial = match initial {
        // RFC 4954 §4: an empty initial response.
        Some("=") => Some(Vec::new()),
        Some(word) => Some(decode_response(word)?),
        None => None,
    };
    Ok(Command::Auth {
        mechanism: mechanism.to_ascii_uppercase(),
        initial,
    })
}

/// Decodes a response of the exchange.
pub(crate) fn decode_response(text: &str) -> Result<Vec<u8>, Reply> {
    STANDARD.decode(text).map_err(|_| {
        Reply::new(
            ReplyCode::ParameterError501,
            EnhancedCode::SYNTAX,
            "the response is not valid base64",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_initial_responses() {
        let auth = |initial: Option<&[u8]>| {
            Ok(Command::Auth {
                mechanism: "PLAIN".to_owned(),
                initial: initial.map(<[u8]>::to_vec),
            })
        };
        assert_eq!(parse("plain"), auth(None));
        assert_eq!(parse("PLAIN ="), auth(Some(b"")));
        assert_eq!(parse("PLAIN AGEAYg=="), auth(Some(b"\0a\0b")));
        for bad in [
            "",
            "PLAIN AGEAYg",
            "PLAIN a b",
            "PLAIN *",
            "PL@IN",
            "A-MECHANISM-NAME-TOO-LONG",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
