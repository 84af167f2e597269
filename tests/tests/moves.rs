//! P3 and P4: a mailbox moves under its clients, and none of them notices.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mailrook_tests::client::{Imap, Pop3, Smtp, dot_stuffed};
use mailrook_tests::harness::{Account, Node, NodeOptions, mail, wait_until};
use serde_json::Value;

/// What the account has before.
const MESSAGES: usize = 300;

/// Round trips of the account.
const MOVES: usize = 4;

fn cluster() -> Node {
    let node = Node::start_with(NodeOptions {
        nodes: 3,
        accounts: 3,
        ..NodeOptions::default()
    })
    .unwrap();
    // In the first seconds the leaders are where they were made.
    let spread = || {
        let list = json(&node, &["node", "list"]);
        let nodes = list.as_array().unwrap();
        nodes.iter().all(|node| node["leads"].as_u64() > Some(0))
    };
    wait_until(
        Duration::from_secs(60),
        "each node to lead something",
        spread,
    )
    .unwrap();
    node
}

/// All that was said, untagged and tagged.
fn all_of(reply: &mailrook_tests::client::Reply) -> String {
    format!("{}\n{}", reply.lines().join("\n"), reply.text())
}

/// What a command says on standard output; it must not fail.
fn said(node: &Node, arguments: &[&str]) -> String {
    let output = node.command(arguments).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}{text}");
    text
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let text = said(node, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap()
}

/// What a command complains of; it must fail.
fn refused(node: &Node, arguments: &[&str]) -> String {
    let output = node.command(arguments).unwrap();
    assert!(!output.status.success(), "{arguments:?} went through");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn imap(node: &Node, account: &Account) -> Imap {
    Imap::login(node.ports().imap, &account.user, &account.password).unwrap()
}

fn shard_of(node: &Node, user: &str) -> u64 {
    json(node, &["mailbox", "where", user])["shard"]
        .as_u64()
        .unwrap()
}

/// What must never change: UIDVALIDITY, UIDs with flags and sizes, subscriptions, UIDLs.
fn identity(node: &Node, account: &Account) -> Vec<String> {
    let mut imap = imap(node, account);
    let mut all = imap
        .ok("STATUS INBOX (UIDVALIDITY MAILBOXID)")
        .unwrap()
        .lines();
    imap.ok("SELECT INBOX").unwrap();
    let fetch = format!("UID FETCH 1:{MESSAGES} (FLAGS RFC822.SIZE INTERNALDATE EMAILID MODSEQ)");
    all.extend(imap.ok(&fetch).unwrap().lines());
    all.extend(imap.ok("LSUB \"\" *").unwrap().lines());
    all.retain(|line| line.starts_with('*'));
    all
}

fn uidl(node: &Node, account: &Account) -> Vec<(u32, String)> {
    let mut pop3 = Pop3::login(node.ports().pop3, &account.user, &account.password).unwrap();
    let all = pop3.uidl().unwrap();
    pop3.quit().unwrap();
    all
}

/// Appends, marks, reads, searches and expunges, until it is told to stop; nothing may fail. Gives the subjects that stay.
fn work(mut imap: Imap, stop: &AtomicBool) -> BTreeSet<String> {
    imap.ok("CREATE Work").unwrap();
    imap.ok("SELECT Work").unwrap();
    let mut stay = BTreeSet::new();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        number += 1;
        let subject = format!("work-{number}");
        let message = format!(
            "Subject: {subject}\r\n\r\n{}\r\n",
            "x".repeat(number * 97 % 9_000)
        );
        imap.append("Work", "", message.as_bytes()).unwrap();
        let found = imap
            .ok(&format!("UID SEARCH SUBJECT \"{subject}\""))
            .unwrap();
        let [uid] = found.search()[..] else {
            panic!("{subject} was found {:?} times", found.search());
        };
        imap.ok(&format!("UID STORE {uid} +FLAGS (\\Flagged)"))
            .unwrap();
        let read = imap
            .ok(&format!("UID FETCH {uid} (FLAGS BODY.PEEK[])"))
            .unwrap();
        assert!(all_of(&read).contains("\\Flagged"), "{}", all_of(&read));
        assert!(all_of(&read).contains(&subject), "{}", all_of(&read));
        if number % 3 == 0 {
            imap.ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"))
                .unwrap();
            imap.ok("EXPUNGE").unwrap();
        } else {
            stay.insert(subject);
        }
    }
    imap.logout().unwrap();
    stay
}

