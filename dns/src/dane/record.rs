//! TLSA records (RFC 6698 §2), which of them SMTP uses, and what one matches.

use ring::digest;
use rustls::pki_types::CertificateDer;
use webpki::{anchor_from_trusted_cert, spki_for_anchor};

/// The most that a record may hold: a whole certificate of some size.
pub const DATA_BYTES_MAX: usize = 16 << 10;

/// What a record speaks of (RFC 6698 §2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Usage {
    /// 2: a CA that signs the host's certificate.
    DaneTa,
    /// 3: the host's certificate.
    DaneEe,
    /// Others, which SMTP has no use for (RFC 7672 §3.1.3).
    Other(u8),
}

/// Which part of a certificate (RFC 6698 §2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    /// 0: all of it.
    Certificate,
    /// 1: its public key.
    PublicKey,
    /// Others.
    Other(u8),
}

/// How it is compared (RFC 6698 §2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Matching {
    /// 0: as it is.
    Exact,
    /// 1: by SHA-256.
    Sha256,
    /// 2: by SHA-512.
    Sha512,
    /// Others.
    Other(u8),
}

/// A TLSA record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsaRecord {
    /// What it speaks of.
    pub usage: Usage,
    /// Which part of it.
    pub selector: Selector,
    /// How `data` compares.
    pub matching: Matching,
    /// The part, or its digest.
    pub data: Box<[u8]>,
}

impl From<u8> for Usage {
    fn from(number: u8) -> Usage {
        match number {
            2 => Usage::DaneTa,
            3 => Usage::DaneEe,
            other => Usage::Other(other),
        }
    }
}

impl From<u8> for Selector {
    fn from(number: u8) -> Selector {
        match number {
            0 => Selector::Certificate,
            1 => Selector::PublicKey,
            other => Selector::Other(other),
        }
    }
}

impl From<u8> for Matching {
    fn from(number: u8) -> Matching {
        match number {
            0 => Matching::Exact,
            1 => Matching::Sha256,
            2 => Matching::Sha512,
            other => Matching::Other(other),
        }
    }
}

impl TlsaRecord {
    /// Whether SMTP can go by it (RFC 7672 §3.1).
    pub fn is_usable(&self) -> bool {
        let is_known = matches!(self.usage, Usage::DaneTa | Usage::DaneEe)
            && matches!(self.selector, Selector::Certificate | Selector::PublicKey);
        let length_ok = match self.matching {
            Matching::Exact => (1..=DATA_BYTES_MAX).contains(&self.data.len()),
            Matching::Sha256 => self.data.len() == digest::SHA256_OUTPUT_LEN,
            Matching::Sha512 => self.data.len() == digest::SHA512_OUTPUT_LEN,
            Matching::Other(_) => false,
        };
        is_known && length_ok
    }

    /// Whether it speaks of this certificate, by its content alone.
    pub fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        match self.selector {
            Selector::Certificate => self.matches_bytes(certificate),
            Selector::PublicKey => anchor_from_trusted_cert(certificate)
                .is_ok_and(|anchor| self.matches_bytes(&spki_for_anchor(&anchor))),
            Selector::Other(_) => false,
        }
    }

    fn matches_bytes(&self, bytes: &[u8]) -> bool {
        let by = |algorithm| digest::digest(algorithm, bytes).as_ref() == &*self.data;
        match self.matching {
            Matching::Exact => bytes == &*self.data,
            Matching::Sha256 => by(&digest::SHA256),
            Matching::Sha512 => by(&digest::SHA512),
            Matching::Other(_) => false,
        }
    }
}

/// Those to go by: usable ones, and of a usage and selector only the strongest digest (RFC 7671 §9), lest who can forge a
/// weak one be let in by it.
pub fn matching_records(records: &[TlsaRecord]) -> Vec<TlsaRecord> {
    let usable = || records.iter().filter(|record| record.is_usable());
    let is_strongest = |record: &&TlsaRecord| {
        let of_its_kind = usable()
            .filter(|other| (other.usage, other.selector) == (record.usage, record.selector));
        let strongest = of_its_kind.map(|other| other.matching).max();
        record.matching == Matching::Exact || Some(record.matching) == strongest
    };
    usable().filter(is_strongest).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, length: usize) -> TlsaRecord {
        TlsaRecord {
            usage: usage.into(),
            selector: selector.into(),
            matching: matching.into(),
            data: vec![7; length].into(),
        }
    }

    #[test]
    fn records_that_smtp_cannot_go_by() {
        for (usage, selector, matching, length, is_usable) in [
            (3, 1, 1, 32, true),
            (3, 0, 2, 64, true),
            (2, 0, 0, 900, true),
            (2, 1, 1, 31, false),
            (3, 1, 2, 32, false),
            (3, 1, 0, 0, false),
            (3, 1, 3, 32, false),
            (3, 2, 1, 32, false),
            (0, 0, 1, 32, false),
            (1, 1, 1, 32, false),
            (255, 1, 1, 32, false),
            (3, 0, 0, DATA_BYTES_MAX + 1, false),
        ] {
            let record = record(usage, selector, matching, length);
            assert_eq!(
                record.is_usable(),
                is_usable,
                "{usage} {selector} {matching} {length}"
            );
        }
    }

    #[test]
    fn of_two_digests_the_stronger_one_counts() {
        let (weak, strong) = (record(3, 1, 1, 32), record(3, 1, 2, 64));
        let (other, exact) = (record(2, 1, 1, 32), record(3, 1, 0, 91));
        let all = [weak, strong.clone(), other.clone(), exact.clone()];
        assert_eq!(matching_records(&all), [strong, other, exact]);
    }
}
