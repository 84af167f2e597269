//! Every bound of this crate, with its reason. What lies beyond a bound is left out; it is never an error,
//! because the message is stored whatever its structure is.

/// Parts of one message, nested ones included. Dovecot's default is 10,000, its advice 1,000; a newsletter has
/// five, a digest of a busy list a few hundred. The rest of the message becomes one opaque part.
pub const PARTS_MAX: usize = 1_000;

/// Multiparts and messages within each other. Mail forwarded as an attachment again and again reaches ten.
/// The recursion of this crate, and of those that read its result, is bounded by it.
pub const DEPTH_MAX: usize = 50;

/// Bytes of one header section whose fields are looked at. Postfix refuses more than 100 KiB
/// (`header_size_limit`); ten times that is generous. Later fields are still fetched, but not told of or searched.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// Bytes of all header sections of one message, its parts' included, whose fields are looked at. Fields of a few bytes
/// cost a hundred nanoseconds each, so that this keeps the worst message below a second.
pub const HEADER_BYTES_TOTAL_MAX: usize = 4 << 20;

/// Addresses in all envelopes of one message.
pub const ADDRESSES_MAX: usize = 10_000;

/// Parameters (RFC 2231 sections count one each) of one field.
pub const PARAMETERS_MAX: usize = 256;

/// Tags of one `Content-Language`.
pub const LANGUAGES_MAX: usize = 64;

/// Bytes of a media type, subtype, disposition or encoding: RFC 6838 §4.2 allows 127.
pub const TOKEN_BYTES_MAX: usize = 127;

/// Bytes of a boundary. RFC 2046 §5.1.1 allows 70; a line of RFC 5322 §2.1.1 holds 998.
pub const BOUNDARY_BYTES_MAX: usize = 998;

/// Bytes that envelope and structure together may take in storage. A listing of 100,000 messages reads them all.
pub const DERIVED_BYTES_MAX: usize = 256 << 10;

/// Message ids taken from `References`; the first and the last ones are kept.
pub const REFERENCES_MAX: usize = 50;

/// Bytes of one message id; longer ones are passed over. RFC 5322 §2.1.1, a line.
pub const MESSAGE_ID_BYTES_MAX: usize = 998;

/// Bytes decoded at a time when a part is searched. Large enough that the calls cost nothing, small enough for a cache.
pub const CHUNK_BYTES: usize = 64 << 10;

/// Trigrams and tetragrams of a needle that are asked of a signature. More would hardly exclude more.
pub const NEEDLE_GRAMS_MAX: usize = 64;

/// Bytes of folded text that go into a signature, of headers and of bodies. A longer text has almost every gram that
/// its language has; its signature then excludes nothing, and costs no more time.
pub const SIGNATURE_TEXT_BYTES_MAX: usize = 8 << 20;
