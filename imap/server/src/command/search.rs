//! SEARCH and UID SEARCH (RFC 9051 §6.4.4, RFC 3501 §6.4.4, RFC 4731, RFC 5032, RFC 5182, RFC 7162 §3.1.5,
//! RFC 8474).
//!
//! What the client asks for becomes a `program`, whose tests are ordered by cost. `scan` walks the mailbox page by
//! page and asks the cheapest first: the index, then search signatures, then details, then the text itself. `verify`
//! reads what of a message's bytes is still needed, `envelope` spares that for addresses and subjects.

mod envelope;
mod program;
mod scan;
mod verify;

use std::{io::Write as _, sync::Arc};

use mailrook_imap_proto::{
    command::{Search, SearchReturn, Tag},
    response::Esearch,
};
use mailrook_types::{ModSeq, Timestamp, UidSet};

pub(crate) use self::verify::SEARCH_MEMORY_KIB;
use self::{
    program::Program,
    scan::{Found, Scan, Wanted},
};
use crate::{
    connection::FLUSH_LEN,
    outcome::{Failure, Outcome, Reply},
    session::{Selected, Session},
};

pub(crate) async fn run(session: &mut Session, tag: &Tag, search: &Search) -> Outcome {
    let account = session.account()?.id;
    let selected = session.selected()?;
    let (candidates, program) = Program::new(&search.key, selected, Timestamp::now())?;
    let wants_mod_seq = search.key.uses_mod_seq();
    if wants_mod_seq {
        session.enable_condstore();
    }
    let scan = Scan {
        context: Arc::clone(&session.context),
        leave: session.client.leave.clone(),
        account,
        mailbox: session.selected()?.id,
        program: Arc::new(program),
        wants_mod_seq,
        wanted: wanted(search.returns),
    };
    let found = scan.run(&session.selected()?.view, candidates).await;
    let save = search.returns.is_some_and(|returns| returns.save);
    if save {
        // RFC 5182 §2.1: a search that fails leaves nothing saved.
        session.selected()?.saved = match &found {
            Ok(found) => to_save(found, search.returns),
            Err(_) => UidSet::new(),
        };
    }
    let found = found?;
    respond(session, tag, search, found).await?;
    Ok(Reply::ok("SEARCH completed"))
}

/// MIN or MAX alone spare the rest of the search.
fn wanted(returns: Option<SearchReturn>) -> Wanted {
    match returns {
        Some(returns) if returns.all || returns.count || returns.min == returns.max => Wanted::All,
        Some(returns) if returns.min => Wanted::First,
        Some(_) => Wanted::Last,
        None => Wanted::All,
    }
}

async fn respond(
    session: &mut Session,
    tag: &Tag,
    search: &Search,
    found: Found,
) -> Result<(), Failure> {
    let extended = session.enabled.imap4rev2;
    let numbers = numbers(session.selected()?, &found.uids, search.by_uid);
    let returns = match search.returns {
        None if !extended => {
            let mod_seq = found.mod_seqs.map(|mod_seqs| mod_seqs.highest);
            return plain(session, &numbers, mod_seq).await;
        }
        // RFC 9051 §6.4.4: without options it is RETURN (ALL).
        None => SearchReturn {
            all: true,
            ..SearchReturn::default()
        },
        Some(returns) => returns,
    };
    if !(returns.min || returns.max || returns.all || returns.count) {
        // RFC 9051 §6.4.4: SAVE alone tells nothing.
        return Ok(());
    }
    let result = Esearch {
        by_uid: search.by_uid,
        min: numbers
            .first()
            .filter(|_| returns.min)
            .map(mailrook_types::Uid::get),
        max: numbers
            .last()
            .filter(|_| returns.max)
            .map(mailrook_types::Uid::get),
        count: returns
            .count
            .then(|| u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
        mod_seq: mod_seq(&found, returns),
        all: returns.all.then_some(numbers),
    };
    session.writer().esearch(tag, &result);
    session.wire.relieve().await?;
    Ok(())
}

/// As UIDs, or as sequence numbers, which serve as a [`UidSet`] too.
fn numbers(selected: &Selected, uids: &UidSet, by_uid: bool) -> UidSet {
    match by_uid {
        true => uids.clone(),
        false => selected.view.sequences(uids),
    }
}

/// RFC 4731 §3.2: the highest MODSEQ of the messages that are told of.
fn mod_seq(found: &Found, returns: SearchReturn) -> Option<ModSeq> {
    let mod_seqs = found.mod_seqs?;
    Some(match returns {
        _ if returns.all || returns.count => mod_seqs.highest,
        _ if returns.min && returns.max => mod_seqs.first.max(mod_seqs.last),
        _ if returns.min => mod_seqs.first,
        _ => mod_seqs.last,
    })
}

/// RFC 9051 §6.4.4.1: with MIN or MAX alone, only what they tell of is saved.
fn to_save(found: &Found, returns: Option<SearchReturn>) -> UidSet {
    let uids = &found.uids;
    match returns {
        Some(returns) if (returns.min || returns.max) && !returns.all && !returns.count => {
            let min = uids.first().filter(|_| returns.min);
            let max = uids.last().filter(|_| returns.max);
            min.into_iter().chain(max).collect()
        }
        _ => uids.clone(),
    }
}

/// `* SEARCH`, sent in pieces: a million numbers are seven megabytes.
async fn plain(
    session: &mut Session,
    numbers: &UidSet,
    mod_seq: Option<ModSeq>,
) -> Result<(), Failure> {
    session.wire.output().extend_from_slice(b"* SEARCH");
    for number in numbers.iter() {
        let output = session.wire.output();
        write!(output, " {number}")?;
        if output.len() >= FLUSH_LEN {
            session.wire.relieve().await?;
        }
    }
    if let Some(mod_seq) = mod_seq {
        write!(session.wire.output(), " (MODSEQ {mod_seq})")?;
    }
    session.wire.output().extend_from_slice(b"\r\n");
    session.wire.relieve().await?;
    Ok(())
}
