//! From a received message to the replies for its recipients.
//!
//! The message is prepared once; each account gets it once, however many recipients lead there, with header fields
//! of its own. It is committed when the store answers, and only then is anything acknowledged. A transmission that comes
//! again because its acknowledgement was lost is recognised by its key, and adds nothing where it arrived before.
//!
//! SMTP has one reply for all recipients. If one cannot be served now the answer is 4yz, and the sender's next attempt
//! fills in what is missing.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use mailrook_smtp_proto::{EnhancedCode, MailCommand, Reply, ReplyCode, Service};
use mailrook_store_api::{
    Delivery, DeliveryRecipient, Lane, PreparedMessage, StoreError,
    meta::LoginAccount,
    shard::{Confirmation, DeliveryKey, DeliveryOutcome, Refusal},
};
use mailrook_types::{AccountId, BlobHash, Flags, ReversePath};

use crate::{
    body::Body,
    dsn::{self, Report},
    front::Shared,
    memory::Room,
    metrics::{add, count},
    policy,
    trace::Arrival,
    transaction::{Recipient, Transaction},
};

/// Smaller messages are prepared where they are: handing them over costs more (64 KiB take well under a millisecond).
const PREPARE_HERE_MAX: usize = 64 * 1024;

/// What is to be said, and what it acknowledges.
pub(crate) struct Verdict {
    /// For each recipient in order.
    pub(crate) replies: Vec<Reply>,
    /// The copies that the replies acknowledge.
    pub(crate) acknowledged: Vec<Confirmation>,
    /// The confirmations that went along have reached the store.
    pub(crate) confirmed: bool,
}

type Outcomes = Vec<Result<DeliveryOutcome, StoreError>>;

/// Which recipients of the store each RCPT leads to.
struct Plan {
    recipients: Vec<DeliveryRecipient>,
    of_rcpt: Vec<Vec<usize>>,
}

/// What a delivery belongs to.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a Shared,
    /// Who is logged in.
    pub(crate) user: Option<&'a LoginAccount>,
    pub(crate) arrival: Arrival<'a>,
}

/// Delivers a message. `lane` is the session's; it is given up when the store left something open in it. `confirmed`
/// goes along.
pub(crate) async fn deliver(
    context: &Context<'_>,
    lane: &mut Option<Lane>,
    transaction: Transaction,
    confirmed: Vec<Confirmation>,
) -> Verdict {
    let rcpts = transaction.recipients.len();
    try_deliver(context, lane, transaction, confirmed)
        .await
        .unwrap_or_else(|refusal| Verdict {
            replies: vec![refusal; rcpts],
            acknowledged: Vec::new(),
            confirmed: false,
        })
}

/// The same; an error refuses the message for all recipients.
async fn try_deliver(
    context: &Context<'_>,
    lane: &mut Option<Lane>,
    transaction: Transaction,
    confirmed: Vec<Confirmation>,
) -> Result<Verdict, Reply> {
    let Context {
        shared, arrival, ..
    } = context;
    let Transaction {
        mail,
        recipients: rcpts,
        body,
    } = transaction;
    let header = match &body {
        Some(body) if wants_report(&rcpts) => dsn::header(body.octets()),
        _ => Vec::new(),
    };
    let (message, memory) = receive(shared, body).await?;
    let key = delivery_key(&mail.reverse_path, message.hash());
    let plan = Plan::new(&rcpts, &mail.reverse_path, arrival);
    let accounts: Vec<AccountId> = plan
        .recipients
        .iter()
        .map(|recipient| recipient.account)
        .collect();
    let confirmed_any = !confirmed.is_empty();
    let recipients = plan.recipients;
    let delivery = Delivery {
        message,
        received: arrival.at,
        key: Some(key),
        recipients,
        confirmed,
    };
    let outcomes = send(shared, lane, delivery)
        .await
        .map_err(|error| reply_to_error(&error))?;
    if outcomes.len() != accounts.len() {
        let error = StoreError::Internal("answers are missing".to_owned());
        return Err(policy::store_unreachable(&error));
    }
    drop(memory);
    count_copies(shared, &outcomes);
    let replies = replies(&plan.of_rcpt, &outcomes, arrival);
    let mut acknowledged = acknowledged(&replies, &plan.of_rcpt, &accounts, &outcomes, key);
    let reported = dsn::reported(&rcpts, &replies);
    if !reported.is_empty() {
        // What was delivered is recognised when the message comes again, and the report is made up for.
        let report = send_report(context, lane, &mail, &reported, &header, key).await;
        acknowledged.extend(report.map_err(|error| reply_to_error(&error))?);
    }
    // One unreachable shard may be the one that the confirmations were for.
    let confirmed = confirmed_any && outcomes.iter().all(Result::is_ok);
    Ok(Verdict {
        replies,
        acknowledged,
        confirmed,
    })
}

