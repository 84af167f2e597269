//! A POP3 client's errand: in, what is there, some of it, and out.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{sleep, timeout},
};

use crate::{
    front::{AGAIN_AFTER, Front, PASSWORD, USER},
    session::Exchange,
};

const PATIENCE: Duration = Duration::from_secs(600);
const TRIES_MAX: usize = 40;

/// Goes there until everything went well: a client that was told to come back later asks by the messages' unique ids.
pub async fn errand(front: &Front, take: &[usize], remove: &[usize]) -> Result<Exchange, String> {
    let mut wanted = None;
    for attempt in 0..TRIES_MAX {
        let mut visit = Visit {
            stream: front.connect(true),
            read: Vec::new(),
            lines: Vec::new(),
        };
        match visit.run(take, remove, &mut wanted).await {
            Ok(()) => {
                let again = attempt > 0;
                let lines = visit.lines;
                return Ok(Exchange { lines, again });
            }
            Err(Failed::Later) => sleep(AGAIN_AFTER).await,
            Err(Failed::Wrong(what)) => return Err(what),
        }
    }
    Err("a POP3 client is put off for ever".to_owned())
}

enum Failed {
    Later,
    Wrong(String),
}

struct Visit {
    stream: DuplexStream,
    read: Vec<u8>,
    lines: Vec<Vec<u8>>,
}

impl Visit {
    async fn run(
        &mut self,
        take: &[usize],
        remove: &[usize],
        wanted: &mut Option<Vec<Vec<u8>>>,
    ) -> Result<(), Failed> {
        self.line().await?;
        self.ask(&format!("USER {USER}"), false).await?;
        self.ask(&format!("PASS {PASSWORD}"), false).await?;
        self.ask("STAT", false).await?;
        self.ask("LIST", true).await?;
        let listed = self.ask("UIDL", true).await?;
        let id = |line: &Vec<u8>| {
            let space = line.iter().position(|byte| *byte == b' ');
            space.map_or(Vec::new(), |space| line[space + 1..].to_vec())
        };
        let ids: Vec<Vec<u8>> = listed.iter().map(id).collect();
        // Places in the list of the first time.
        let removed = wanted.get_or_insert_with(|| {
            let places = remove.iter().filter_map(|place| ids.get(*place));
            places.cloned().collect()
        });
        for place in take.iter().filter(|place| **place < ids.len()) {
            self.ask(&format!("RETR {}", place + 1), true).await?;
            self.ask(&format!("TOP {} 1", place + 1), true).await?;
        }
        for id in removed.iter() {
            if let Some(place) = ids.iter().position(|known| known == id) {
                self.ask(&format!("DELE {}", place + 1), false).await?;
            }
        }
        self.ask("QUIT", false).await?;
        Ok(())
    }

    /// The lines of an answer after its first.
    async fn ask(&mut self, command: &str, has_more: bool) -> Result<Vec<Vec<u8>>, Failed> {
        let _ = self
            .stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await;
        let first = self.line().await?;
        let text = String::from_utf8_lossy(&first).into_owned();
        self.lines.push(first);
        if !text.starts_with("+OK") {
            let is_passing =
                text.starts_with("-ERR [SYS/TEMP]") || text.starts_with("-ERR [IN-USE]");
            return Err(match is_passing {
                true => Failed::Later,
                false => Failed::Wrong(format!("{command}: {text}")),
            });
        }
        match has_more {
            true => self.up_to_dot().await,
            false => Ok(Vec::new()),
        }
    }

    async fn up_to_dot(&mut self) -> Result<Vec<Vec<u8>>, Failed> {
        let mut more = Vec::new();
        loop {
            let line = self.line().await?;
            self.lines.push(line.clone());
            if line == b"." {
                return Ok(more);
            }
            more.push(line);
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Failed> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.read.drain(..end + 2).collect();
                return Ok(line[..end].to_vec());
            }
            match timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await {
                Ok(Ok(1..)) => {}
                other => return Err(Failed::Wrong(format!("POP3: {other:?}"))),
            }
        }
    }
}
