//! SMTP and LMTP sessions as state machines
