//! IMAP, as a client that keeps every untagged line.

use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};

use super::{Conn, Value, parse_values, wire_error};

/// A command's answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The untagged lines (`* …` and `+ …`), literals included.
    pub untagged: Vec<Vec<u8>>,
    /// The tagged line, tag included.
    pub tagged: Vec<u8>,
}

impl Reply {
    /// Whether the tagged line says OK.
    pub fn is_ok(&self) -> bool {
        self.status() == "OK"
    }

    /// OK, NO or BAD.
    pub fn status(&self) -> String {
        self.text()
            .split(' ')
            .nth(1)
            .unwrap_or("")
            .to_ascii_uppercase()
    }

    /// The tagged line as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.tagged).into_owned()
    }

    /// The untagged lines as text.
    pub fn lines(&self) -> Vec<String> {
        self.untagged
            .iter()
            .map(|l| String::from_utf8_lossy(l).into_owned())
            .collect()
    }

    /// The arguments of a response code, tagged or untagged: `code("APPENDUID")` gives `["38505", "3955"]`.
    pub fn code(&self, name: &str) -> Option<Vec<String>> {
        let begin = format!("[{name}");
        self.lines()
            .into_iter()
            .chain([self.text()])
            .find_map(|line| {
                let (_, rest) = line.split_once(&begin)?;
                let inside = rest.split_once(']')?.0;
                (inside.is_empty() || inside.starts_with(' '))
                    .then(|| inside.split_whitespace().map(str::to_owned).collect())
            })
    }

    /// The number of `* n EXISTS`, the last one said.
    pub fn exists(&self) -> Option<u32> {
        self.lines()
            .iter()
            .rev()
            .find_map(|l| l.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok())
    }

    /// An attribute of `* STATUS mailbox (…)`.
    pub fn status_item(&self, name: &str) -> Option<u64> {
        self.untagged
            .iter()
            .filter(|l| l.starts_with(b"* STATUS"))
            .find_map(|line| {
                let values = parse_values(&line[2..]).ok()?;
                let list = values.last()?.list();
                list.chunks(2)
                    .find(|p| p[0].text().eq_ignore_ascii_case(name))
                    .and_then(|p| p.get(1)?.number())
            })
    }

    /// The numbers of `* SEARCH …`.
    pub fn search(&self) -> Vec<u32> {
        let line = self
            .lines()
            .into_iter()
            .find(|l| l.starts_with("* SEARCH"))
            .unwrap_or_default();
        line.split(' ')
            .skip(2)
            .filter_map(|w| w.parse().ok())
            .collect()
    }
}

/// An IMAP session.
pub struct Imap {
    /// The connection, for whatever the methods do not say.
    pub conn: Conn,
    last_tag: u32,
}

impl Imap {
    /// Takes over a connection whose greeting is not read yet.
    pub fn over(mut conn: Conn) -> io::Result<Self> {
        let greeting = conn.line()?;
        if !greeting.starts_with(b"* OK") && !greeting.starts_with(b"* PREAUTH") {
            return Err(wire_error(String::from_utf8_lossy(&greeting)));
        }
        Ok(Self { conn, last_tag: 0 })
    }

    /// Connects and reads the greeting.
    pub fn connect(port: u16) -> io::Result<Self> {
        Self::over(Conn::connect(port)?)
    }

    /// Connects and logs in with AUTHENTICATE PLAIN and an initial response (RFC 4959).
    pub fn login(port: u16, user: &str, password: &str) -> io::Result<Self> {
        Self::login_from(Ipv4Addr::LOCALHOST, port, user, password)
    }

    /// The same from a given loopback address.
    pub fn login_from(source: Ipv4Addr, port: u16, user: &str, password: &str) -> io::Result<Self> {
        Self::over(Conn::connect_from(source, port)?)?.logged_in(user, password)
    }

    /// The same with TLS from the first byte.
    pub fn login_tls_from(
        source: Ipv4Addr,
        port: u16,
        config: &Arc<ClientConfig>,
        user: &str,
        password: &str,
    ) -> io::Result<Self> {
        let mut conn = Conn::connect_from(source, port)?;
        conn.start_tls(Arc::clone(config))?;
        Self::over(conn)?.logged_in(user, password)
    }

    fn logged_in(mut self, user: &str, password: &str) -> io::Result<Self> {
        let response = BASE64.encode(format!("\0{user}\0{password}"));
        self.ok(&format!("AUTHENTICATE PLAIN {response}"))?;
        Ok(self)
    }

