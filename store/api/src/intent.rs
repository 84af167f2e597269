//! What a change is for, so that one whose answer was lost is known when it is asked for again. A lane may serve several
//! accounts.

use mailrook_kv::encode;
use mailrook_mailbox::{Change, MailboxRef};
use mailrook_types::AccountId;
use serde::Serialize;

use crate::Append;

/// The digest of a change, without what differs from one try to the next: the ids of uploads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    digest: [u8; 32],
    of_names: bool,
}

impl Intent {
    /// Of a change that does something else, or answers something else, when it is made twice. None of those that may as
    /// well be made again: flags are as they are, what is removed is gone.
    pub fn of_change(account: AccountId, change: &Change) -> Option<Intent> {
        match change {
            Change::CreateMailbox(_) | Change::DeleteMailbox(_) | Change::RenameMailbox { .. } => {
                Some(Intent::of(&("names", account, change), true))
            }
            Change::Copy { .. } => Some(Intent::of(&("copy", account, change), false)),
            // Of messages that were made ready it is by `of_append`.
            Change::Append(_) | Change::AppendUploaded { .. } => None,
            // Somebody else's change may have come between: then it is not the same any more.
            Change::Account(_)
            | Change::Subscribe { .. }
            | Change::StoreFlags { .. }
            | Change::Expunge { .. }
            | Change::Remove { .. }
            | Change::CloseMaildrop { .. } => None,
        }
    }

    /// Of an append: the mailbox, the messages' bytes, flags and dates.
    pub fn of_append(account: AccountId, append: &Append) -> Intent {
        let messages = append.messages.iter();
        let messages: Vec<_> = messages
            .map(|(message, flags, date)| (message.hash(), flags, date))
            .collect();
        let mailbox: &MailboxRef = &append.mailbox;
        Intent::of(&("append", account, mailbox, messages), false)
    }

    /// Whether it makes, removes or renames mailboxes.
    pub(crate) fn is_of_names(&self) -> bool {
        self.of_names
    }

    fn of(what: &impl Serialize, of_names: bool) -> Intent {
        let digest = *blake3::hash(&encode(what)).as_bytes();
        Intent { digest, of_names }
    }
}
