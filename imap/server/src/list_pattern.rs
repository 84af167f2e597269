//! LIST's wildcards (RFC 9051 §6.3.9).
