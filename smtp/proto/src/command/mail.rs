//! MAIL (RFC 5321 §4.1.1.2) with SIZE (RFC 1870), BODY (RFC 6152, RFC 3030), SMTPUTF8 (RFC 6531), RET and ENVID
//! (RFC 3461) and AUTH (RFC 4954 §5).

use mailrook_types::{Address, ReversePath};

use super::{arguments_wrong, parameters, parse_number, path, xtext};
use crate::{
    limits,
    reply::{EnhancedCode, Reply, ReplyCode},
};

/// Who sends, and what is said about the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailCommand {
    /// Where failures are reported to.
    pub reverse_path: ReversePath,
    /// SIZE: how many octets the message has, by the client's estimate.
    pub size: Option<u64>,
    /// BODY, if given.
    pub body: Option<BodyType>,
    /// SMTPUTF8: addresses and header fields may hold UTF-8.
    pub smtputf8: bool,
    /// RET, if given.
    pub ret: Option<Ret>,
    /// ENVID, decoded, if given.
    pub envid: Option<String>,
    /// AUTH: who submitted the message first, by the client's word; outside `None` for "not given".
    pub auth: Option<ReversePath>,
    /// The path has characters beyond ASCII, which only SMTPUTF8 permits.
    pub(crate) non_ascii: bool,
}

/// What octets a message may have (RFC 6152 §2, RFC 3030 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// ASCII in lines.
    #[default]
    SevenBit,
    /// Any octets in lines.
    EightBitMime,
    /// Any octets; only BDAT can carry them.
    BinaryMime,
}

/// How much of the message a delivery report returns (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// Reads what follows `MAIL `.
pub(super) fn parse(arguments: &str) -> Result<MailCommand, Reply> {
    const FORM: &str = "MAIL FROM:<address> [parameters]";
    let bad_address = |text| {
        Reply::new(
            ReplyCode::MailboxNameNotAllowed553,
            EnhancedCode::BAD_SENDER_SYNTAX,
            text,
        )
    };
    let prefix = arguments
        .get(..5)
        .filter(|prefix| prefix.eq_ignore_ascii_case("FROM:"));
    let rest = prefix
        .map(|prefix| &arguments[prefix.len()..])
        .ok_or_else(|| arguments_wrong(FORM))?;
    // RFC 5321 §3.3 forbids white space here, yet old programs send it, and nothing can be confused by it.
    let (inside, rest) =
        path::split(rest.trim_start_matches(' ')).ok_or_else(|| arguments_wrong(FORM))?;
    let reverse_path = match inside {
        "" => ReversePath::Null,
        _ => ReversePath::Address(
            path::mailbox(inside).map_err(|error| bad_address(error.to_string()))?,
        ),
    };
    let mut command = MailCommand {
        reverse_path,
        size: None,
        body: None,
        smtputf8: false,
        ret: None,
        envid: None,
        auth: None,
        non_ascii: !inside.is_ascii(),
    };
    parameters::for_each(rest, |keyword, value| command.set(keyword, value))?;
    Ok(command)
}

impl MailCommand {
    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Reply> {
        match (keyword, value) {
            ("SIZE", Some(value)) => {
                // RFC 1870 §6: up to 20 digits. What exceeds 64 bits exceeds every limit, too.
                let digits = value.len() <= 20 && value.bytes().all(|byte| byte.is_ascii_digit());
                let size = digits.then(|| parse_number(value).unwrap_or(u64::MAX));
                self.size = Some(size.ok_or_else(|| arguments_wrong("SIZE=octets"))?);
            }
            ("BODY", Some(value)) => {
                self.body = Some(BodyType::parse(value).ok_or_else(|| {
                    arguments_wrong("BODY=7BIT, BODY=8BITMIME or BODY=BINARYMIME")
                })?);
            }
            ("SMTPUTF8", None) => self.smtputf8 = true,
            ("RET", Some(value)) => {
                self.ret =
                    Some(Ret::parse(value).ok_or_else(|| arguments_wrong("RET=FULL or RET=HDRS"))?)
            }
            ("ENVID", Some(value)) => {
                let envid =
                    xtext::decode(value).filter(|envid| envid.len() <= limits::ENVID_LEN_MAX);
                self.envid = Some(
                    envid
                        .ok_or_else(|| arguments_wrong("ENVID=xtext of at most 100 characters"))?,
                );
            }
            ("AUTH", Some(value)) => {
                self.auth = Some(
                    parse_auth(value).ok_or_else(|| arguments_wrong("AUTH=<> or AUTH=xtext"))?,
                );
            }
            ("SIZE" | "BODY" | "RET" | "ENVID" | "AUTH" | "SMTPUTF8", _) => {
                return Err(arguments_wrong(
                    "a value for each of SIZE, BODY, RET, ENVID, AUTH, none for SMTPUTF8",
                ));
            }
            _ => return Err(parameters::unknown(keyword)),
        }
        Ok(())
    }
}

