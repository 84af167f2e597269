//! The bounds of a session, each with its source.

/// RFC 5321 §4.5.3.1.4: a command line has at most 512 octets, its `<CR><LF>` included.
pub const COMMAND_LINE_MAX: usize = 512;

/// MAIL may be longer by what each extension grants: SIZE 26 (RFC 1870 §3), BODY 17 (RFC 6152 §2), AUTH 500
/// (RFC 4954 §3), RET and ENVID 107 (RFC 3461 §4), SMTPUTF8 10 (RFC 6531 §3.1).
pub const MAIL_LINE_MAX: usize = COMMAND_LINE_MAX + 26 + 17 + 500 + 107 + 10;

/// RCPT may be longer by NOTIFY and ORCPT: 500 (RFC 3461 §4).
pub const RCPT_LINE_MAX: usize = COMMAND_LINE_MAX + 500;

/// RFC 4954 §4: AUTH and its responses, 12,288 octets.
pub const AUTH_LINE_MAX: usize = 12_288;

/// How much of an overlong line is skipped in hope of its end. Beyond it the peer speaks no SMTP, and the
/// session ends. 64 KiB is five times the longest line that any extension permits.
pub const LINE_SWALLOW_MAX: usize = 64 * 1024;

/// RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets, with code and `<CR><LF>`.
pub const REPLY_LINE_MAX: usize = 512;

/// Unsent replies beyond this make [`Session::step`](crate::Session::step) ask for a flush before it reads on, so
/// that a pipelined flood of `EHLO` cannot grow the output.
pub const OUTPUT_MAX: usize = 16 * 1024;

/// RFC 5321 §4.5.3.1.8: a server takes at least 100 recipients. The default of Postfix is 1,000.
pub const RCPT_MAX_DEFAULT: u32 = 1000;

/// RFC 9422 MAILMAX: messages on one connection. 10,000 keeps a busy peer's connection warm and yet lets
/// connections spread again over the front ends.
pub const MAIL_MAX_DEFAULT: u32 = 10_000;

/// 50 MB, the largest message: what large providers take (25 to 50 MB), with the growth by base64 included.
pub const SIZE_MAX_DEFAULT: u64 = 50 * 1000 * 1000;

/// After so many errors of syntax or sequence the session ends: `smtpd_hard_error_limit` of Postfix.
pub const ERRORS_MAX: u32 = 20;

/// After so many refused senders and recipients in a row without a message: five times as many, since lists carry
/// dead addresses and each costs a lookup only.
pub const REFUSALS_MAX: u32 = 100;

/// RCPT beyond RCPTMAX, each put off with 452, before the session ends. A client that ignores the limit may name many
/// more, and must keep the transaction that it has (RFC 5321 §4.5.3.1.10).
pub const EXCESS_RCPT_MAX: u32 = 10_000;

/// After so many commands that lead to no mail (NOOP, RSET, VRFY, HELP, repeated EHLO, empty
/// chunks): `smtpd_junk_command_limit`
/// of Postfix.
pub const JUNK_MAX: u32 = 100;

/// Failed AUTH exchanges on one connection.
pub const AUTH_FAILURES_MAX: u32 = 3;

/// What is read and dropped of a message that was refused already, beyond the size limit itself, before the
/// session ends: room for a client that ignores SIZE to hear the reason.
pub const SWALLOW_MAX: u64 = 50 * 1000 * 1000;

/// RFC 3461 §4.4: ENVID has at most 100 characters.
pub const ENVID_LEN_MAX: usize = 100;

/// RFC 3461 §4.2: ORCPT has at most 500 characters.
pub const ORCPT_LEN_MAX: usize = 500;

/// RFC 5321 §4.5.3.1.2: a domain has at most 255 octets.
pub const HELLO_NAME_LEN_MAX: usize = 255;

/// A line of a remote's reply: eight times [`REPLY_LINE_MAX`], as hosts put long links into their refusals.
pub const REMOTE_LINE_MAX: usize = 4096;

/// Lines of a remote's reply. An answer to EHLO has some twenty; banners of lawyers have more.
pub const REMOTE_LINES_MAX: usize = 128;

/// All lines of a remote's reply: 128 of 512 octets.
pub const REMOTE_REPLY_MAX: usize = 64 * 1024;

/// Text of a remote's reply that an outcome keeps: two lines of 512 octets say it all.
pub const REMOTE_TEXT_LEN_MAX: usize = 1024;

/// Commands without an answer (RFC 2920 §3.1): their replies, of 512 octets, fit into any host's send buffer, so that both
/// sides cannot wait for each other.
pub const PIPELINE_MAX: usize = 32;

/// From so much text on a BDAT goes out. A smaller message is one BDAT LAST.
pub const CHUNK_LEN: usize = 64 * 1024;

/// BDATs without an answer: the next is on its way while one is answered.
pub const CHUNKS_MAX: usize = 2;
