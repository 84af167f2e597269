//! A message's envelope, and how it is written: MAIL (RFC 5321 §4.1.1.2) and RCPT (§4.1.1.3) with their parameters.

use std::fmt::Write;

use mailrook_types::{Domain, ReversePath};

use super::{Capabilities, ClientConfig, Lacking, SevenBitRemote, Tls};
use crate::{BodyType, ForwardPath, Notify, OriginalRecipient, Ret, limits};

/// What is sent to whom.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Where failures are reported to.
    pub reverse_path: ReversePath,
    /// To whom: one at least.
    pub recipients: Vec<Recipient>,
    /// Octets of the message, as near as is known (RFC 1870 §5).
    pub size: u64,
    /// What octets it has. The caller knows; the client does not look.
    pub body: BodyType,
    /// Its header holds UTF-8 (RFC 6532). Addresses that do are seen without this.
    pub smtputf8: bool,
    /// The sender wants TLS all the way, or a failure (RFC 8689).
    pub require_tls: bool,
    /// How much of the message a report returns.
    pub ret: Option<Ret>,
    /// The sender's name for this sending, decoded.
    pub envid: Option<String>,
}

/// One recipient.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Who.
    pub path: ForwardPath,
    /// Which reports the sender wants.
    pub notify: Option<Notify>,
    /// As the sender first named it.
    pub original: Option<OriginalRecipient>,
}

impl Envelope {
    /// An envelope without any wish.
    pub fn new(reverse_path: ReversePath, recipients: Vec<Recipient>, size: u64) -> Envelope {
        Envelope {
            reverse_path,
            recipients,
            size,
            body: BodyType::SevenBit,
            smtputf8: false,
            require_tls: false,
            ret: None,
            envid: None,
        }
    }

    /// Whether the message itself, whoever receives it, needs SMTPUTF8.
    fn needs_smtputf8(&self) -> bool {
        let sender = match &self.reverse_path {
            ReversePath::Null => true,
            ReversePath::Address(address) => address.local.as_str().is_ascii(),
        };
        self.smtputf8 || !sender
    }

    /// Whether SMTPUTF8 is said in MAIL.
    pub(super) fn uses_smtputf8(&self, offered: &Capabilities) -> bool {
        let any = self.recipients.iter().any(Recipient::needs_smtputf8);
        offered.smtputf8 && (any || self.needs_smtputf8())
    }

    /// What this message needs and the remote does not offer.
    pub(super) fn lacks(
        &self,
        offered: &Capabilities,
        tls: Tls,
        config: &ClientConfig,
    ) -> Option<Lacking> {
        if self.require_tls && !(offered.require_tls && tls == Tls::Verified) {
            return Some(Lacking::RequireTls);
        }
        if self.needs_smtputf8() && !offered.smtputf8 {
            return Some(Lacking::SmtpUtf8);
        }
        match self.body {
            BodyType::BinaryMime if !(offered.binary_mime && offered.chunking) => {
                return Some(Lacking::BinaryMime);
            }
            BodyType::EightBitMime
                if !offered.eight_bit_mime && config.seven_bit_remote == SevenBitRemote::Fail =>
            {
                return Some(Lacking::EightBitMime);
            }
            _ => {}
        }
        let size_max = offered.size_max.filter(|size_max| self.size > *size_max)?;
        Some(Lacking::Size { size_max })
    }