/// The replies for each RCPT; for SMTP all are the one that is said.
fn replies(of_rcpt: &[Vec<usize>], outcomes: &Outcomes, arrival: &Arrival<'_>) -> Vec<Reply> {
    let reply = |targets: &Vec<usize>| reply_for(targets, outcomes, arrival.id);
    let mut replies: Vec<Reply> = of_rcpt.iter().map(reply).collect();
    if arrival.service != Service::Lmtp {
        let said = worst(&replies).unwrap_or_else(|| stored(arrival.id));
        replies.fill(said);
    }
    replies
}

/// Takes the text out of the transaction, judges and prepares it.
async fn receive(
    shared: &Shared,
    body: Option<Body>,
) -> Result<(Arc<PreparedMessage>, Option<Room>), Reply> {
    let body = body.ok_or_else(|| {
        policy::store_unreachable(&StoreError::Internal(
            "a message ended that had not begun".to_owned(),
        ))
    })?;
    if body.overflowed() {
        let text = "too much mail is under way here, try again later";
        return Err(Reply::new(
            ReplyCode::InsufficientStorage452,
            EnhancedCode::SYSTEM_FULL,
            text,
        ));
    }
    policy::check_loop(body.octets(), &shared.settings.hostname)?;
    let (octets, memory) = body.into_parts();
    add(&shared.metrics.octets_received, octets.len() as u64);
    let prepared = if octets.len() <= PREPARE_HERE_MAX {
        PreparedMessage::new(&octets)
    } else {
        let work = move || PreparedMessage::new(&octets);
        match shared.services.preparing.run(work).await {
            Ok(prepared) => prepared,
            Err(overloaded) => Err(StoreError::Unavailable(overloaded.to_string())),
        }
    };
    prepared
        .map(|message| (Arc::new(message), memory))
        .map_err(|error| reply_to_error(&error))
}

impl Plan {
    fn new(rcpts: &[Recipient], reverse_path: &ReversePath, arrival: &Arrival<'_>) -> Plan {
        let mut plan = Plan {
            recipients: Vec::new(),
            of_rcpt: Vec::with_capacity(rcpts.len()),
        };
        let mut known: HashMap<AccountId, usize> = HashMap::new();
        for rcpt in rcpts {
            let prefix = Bytes::from(arrival.fields(reverse_path, &rcpt.found.address));
            let mut targets = Vec::with_capacity(rcpt.found.targets.len());
            for target in &rcpt.found.targets {
                targets.push(*known.entry(target.account).or_insert_with(|| {
                    plan.recipients.push(DeliveryRecipient {
                        account: target.account,
                        mailbox: target.mailbox.clone(),
                        prefix: prefix.clone(),
                        flags: Flags::default(),
                    });
                    plan.recipients.len() - 1
                }));
            }
            plan.of_rcpt.push(targets);
        }
        plan
    }
}

/// The transmission's identity: who it is from, and what was received before our own header fields.
fn delivery_key(reverse_path: &ReversePath, hash: BlobHash) -> DeliveryKey {
    let mut hasher = blake3::Hasher::new_derive_key("mailrook delivery key 1");
    hasher.update(&hash.0);
    hasher.update(reverse_path.to_string().as_bytes());
    DeliveryKey(*hasher.finalize().as_bytes())
}

async fn send(
    shared: &Shared,
    lane: &mut Option<Lane>,
    delivery: Delivery,
) -> Result<Outcomes, StoreError> {
    let mailstore = &*shared.services.mailstore;
    let mut session_lane = match lane.take() {
        Some(lane) => lane,
        None => mailstore.open_lane().await?,
    };
    let outcomes = mailstore.deliver(&mut session_lane, delivery).await?;
    // An operation without an answer stays open in its lane for ever: the next message gets a fresh one.
    if outcomes.iter().all(Result::is_ok) {
        *lane = Some(session_lane);
    }
    Ok(outcomes)
}

fn wants_report(rcpts: &[Recipient]) -> bool {
    rcpts
        .iter()
        .any(|rcpt| rcpt.notify.is_some_and(|notify| notify.success))
}

