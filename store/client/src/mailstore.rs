//! [`Mailstore`]: calls about one account.

use bytes::Bytes;
use futures::FutureExt;
use mailrook_mailbox::{
    AccountCommand, Answer, Appended, Change, ChangeReply, Chunk, Confirmation, DeliveryOutcome,
    MaildropCommand, Query, Refusal, ShardCommand, ShardReply,
};
use mailrook_store_api::{
    Append, BODY_READ_MAX, Call, Delivery, Intent, Lane, MaildropLock, Mailstore, StoreError,
    Watch, copy_range,
};
use mailrook_types::{AccountId, BlobHash, OpId};

use crate::{Client, client::misfit, load::answer_bytes};

/// How often a command is tried whose body the shard does not have, or whose account it does not know. Each time the
/// cause was mended; after three times something else is wrong.
pub(crate) const MENDED_TRIES_MAX: usize = 3;

impl Client {
    /// Carries out a change on the account's shard.
    async fn change_now(
        &self,
        lane: &mut Lane,
        account: AccountId,
        change: Change,
    ) -> Result<Result<ChangeReply, Refusal>, StoreError> {
        let Some(intent) = Intent::of_change(account, &change) else {
            let op = lane.begin();
            return self.change_as(lane, op, account, change).await;
        };
        loop {
            let begun = lane.begin_for(intent);
            let outcome = self
                .change_as(lane, begun.op, account, change.clone())
                .await?;
            if !begun.is_worth_another(&outcome) {
                return Ok(outcome);
            }
        }
    }

    async fn change_as(
        &self,
        lane: &mut Lane,
        op: OpId,
        account: AccountId,
        change: Change,
    ) -> Result<Result<ChangeReply, Refusal>, StoreError> {
        let command = ShardCommand::Account(AccountCommand {
            account,
            op,
            change,
        });
        let (mut mended, mut patience) = (0, self.patience());
        while mended < MENDED_TRIES_MAX {
            let Some(shard) = self.shard_of(account).await? else {
                lane.answered(op);
                return Ok(Err(Refusal::NoSuchAccount));
            };
            match self.inner.calls.shard_command(shard, &command).await? {
                // The kept replies move along: it is the same operation there.
                ShardReply::Account(Err(Refusal::Elsewhere)) => {
                    self.look_elsewhere(account, &mut patience).await?;
                }
                ShardReply::Account(Err(Refusal::NoSuchAccount)) => {
                    mended += 1;
                    if !self.recover_account(account).await? {
                        lane.answered(op);
                        return Ok(Err(Refusal::NoSuchAccount));
                    }
                }
                ShardReply::Account(result) => {
                    lane.answered(op);
                    self.inner.loads.asked(account, shard, 0);
                    return Ok(result);
                }
                other => return Err(misfit(&other)),
            }
        }
        // Each try was refused, and no refusal of that kind is kept.
        lane.answered(op);
        Err(unknown_to_shard())
    }

