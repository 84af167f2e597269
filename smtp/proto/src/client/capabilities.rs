//! What the remote offers: its answer to EHLO or LHLO (RFC 5321 §4.1.1.1).

use super::reply::RawReply;

/// Mechanisms beyond these are not looked at: RFC 4422's registry has fewer in use.
const MECHANISMS_MAX: usize = 32;

/// What the remote offers on this connection. After HELO it is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// SIZE (RFC 1870).
    pub size: bool,
    /// The largest message that the remote takes, if it says so.
    pub size_max: Option<u64>,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_codes: bool,
    /// AUTH (RFC 4954): mechanisms in capitals.
    pub mechanisms: Vec<String>,
    /// LIMITS MAILMAX (RFC 9422): messages on one connection.
    pub mail_max: Option<u32>,
    /// LIMITS RCPTMAX: recipients of one message.
    pub rcpt_max: Option<u32>,
    /// LIMITS RCPTDOMAINMAX: domains of the recipients of one message.
    pub rcpt_domain_max: Option<u32>,
}

impl Capabilities {
    /// The first line is the remote's name. What is no keyword with parameters, or none known here, is passed over. How
    /// much there is, is bounded by the reply.
    pub(super) fn parse(reply: &RawReply) -> Capabilities {
        let mut capabilities = Capabilities::default();
        for line in reply.lines.iter().skip(1) {
            if let Ok(line) = std::str::from_utf8(line) {
                capabilities.add(&line.to_ascii_uppercase());
            }
        }
        capabilities
    }

    fn add(&mut self, line: &str) {
        // "AUTH=LOGIN" is what some hosts wrote for clients of the nineties.
        let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
        match words.next() {
            Some("SIZE") => {
                self.size = true;
                // RFC 1870 §4: 0 means no fixed maximum.
                let number = words.next().and_then(|number| number.parse().ok());
                self.size_max = number.filter(|number| *number > 0);
            }
            Some("PIPELINING") => self.pipelining = true,
            Some("CHUNKING") => self.chunking = true,
            Some("BINARYMIME") => self.binary_mime = true,
            Some("STARTTLS") => self.starttls = true,
            Some("8BITMIME") => self.eight_bit_mime = true,
            Some("SMTPUTF8") => self.smtputf8 = true,
            Some("DSN") => self.dsn = true,
            Some("REQUIRETLS") => self.require_tls = true,
            Some("ENHANCEDSTATUSCODES") => self.enhanced_codes = true,
            Some("AUTH") => {
                for word in words {
                    let known = self.mechanisms.iter().any(|known| known == word);
                    if !known && self.mechanisms.len() < MECHANISMS_MAX {
                        self.mechanisms.push(word.to_owned());
                    }
                }
            }
            Some("LIMITS") => {
                for limit in line.split_ascii_whitespace().skip(1) {
                    self.add_limit(limit);
                }
            }
            _ => {}
        }
    }

    /// RFC 9422 §2: `NAME=VALUE`; §4: numbers of one to six digits, the first not 0. Others are passed over.
    fn add_limit(&mut self, limit: &str) {
        let Some((name, value)) = limit.split_once('=') else {
            return;
        };
        let well_formed = value.len() <= 6 && value.bytes().all(|b| b.is_ascii_digit());
        let number = value
            .parse()
            .ok()
            .filter(|number| well_formed && *number > 0);
        match name {
            "MAILMAX" => self.mail_max = number,
            "RCPTMAX" => self.rcpt_max = number,
            "RCPTDOMAINMAX" => self.rcpt_domain_max = number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Capabilities {
        let lines = ["mx.test"].iter().chain(lines);
        let lines = lines.map(|line| line.as_bytes().to_vec()).collect();
        Capabilities::parse(&RawReply { code: 250, lines })
    }

    #[test]
    fn reads_what_is_offered() {
        let all = parse(&[
            "size 1000",
            "PIPELINING",
            "CHUNKING",
            "BINARYMIME",
            "StartTLS",
            "8BITMIME",
            "SMTPUTF8",
            "DSN",
            "REQUIRETLS",
            "ENHANCEDSTATUSCODES",
            "AUTH PLAIN LOGIN",
            "AUTH=LOGIN CRAM-MD5",
            "LIMITS MAILMAX=5 rcptmax=7 RCPTDOMAINMAX=1 X=1",
        ]);
        let expected = Capabilities {
            size: true,
            size_max: Some(1000),
            pipelining: true,
            chunking: true,
            binary_mime: true,
            starttls: true,
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            require_tls: true,
            enhanced_codes: true,
            mechanisms: vec!["PLAIN".into(), "LOGIN".into(), "CRAM-MD5".into()],
            mail_max: Some(5),
            rcpt_max: Some(7),
            rcpt_domain_max: Some(1),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn passes_over_the_rest() {
        let odd = parse(&[
            "",
            " ",
            "XYZ 1",
            "LIMITS RCPTMAX=0 MAILMAX=1234567 RCPTDOMAINMAX",
            "\u{e9}",
            "PIPELININGX",
        ]);
        assert_eq!(odd, Capabilities::default());
        assert_eq!(
            (parse(&["SIZE 0"]).size, parse(&["SIZE 0"]).size_max),
            (true, None)
        );
        assert_eq!(
            (parse(&["SIZE"]).size, parse(&["SIZE x"]).size_max),
            (true, None)
        );
        // The first line is a name, whatever it says.
        let reply = RawReply {
            code: 250,
            lines: vec![b"STARTTLS".to_vec()],
        };
        assert!(!Capabilities::parse(&reply).starttls);
    }
}