/// Sends until it is told to stop; nothing may be refused. Says how many.
fn send(node: &Node, user: &str, stop: &AtomicBool) -> usize {
    let mut smtp = Smtp::connect(node.ports().smtp).unwrap();
    smtp.command("EHLO sender.example")
        .unwrap()
        .expect(250)
        .unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::SeqCst) {
        let message = dot_stuffed(mail(1_000_000 + sent).as_bytes());
        let reply = smtp
            .send_stuffed("a@example.org", &[user], &message)
            .unwrap();
        reply.expect(250).unwrap();
        sent += 1;
    }
    smtp.quit().unwrap();
    sent
}

#[test]
fn a_mailbox_moves_under_its_clients() {
    let node = cluster();
    let account = node.account(0).clone();
    let user = account.user.as_str();
    let mut first = imap(&node, &account);
    let made: Vec<String> = (0..MESSAGES).map(mail).collect();
    let messages: Vec<(&str, &[u8])> = made.iter().map(|m| ("", m.as_bytes())).collect();
    first.append_many("INBOX", &messages).unwrap();
    first.ok("SELECT INBOX").unwrap();
    first
        .ok("UID STORE 3:9 +FLAGS.SILENT (\\Answered $Label1)")
        .unwrap();
    let (before, before_uidl) = (identity(&node, &account), uidl(&node, &account));
    assert!(before.len() > MESSAGES, "{}", before.len());
    let stop = AtomicBool::new(false);
    let (stay, sent, pauses) = thread::scope(|scope| {
        let working = scope.spawn(|| work(imap(&node, &account), &stop));
        let sending = scope.spawn(|| send(&node, user, &stop));
        let mut pauses = Vec::new();
        for _ in 0..MOVES {
            let from = shard_of(&node, user);
            let to = from % 8 + 1;
            let moved = json(
                &node,
                &["mailbox", "move", user, "--to", &format!("shard:{to}")],
            );
            assert_eq!(moved["user"], user, "{moved}");
            assert_eq!(
                (moved["from"].as_u64(), moved["to"].as_u64()),
                (Some(from), Some(to))
            );
            assert!(
                moved["messages"].as_u64().unwrap() >= MESSAGES as u64,
                "{moved}"
            );
            assert!(moved["bytes"].as_u64().unwrap() > 0, "{moved}");
            pauses.push(moved["pause_ms"].as_u64().unwrap());
            assert_eq!(shard_of(&node, user), to);
        }
        stop.store(true, Ordering::SeqCst);
        (working.join().unwrap(), sending.join().unwrap(), pauses)
    });
    println!("{sent} sent, {} stay, pauses of {pauses:?} ms", stay.len());
    assert!(sent > 0 && !stay.is_empty());
    // The session of before goes on, and is told of all that was delivered.
    let all = MESSAGES + sent;
    assert_eq!(first.ok("NOOP").unwrap().exists(), Some(all as u32));
    let texts = first.ok(&format!(
        "UID FETCH {}:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
        MESSAGES + 1
    ));
    assert_eq!(all_of(&texts.unwrap()).matches("BODY[HEADER").count(), sent);
    assert_eq!(identity(&node, &account), before);
    assert_eq!(uidl(&node, &account)[..MESSAGES], before_uidl);
    let mut after = imap(&node, &account);
    after.ok("SELECT Work").unwrap();
    let subjects = after
        .ok("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
        .unwrap();
    let subjects = all_of(&subjects);
    let found: Vec<&str> = (subjects.lines())
        .filter_map(|line| line.strip_prefix("Subject: "))
        .collect();
    assert_eq!(found.len(), stay.len());
    assert_eq!(
        found
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>(),
        stay
    );
}

#[test]
fn who_waits_in_idle_hears_of_what_comes_after_the_move() {
    let node = cluster();
    let account = node.account(0).clone();
    let mut idle = imap(&node, &account);
    idle.ok("SELECT INBOX").unwrap();
    let tag = idle.idle().unwrap();
    for number in 1..=2_u32 {
        let to = shard_of(&node, &account.user) % 8 + 1;
        said(
            &node,
            &[
                "mailbox",
                "move",
                &account.user,
                "--to",
                &format!("shard:{to}"),
            ],
        );
        imap(&node, &account)
            .append("INBOX", "", mail(7).as_bytes())
            .unwrap();
        let told = loop {
            let told = String::from_utf8(idle.response().unwrap()).unwrap();
            if !told.contains("RECENT") {
                break told;
            }
        };
        assert!(told.contains(&format!("{number} EXISTS")), "{told}");
    }
    idle.idle_done(&tag).unwrap();
}

#[test]
fn moves_are_planned_paused_shown_and_cancelled() {
    let node = cluster();
    let users: Vec<String> = (0..3).map(|n| node.account(n).user.clone()).collect();
    let [one, two, _] = &users[..] else {
        panic!("not three");
    };
    let to = shard_of(&node, one) % 8 + 1;
    let target = format!("shard:{to}");
    // Nothing happens when it is only asked.
    let plan = json(
        &node,
        &["mailbox", "move", one, "--to", &target, "--dry-run"],
    );
    assert_eq!(plan[0]["outcome"], "would-move", "{plan}");
    assert_ne!(shard_of(&node, one), to);
    // All rest: what is asked for waits, and is cancelled.
    said(&node, &["mailbox", "move", "pause"]);
    let asked = json(
        &node,
        &["mailbox", "move", one, "--to", &target, "--no-wait"],
    );
    let id = asked[0]["id"].as_u64().unwrap().to_string();
    thread::sleep(Duration::from_millis(2_500));
    let list = json(&node, &["mailbox", "move", "list"]);
    assert_eq!(list["paused"], true);
    assert_eq!(list["moves"][0]["user"], one.as_str(), "{list}");
    assert_eq!(list["moves"][0]["settled"], false, "{list}");
    let shown = said(&node, &["mailbox", "move", "show", &id]);
    assert!(shown.contains(&format!("Move {id} of {one}")), "{shown}");
    said(&node, &["mailbox", "move", "cancel", &id]);
    said(&node, &["mailbox", "move", "resume"]);
    let state = || json(&node, &["mailbox", "move", "show", &id])["state"].clone();
    wait_until(Duration::from_secs(30), "the move to end", || {
        state() == "failed"
    })
    .unwrap();
    assert_ne!(shard_of(&node, one), to);
    // From a file, to a node; the one that is there stays.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("# two of them\n{one}\n{two}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let moved = json(
        &node,
        &[
            "mailbox", "move", "--file", path, "--to", "node2", "--rate", "50MB",
        ],
    );
    assert_eq!(moved.as_array().unwrap().len(), 2, "{moved}");
    for user in [one, two] {
        let found = json(&node, &["mailbox", "where", user]);
        assert_eq!(found["leader"], "node2", "{found}");
    }
    assert_eq!(
        json(&node, &["mailbox", "move", "list"])["rate_bytes_per_second"],
        50_000_000
    );
    said(&node, &["mailbox", "move", "rate", "none"]);
    // Three accounts of nothing are even, wherever they are but for one place.
    let balance = json(&node, &["rebalance", "--plan"]);
    assert_eq!(balance["shards"].as_array().unwrap().len(), 8, "{balance}");
    said(&node, &["rebalance"]);
    let even = json(&node, &["rebalance", "--plan"]);
    assert_eq!(even["moves"].as_array().unwrap().len(), 0, "{even}");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let node = cluster();
    let user = node.account(0).user.clone();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "nobody\n").unwrap();
    let path = file.path().to_str().unwrap();
    for (arguments, words) in [
        (
            &["mailbox", "move", &user, "--to", "shard:99"][..],
            "there is no shard 99",
        ),
        (
            &["mailbox", "move", &user, "--to", "nowhere"],
            "there is no node \"nowhere\"",
        ),
        (
            &["mailbox", "move", "x@example.test", "--to", "shard:1"],
            "x@example.test",
        ),
        (
            &["mailbox", "move", "--file", path, "--to", "shard:1"],
            "line 1: \"nobody\" is no address",
        ),
        (
            &["mailbox", "move", "--file", "/nowhere", "--to", "shard:1"],
            "/nowhere",
        ),
        (
            &["mailbox", "move", "show", "7777"],
            "there is no move 7777",
        ),
        (
            &["mailbox", "move", "cancel", "7777"],
            "there is no move 7777",
        ),
    ] {
        let text = refused(&node, arguments);
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    // A node that is alone says what would be needed.
    let alone = Node::start(1).unwrap();
    let text = refused(&alone, &["mailbox", "move", &user, "--to", "shard:1"]);
    assert!(text.contains("this node is alone"), "{text}");
}
