//! Nodes without the role of a store: they have no mail, and serve all of it.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    by_hand::{Machines, until},
    cluster::{deliver, leader_of, messages},
    harness::{Dev, Session, http},
};

/// Of programs that know of such nodes.
const LEVEL: (&str, &str) = ("MAILROOK_FEATURE_LEVEL_MAX", "7");

/// The place of the node without a store, behind three with one.
const FRONT: usize = 3;

fn cluster() -> Dev {
    Dev::start(&["--plaintext", "--nodes", "3", "--fronts", "1"], &[LEVEL])
}

fn user_of(dev: &Dev) -> (&str, &str) {
    let account = &dev.info["accounts"][0];
    let text = |name: &str| account[name].as_str().unwrap();
    (text("user"), text("password"))
}

/// A session in IDLE on INBOX.
fn idle(dev: &Dev, user: &str, password: &str) -> Session {
    let (mut imap, _) = Session::open(dev.port_of(FRONT, "imap"));
    let login = imap.tagged("a", &format!("LOGIN {user} {password}"));
    assert!(login.contains("a OK"), "{login}");
    let selected = imap.tagged("b", "SELECT INBOX");
    assert!(selected.contains("b OK"), "{selected}");
    imap.send("c IDLE");
    assert!(imap.line().starts_with('+'));
    imap
}

/// Reads on until it is said that there are so many messages.
fn until_exists(imap: &mut Session, count: usize) {
    let expected = format!("* {count} EXISTS");
    loop {
        let line = imap.line();
        assert!(!line.is_empty(), "the session ended before {expected}");
        if line.trim_end() == expected {
            return;
        }
    }
}

#[test]
fn a_node_without_a_store_serves_all_mail_whoever_dies() {
    let dev = cluster();
    let (user, password) = user_of(&dev);
    deliver(dev.port_of(FRONT, "smtp"), user, "through it");
    deliver(dev.port_of(0, "smtp"), user, "past it");
    let status = messages(dev.port_of(FRONT, "imap"), user, password);
    assert!(status.contains("(MESSAGES 2)"), "{status}");
    let mut imap = idle(&dev, user, password);
    deliver(dev.port_of(1, "smtp"), user, "while it waits");
    until_exists(&mut imap, 3);
    // Whoever leads the account's shard dies under it.
    let leader = leader_of(&dev, user);
    let left = (0..3).find(|node| *node != leader).unwrap();
    dev.kill_node(leader);
    deliver(dev.port_of(left, "smtp"), user, "after the leader");
    until_exists(&mut imap, 4);
    deliver(dev.port_of(FRONT, "smtp"), user, "and through it");
    until_exists(&mut imap, 5);
    assert_eq!(http(dev.port_of(FRONT, "http"), "/readyz").0, 200);
    // Without a quorum it is of no use, and says so.
    dev.kill_node(left);
    until("balancers hear of it", || {
        match http(dev.port_of(FRONT, "http"), "/readyz") {
            (503, said) if said.contains("directory has not answered") => Ok(()),
            (status, said) => Err(format!("{status} {said}")),
        }
    });
}

/// What `node list` says of a node: what it does without a store, and how many copies it has.
fn shown(dev: &Dev, name: &str) -> Result<(Value, u64), String> {
    let (code, listed, said) = dev.admin_of(0, &["node", "list", "--json"]);
    if code != 0 {
        return Err(said);
    }
    let nodes: Value = serde_json::from_str(&listed).unwrap();
    let mut nodes = nodes.as_array().unwrap().iter();
    let node = nodes.find(|node| node["name"] == name).unwrap();
    Ok((node["front"].clone(), node["copies"].as_u64().unwrap()))
}

