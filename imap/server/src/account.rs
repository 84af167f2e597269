//! The account of a session, and its changes in a lane of their own.

use mailrook_store_api::{
    Append, Lane, Mailstore,
    shard::{Appended, Change, ChangeReply},
};
use mailrook_types::{AccountId, Timestamp};
use tokio::time::Instant;

use crate::outcome::Failure;

/// The account that a session has logged in to.
pub(crate) struct Account {
    pub(crate) id: AccountId,
    /// Opened with the first change: most sessions make none.
    lane: Option<Lane>,
    /// Whether this session has changed something since it last looked.
    changed: bool,
    /// When messages came, of which it is not known whether they were appended: asked for again, it is the same.
    date_in_doubt: Option<(Instant, Timestamp)>,
}

impl Account {
    pub(crate) fn new(id: AccountId) -> Account {
        Account {
            id,
            lane: None,
            changed: false,
            date_in_doubt: None,
        }
    }

    /// The date of messages that come without one.
    pub(crate) fn arrival_date(&mut self) -> Timestamp {
        let is_fresh = |(since, _): &(Instant, Timestamp)| since.elapsed() < Lane::IN_DOUBT_MAX;
        let known = self.date_in_doubt.filter(is_fresh);
        let (since, date) = known.unwrap_or_else(|| (Instant::now(), Timestamp::now()));
        self.date_in_doubt = Some((since, date));
        date
    }

    /// Carries out a change, once.
    pub(crate) async fn change(
        &mut self,
        store: &dyn Mailstore,
        change: Change,
    ) -> Result<ChangeReply, Failure> {
        self.changed = true;
        let lane = Account::lane(&mut self.lane, store).await?;
        Ok(store.change(lane, self.id, change).await??)
    }

    /// Appends messages.
    pub(crate) async fn append(
        &mut self,
        store: &dyn Mailstore,
        append: Append,
    ) -> Result<Appended, Failure> {
        self.changed = true;
        let lane = Account::lane(&mut self.lane, store).await?;
        let appended = store.append(lane, self.id, append).await;
        if appended.is_ok() {
            self.date_in_doubt = None;
        }
        Ok(appended??)
    }

    /// Whether a change was made since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    async fn lane<'l>(
        lane: &'l mut Option<Lane>,
        store: &dyn Mailstore,
    ) -> Result<&'l mut Lane, Failure> {
        match lane {
            Some(lane) => Ok(lane),
            empty => Ok(empty.insert(store.open_lane().await?)),
        }
    }
}
