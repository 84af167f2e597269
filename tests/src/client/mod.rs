//! Minimal mail clients on blocking sockets, written for tests: they say exactly what the test tells them to say.

mod conn;
mod imap;
mod pop3;
mod smtp;
mod value;

pub use conn::{Conn, set_patience, tls_config};
pub use imap::{Imap, Reply, quoted, scram_sha_256};
pub use pop3::Pop3;
pub use smtp::{Smtp, SmtpReply, dot_stuffed};
pub use value::{Fetch, Value, fetches, parse_values};

use std::io;

/// An error that carries what the server said or what we did not expect.
pub fn wire_error(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}