    fn tag(&mut self) -> String {
        self.last_tag += 1;
        format!("t{}", self.last_tag)
    }

    /// Reads one response line, with the literals in it.
    pub fn response(&mut self) -> io::Result<Vec<u8>> {
        let mut line = self.conn.line()?;
        while let Some(count) = literal_at_end(&line) {
            line.extend_from_slice(b"\r\n");
            self.conn.read_into(&mut line, count)?;
            line.extend_from_slice(&self.conn.line()?);
        }
        Ok(line)
    }

    /// Reads until the tagged answer.
    pub fn finish(&mut self, tag: &str) -> io::Result<Reply> {
        let mut untagged: Vec<Vec<u8>> = Vec::new();
        loop {
            // After a BYE that no LOGOUT asked for the stream ends: the error then says what the BYE said.
            let line = self.response().map_err(|e| match untagged.last() {
                Some(last) => io::Error::new(
                    e.kind(),
                    format!("{e}, after {}", String::from_utf8_lossy(last)),
                ),
                None => e,
            })?;
            if line.starts_with(tag.as_bytes()) && line.get(tag.len()) == Some(&b' ') {
                return Ok(Reply {
                    untagged,
                    tagged: line,
                });
            }
            untagged.push(line);
        }
    }

    /// Sends a command without waiting; gives its tag.
    pub fn begin(&mut self, command: &str) -> io::Result<String> {
        let tag = self.tag();
        self.conn.send(format!("{tag} {command}\r\n").as_bytes())?;
        Ok(tag)
    }

    /// Sends a command and reads its answer, whatever it is.
    pub fn command(&mut self, command: &str) -> io::Result<Reply> {
        let tag = self.begin(command)?;
        self.finish(&tag)
    }

    /// Sends a command that must succeed.
    pub fn ok(&mut self, command: &str) -> io::Result<Reply> {
        let reply = self.command(command)?;
        if reply.is_ok() {
            Ok(reply)
        } else {
            Err(wire_error(format!("{command}: {}", reply.text())))
        }
    }

    /// Appends one message with a non-synchronising literal (RFC 7888).
    pub fn append(&mut self, mailbox: &str, flags: &str, message: &[u8]) -> io::Result<Reply> {
        self.append_many(mailbox, &[(flags, message)])
    }

    /// Appends several messages in one command (RFC 3502).
    pub fn append_many(&mut self, mailbox: &str, messages: &[(&str, &[u8])]) -> io::Result<Reply> {
        let tag = self.tag();
        let mut bytes = format!("{tag} APPEND {mailbox}").into_bytes();
        for (flags, message) in messages {
            let flags = if flags.is_empty() {
                String::new()
            } else {
                format!(" ({flags})")
            };
            bytes.extend_from_slice(format!("{flags} {{{}+}}\r\n", message.len()).as_bytes());
            bytes.extend_from_slice(message);
        }
        bytes.extend_from_slice(b"\r\n");
        self.conn.send(&bytes)?;
        let reply = self.finish(&tag)?;
        if reply.is_ok() {
            Ok(reply)
        } else {
            Err(wire_error(format!("APPEND: {}", reply.text())))
        }
    }

    /// Begins IDLE and waits for the continuation (RFC 2177); gives the tag for [`Imap::idle_done`].
    pub fn idle(&mut self) -> io::Result<String> {
        let tag = self.begin("IDLE")?;
        loop {
            let line = self.response()?;
            if line.starts_with(b"+") {
                return Ok(tag);
            }
            if line.starts_with(tag.as_bytes()) {
                return Err(wire_error(String::from_utf8_lossy(&line)));
            }
        }
    }

    /// Ends IDLE.
    pub fn idle_done(&mut self, tag: &str) -> io::Result<Reply> {
        self.conn.send(b"DONE\r\n")?;
        self.finish(tag)
    }

    /// Runs a FETCH and drops the literals as they come: the number of literals and their octets. For bulk reading,
    /// where the client must not be the limit.
    pub fn fetch_discarding(&mut self, command: &str) -> io::Result<(u64, u64)> {
        let tag = self.begin(command)?;
        let (mut literals, mut octets) = (0, 0);
        loop {
            let line = self.conn.line()?;
            if let Some(count) = literal_at_end(&line) {
                self.conn.skip(count)?;
                literals += 1;
                octets += count as u64;
            } else if line.starts_with(tag.as_bytes()) && line.get(tag.len()) == Some(&b' ') {
                let reply = Reply {
                    untagged: Vec::new(),
                    tagged: line,
                };
                return if reply.is_ok() {
                    Ok((literals, octets))
                } else {
                    Err(wire_error(reply.text()))
                };
            }
        }
    }