    /// MAIL with its `<CR><LF>`. What the remote does not offer is left out; what must not be was looked at before.
    pub(super) fn mail_line(&self, offered: &Capabilities) -> String {
        let mut line = format!("MAIL FROM:{}", self.reverse_path);
        if offered.size {
            push(&mut line, format_args!(" SIZE={}", self.size));
        }
        let smtputf8 = self.uses_smtputf8(offered);
        match self.body {
            BodyType::BinaryMime => line.push_str(" BODY=BINARYMIME"),
            // RFC 6531 §3.6: UTF-8 in the header is beyond ASCII, too.
            BodyType::SevenBit if !smtputf8 => {}
            _ if offered.eight_bit_mime => line.push_str(" BODY=8BITMIME"),
            _ => {}
        }
        if smtputf8 {
            line.push_str(" SMTPUTF8");
        }
        if self.require_tls {
            line.push_str(" REQUIRETLS");
        }
        if offered.dsn {
            match self.ret {
                Some(Ret::Full) => line.push_str(" RET=FULL"),
                Some(Ret::Headers) => line.push_str(" RET=HDRS"),
                None => {}
            }
            let envid = self
                .envid
                .as_deref()
                .filter(|id| id.len() <= limits::ENVID_LEN_MAX);
            if let Some(envid) = envid {
                push(&mut line, format_args!(" ENVID={}", xtext(envid)));
            }
        }
        line.push_str("\r\n");
        line
    }
}

impl Recipient {
    /// A recipient about whom no report is asked for.
    pub fn new(path: ForwardPath) -> Recipient {
        Recipient {
            path,
            notify: None,
            original: None,
        }
    }

    pub(super) fn needs_smtputf8(&self) -> bool {
        match &self.path {
            ForwardPath::Postmaster => false,
            ForwardPath::Address(address) => !address.local.as_str().is_ascii(),
        }
    }

    pub(super) fn domain(&self) -> Option<&Domain> {
        match &self.path {
            ForwardPath::Postmaster => None,
            ForwardPath::Address(address) => Some(&address.domain),
        }
    }

    /// RCPT with its `<CR><LF>`.
    pub(super) fn rcpt_line(&self, offered: &Capabilities, smtputf8: bool) -> String {
        let mut line = match &self.path {
            ForwardPath::Postmaster => "RCPT TO:<postmaster>".to_owned(),
            ForwardPath::Address(address) => format!("RCPT TO:<{address}>"),
        };
        if offered.dsn {
            if let Some(notify) = self.notify {
                push(&mut line, format_args!(" NOTIFY={}", notify_words(notify)));
            }
            if let Some(original) = self.original.as_ref().and_then(|o| orcpt(o, smtputf8)) {
                push(&mut line, format_args!(" ORCPT={original}"));
            }
        }
        line.push_str("\r\n");
        line
    }
}

fn push(line: &mut String, arguments: std::fmt::Arguments<'_>) {
    line.write_fmt(arguments).expect("a String takes all");
}

/// RFC 3461 §4.1.
fn notify_words(notify: Notify) -> String {
    let words = [
        (notify.success, "SUCCESS"),
        (notify.failure, "FAILURE"),
        (notify.delay, "DELAY"),
    ];
    let words: Vec<&str> = words
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| *word)
        .collect();
    match words.as_slice() {
        [] => "NEVER".to_owned(),
        words => words.join(","),
    }
}

/// RFC 3461 §4.2; RFC 6533 §3 for `utf-8`. `None` for what cannot be told: a type that is no atom, or too long a value.
fn orcpt(original: &OriginalRecipient, smtputf8: bool) -> Option<String> {
    let kind = original.address_type.as_str();
    let atom = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if kind.is_empty() || !kind.bytes().all(atom) {
        return None;
    }
    let address = match kind {
        "utf-8" => unitext(&original.address, smtputf8),
        _ => xtext(&original.address),
    };
    let value = format!("{kind};{address}");
    (value.len() <= limits::ORCPT_LEN_MAX && !address.is_empty()).then_some(value)
}

/// RFC 3461 §4.
fn xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'+' | b'=' => push(&mut encoded, format_args!("+{byte:02X}")),
            b'!'..=b'~' => encoded.push(char::from(byte)),
            _ => push(&mut encoded, format_args!("+{byte:02X}")),
        }
    }
    encoded
}