    async fn append_now(
        &self,
        lane: &mut Lane,
        account: AccountId,
        append: Append,
    ) -> Result<Result<Appended, Refusal>, StoreError> {
        append.check()?;
        let intent = Intent::of_append(account, &append);
        let mut last = Refusal::NoSuchAccount;
        for _ in 0..MENDED_TRIES_MAX {
            let Some(shard) = self.shard_of(account).await? else {
                return Ok(Err(Refusal::NoSuchAccount));
            };
            let change = self.send_append(shard, &append).await?;
            let lens = append.messages.iter().map(|of| of.0.stored_len());
            self.inner.loads.moved(account, shard, lens.sum());
            let begun = lane.begin_for(intent);
            let outcome = self.change_as(lane, begun.op, account, change).await?;
            let may_try_again = begun.is_worth_another(&outcome);
            match outcome {
                Ok(ChangeReply::Appended(appended)) => return Ok(Ok(appended)),
                Ok(other) => return Err(misfit(&other)),
                Err(refusal) if may_try_again || refusal == Refusal::BodyMissing => last = refusal,
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        Err(StoreError::Unavailable(format!(
            "the shard did not take the messages: {last}"
        )))
    }

    async fn query_now(&self, account: AccountId, query: Query) -> Result<Answer, StoreError> {
        let (mut mended, mut patience) = (0, self.patience());
        while mended < MENDED_TRIES_MAX {
            let Some(shard) = self.shard_of(account).await? else {
                return Ok(Answer::NoSuchAccount);
            };
            match self.inner.calls.shard_query(shard, &query).await? {
                Answer::Elsewhere => self.look_elsewhere(account, &mut patience).await?,
                Answer::NoSuchAccount => {
                    mended += 1;
                    if !self.recover_account(account).await? {
                        return Ok(Answer::NoSuchAccount);
                    }
                }
                // What a plan of moves asks of every account is nobody's load.
                answer @ Answer::Quota(_) => return Ok(answer),
                answer => {
                    let bytes = answer_bytes(&answer);
                    self.inner.loads.asked(account, shard, bytes);
                    return Ok(answer);
                }
            }
        }
        Err(unknown_to_shard())
    }

    async fn body_now(
        &self,
        account: AccountId,
        hash: BlobHash,
        start: u32,
        end: u32,
    ) -> Result<Bytes, StoreError> {
        let end = end.min(start.saturating_add(BODY_READ_MAX));
        if start >= end {
            return Ok(Bytes::new());
        }
        let chunk_len = Chunk::RAW_LEN as u32;
        let first = start / chunk_len;
        let count = end.div_ceil(chunk_len) - first;
        let query = Query::Chunks { hash, first, count };
        let mut answer = self.query_now(account, query.clone()).await?;
        if answer == Answer::NoSuchBody {
            // Bodies are no account's: the shard does not say that the account has left.
            self.look_elsewhere(account, &mut self.patience()).await?;
            answer = self.query_now(account, query.clone()).await?;
        }
        if let (Answer::NoSuchBody, Some(before)) = (&answer, self.inner.placement.before(account))
        {
            // Of a message that was removed while it is read, before the account moved.
            answer = self.inner.calls.shard_query(before, &query).await?;
        }
        match answer {
            Answer::Chunks(chunks) => copy_range(chunks, first, start, end).map(Bytes::from),
            Answer::NoSuchBody | Answer::NoSuchAccount => Err(StoreError::Internal(format!(
                "the body {hash} is not there"
            ))),
            other => Err(misfit(&other)),
        }
    }
}

/// The directory has the account, and its shard goes on saying that it has not: nobody knows that it does not exist.
pub(crate) fn unknown_to_shard() -> StoreError {
    StoreError::Unavailable("the shard does not know an account that the directory has".to_owned())
}

impl Mailstore for Client {
    fn open_lane(&self) -> Call<'_, Lane> {
        self.new_lane().boxed()
    }

    fn change<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        change: Change,
    ) -> Call<'a, Result<ChangeReply, Refusal>> {
        self.change_now(lane, account, change).boxed()
    }

    fn append<'a>(
        &'a self,
        lane: &'a mut Lane,
        account: AccountId,
        append: Append,
    ) -> Call<'a, Result<Appended, Refusal>> {
        self.append_now(lane, account, append).boxed()
    }

    fn deliver<'a>(
        &'a self,
        lane: &'a mut Lane,
        delivery: Delivery,
    ) -> Call<'a, Vec<Result<DeliveryOutcome, StoreError>>> {
        self.deliver_now(lane, delivery).boxed()
    }

    fn confirm(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        self.confirm_now(confirmations).boxed()
    }

    fn settle(&self, confirmations: Vec<Confirmation>) -> Call<'_, ()> {
        self.settle_now(confirmations).boxed()
    }

    fn maildrop(&self, command: MaildropCommand) -> Call<'_, Result<MaildropLock, Refusal>> {
        self.maildrop_now(command).boxed()
    }

    fn query(&self, account: AccountId, query: Query) -> Call<'_, Answer> {
        self.query_now(account, query).boxed()
    }

    fn body(&self, account: AccountId, hash: BlobHash, start: u32, end: u32) -> Call<'_, Bytes> {
        self.body_now(account, hash, start, end).boxed()
    }

    fn watch(&self, account: AccountId) -> Call<'_, Watch> {
        self.watch_now(account).boxed()
    }
}