#[test]
fn a_store_is_taken_up_and_given_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let start = |nodes: &str, fronts: &str| {
        let of = ["--nodes", nodes, "--fronts", fronts];
        Dev::start(
            &[&["--plaintext", "--data", data], &of[..]].concat(),
            &[LEVEL],
        )
    };
    let without = serde_json::json!(["front", "proxy"]);
    let dev = start("3", "1");
    let (user, password) = user_of(&dev);
    let (user, password) = (user.to_owned(), password.to_owned());
    deliver(dev.port_of(FRONT, "smtp"), &user, "hello");
    assert_eq!(shown(&dev, "node4"), Ok((without.clone(), 0)));
    assert_eq!(dev.end(Signal::TERM), Some(0));

    let dev = start("4", "0");
    until("copies", || match shown(&dev, "node4")? {
        (Value::Null, 1..) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let (code, _, said) = dev.admin_of(0, &["node", "drain", "node4"]);
    assert_eq!(code, 0, "{said}");
    until("no copies", || match shown(&dev, "node4")? {
        (Value::Null, 0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(dev.end(Signal::TERM), Some(0));

    let dev = start("3", "1");
    until("no store", || match shown(&dev, "node4")? {
        (roles, 0) if roles == without => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let status = messages(dev.port_of(FRONT, "imap"), &user, &password);
    assert!(status.contains("(MESSAGES 1)"), "{status}");
    assert_eq!(dev.end(Signal::TERM), Some(0));
}

#[test]
fn it_has_no_copies_and_is_removed_at_once() {
    let dev = cluster();
    let (user, password) = user_of(&dev);
    let (code, listed, said) = dev.admin_of(FRONT, &["node", "list", "--json"]);
    assert_eq!(code, 0, "{said}");
    let nodes: Value = serde_json::from_str(&listed).unwrap();
    let of = |name: &str| {
        let mut nodes = nodes.as_array().unwrap().iter();
        nodes.find(|node| node["name"] == name).unwrap().clone()
    };
    assert_eq!(of("node4")["front"], serde_json::json!(["front", "proxy"]));
    assert_eq!(of("node4")["copies"], 0);
    assert_eq!(of("node1")["front"], Value::Null);
    assert_eq!(of("node1")["copies"], 9);
    let (_, text, _) = dev.admin_of(0, &["status"]);
    assert!(text.contains("front, proxy"), "{text}");
    let data = dev.config_of(FRONT).parent().unwrap().join("store");
    let groups = fs::read_dir(data.join("groups")).map_or(0, Iterator::count);
    assert_eq!(groups, 0, "no tables");

    let (code, _, said) = dev.admin_of(0, &["node", "drain", "node4"]);
    assert_eq!(code, 1);
    assert!(said.contains("node4 has no store"), "{said}");
    let (code, _, said) = dev.admin_of(0, &["node", "remove", "node4"]);
    assert_eq!(code, 0, "{said}");
    until("balancers hear of it", || {
        match http(dev.port_of(FRONT, "http"), "/readyz") {
            (503, _) => Ok(()),
            (status, said) => Err(format!("{status} {said}")),
        }
    });
    let status = messages(dev.port_of(0, "imap"), user, password);
    assert!(status.contains("(MESSAGES 0)"), "{status}");
    assert_eq!(dev.end(Signal::TERM), Some(0));
}

#[test]
fn what_cannot_be_says_why() {
    const WITHOUT: &str = "roles = [\"front\", \"proxy\"]\n";
    let mut machines = Machines::new(2);
    let nodes = &mut machines.nodes;
    nodes[1].configure_first(WITHOUT);
    let said = nodes[1].refused(&["cluster", "init"]);
    assert!(
        said.contains("a cluster begins with a node that has copies"),
        "{said}"
    );
    // As if all were of the version before there were such nodes.
    nodes[0].environment = vec![("MAILROOK_FEATURE_LEVEL_MAX", "4")];
    nodes[0].done(&["cluster", "init"]);
    nodes[0].serve();
    let token = nodes[0].token();
    let said = nodes[1].refused(&["node", "join", &token]);
    assert!(
        said.contains("nodes without the store role need feature level 7, and the cluster is at 4"),
        "{said}"
    );
    // Copies are not left behind.
    nodes[0].until_copies(&["n1"]);
    nodes[0].stop();
    nodes[0].configure_first(WITHOUT);
    let (code, _, said) = nodes[0].run_with(&["serve", "--keep-root"], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("this node has copies of 3 groups"), "{said}");
    assert!(said.contains("`mailrook node drain n1`"), "{said}");
}