impl BodyType {
    fn parse(value: &str) -> Option<BodyType> {
        match value.to_ascii_uppercase().as_str() {
            "7BIT" => Some(BodyType::SevenBit),
            "8BITMIME" => Some(BodyType::EightBitMime),
            "BINARYMIME" => Some(BodyType::BinaryMime),
            _ => None,
        }
    }
}

impl Ret {
    fn parse(value: &str) -> Option<Ret> {
        match value.to_ascii_uppercase().as_str() {
            "FULL" => Some(Ret::Full),
            "HDRS" => Some(Ret::Headers),
            _ => None,
        }
    }
}

/// RFC 4954 §5.
fn parse_auth(value: &str) -> Option<ReversePath> {
    match xtext::decode(value)?.as_str() {
        "<>" => Some(ReversePath::Null),
        address => Address::parse(address).ok().map(ReversePath::Address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_parameters() {
        let command = parse(
            "FROM:<a@b.test> SIZE=100 body=8bitmime SMTPUTF8 RET=HDRS ENVID=QQ+2B1 AUTH=e+3Dmc2@example.test",
        )
        .unwrap();
        assert_eq!(command.reverse_path.to_string(), "<a@b.test>");
        assert_eq!(
            (command.size, command.body),
            (Some(100), Some(BodyType::EightBitMime))
        );
        assert!(command.smtputf8);
        assert_eq!(
            (command.ret, command.envid.as_deref()),
            (Some(Ret::Headers), Some("QQ+1"))
        );
        assert_eq!(command.auth.unwrap().to_string(), "<e=mc2@example.test>");
    }

    #[test]
    fn the_null_sender_is_a_sender() {
        assert_eq!(parse("from: <>").unwrap().reverse_path, ReversePath::Null);
        assert_eq!(
            parse("FROM:<> AUTH=<>").unwrap().auth,
            Some(ReversePath::Null)
        );
    }

    #[test]
    fn an_enormous_size_is_a_size() {
        assert_eq!(
            parse("FROM:<> SIZE=99999999999999999999").unwrap().size,
            Some(u64::MAX)
        );
    }

    #[test]
    fn refuses_the_rest() {
        for (arguments, code) in [
            ("", 501),
            ("FROM", 501),
            ("FROM:a@b.test", 501),
            ("FROM:<a@b.test>SIZE=1", 501),
            ("FROM:<a@b.test> SIZE", 501),
            ("FROM:<a@b.test> SIZE=", 501),
            ("FROM:<a@b.test> SIZE=-1", 501),
            ("FROM:<a@b.test> SIZE=1 SIZE=1", 501),
            ("FROM:<a@b.test> BODY=9BIT", 501),
            ("FROM:<a@b.test> SMTPUTF8=1", 501),
            ("FROM:<a@b.test> RET=ALL", 501),
            ("FROM:<a@b.test> ENVID=+0A", 501),
            ("FROM:<a@b.test> AUTH=x", 501),
            ("FROM:<a@b.test> FOO=1", 555),
            ("FROM:<postmaster>", 553),
            ("FROM:<a@b@c.test>", 553),
            ("TO:<a@b.test>", 501),
        ] {
            assert_eq!(
                parse(arguments).unwrap_err().code.number(),
                code,
                "{arguments}"
            );
        }
    }
}
