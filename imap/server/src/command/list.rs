//! LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, RFC 5819, RFC 6154).

mod tree;

use std::sync::Arc;

use mailrook_imap_proto::{
    command::{List, ListReturn, ListSelection},
    response::{ListAttributes, ListEntry},
};
use mailrook_store_api::shard::MailboxList;

use self::tree::{Node, Tree};
use super::status;
use crate::{
    list_pattern::ListPattern,
    outcome::{Failure, Outcome, Reply},
    session::Session,
};

/// One mailbox is visited for each pattern; RFC 5258 has no word on how many there may be.
const PATTERNS_MAX: usize = 100;

/// How many names are compared before others have their turn: below a millisecond, however long names and patterns are.
const MATCHES_AT_ONCE: usize = 64;

pub(crate) async fn list(session: &mut Session, list: &List) -> Outcome {
    let account = session.account()?.id;
    if !list.extended && list.patterns.iter().all(String::is_empty) {
        // The separator is asked for.
        let entry = ListEntry {
            attributes: ListAttributes::NO_SELECT,
            ..ListEntry::default()
        };
        session.writer().list(&entry);
        return Ok(Reply::ok("LIST completed"));
    }
    let patterns = patterns(&list.reference, &list.patterns)?;
    let mailboxes = mailboxes(session).await?;
    let tree = Tree::new(&mailboxes);
    let chosen = choose(&tree, &patterns, list.select).await;
    for (index, recursive) in chosen {
        let node = tree.node(index);
        tell(session, node, recursive, list);
        if let Some(info) = node.info.filter(|_| !list.returns.status.is_empty()) {
            // RFC 5819: its numbers follow each mailbox.
            status::tell(
                session,
                account,
                &info.name,
                &info.status,
                &list.returns.status,
            )
            .await?;
        }
        session.wire.relieve().await?;
    }
    Ok(Reply::ok("LIST completed"))
}

pub(crate) async fn lsub(session: &mut Session, reference: &str, pattern: &str) -> Outcome {
    session.account()?;
    if pattern.is_empty() {
        session.writer().lsub(ListAttributes::NO_SELECT, "");
        return Ok(Reply::ok("LSUB completed"));
    }
    let patterns = patterns(reference, &[pattern.to_owned()])?;
    let mailboxes = mailboxes(session).await?;
    let tree = Tree::new(&mailboxes);
    let select = ListSelection {
        subscribed: true,
        recursive_match: true,
        ..ListSelection::default()
    };
    for (index, _) in choose(&tree, &patterns, select).await {
        let node = tree.node(index);
        // RFC 3501 §6.3.9: a level that is not subscribed itself, but has something below it that is.
        let attributes = match node.subscribed {
            true => ListAttributes::NONE,
            false => ListAttributes::NO_SELECT,
        };
        session.writer().lsub(attributes, node.name);
        session.wire.relieve().await?;
    }
    Ok(Reply::ok("LSUB completed"))
}

fn patterns(reference: &str, patterns: &[String]) -> Result<Vec<ListPattern>, Reply> {
    if patterns.len() > PATTERNS_MAX {
        let text = format!("at most {PATTERNS_MAX} patterns in one LIST");
        return Err(Reply::no(text).code(mailrook_imap_proto::response::Code::Limit));
    }
    Ok(patterns
        .iter()
        .map(|pattern| ListPattern::new(&format!("{reference}{pattern}")))
        .collect())
}

async fn mailboxes(session: &mut Session) -> Result<MailboxList, Failure> {
    let account = session.account()?.id;
    let store = Arc::clone(&session.context.store);
    match store.mailboxes(account).await? {
        Some(list) => Ok(list),
        // The account has logged in: it is moving, or it was removed since.
        None => Err(Reply::no("the mailboxes cannot be reached now")
            .code(mailrook_imap_proto::response::Code::Unavailable)
            .into()),
    }
}

/// Which nodes to list, each with whether something selected stands below it.
async fn choose(
    tree: &Tree<'_>,
    patterns: &[ListPattern],
    select: ListSelection,
) -> Vec<(usize, bool)> {
    let mut matched = Vec::new();
    for node in tree.nodes() {
        matched.push(patterns.iter().any(|pattern| pattern.matches(node.name)));
        if matched.len() % MATCHES_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    let restricted = select.subscribed || select.special_use;
    let is_selected = |node: &Node<'_>| match restricted {
        false => node.info.is_some() || node.has_children,
        true => {
            (!select.subscribed || node.subscribed)
                && (!select.special_use || node.info.is_some_and(|info| info.special_use.is_some()))
        }
    };
    // RFC 5258 §3.5: an ancestor stands for what is selected below it and does not match itself.
    let mut selected_below = vec![false; matched.len()];
    let mut hidden_below = vec![false; matched.len()];
    if select.recursive_match && restricted {
        for (index, node) in tree.nodes().enumerate() {
            if is_selected(node) {
                for ancestor in tree.ancestors(index) {
                    selected_below[ancestor] = true;
                    hidden_below[ancestor] |= !matched[index];
                }
            }
        }
    }
    tree.nodes()
        .enumerate()
        .filter(|(index, node)| matched[*index] && (is_selected(node) || hidden_below[*index]))
        .map(|(index, _)| (index, selected_below[index]))
        .collect()
}

fn tell(session: &mut Session, node: &Node<'_>, selected_below: bool, list: &List) {
    let ListReturn {
        subscribed,
        children,
        special_use,
        ..
    } = list.returns;
    let ListSelection {
        subscribed: select_subscribed,
        special_use: select_special_use,
        recursive_match,
        ..
    } = list.select;
    let mut attributes = ListAttributes::NONE;
    if node.info.is_none() {
        attributes |= ListAttributes::NON_EXISTENT;
    }
    // RFC 3348: plain LIST tells it too, as clients expect of CHILDREN; RFC 6154 §2 permits the same for special uses.
    if children || !list.extended {
        attributes |= match node.has_children {
            true => ListAttributes::HAS_CHILDREN,
            false => ListAttributes::HAS_NO_CHILDREN,
        };
    }
    if node.subscribed && (subscribed || select_subscribed) {
        attributes |= ListAttributes::SUBSCRIBED;
    }
    let uses = node.info.and_then(|info| info.special_use);
    let uses = uses.filter(|_| special_use || select_special_use || !list.extended);
    let entry = ListEntry {
        attributes,
        special_uses: uses.as_slice(),
        name: node.name,
        child_subscribed: recursive_match && select_subscribed && selected_below,
        old_name: None,
    };
    session.writer().list(&entry);
}
