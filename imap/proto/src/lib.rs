//! IMAP4 and POP3 sessions as state machines
