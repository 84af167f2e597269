//! The record `_mta-sts.DOMAIN` (RFC 8461 §3.1), which says that there is a policy, and by its id when there is a new one.

use crate::fields::fields;

/// What is read of a record; real ones have a tenth.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// A policy's announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StsRecord {
    /// 1 to 32 letters and digits; another one means another policy.
    pub id: Box<str>,
}

impl StsRecord {
    /// Reads one; what is none is nothing.
    pub fn parse(text: &[u8]) -> Option<StsRecord> {
        let text = std::str::from_utf8(text.get(..TEXT_BYTES_MAX.min(text.len()))?).ok()?;
        let mut fields = fields(text);
        if fields.next()?? != ("v", "STSv1") {
            return None;
        }
        let mut id = None;
        for field in fields {
            match field? {
                // A name that comes twice is no grammar's; the first one counts.
                ("id", value) if id.is_none() => id = Some(value),
                _ => {}
            }
        }
        let id = id?;
        let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        is_id.then(|| StsRecord { id: id.into() })
    }

    /// The one among a name's texts, as long as it is only one (RFC 8461 §3.1).
    pub fn of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Option<StsRecord> {
        // What does not begin so is something else's record.
        let mut ours = texts.filter(|text| text.starts_with(b"v=STSv1"));
        let only = ours.next()?;
        match ours.next() {
            None => StsRecord::parse(only),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        for (text, id) in [
            ("v=STSv1; id=20160831085700Z;", Some("20160831085700Z")),
            ("v=STSv1;id=1", Some("1")),
            ("v=STSv1 ; id=1 ; new=thing;", Some("1")),
            ("v=STSv1; id=1; id=2;", Some("1")),
            ("v=STSv1;", None),
            ("v=STSv1; id=;", None),
            ("v=STSv1; id=a-b;", None),
            ("v=STSv1; id=123456789012345678901234567890123;", None),
            ("id=1; v=STSv1;", None),
            ("v=STSv2; id=1;", None),
            ("v=STSv1; id", None),
            ("", None),
        ] {
            let parsed = StsRecord::parse(text.as_bytes());
            assert_eq!(parsed.as_ref().map(|record| &*record.id), id, "{text}");
        }
    }

    #[test]
    fn one_among_others() {
        let of = |texts: &[&'static str]| StsRecord::of(texts.iter().map(|text| text.as_bytes()));
        assert!(of(&["v=spf1 -all", "v=STSv1; id=1;"]).is_some());
        assert!(of(&["v=STSv1; id=1;", "v=STSv1; id=2;"]).is_none());
        assert!(of(&[]).is_none());
    }
}
