//! Loop detection (RFC 5321 §6.3): a message that has passed too many hosts, or this one too often, goes in a circle.

use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};
use mailrook_types::Domain;

/// `Received` fields: RFC 5321 §6.3 asks for at least 100 where hops are counted, yet no real path is half as long;
/// Postfix stops at 50 (`hopcount_limit`).
const HOPS_MAX: usize = 50;

/// `Received` fields by this host. A message may come by again for good reason (a list, a message sent on by its
/// reader), but not ten times.
const OWN_HOPS_MAX: usize = 10;

/// How much of a header is looked at. Fifty fields of a kilobyte are far below it.
const HEADER_LEN_MAX: usize = 256 * 1024;

/// Judges a message as it was received.
pub(crate) fn check(octets: &[u8], hostname: &Domain) -> Result<(), Reply> {
    let header = &octets[..octets.len().min(HEADER_LEN_MAX)];
    let (mut hops, mut own) = (0, 0);
    for field in mailrook_mime::fields(header).filter(|field| field.is("Received")) {
        hops += 1;
        own += usize::from(is_by(field.value, hostname.as_str()));
        if hops > HOPS_MAX || own > OWN_HOPS_MAX {
            let text = "the message goes in a loop: it has passed too many hosts";
            return Err(Reply::new(
                ReplyCode::TransactionFailed554,
                EnhancedCode::ROUTING_LOOP,
                text,
            ));
        }
    }
    Ok(())
}

/// Whether the value of a `Received` field has the clause `by hostname`.
fn is_by(value: &[u8], hostname: &str) -> bool {
    let mut words = value
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    if !words.any(|word| word.eq_ignore_ascii_case(b"by")) {
        return false;
    }
    let name = words.next().unwrap_or_default();
    name.strip_suffix(b";")
        .unwrap_or(name)
        .eq_ignore_ascii_case(hostname.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(header: &str) -> bool {
        check(
            header.as_bytes(),
            &Domain::parse("mx.example.test").unwrap(),
        )
        .is_err()
    }

    #[test]
    fn counts_hops() {
        let hop = "Received: from a.test\r\n\tby b.test with ESMTP; x\r\n";
        assert!(!refused(&hop.repeat(50)));
        assert!(refused(&hop.repeat(51)));
        assert!(!refused(&format!("Subject: x\r\n\r\n{}", hop.repeat(60))));
        let own = "received: from a.test\r\n by MX.example.test; x\r\n";
        assert!(!refused(&own.repeat(10)));
        assert!(refused(&own.repeat(11)));
    }
}
