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

/// 1,000 messages in one APPEND (RFC 3502): what of them is in memory is not acknowledged, and an import of more can go on
/// with another.
const MESSAGES_MAX: usize = 1_000;

/// How long to wait for memory while other sessions have it all.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);

/// Larger messages are prepared off the threads that serve sockets: 64 KiB takes about a millisecond.
const PREPARE_INLINE_MAX: usize = 64 << 10;

/// An APPEND under way.
pub(crate) struct Appending {
    tag: Tag,
    mailbox: String,
    memory: Arc<Semaphore>,
    /// Those that came whole.
    ready: Vec<Ready>,
    /// The one on its way.
    incoming: Option<Incoming>,
    /// As announced, of all messages so far.
    announced: u64,
    /// What `ready` carries, which has a bound of its own.
    carried: usize,
}

/// A message that came whole.
struct Ready {
    message: Arc<PreparedMessage>,
    flags: Flags,
    internal_date: Option<Timestamp>,
    /// As in [`Incoming`], until the store has answered.
    _permit: Option<OwnedSemaphorePermit>,
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
            ready: Vec::new(),
            incoming: None,
            announced: 0,
            carried: 0,
        }
    }

    pub(crate) fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Takes bytes of the message accepted last. Waits for memory if there is none.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), Reply> {
        let Some(message) = &mut self.incoming else {
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
        // RFC 3502 has no word for it; before the message is sent, so that nothing is sent for nothing.
        if self.ready.len() >= MESSAGES_MAX
            || self.carried + Append::CARRIED_EACH_MAX > Append::CARRIED_MAX
        {
            let count = self.ready.len();
            let text = format!("more than {count} such messages at once; append them in parts");
            return Err(Reply::no(text).code(Code::Limit));
        }
        self.incoming = Some(Incoming {
            raw: Vec::new(),
            announced: usize::try_from(message.size).unwrap_or(usize::MAX),
            flags: message.flags,
            internal_date: message.internal_date,
            permit: None,
        });
        Ok(())
    }

    /// The message on its way has come whole.
    async fn complete(&mut self, context: &SessionContext) -> Result<(), Failure> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(());
        };
        let message = Arc::new(prepare(context, incoming.raw).await?);
        self.carried += Append::carried_len(&message, &incoming.flags);
        self.ready.push(Ready {
            message,
            flags: incoming.flags,
            internal_date: incoming.internal_date,
            _permit: incoming.permit,
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
    Ok(accept(session, appending, message)?)
}

/// A message that follows another.
pub(crate) async fn next(
    session: &mut Session,
    appending: &mut Appending,
    message: AppendMessage,
) -> Result<(), Failure> {
    appending.complete(&session.context).await?;
    Ok(accept(session, appending, message)?)
}

fn accept(
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
pub(crate) async fn end(session: &mut Session, mut appending: Appending) -> Outcome {
    let name = MailboxName::parse(&appending.mailbox)?;
    appending.complete(&session.context).await?;
    let now = session.account()?.arrival_date();
    let of_store = |ready: &Ready| {
        let internal_date = ready.internal_date.unwrap_or(now);
        (
            Arc::clone(&ready.message),
            ready.flags.clone(),
            internal_date,
        )
    };
    let append = Append {
        mailbox: MailboxRef::Name(name),
        messages: appending.ready.iter().map(of_store).collect(),
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
