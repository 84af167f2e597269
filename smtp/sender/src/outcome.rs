//! What came of trying to send.

use std::fmt;

/// What a recipient's try ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The remote has taken the message over.
    Delivered {
        /// What it said.
        told: Told,
        /// Whether it promised to report as the sender asked (RFC 3461 §5.2.1), so that we do not.
        reports: bool,
        /// Whether this is the final mailbox, not a relay on the way (RFC 3464 §2.3.3).
        is_final: bool,
    },
    /// It never will: 5yz, or something that no retry mends.
    Refused(Told),
    /// It did not now: 4yz, no connection, no answer. Of those the answer to whose final dot was lost the remote may have the message all
    /// the same.
    Deferred(Told),
    /// Nothing was sent, and not for want of the remote: the claim was lost, or the runner stops.
    NotTried,
}

/// What is told of a try: to the sender in a report, to the operator in the queue's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The status by RFC 3463: `4.4.1` and the like.
    pub status: String,
    /// What a remote replied, as it was, `550 5.1.1 no such user`; `None` where there was no reply.
    pub reply: Option<String>,
    /// Who replied: its host name.
    pub remote: Option<String>,
    /// Our own words, where there was no reply.
    pub reason: Option<String>,
}

impl Told {
    /// By us, not by a remote.
    pub fn here(status: &str, reason: impl Into<String>) -> Told {
        Told {
            status: status.to_owned(),
            reply: None,
            remote: None,
            reason: Some(reason.into()),
        }
    }

    /// By a remote.
    pub fn by(remote: &str, status: &str, reply: impl Into<String>) -> Told {
        Told {
            status: status.to_owned(),
            reply: Some(reply.into()),
            remote: Some(remote.to_owned()),
            reason: None,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.remote, &self.reply, &self.reason) {
            (Some(remote), Some(reply), _) => write!(f, "{remote} said: {reply}"),
            (None, Some(reply), _) => f.write_str(reply),
            (_, None, Some(reason)) => write!(f, "{} ({})", reason, self.status),
            (_, None, None) => f.write_str(&self.status),
        }
    }
}

/// A try of a whole job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// For each recipient that was to be served, in the errand's order.
    pub outcomes: Vec<Outcome>,
}

impl Attempt {
    /// The same for all.
    pub fn all(recipients: usize, outcome: &Outcome) -> Attempt {
        Attempt {
            outcomes: vec![outcome.clone(); recipients],
        }
    }
}
