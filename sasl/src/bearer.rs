//! What a client sends with OAUTHBEARER (RFC 7628 §3.1) and XOAUTH2 (the same without a GS2 header, as Google and
//! Microsoft describe it): pairs of key and value, each ended by `%x01`, and one more `%x01`.
//!
//! ```text
//! n,a=user@example.test,^Aauth=Bearer TOKEN^A^A
//! user=user@example.test^Aauth=Bearer TOKEN^A^A
//! ```

use std::str;

use crate::{Failure, exchange::Names, scram, token::Token};

/// `kvsep`.
const SEPARATOR: char = '\x01';

/// A client's only message.
#[derive(Debug)]
pub(crate) struct BearerMessage {
    /// Whom the client wants to be.
    pub(crate) authzid: Option<String>,
    /// None from a client that asks which one is wanted (RFC 7628 §4.3).
    pub(crate) token: Option<Token>,
}

/// Reads OAUTHBEARER's `client-resp`.
pub(crate) fn parse_oauthbearer(message: &[u8]) -> Result<BearerMessage, Failure> {
    let text = str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let (header, pairs) = text.split_once(SEPARATOR).ok_or(Failure::Malformed)?;
    let authzid = match header.split(',').collect::<Vec<_>>()[..] {
        // There is no -PLUS here, so that who could bind says so rightly; `p=` binds to nothing (RFC 7628 §3.1).
        ["n" | "y", "", ""] => None,
        ["n" | "y", authzid, ""] => {
            let name = authzid.strip_prefix("a=").ok_or(Failure::Malformed)?;
            Some(scram::unescape(name)?)
        }
        _ => return Err(Failure::Malformed),
    };
    let pairs = Pairs::parse(pairs)?;
    // `host`, `port` and whatever else comes are for mechanisms that sign (RFC 7628 §3.1).
    let authorization = pairs.one("auth")?.ok_or(Failure::Malformed)?;
    Ok(BearerMessage {
        authzid: named(authzid)?,
        token: bearer(authorization)?,
    })
}

/// Reads XOAUTH2's only message, which must name the user.
pub(crate) fn parse_xoauth2(message: &[u8]) -> Result<BearerMessage, Failure> {
    let text = str::from_utf8(message).map_err(|_| Failure::Malformed)?;
    let pairs = Pairs::parse(text)?;
    let user = pairs.one("user")?.filter(|user| !user.is_empty());
    let user = user.ok_or(Failure::Malformed)?.to_owned();
    let authorization = pairs.one("auth")?.ok_or(Failure::Malformed)?;
    Ok(BearerMessage {
        authzid: named(Some(user))?,
        token: bearer(authorization)?,
    })
}

/// A name that could be one: held to the same bounds as any other.
fn named(name: Option<String>) -> Result<Option<String>, Failure> {
    let name = name.filter(|name| !name.is_empty());
    let checked = name.map(|name| Names::new(name.as_bytes(), None));
    Ok(checked.transpose()?.map(|names| names.authcid))
}

/// What stands behind `Bearer` in an `Authorization` header (RFC 6750 §2.1). The scheme is in any case (RFC 9110 §11.1).
fn bearer(authorization: &str) -> Result<Option<Token>, Failure> {
    let (scheme, token) = match authorization.split_once(' ') {
        Some((scheme, token)) => (scheme, token.trim_matches(' ')),
        None => (authorization, ""),
    };
    if authorization.is_empty() {
        return Ok(None);
    }
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Failure::Malformed);
    }
    match token {
        "" => Ok(None),
        token => Token::parse(token).map(Some),
    }
}

