//! RCPT (RFC 5321 §4.1.1.3) with NOTIFY and ORCPT (RFC 3461).

use super::{
    arguments_wrong, parameters,
    path::{self, ForwardPath},
    xtext,
};
use crate::{
    limits,
    reply::{EnhancedCode, Reply, ReplyCode},
};

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RcptCommand {
    /// Who receives.
    pub path: ForwardPath,
    /// NOTIFY, if given.
    pub notify: Option<Notify>,
    /// ORCPT, if given.
    pub original: Option<OriginalRecipient>,
    /// The path has characters beyond ASCII, which only SMTPUTF8 permits.
    pub(crate) non_ascii: bool,
}

/// When the sender wants a report (RFC 3461 §4.1). None of them: `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

/// The recipient as the sender first named it (RFC 3461 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    /// `rfc822` or `utf-8`, in lower case.
    pub address_type: String,
    /// The address, decoded from xtext; as it stands for type `utf-8` (RFC 6533 §3).
    pub address: String,
}

/// Reads what follows `RCPT `.
pub(super) fn parse(arguments: &str) -> Result<RcptCommand, Reply> {
    const FORM: &str = "RCPT TO:<address> [parameters]";
    let bad_address = |text| {
        Reply::new(
            ReplyCode::MailboxNameNotAllowed553,
            EnhancedCode::BAD_RECIPIENT_SYNTAX,
            text,
        )
    };
    let prefix = arguments
        .get(..3)
        .filter(|prefix| prefix.eq_ignore_ascii_case("TO:"));
    let rest = prefix
        .map(|prefix| &arguments[prefix.len()..])
        .ok_or_else(|| arguments_wrong(FORM))?;
    // As in MAIL: white space is forbidden and harmless.
    let (inside, rest) =
        path::split(rest.trim_start_matches(' ')).ok_or_else(|| arguments_wrong(FORM))?;
    let path = if inside.eq_ignore_ascii_case("postmaster") {
        ForwardPath::Postmaster
    } else if inside.is_empty() {
        return Err(bad_address("the null path <> receives nothing".to_owned()));
    } else {
        ForwardPath::Address(path::mailbox(inside).map_err(|error| bad_address(error.to_string()))?)
    };
    let mut command = RcptCommand {
        path,
        notify: None,
        original: None,
        non_ascii: !inside.is_ascii(),
    };
    parameters::for_each(rest, |keyword, value| command.set(keyword, value))?;
    Ok(command)
}

impl RcptCommand {
    fn set(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Reply> {
        match keyword {
            "NOTIFY" => {
                let notify = value.and_then(Notify::parse);
                let form = "NOTIFY=NEVER, or any of SUCCESS, FAILURE and DELAY with commas";
                self.notify = Some(notify.ok_or_else(|| arguments_wrong(form))?);
            }
            "ORCPT" => {
                let original = value.and_then(OriginalRecipient::parse);
                self.original =
                    Some(original.ok_or_else(|| arguments_wrong("ORCPT=rfc822;xtext"))?);
            }
            _ => return Err(parameters::unknown(keyword)),
        }
        Ok(())
    }
}

impl Notify {
    fn parse(value: &str) -> Option<Notify> {
        let mut notify = Notify::default();
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for word in value.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }
}

impl OriginalRecipient {
    fn parse(value: &str) -> Option<OriginalRecipient> {
        let (address_type, address) = value.split_once(';')?;
        let address_type = address_type.to_ascii_lowercase();
        if value.len() > limits::ORCPT_LEN_MAX || address.is_empty() {
            return None;
        }
        let address = match address_type.as_str() {
            "rfc822" => xtext::decode(address)?,
            "utf-8" if !address.contains(char::is_whitespace) => address.to_owned(),
            _ => return None,
        };
        Some(OriginalRecipient {
            address_type,
            address,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_recipients() {
        assert_eq!(
            parse("TO:<Postmaster>").unwrap().path,
            ForwardPath::Postmaster
        );
        let command =
            parse("to:<@r.test:u@b.test> NOTIFY=success,DELAY ORCPT=rfc822;a+2Bb@c.test").unwrap();
        assert!(
            matches!(&command.path, ForwardPath::Address(address) if address.to_string() == "u@b.test")
        );
        assert_eq!(
            command.notify,
            Some(Notify {
                success: true,
                failure: false,
                delay: true
            })
        );
        let original = command.original.unwrap();
        assert_eq!(
            (original.address_type.as_str(), original.address.as_str()),
            ("rfc822", "a+b@c.test")
        );
        assert_eq!(
            parse("TO:<u@b.test> NOTIFY=NEVER").unwrap().notify,
            Some(Notify::default())
        );
    }

    #[test]
    fn refuses_the_rest() {
        for (arguments, code) in [
            ("", 501),
            ("TO:u@b.test", 501),
            ("FROM:<u@b.test>", 501),
            ("TO:<>", 553),
            ("TO:<u>", 553),
            ("TO:<u@b..test>", 553),
            ("TO:<u@b.test> NOTIFY", 501),
            ("TO:<u@b.test> NOTIFY=NEVER,SUCCESS", 501),
            ("TO:<u@b.test> ORCPT=x400;a", 501),
            ("TO:<u@b.test> ORCPT=rfc822;", 501),
            ("TO:<u@b.test> SIZE=1", 555),
        ] {
            assert_eq!(
                parse(arguments).unwrap_err().code.number(),
                code,
                "{arguments}"
            );
        }
    }
}
