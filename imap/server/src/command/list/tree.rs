//! The mailboxes of an account with the levels between them.

use std::collections::BTreeMap;

use mailrook_store_api::shard::{MailboxInfo, MailboxList};
use mailrook_types::MailboxName;

/// All names that LIST can tell of: mailboxes, subscriptions, and the levels above both. Ascending.
pub(super) struct Tree<'a> {
    names: Vec<(&'a str, Node<'a>)>,
}

/// One name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// The mailbox, if there is one.
    pub(super) info: Option<&'a MailboxInfo>,
    pub(super) subscribed: bool,
    /// Whether a mailbox exists below it.
    pub(super) has_children: bool,
}

impl<'a> Tree<'a> {
    pub(super) fn new(list: &'a MailboxList) -> Tree<'a> {
        let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
        for info in &list.mailboxes {
            node(&mut nodes, info.name.as_str()).info = Some(info);
            for above in above(info.name.as_str()) {
                node(&mut nodes, above).has_children = true;
            }
        }
        for name in &list.subscriptions {
            node(&mut nodes, name.as_str()).subscribed = true;
            for above in above(name.as_str()) {
                node(&mut nodes, above);
            }
        }
        Tree {
            names: nodes.into_iter().collect(),
        }
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node<'a>> {
        self.names.iter().map(|(_, node)| node)
    }

    pub(super) fn node(&self, index: usize) -> &Node<'a> {
        &self.names[index].1
    }

    /// The nodes above one; at most [`MailboxName::DEPTH_MAX`].
    pub(super) fn ancestors(&self, index: usize) -> impl Iterator<Item = usize> {
        above(self.names[index].0).filter_map(|name| {
            self.names
                .binary_search_by_key(&name, |(name, _)| name)
                .ok()
        })
    }
}

fn node<'n, 'a>(nodes: &'n mut BTreeMap<&'a str, Node<'a>>, name: &'a str) -> &'n mut Node<'a> {
    nodes.entry(name).or_insert(Node {
        name,
        info: None,
        subscribed: false,
        has_children: false,
    })
}

/// The names of the levels above a name, the nearest first.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(name), |name| parent(name))
}

fn parent(name: &str) -> Option<&str> {
    let (parent, _) = name.rsplit_once(MailboxName::SEPARATOR)?;
    Some(parent)
}
