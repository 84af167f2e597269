//! APPEND (RFC 9051 §6.3.12, RFC 3502, RFC 7889).

use std::sync::Arc;

use mailrook_imap_proto::{
    command::{AppendHead, AppendMessage, Tag},
    response::Code,
};
use mailrook_store_api::{Append, PreparedMessage, shard::MailboxRef};
use mailrook_types::{Flags, MailboxName, Timestamp};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, timeout},
};

use crate::{
    SessionContext,
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

/// A message's memory grows by half, at least by so much: what is read at a time.
const GROWTH_MIN: usize = 16 << 10;

/// All messages of one APPEND together (RFC 3502), in units of the limit for one.
pub(crate) const MESSAGES_FACTOR: u64 = 2;

/// How long to wait for memory while other sessions have it all.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);

/// Larger messages are prepared off the threads that serve sockets: 64 KiB takes about a millisecond.
const PREPARE_INLINE_MAX: usize = 64 << 10;

/// An APPEND under way.
pub(crate) struct Appending {
    tag: Tag,
    mailbox: String,
    memory: Arc<Semaphore>,
    messages: Vec<Incoming>,
    /// As announced, of all messages so far.
    announced: u64,
}

/// A message on its way in.
struct Incoming {
    raw: Vec<u8>,
    /// How many bytes there shall be.
    announced: usize,
    flags: Flags,
    internal_date: Option<Timestamp>,
    /// The room that `raw` takes in [`SessionContext::append_memory`], in KiB.
    permit: Option<OwnedSemaphorePermit>,
}

impl Appending {
    pub(crate) fn new(head: AppendHead, context: &SessionContext) -> Appending {
        Appending {
            tag: head.tag,
            mailbox: head.mailbox,
            memory: Arc::clone(&context.append_memory),
            messages: Vec::new(),
            announced: 0,
        }
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Takes bytes of the message accepted last. Waits for memory if there is none.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), Reply> {
        let Some(message) = self.messages.last_mut() else {
            return Ok(());
        };
        let (needed, capacity) = (message.raw.len() + bytes.len(), message.raw.capacity());
        if needed > capacity {
            // No client is believed to send what it announces, but what it sends is not copied over and over either.
            let grown = (capacity + (capacity / 2).max(GROWTH_MIN)).min(message.announced);
            Box::pin(grow(message, &self.memory, needed.max(grown))).await?;
        }
        message.raw.extend_from_slice(bytes);
        Ok(())
    }

    fn accept(&mut self, message: AppendMessage, limit: u32) -> Result<(), Reply> {
        if message.size == 0 {
            // RFC 3502 §6.3.11: an empty message cancels the command.
            return Err(Reply::no("APPEND cancelled by an empty message"));
        }
        let limit = u64::from(limit);
        self.announced = self.announced.saturating_add(message.size);
        if message.size > limit || self.announced > limit * MESSAGES_FACTOR {
            let text = format!("a message here may have at most {limit} bytes");
            return Err(Reply::no(text).code(Code::TooBig));
        }
        self.messages.push(Incoming {
            raw: Vec::new(),
            announced: usize::try_from(message.size).unwrap_or(usize::MAX),
            flags: message.flags,
            internal_date: message.internal_date,
            permit: None,
        });
        Ok(())
    }
}

async fn grow(
    message: &mut Incoming,
    memory: &Arc<Semaphore>,
    capacity: usize,
) -> Result<(), Reply> {
    let units = |bytes: usize| u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
    let have = message
        .permit
        .as_ref()
        .map_or(0, OwnedSemaphorePermit::num_permits);
    let more = units(capacity).saturating_sub(u32::try_from(have).unwrap_or(u32::MAX));
    let acquired = timeout(MEMORY_PATIENCE, Arc::clone(memory).acquire_many_owned(more)).await;
    let Ok(Ok(permit)) = acquired else {
        let reply = Reply::no("too many messages are on their way in, try again later");
        return Err(reply.code(Code::Unavailable));
    };
    match &mut message.permit {
        Some(held) => held.merge(permit),
        empty => *empty = Some(permit),
    }
    message.raw.reserve_exact(capacity - message.raw.len());
    Ok(())
}

/// The command's head, with its first message.
pub(crate) async fn begin(
    session: &mut Session,
    appending: &mut Appending,
    message: AppendMessage,
) -> Result<(), Failure> {
    let account = session.account()?.id;
    let name = MailboxName::parse(&appending.mailbox)?;
    // Who waits for our word is spared sending a message for nothing.
    if message.synchronising {
        let store = &*session.context.store;
        let found = store.status(account, MailboxRef::Name(name)).await?;
        if found.is_none() {
            return Err(no_such_mailbox().into());
        }
    }
    Ok(next(session, appending, message)?)
}

/// A message that follows another.
pub(crate) fn next(
    session: &mut Session,
    appending: &mut Appending,
    message: AppendMessage,
) -> Result<(), Reply> {
    let synchronising = message.synchronising;
    appending.accept(message, session.context.settings.append_limit)?;
    session.framer.accept_message();
    if synchronising {
        session.writer().continuation("go ahead");
    }
    Ok(())
}

/// All messages are there.
pub(crate) async fn end(session: &mut Session, appending: Appending) -> Outcome {
    let name = MailboxName::parse(&appending.mailbox)?;
    let now = Timestamp::now();
    let mut messages = Vec::with_capacity(appending.messages.len());
    // The room is kept until the store has answered.
    let mut permits = Vec::with_capacity(appending.messages.len());
    for incoming in appending.messages {
        permits.push(incoming.permit);
        let prepared = prepare(&session.context, incoming.raw).await?;
        let internal_date = incoming.internal_date.unwrap_or(now);
        messages.push((Arc::new(prepared), incoming.flags, internal_date));
    }
    let append = Append {
        mailbox: MailboxRef::Name(name),
        messages,
    };
    let store = Arc::clone(&session.context.store);
    let appended = match session.account()?.append(&*store, append).await {
        Err(Failure::Refused(reply)) if reply.code == Some(Code::NonExistent) => {
            return Err(no_such_mailbox().into());
        }
        other => other?,
    };
    let code = Code::AppendUid(appended.uid_validity, appended.uids);
    Ok(Reply::ok("APPEND completed").code(code))
}

async fn prepare(context: &SessionContext, raw: Vec<u8>) -> Result<PreparedMessage, Failure> {
    if raw.len() <= PREPARE_INLINE_MAX {
        return Ok(PreparedMessage::new(&raw)?);
    }
    match context
        .working
        .run(move || PreparedMessage::new(&raw))
        .await
    {
        Ok(prepared) => Ok(prepared?),
        Err(_) => {
            let reply = Reply::no("too many messages are on their way in, try again later");
            Err(reply.code(Code::Unavailable).into())
        }
    }
}

/// RFC 9051 §6.3.12
pub(crate) fn no_such_mailbox() -> Reply {
    Reply::no("there is no such mailbox").code(Code::TryCreate)
}
