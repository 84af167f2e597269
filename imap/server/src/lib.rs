//! IMAP and POP3 sessions against a Mailstore
