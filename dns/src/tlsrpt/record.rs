//! The record `_smtp._tls.DOMAIN` (RFC 8460 §3): where reports go.

use crate::fields::fields;

/// What is read of a record.
pub const TEXT_BYTES_MAX: usize = 2_048;

/// Places that a record may name; each is sent the whole report.
pub const RUA_MAX: usize = 4;

/// Who wants reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsrptRecord {
    /// Where they go; at least one.
    pub rua: Vec<ReportUri>,
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportUri {
    /// An address, still to be parsed as one.
    Mail(String),
    /// A URL, to which it is posted.
    Https(String),
}

impl TlsrptRecord {
    /// Reads one; what is none is nothing. Places of other kinds are left out.
    pub fn parse(text: &[u8]) -> Option<TlsrptRecord> {
        let text = std::str::from_utf8(text.get(..TEXT_BYTES_MAX.min(text.len()))?).ok()?;
        let mut fields = fields(text);
        if fields.next()?? != ("v", "TLSRPTv1") {
            return None;
        }
        let mut rua = None;
        for field in fields {
            match field? {
                ("rua", value) if rua.is_none() => rua = Some(value),
                _ => {}
            }
        }
        let uris = rua?.split(',').filter_map(ReportUri::parse);
        let rua: Vec<ReportUri> = uris.take(RUA_MAX).collect();
        (!rua.is_empty()).then_some(TlsrptRecord { rua })
    }

    /// The one among a name's texts, as long as it is only one (RFC 8460 §3).
    pub fn of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Option<TlsrptRecord> {
        let mut ours = texts.filter(|text| text.starts_with(b"v=TLSRPTv1"));
        let only = ours.next()?;
        match ours.next() {
            None => TlsrptRecord::parse(only),
            Some(_) => None,
        }
    }
}

impl ReportUri {
    fn parse(text: &str) -> Option<ReportUri> {
        let after = |scheme: &str| {
            let head = text.get(..scheme.len())?;
            head.eq_ignore_ascii_case(scheme)
                .then(|| &text[scheme.len()..])
        };
        if let Some(address) = after("mailto:") {
            // RFC 6068: what follows `?` would be header fields; a report has its own.
            let address = decoded(address.split('?').next()?)?;
            return address.contains('@').then_some(ReportUri::Mail(address));
        }
        let rest = after("https://")?;
        let has_host = !rest.is_empty() && !rest.starts_with('/');
        has_host.then(|| ReportUri::Https(text.to_owned()))
    }
}

/// RFC 3986 §2.1; nothing that a header line could be broken with.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(decoded).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let mail = |text: &str| ReportUri::Mail(text.to_owned());
        let https = |text: &str| ReportUri::Https(text.to_owned());
        for (text, rua) in [
            (
                "v=TLSRPTv1;rua=mailto:reports@example.com",
                vec![mail("reports@example.com")],
            ),
            (
                "v=TLSRPTv1; rua=https://r.example.com/v1/tlsrpt,mailto:a@b.test; x=y;",
                vec![https("https://r.example.com/v1/tlsrpt"), mail("a@b.test")],
            ),
            (
                "v=TLSRPTv1; rua=MAILTO:a%2Cb@c.test?subject=x",
                vec![mail("a,b@c.test")],
            ),
            (
                "v=TLSRPTv1; rua=ftp://a.test,mailto:a@b.test",
                vec![mail("a@b.test")],
            ),
            ("v=TLSRPTv1; rua=http://a.test/", vec![]),
            ("v=TLSRPTv1; rua=mailto:a%0d%0aBcc:x@b.test", vec![]),
            ("v=TLSRPTv1; rua=mailto:a%4", vec![]),
            ("v=TLSRPTv1; rua=https:///x", vec![]),
            ("v=TLSRPTv1;", vec![]),
            ("rua=mailto:a@b.test; v=TLSRPTv1", vec![]),
        ] {
            let parsed = TlsrptRecord::parse(text.as_bytes());
            assert_eq!(
                parsed.map(|record| record.rua).unwrap_or_default(),
                rua,
                "{text}"
            );
        }
        let many = format!("v=TLSRPTv1; rua={}", ["mailto:a@b.test"; 9].join(","));
        let many = TlsrptRecord::parse(many.as_bytes()).unwrap();
        assert_eq!(many.rua.len(), RUA_MAX);
    }
}
