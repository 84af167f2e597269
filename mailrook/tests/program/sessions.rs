//! Who is connected to a cluster, as each of its nodes tells it: while a node dies, and when an admin ends sessions.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    cluster::leader_of,
    harness::{Dev, Session, http},
};

/// The exit status of a command that some nodes have not heard.
const NOT_REACHED: i32 = 3;

/// An admin command at a node, and what it printed.
fn ask(dev: &Dev, node: usize, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let (code, printed, said) = dev.admin_of(node, &arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    serde_json::from_str(&printed).unwrap()
}

fn logged_in(dev: &Dev, node: usize, account: &Value) -> Session {
    let (mut imap, _) = Session::open(dev.port_of(node, "imap"));
    let text = |field: &str| account[field].as_str().unwrap().to_owned();
    let login = format!("LOGIN {} {}", text("user"), text("password"));
    assert!(imap.tagged("l", &login).contains("l OK"));
    imap
}

#[test]
fn sessions_are_seen_survive_and_end_wherever_they_are() {
    let dev = Dev::start(&["--plaintext", "--nodes", "3"], &[]);
    let (first, second) = (&dev.info["accounts"][0], &dev.info["accounts"][1]);
    let (owner, other) = (
        first["user"].as_str().unwrap(),
        second["user"].as_str().unwrap(),
    );
    let leader = leader_of(&dev, owner);
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    let (home, asked) = (others[0], others[1]);
    let name = |node: usize| format!("node{}", node + 1);
    let mut imap = logged_in(&dev, home, first);
    assert!(imap.tagged("a", "SELECT INBOX").contains("a OK"));
    let _bystander = logged_in(&dev, leader, second);

    // Any node tells of all.
    let list = ask(&dev, asked, &["session", "list"]);
    let sessions = list["sessions"].as_array().unwrap();
    let mut listed: Vec<_> = (sessions.iter())
        .map(|session| (session["user"].as_str(), session["node"].as_str().unwrap()))
        .collect();
    listed.sort_unstable();
    let mut expected = [(Some(owner), name(home)), (Some(other), name(leader))];
    expected.sort_unstable();
    let expected: Vec<_> = (expected.iter())
        .map(|(user, node)| (*user, node.as_str()))
        .collect();
    assert_eq!(listed, expected, "{list}");
    let (_, table, _) = dev.admin_of(asked, &["session", "list", "--protocol", "pop3"]);
    assert_eq!(table.trim(), "Nobody is connected.");

    // The shard's leader dies: the session goes on, and has its story.
    dev.kill_node(leader);
    let status = imap.tagged("b", "STATUS INBOX (MESSAGES)");
    assert!(status.contains("b OK"), "{status}");
    let list = ask(&dev, asked, &["session", "list", "--user", owner]);
    let session = &list["sessions"][0];
    assert_eq!(session["mailbox"], "INBOX", "{list}");
    let id = session["id"].as_str().unwrap();
    let shown = ask(&dev, asked, &["session", "show", id]);
    let stall = &shown["stalls"][0];
    assert_eq!(stall["command"], "STATUS", "{shown}");
    assert_eq!(stall["leader_before"], name(leader), "{shown}");
    assert_ne!(stall["leader_after"], name(leader), "{shown}");
    assert_eq!(stall["outcome"], "done", "{shown}");
    assert!(stall["replays"].as_u64() > Some(0), "{shown}");
    let log = dev.log();
    let story = |line: &&str| line.contains("session resumed") && line.contains(id);
    let line = log.lines().find(story).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains(owner) && line.contains("done"), "{line}");
    let (_, figures) = http(dev.port_of(home, "http"), "/metrics");
    for figure in [
        "mailrook_sessions{protocol=\"imap\"} 1",
        "mailrook_sessions_resumed_total{protocol=\"imap\"} 1",
        "mailrook_session_stall_seconds_count 1",
        "mailrook_moves_under_way 0",
    ] {
        assert!(figures.lines().any(|line| line == figure), "{figures}");
    }

    // Whoever is asked, the client is told; that one node cannot be, is told by the exit status.
    let kill = ["session", "kill", "--user", owner];
    let kill = [&kill[..], &["--reason", "go away", "--json"]].concat();
    let (code, printed, said) = dev.admin_of(asked, &kill);
    assert_eq!(code, NOT_REACHED, "{said}");
    assert!(said.contains("not reached"), "{said}");
    let ended: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&ended["ended"], &ended["ids"][0]), (&1.into(), &id.into()));
    assert_eq!(imap.line().trim_end(), "* BYE go away");
    assert_eq!(dev.end(Signal::TERM), Some(0));
}