    /// Logs out and waits for the server to close.
    pub fn logout(mut self) -> io::Result<()> {
        self.ok("LOGOUT")?;
        Ok(())
    }
}

/// `… {123}` at the end of a line, `~{123}` included.
fn literal_at_end(line: &[u8]) -> Option<usize> {
    let inside = line.strip_suffix(b"}")?;
    let open = inside.iter().rposition(|&b| b == b'{')?;
    String::from_utf8_lossy(&inside[open + 1..])
        .trim_end_matches('+')
        .parse()
        .ok()
}

/// The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677): `exchange` sends a message and gives the server's next.
/// `gs2` is `n,,`, `y,,` or `p=NAME,,`, `binding` the channel binding's data. The server's signature is verified.
pub fn scram_sha_256(
    user: &str,
    password: &str,
    gs2: &str,
    binding: &[u8],
    mut exchange: impl FnMut(&str) -> io::Result<String>,
) -> io::Result<()> {
    let nonce: String = format!("{:032x}", rand::random::<u128>());
    let first_bare = format!(
        "n={},r={nonce}",
        user.replace('=', "=3D").replace(',', "=2C")
    );
    let server_first = exchange(&format!("{gs2}{first_bare}"))?;
    let field = |from: &str, key: &str| {
        from.split(',')
            .find_map(|f| f.strip_prefix(key).map(str::to_owned))
            .ok_or_else(|| wire_error(format!("SCRAM: no {key} in {from}")))
    };
    let (full_nonce, salt, rounds) = (
        field(&server_first, "r=")?,
        field(&server_first, "s=")?,
        field(&server_first, "i=")?,
    );
    if !full_nonce.starts_with(&nonce) {
        return Err(wire_error("SCRAM: the server changed our nonce"));
    }
    let salt = BASE64.decode(salt).map_err(io::Error::other)?;
    let salted = pbkdf2(
        password.as_bytes(),
        &salt,
        rounds.parse().map_err(io::Error::other)?,
    )?;
    let client_key = mac(&salted, b"Client Key")?;
    let mut channel = gs2.as_bytes().to_vec();
    channel.extend_from_slice(binding);
    let without_proof = format!("c={},r={full_nonce}", BASE64.encode(channel));
    let signed = format!("{first_bare},{server_first},{without_proof}");
    let signature = mac(&Sha256::digest(&client_key), signed.as_bytes())?;
    let proof: Vec<u8> = client_key
        .iter()
        .zip(&signature)
        .map(|(a, b)| a ^ b)
        .collect();
    let server_final = exchange(&format!("{without_proof},p={}", BASE64.encode(proof)))?;
    let expected = BASE64.encode(mac(&mac(&salted, b"Server Key")?, signed.as_bytes())?);
    if field(&server_final, "v=")? == expected {
        Ok(())
    } else {
        Err(wire_error("SCRAM: wrong server signature"))
    }
}

fn mac(key: &[u8], text: &[u8]) -> io::Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(io::Error::other)?;
    mac.update(text);
    Ok(mac.finalize().into_bytes().to_vec())
}

/// PBKDF2 with HMAC-SHA-256 and one block (RFC 5802 §2.2, `Hi`).
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> io::Result<Vec<u8>> {
    let mut block = mac(password, &[salt, &1u32.to_be_bytes()].concat())?;
    let mut sum = block.clone();
    for _ in 1..rounds {
        block = mac(password, &block)?;
        sum.iter_mut().zip(&block).for_each(|(a, b)| *a ^= b);
    }
    Ok(sum)
}

/// A mailbox name or other string as an IMAP quoted string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        let _ = out.write_char(c);
    }
    out.push('"');
    out
}

impl Imap {
    /// `UID FETCH set (items)` and its FETCH responses.
    pub fn uid_fetch(&mut self, set: &str, items: &str) -> io::Result<Vec<super::Fetch>> {
        super::fetches(&self.ok(&format!("UID FETCH {set} ({items})"))?)
    }

    /// The names of all mailboxes.
    pub fn list(&mut self) -> io::Result<Vec<String>> {
        let reply = self.ok("LIST \"\" *")?;
        let lines = reply.untagged.iter().filter(|l| l.starts_with(b"* LIST"));
        lines
            .map(|l| {
                Ok(parse_values(&l[6..])?
                    .last()
                    .map(Value::text)
                    .unwrap_or_default())
            })
            .collect()
    }
}
