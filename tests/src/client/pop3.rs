//! POP3, as a client.

use std::io;

use super::{Conn, wire_error};

/// A POP3 session.
pub struct Pop3 {
    /// The connection, for whatever the methods do not say.
    pub conn: Conn,
}

impl Pop3 {
    /// Connects and reads the greeting.
    pub fn connect(port: u16) -> io::Result<Self> {
        let mut pop3 = Self {
            conn: Conn::connect(port)?,
        };
        pop3.status()?;
        Ok(pop3)
    }

    /// Connects and logs in with USER and PASS.
    pub fn login(port: u16, user: &str, password: &str) -> io::Result<Self> {
        let mut pop3 = Self::connect(port)?;
        pop3.command(&format!("USER {user}"))?;
        pop3.command(&format!("PASS {password}"))?;
        Ok(pop3)
    }

    /// Reads a status line; `-ERR` is an error that quotes it.
    pub fn status(&mut self) -> io::Result<String> {
        let line = String::from_utf8_lossy(&self.conn.line()?).into_owned();
        if line.starts_with("+OK") {
            Ok(line)
        } else {
            Err(wire_error(line))
        }
    }

    /// One command with a one-line answer.
    pub fn command(&mut self, line: &str) -> io::Result<String> {
        self.conn.send(format!("{line}\r\n").as_bytes())?;
        self.status()
    }

    /// One command with a multi-line answer: its lines, unstuffed.
    pub fn lines(&mut self, line: &str) -> io::Result<Vec<Vec<u8>>> {
        self.command(line)?;
        let mut lines = Vec::new();
        loop {
            let line = self.conn.line()?;
            if line == b"." {
                return Ok(lines);
            }
            lines.push(if line.first() == Some(&b'.') {
                line[1..].to_vec()
            } else {
                line
            });
        }
    }

    /// A message as it was, with CRLF line ends.
    pub fn retrieve(&mut self, number: u32) -> io::Result<Vec<u8>> {
        let mut message = Vec::new();
        for line in self.lines(&format!("RETR {number}"))? {
            message.extend_from_slice(&line);
            message.extend_from_slice(b"\r\n");
        }
        Ok(message)
    }

    /// The number of messages and their octets.
    pub fn stat(&mut self) -> io::Result<(u32, u64)> {
        let line = self.command("STAT")?;
        let mut words = line.split(' ').skip(1);
        let mut next = || words.next().and_then(|w| w.parse::<u64>().ok());
        match (next(), next()) {
            (Some(count), Some(octets)) => {
                Ok((u32::try_from(count).map_err(io::Error::other)?, octets))
            }
            _ => Err(wire_error(line)),
        }
    }

    /// UIDL: number and unique id of each message.
    pub fn uidl(&mut self) -> io::Result<Vec<(u32, String)>> {
        let parse = |line: Vec<u8>| {
            let text = String::from_utf8_lossy(&line).into_owned();
            let (number, id) = text
                .split_once(' ')
                .ok_or_else(|| wire_error(text.clone()))?;
            Ok((number.parse().map_err(io::Error::other)?, id.to_owned()))
        };
        self.lines("UIDL")?.into_iter().map(parse).collect()
    }

    /// Ends the session; only now deletions are done, and `+OK` says that they are.
    pub fn quit(mut self) -> io::Result<String> {
        self.command("QUIT")
    }
}
