//! What the clients asked for and what they were told, in the order in which it happened. It shares nothing with the store.

use mailrook_types::AccountId;

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody knows.
    Open,
    /// It was acknowledged, with this UID.
    Acknowledged(u32),
}

/// A message that a client appended. It is known by its number, which is its date.
#[derive(Clone, Copy, Debug)]
pub struct Append {
    pub account: AccountId,
    pub begun: u64,
    pub ended: Option<u64>,
    pub outcome: Outcome,
}

/// What a client saw in a mailbox.
#[derive(Clone, Debug)]
pub struct Seen {
    pub account: AccountId,
    pub begun: u64,
    pub ended: u64,
    /// UIDs and numbers, ascending.
    pub messages: Vec<(u32, usize)>,
}

/// See the module.
#[derive(Default)]
pub struct Ledger {
    pub appends: Vec<Append>,
    pub reads: Vec<Seen>,
    moment: u64,
}

impl Ledger {
    /// A moment after all before it.
    pub fn moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    /// A client begins to append; says the message's number.
    pub fn begin(&mut self, account: AccountId) -> usize {
        let begun = self.moment();
        self.appends.push(Append {
            account,
            begun,
            ended: None,
            outcome: Outcome::Open,
        });
        self.appends.len() - 1
    }

    /// It was acknowledged.
    pub fn acknowledged(&mut self, number: usize, uid: u32) {
        let moment = self.moment();
        if let Some(append) = self.appends.get_mut(number) {
            append.ended = Some(moment);
            append.outcome = Outcome::Acknowledged(uid);
        }
    }

    /// A read is over that had begun at `begun`.
    pub fn saw(&mut self, account: AccountId, begun: u64, messages: Vec<(u32, usize)>) {
        let ended = self.moment();
        self.reads.push(Seen {
            account,
            begun,
            ended,
            messages,
        });
    }

    /// How many appends were acknowledged.
    pub fn acknowledged_count(&self) -> usize {
        let acknowledged = |append: &&Append| append.ended.is_some();
        self.appends.iter().filter(acknowledged).count()
    }
}
