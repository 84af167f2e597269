//! Reads a message once: envelope, body structure, search signature, decoded text
