//! AUTH (RFC 4954): what is offered, and what a failure is answered with. The login itself is `mailrook-auth`'s.

use mailrook_auth::{LoginFailure, Logins};
use mailrook_net::Stream;
use mailrook_smtp_proto::{EnhancedCode, Reply, ReplyCode};

/// What to offer on a connection: nothing without TLS, unless `plaintext` permits it.
pub(crate) fn offered(logins: &Logins, stream: &Stream, plaintext: bool) -> Vec<&'static str> {
    let permitted = stream.is_tls() || plaintext;
    let bindings = mailrook_auth::bindings(stream);
    logins.offered(&bindings, permitted).collect()
}

/// RFC 4954 §4, §6.
pub(crate) fn reply(failure: LoginFailure) -> Reply {
    let (code, enhanced) = match failure {
        LoginFailure::Credentials => (ReplyCode::AuthFailed535, EnhancedCode::BAD_CREDENTIALS),
        LoginFailure::Malformed => (ReplyCode::ParameterError501, EnhancedCode::SYNTAX),
        LoginFailure::NotOffered => (
            ReplyCode::ParameterNotImplemented504,
            EnhancedCode::INVALID_ARGUMENTS,
        ),
        LoginFailure::Unavailable => (ReplyCode::TemporaryAuthFailure454, EnhancedCode::SECURITY),
    };
    Reply::new(code, enhanced, failure.text())
}