/// Puts a report into the sender's INBOX, once for each transmission. A full mailbox gets none.
async fn send_report(
    context: &Context<'_>,
    lane: &mut Option<Lane>,
    mail: &MailCommand,
    reported: &[&Recipient],
    header: &[u8],
    of: DeliveryKey,
) -> Result<Option<Confirmation>, StoreError> {
    let Context {
        shared,
        user,
        arrival,
    } = context;
    // RFC 3461 §4: no report is sent to <>.
    let (Some(user), ReversePath::Address(to)) = (user, &mail.reverse_path) else {
        return Ok(None);
    };
    let account = user.record.id;
    let report = Report {
        hostname: arrival.hostname,
        to,
        id: arrival.id,
        envid: mail.envid.as_deref(),
        at: arrival.at,
        header,
    };
    let key = DeliveryKey(blake3::derive_key("mailrook success report 1", &of.0));
    let message = Arc::new(PreparedMessage::new(&report.write(reported))?);
    let prefix = Bytes::from_static(b"Return-Path: <>\r\n");
    let recipient = DeliveryRecipient {
        account,
        mailbox: None,
        prefix,
        flags: Flags::default(),
    };
    let delivery = Delivery {
        message,
        received: report.at,
        key: Some(key),
        recipients: vec![recipient],
        confirmed: Vec::new(),
    };
    match send(shared, lane, delivery).await?.pop() {
        Some(Ok(DeliveryOutcome::Delivered(place) | DeliveryOutcome::Duplicate(place))) => {
            Ok(Some(Confirmation {
                account,
                mailbox: place.mailbox,
                uid: place.uid,
                key,
            }))
        }
        Some(Ok(DeliveryOutcome::Refused(refusal))) => {
            tracing::info!(%refusal, "a report was not delivered");
            Ok(None)
        }
        Some(Err(error)) => Err(error),
        None => Err(StoreError::Internal("an answer is missing".to_owned())),
    }
}

fn count_copies(shared: &Shared, outcomes: &Outcomes) {
    for outcome in outcomes {
        match outcome {
            Ok(DeliveryOutcome::Delivered(_)) => count(&shared.metrics.copies_delivered),
            Ok(DeliveryOutcome::Duplicate(_)) => count(&shared.metrics.copies_suppressed),
            Ok(DeliveryOutcome::Refused(_)) | Err(_) => {}
        }
    }
}

fn reply_for(targets: &[usize], outcomes: &Outcomes, id: &str) -> Reply {
    let replies: Vec<Reply> = targets
        .iter()
        .filter_map(|index| match outcomes.get(*index) {
            Some(Ok(DeliveryOutcome::Delivered(_) | DeliveryOutcome::Duplicate(_))) => None,
            Some(Ok(DeliveryOutcome::Refused(refusal))) => Some(reply_to_refusal(refusal)),
            Some(Err(error)) => Some(reply_to_error(error)),
            None => Some(policy::store_unreachable(&StoreError::Internal(
                "an answer is missing".to_owned(),
            ))),
        })
        .collect();
    worst(&replies).unwrap_or_else(|| stored(id))
}

/// The failure that speaks for all: a temporary one if there is any, as the next attempt may then serve the rest.
fn worst(replies: &[Reply]) -> Option<Reply> {
    let failures = || replies.iter().filter(|reply| reply.code.is_failure());
    failures()
        .find(|reply| reply.code.is_temporary())
        .or_else(|| failures().next())
        .cloned()
}

fn stored(id: &str) -> Reply {
    Reply::new(
        ReplyCode::Ok250,
        EnhancedCode::OTHER,
        format!("stored as {id}"),
    )
}

fn reply_to_refusal(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::OverQuota => policy::quota::full(),
        Refusal::Limit(what) => {
            tracing::warn!(what, "a mailbox is at a limit of the store");
            policy::quota::full()
        }
        // The account moves, or is being made or removed: the next attempt will see it (P6).
        other => policy::store_unreachable(&StoreError::Internal(other.to_string())),
    }
}

fn reply_to_error(error: &StoreError) -> Reply {
    match error {
        StoreError::Full(_) => {
            tracing::warn!(%error, "the store is full");
            let text = "the mail store has no room now, try again later";
            Reply::new(
                ReplyCode::InsufficientStorage452,
                EnhancedCode::SYSTEM_FULL,
                text,
            )
        }
        StoreError::Unacceptable(_) => {
            let text = "the mail store cannot take this message";
            Reply::new(ReplyCode::TransactionFailed554, EnhancedCode::SYSTEM, text)
        }
        StoreError::Unavailable(_) | StoreError::Internal(_) => policy::store_unreachable(error),
    }
}

/// The copies behind the positive replies.
fn acknowledged(
    replies: &[Reply],
    of_rcpt: &[Vec<usize>],
    accounts: &[AccountId],
    outcomes: &Outcomes,
    key: DeliveryKey,
) -> Vec<Confirmation> {
    // A copy that also stands behind a negative reply will be asked for again.
    let behind = |failed: bool| -> HashSet<usize> {
        let those = replies
            .iter()
            .zip(of_rcpt)
            .filter(|(reply, _)| reply.code.is_failure() == failed);
        those
            .flat_map(|(_, targets)| targets.iter().copied())
            .collect()
    };
    let mut indexes: Vec<usize> = behind(false).difference(&behind(true)).copied().collect();
    indexes.sort_unstable();
    let confirmation = |index: usize| match outcomes.get(index) {
        Some(Ok(DeliveryOutcome::Delivered(place) | DeliveryOutcome::Duplicate(place))) => {
            Some(Confirmation {
                account: accounts[index],
                mailbox: place.mailbox,
                uid: place.uid,
                key,
            })
        }
        _ => None,
    };
    indexes.into_iter().filter_map(confirmation).collect()
}
