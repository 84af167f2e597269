//! How a session learns that it is to end: the process is about to stop, or an admin ends this one.

use std::{fmt, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::time::sleep_until;

use super::record::Record;
use crate::Shutdown;

/// A session that is ended says goodbye once its command under way is answered. If it has not within this time, because its
/// client takes nothing of what it is sent, say, it is dropped where it stands. Who reads at all takes a goodbye at once.
pub const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// What a client is told that is ended: a line of text in each of the protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Arc<str>);

/// Why a text cannot be told to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a reason has 1 to {max} printable ASCII characters, and does not begin with a bracket",
    max = Reason::CHARACTERS_MAX
)]
pub struct ReasonError;

impl Reason {
    /// Well within a line of SMTP, 512 with all that stands around it (RFC 5321 §4.5.3.1.5), the shortest of the three protocols.
    pub const CHARACTERS_MAX: usize = 200;

    /// Checks a text. A bracket in front would be taken for a response code (RFC 9051 §9, `resp-text`; RFC 2449 §8).
    ///
    /// # Errors
    /// It is empty, too long, begins with a bracket, or has something else than printable ASCII in it.
    pub fn parse(text: &str) -> Result<Reason, ReasonError> {
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let fits = (1..=Reason::CHARACTERS_MAX).contains(&text.len());
        match printable && fits && !text.starts_with('[') {
            true => Ok(Reason(text.into())),
            false => Err(ReasonError),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Reason {
    fn default() -> Reason {
        Reason("ended by an administrator".into())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a session is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The process is about to stop.
    Stopping,
    /// An admin ends it.
    Ended(Reason),
}

/// Tells a session that it is to end.
#[derive(Clone)]
pub struct Leave {
    shutdown: Shutdown,
    record: Arc<Record>,
}

impl Leave {
    pub(super) fn new(shutdown: Shutdown, record: Arc<Record>) -> Leave {
        Leave { shutdown, record }
    }

    /// Why, if it was asked for.
    pub fn asked(&self) -> Option<Farewell> {
        match self.record.ended() {
            Some(end) => Some(Farewell::Ended(end.reason.clone())),
            None => (self.shutdown.is_requested()).then_some(Farewell::Stopping),
        }
    }

    /// Waits until it is asked for. Cancel-safe.
    pub async fn requested(&mut self) -> Farewell {
        tokio::select! {
            biased;
            end = self.record.wait_for_end() => Farewell::Ended(end.reason.clone()),
            () = self.shutdown.requested() => Farewell::Stopping,
        }
    }

    /// Waits until an admin has ended the session and [`LEAVE_WITHIN`] has passed.
    pub async fn overdue(self) {
        let asked = self.record.wait_for_end().await.at;
        // On the heap: hardly any session is ever ended so.
        Box::pin(sleep_until(asked + LEAVE_WITHIN)).await;
    }
}

impl fmt::Debug for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leave({:?})", self.asked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line_in_every_protocol() {
        for good in ["a", "moved to another machine", &"x".repeat(200)] {
            assert_eq!(Reason::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a\r\n* OK",
            "tab\t",
            "[ALERT] x",
            "grün",
            &"x".repeat(201),
        ] {
            assert_eq!(Reason::parse(bad), Err(ReasonError), "{bad:?}");
        }
        assert!(Reason::parse(Reason::default().as_str()).is_ok());
    }
}