/// Well-formed pairs.
struct Pairs<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Pairs<'a> {
    /// Reads `*kvpair kvsep`.
    fn parse(text: &'a str) -> Result<Pairs<'a>, Failure> {
        let text = text.strip_suffix(SEPARATOR).ok_or(Failure::Malformed)?;
        if text.is_empty() {
            return Ok(Pairs(Vec::new()));
        }
        let text = text.strip_suffix(SEPARATOR).ok_or(Failure::Malformed)?;
        let pair = |text: &'a str| {
            let (key, value) = text.split_once('=').ok_or(Failure::Malformed)?;
            let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
            let permitted = |c: char| !c.is_control() || matches!(c, '\t' | '\r' | '\n');
            if is_key && value.chars().all(permitted) {
                Ok((key, value))
            } else {
                Err(Failure::Malformed)
            }
        };
        let pairs: Result<_, Failure> = text.split(SEPARATOR).map(pair).collect();
        Ok(Pairs(pairs?))
    }

    /// The value of a key that may be there once: of two, nobody could say which was meant.
    fn one(&self, key: &str) -> Result<Option<&'a str>, Failure> {
        let mut values = self.0.iter().filter(|(name, _)| *name == key);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Failure::Malformed),
            (found, None) => Ok(found.map(|(_, value)| *value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TOKEN_LEN_MAX;

    type Parse = fn(&[u8]) -> Result<BearerMessage, Failure>;

    /// `^A` stands for the separator.
    fn read(parse: Parse, text: &str) -> Result<(Option<String>, Option<String>), Failure> {
        let message = parse(text.replace("^A", "\x01").as_bytes())?;
        let token = message.token.map(|token| token.as_str().to_owned());
        Ok((message.authzid, token))
    }

    fn both(user: &str, token: &str) -> Result<(Option<String>, Option<String>), Failure> {
        Ok((Some(user.to_owned()), Some(token.to_owned())))
    }

    /// The examples of RFC 7628 §4.1 and §4.3, and what the grammar permits beside them.
    #[test]
    fn oauthbearer_is_read_as_the_rfc_writes_it() {
        let read = |text| read(parse_oauthbearer, text);
        let token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
        let rfc = format!(
            "n,a=user@example.com,^Ahost=server.example.com^Aport=143^Aauth=Bearer {token}^A^A"
        );
        assert_eq!(read(&rfc), both("user@example.com", token));
        let asks = "n,a=user@example.com,^Ahost=server.example.com^Aport=143^Aauth=^A^A";
        assert_eq!(read(asks), Ok((Some("user@example.com".to_owned()), None)));
        assert_eq!(read("n,,^Aauth=^A^A"), Ok((None, None)));
        assert_eq!(read("y,,^Aauth=Bearer^A^A"), Ok((None, None)));
        let short = Ok((None, Some("a.b-c_~+/9==".to_owned())));
        assert_eq!(read("y,,^Aauth=bEARER  a.b-c_~+/9==^A^A"), short);
        assert_eq!(
            read("n,a=a=2Cb=3Dc,^Aqs=x=y&z\r\n^Aauth=Bearer t^A^A"),
            both("a,b=c", "t")
        );
    }

    #[test]
    fn xoauth2_is_read_as_its_users_write_it() {
        let read = |text| read(parse_xoauth2, text);
        let token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg";
        let google = format!("user=someuser@example.com^Aauth=Bearer {token}^A^A");
        assert_eq!(read(&google), both("someuser@example.com", token));
        let other_way_round = format!("auth=Bearer {token}^Auser=üser@example.com^A^A");
        assert_eq!(read(&other_way_round), both("üser@example.com", token));
        let asks = Ok((Some("u@example.com".to_owned()), None));
        assert_eq!(read("user=u@example.com^Aauth=Bearer ^A^A"), asks);
    }

    #[test]
    fn what_does_not_fit_the_grammar_is_refused() {
        for text in [
            "",
            "^A",
            "^A^A",
            "n,,",
            "n,,^A",
            "n,,^A^A",
            "n,^Aauth=Bearer t^A^A",
            "n,,,^Aauth=Bearer t^A^A",
            "x,,^Aauth=Bearer t^A^A",
            "p=tls-exporter,,^Aauth=Bearer t^A^A",
            "n,user@example.com,^Aauth=Bearer t^A^A",
            "n,a=us=2er,^Aauth=Bearer t^A^A",
            "n,a=u\u{7f},^Aauth=Bearer t^A^A",
            "n,,^Aauth=Bearer t^A",
            "n,,^Aauth=Bearer t^A^A^A",
            "n,,^Aauth=Bearer t^A^Ahost=x^A",
            "n,,^Aauth^A^A",
            "n,,^A=x^Aauth=Bearer t^A^A",
            "n,,^Aho st=x^Aauth=Bearer t^A^A",
            "n,,^Ahost=\0^Aauth=Bearer t^A^A",
            "n,,^Aauth=Bearer t^Aauth=Bearer u^A^A",
            "n,,^Aauth=Basic dTpw^A^A",
            "n,,^Aauth=Bearer a b^A^A",
            "n,,^Aauth=Bearer a\"b^A^A",
            "n,,^Aauth=Bearer a=b^A^A",
            "n,,^Aauth=Bearer ==^A^A",
        ] {
            assert_eq!(
                read(parse_oauthbearer, text),
                Err(Failure::Malformed),
                "{text}"
            );
        }
        for text in [
            "",
            "^A^A",
            "auth=Bearer t^A^A",
            "user=^Aauth=Bearer t^A^A",
            "user=u^A^A",
            "user=u^Aauth=Bearer t^A",
            "user=u^Auser=v^Aauth=Bearer t^A^A",
            "user=u\tv^Aauth=Bearer t^A^A",
            "n,,^Aauth=Bearer t^A^A",
        ] {
            assert_eq!(read(parse_xoauth2, text), Err(Failure::Malformed), "{text}");
        }
        assert!(parse_oauthbearer(b"n,,\x01auth=Bearer \xff\x01\x01").is_err());
        assert!(parse_xoauth2(b"user=\xff\x01auth=Bearer t\x01\x01").is_err());
    }

    #[test]
    fn names_and_tokens_have_bounds() {
        let with = |name: usize, token: usize| {
            let (name, token) = ("u".repeat(name), "t".repeat(token));
            let one = read(
                parse_oauthbearer,
                &format!("n,a={name},^Aauth=Bearer {token}^A^A"),
            );
            let other = read(
                parse_xoauth2,
                &format!("user={name}^Aauth=Bearer {token}^A^A"),
            );
            assert_eq!(one, other);
            one.map(|_| ())
        };
        assert_eq!(with(512, TOKEN_LEN_MAX), Ok(()));
        assert_eq!(with(513, TOKEN_LEN_MAX), Err(Failure::Malformed));
        assert_eq!(with(512, TOKEN_LEN_MAX + 1), Err(Failure::Malformed));
    }
}