/// RFC 6533 §3: an address of type `utf-8` is kept as it came, escapes and all. What cannot stand in the line is escaped
/// here: UTF-8 where SMTPUTF8 is not said, white space and controls always.
fn unitext(text: &str, smtputf8: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '!'..='~' => encoded.push(c),
            c if smtputf8 && !c.is_ascii() && !c.is_control() && !c.is_whitespace() => {
                encoded.push(c)
            }
            c => push(&mut encoded, format_args!("\\x{{{:X}}}", u32::from(c))),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;

    fn everything() -> Capabilities {
        Capabilities {
            size: true,
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            require_tls: true,
            binary_mime: true,
            chunking: true,
            ..Capabilities::default()
        }
    }

    fn envelope(from: &str) -> Envelope {
        let reverse_path = match from {
            "" => ReversePath::Null,
            from => ReversePath::Address(from.parse_address()),
        };
        Envelope::new(reverse_path, vec![recipient("c@d.test")], 100)
    }

    fn recipient(to: &str) -> Recipient {
        Recipient::new(ForwardPath::Address(to.parse_address()))
    }

    trait ParseAddress {
        fn parse_address(&self) -> mailrook_types::Address;
    }

    impl ParseAddress for str {
        fn parse_address(&self) -> mailrook_types::Address {
            mailrook_types::Address::parse(self).unwrap()
        }
    }

    #[test]
    fn writes_mail_with_what_is_offered() {
        let full = Envelope {
            body: BodyType::EightBitMime,
            require_tls: true,
            ret: Some(Ret::Headers),
            envid: Some("a+b=c d".into()),
            ..envelope("j\u{fc}@b.test")
        };
        assert_eq!(
            full.mail_line(&everything()),
            "MAIL FROM:<j\u{fc}@b.test> SIZE=100 BODY=8BITMIME SMTPUTF8 REQUIRETLS RET=HDRS ENVID=a+2Bb+3Dc+20d\r\n"
        );
        assert_eq!(
            envelope("").mail_line(&Capabilities::default()),
            "MAIL FROM:<>\r\n"
        );
        let binary = Envelope {
            body: BodyType::BinaryMime,
            ..envelope("a@b.test")
        };
        assert_eq!(
            binary.mail_line(&everything()),
            "MAIL FROM:<a@b.test> SIZE=100 BODY=BINARYMIME\r\n"
        );
    }

    #[test]
    fn writes_rcpt_with_what_is_offered() {
        let mut to = recipient("\"a b\"@d.test");
        assert_eq!(
            to.rcpt_line(&everything(), false),
            "RCPT TO:<\"a b\"@d.test>\r\n"
        );
        to.notify = Some(Notify {
            success: true,
            failure: false,
            delay: true,
        });
        to.original = Some(OriginalRecipient {
            address_type: "rfc822".into(),
            address: "x+y@d.test".into(),
        });
        assert_eq!(
            to.rcpt_line(&everything(), false),
            "RCPT TO:<\"a b\"@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@d.test\r\n"
        );
        assert_eq!(
            to.rcpt_line(&Capabilities::default(), false),
            "RCPT TO:<\"a b\"@d.test>\r\n"
        );
        to.notify = Some(Notify::default());
        to.original = Some(OriginalRecipient {
            address_type: "utf-8".into(),
            address: "j\u{fc}\\x{20}@d.test".into(),
        });
        assert!(
            to.rcpt_line(&everything(), true)
                .ends_with(" NOTIFY=NEVER ORCPT=utf-8;j\u{fc}\\x{20}@d.test\r\n")
        );
        assert!(
            to.rcpt_line(&everything(), false)
                .ends_with(" ORCPT=utf-8;j\\x{FC}\\x{20}@d.test\r\n")
        );
    }

    #[test]
    fn no_parameter_breaks_the_line() {
        let evil = "a\r\nRSET\r\n \0+=\u{85}";
        let mut mail = envelope("a@b.test");
        mail.envid = Some(evil.into());
        let mut to = recipient("c@d.test");
        for kind in ["rfc822", "utf-8", "x\r\n", ""] {
            to.original = Some(OriginalRecipient {
                address_type: kind.into(),
                address: evil.into(),
            });
            for line in [
                mail.mail_line(&everything()),
                to.rcpt_line(&everything(), true),
            ] {
                let inside = line.strip_suffix("\r\n").unwrap();
                assert!(!inside.contains(char::is_control), "{line:?}");
            }
        }
        to.original = Some(OriginalRecipient {
            address_type: "rfc822".into(),
            address: "x".repeat(500),
        });
        assert_eq!(to.rcpt_line(&everything(), false), "RCPT TO:<c@d.test>\r\n");
    }

    #[test]
    fn our_own_server_reads_it() {
        let mail = Envelope {
            envid: Some("q+1 =".into()),
            ..envelope("a@b.test")
        };
        let read = command::parse(mail.mail_line(&everything()).trim_end()).unwrap();
        let command::Command::Mail(read) = read else {
            panic!("{read:?}")
        };
        assert_eq!((read.envid, read.size), (mail.envid, Some(100)));
        let mut to = recipient("\"a>\\\\b\"@d.test");
        to.original = Some(OriginalRecipient {
            address_type: "rfc822".into(),
            address: "a >+=b@d.test".into(),
        });
        let read = command::parse(to.rcpt_line(&everything(), false).trim_end()).unwrap();
        let command::Command::Rcpt(read) = read else {
            panic!("{read:?}")
        };
        assert_eq!((read.path, read.original), (to.path, to.original));
    }

    #[test]
    fn says_what_is_lacking() {
        let config = ClientConfig::new(
            super::super::Protocol::Smtp,
            Domain::parse("a.test").unwrap(),
        );
        let none = Capabilities::default();
        let lacks = |envelope: &Envelope, offered: &Capabilities, tls| {
            envelope.lacks(offered, tls, &config)
        };
        assert_eq!(lacks(&envelope("a@b.test"), &none, Tls::Off), None);
        let header = Envelope {
            smtputf8: true,
            ..envelope("")
        };
        for mail in [&header, &envelope("j\u{fc}@b.test")] {
            assert_eq!(lacks(mail, &none, Tls::Off), Some(Lacking::SmtpUtf8));
            assert_eq!(lacks(mail, &everything(), Tls::Off), None);
        }
        let secret = Envelope {
            require_tls: true,
            ..envelope("")
        };
        for (offered, tls) in [
            (&none, Tls::Verified),
            (&everything(), Tls::Unverified),
            (&everything(), Tls::Off),
        ] {
            assert_eq!(lacks(&secret, offered, tls), Some(Lacking::RequireTls));
        }
        assert_eq!(lacks(&secret, &everything(), Tls::Verified), None);
        let binary = Envelope {
            body: BodyType::BinaryMime,
            ..envelope("")
        };
        let dots = Capabilities {
            chunking: false,
            ..everything()
        };
        assert_eq!(lacks(&binary, &dots, Tls::Off), Some(Lacking::BinaryMime));
        let eight = Envelope {
            body: BodyType::EightBitMime,
            ..envelope("")
        };
        assert_eq!(lacks(&eight, &none, Tls::Off), None);
        assert_eq!(eight.mail_line(&none), "MAIL FROM:<>\r\n");
        let strict = ClientConfig {
            seven_bit_remote: SevenBitRemote::Fail,
            ..config.clone()
        };
        assert_eq!(
            eight.lacks(&none, Tls::Off, &strict),
            Some(Lacking::EightBitMime)
        );
        let small = Capabilities {
            size: true,
            size_max: Some(99),
            ..none
        };
        assert_eq!(
            lacks(&envelope(""), &small, Tls::Off),
            Some(Lacking::Size { size_max: 99 })
        );
    }
}
