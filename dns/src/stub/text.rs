//! Records as tests write them.

use crate::{
    DnsName,
    dane::TlsaRecord,
    resolve::{Data, Kind, Mx},
};

/// A kind's name.
pub(super) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::A => "A",
        Kind::Aaaa => "AAAA",
        Kind::Mx => "MX",
        Kind::Txt => "TXT",
        Kind::Tlsa => "TLSA",
        Kind::Ptr => "PTR",
        Kind::Cname => "CNAME",
    }
}

/// `name KIND data`
pub(super) fn parse(line: &str) -> Option<(DnsName, Data)> {
    let (name, rest) = line.split_once(' ')?;
    let (kind, data) = rest.trim_start().split_once(' ')?;
    let data = data.trim();
    let mut words = data.split_whitespace();
    let data = match kind {
        "A" => Data::A(data.parse().ok()?),
        "AAAA" => Data::Aaaa(data.parse().ok()?),
        "MX" => Data::Mx(Mx {
            preference: words.next()?.parse().ok()?,
            exchange: host(words.next()?)?,
        }),
        "TXT" => Data::Txt(data.as_bytes().into()),
        "TLSA" => {
            let mut number = || words.next()?.parse::<u8>().ok();
            let (usage, selector, matching) = (number()?, number()?, number()?);
            Data::Tlsa(TlsaRecord {
                usage: usage.into(),
                selector: selector.into(),
                matching: matching.into(),
                data: bytes(words.next()?)?.into(),
            })
        }
        "PTR" => Data::Ptr(host(data)?),
        "CNAME" => Data::Cname(host(data)?),
        _ => return None,
    };
    Some((DnsName::parse(name).ok()?, data))
}

fn host(text: &str) -> Option<DnsName> {
    match text {
        "." => Some(DnsName::root()),
        text => DnsName::parse(text).ok(),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2);
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    pairs.map(byte).collect()
}
