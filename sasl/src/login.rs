//! LOGIN (draft-murchison-sasl-login-00): the server asks for the name, then for the password.
//!
//! The prompts are those that Outlook matches word by word.

/// Asks for the name. A client that sends it as initial response is not asked.
pub(crate) const ASK_USER: &[u8] = b"Username:";
/// Asks for the password.
pub(crate) const ASK_PASSWORD: &[u8] = b"Password:";
