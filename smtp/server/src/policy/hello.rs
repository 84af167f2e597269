//! What is asked of the name in HELO and EHLO.
//!
//! RFC 5321 §4.1.4 forbids to refuse mail because the name does not verify; it does not ask to believe a client that
//! says it is us.

use mailrook_smtp_proto::{EnhancedCode, HelloName, Reply, ReplyCode, Service};
use mailrook_types::Domain;

/// How strict port 25 is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HelloPolicy {
    /// Any name that the grammar permits, but our own from elsewhere.
    #[default]
    Lenient,
    /// Only a domain name with a dot or an address literal, as RFC 5321 §4.1.1.1 asks for.
    Strict,
}

/// Judges a client's name. `nearby` is a client on this machine, which may well be us.
pub(crate) fn check(
    policy: HelloPolicy,
    service: Service,
    name: &HelloName,
    hostname: &Domain,
    nearby: bool,
) -> Result<(), Reply> {
    if service != Service::Mx || nearby {
        return Ok(());
    }
    if name.as_str().eq_ignore_ascii_case(hostname.as_str()) {
        let text = "that is this server's own name";
        return Err(Reply::new(
            ReplyCode::MailboxUnavailable550,
            EnhancedCode::NOT_AUTHORISED,
            text,
        ));
    }
    if policy == HelloPolicy::Strict && !name.is_well_formed() {
        let text = "a full domain name or an address literal is needed";
        return Err(Reply::new(
            ReplyCode::ParameterError501,
            EnhancedCode::INVALID_ARGUMENTS,
            text,
        ));
    }
    Ok(())
}
