//! Challenges and responses as IMAP, POP3 and SMTP put them on a line: in base64, alone.

use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;

/// RFC 4954 §4: servers accept authentication lines of up to 12,288 octets. It bounds what a client may make us keep
/// before it has logged in.
pub const RESPONSE_BASE64_LEN_MAX: usize = 12_288;

/// What a client sent where a response was due.
#[derive(Clone, PartialEq, Eq)]
pub enum Response {
    /// The decoded response, possibly empty.
    Data(Vec<u8>),
    /// `*`: the client gives up (RFC 9051 §6.2.2, RFC 4954 §4, RFC 5034 §4).
    Cancel,
}

/// Why a line is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// Longer than [`RESPONSE_BASE64_LEN_MAX`].
    #[error("authentication response too long")]
    TooLong,
    /// Not base64.
    #[error("authentication response is not base64")]
    NotBase64,
}

impl Response {
    /// Reads the line that answers a challenge, without its line end.
    pub fn parse(line: &[u8]) -> Result<Response, ResponseError> {
        match line {
            b"*" => Ok(Response::Cancel),
            _ => decode(line).map(Response::Data),
        }
    }

    /// Reads an initial response, where `=` stands for an empty one (RFC 4954 §4, RFC 9051 §6.2.2).
    pub fn parse_initial(argument: &[u8]) -> Result<Vec<u8>, ResponseError> {
        if argument == b"=" {
            Ok(Vec::new())
        } else {
            decode(argument)
        }
    }
}

fn decode(line: &[u8]) -> Result<Vec<u8>, ResponseError> {
    if line.len() > RESPONSE_BASE64_LEN_MAX {
        return Err(ResponseError::TooLong);
    }
    STANDARD.decode(line).map_err(|_| ResponseError::NotBase64)
}

/// A challenge in base64, for the line that begins with `+ ` or `334 `.
pub fn encode_challenge(challenge: &[u8]) -> String {
    STANDARD.encode(challenge)
}

/// A response may hold a password.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Response::Data(data) => write!(f, "Data({} bytes)", data.len()),
            Response::Cancel => f.write_str("Cancel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines() {
        assert_eq!(
            Response::parse(b"AGEAYg=="),
            Ok(Response::Data(b"\0a\0b".to_vec()))
        );
        assert_eq!(Response::parse(b""), Ok(Response::Data(vec![])));
        assert_eq!(Response::parse(b"*"), Ok(Response::Cancel));
        assert_eq!(Response::parse(b"="), Err(ResponseError::NotBase64));
        assert_eq!(Response::parse(b"AGEA Yg=="), Err(ResponseError::NotBase64));
        assert_eq!(Response::parse_initial(b"="), Ok(vec![]));
        assert_eq!(
            Response::parse(&[b'A'; RESPONSE_BASE64_LEN_MAX + 4]),
            Err(ResponseError::TooLong)
        );
        assert!(Response::parse(&[b'A'; RESPONSE_BASE64_LEN_MAX]).is_ok());
    }
}
