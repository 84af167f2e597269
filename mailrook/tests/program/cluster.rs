//! Several nodes as their operators run them: made, joined, looked at, killed, drained.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    by_hand::{Machines, until},
    harness::{Dev, Session},
};

pub fn deliver(port: u16, user: &str, text: &str) {
    let (mut smtp, _) = Session::open(port);
    smtp.ask("EHLO client.test");
    for (line, expected) in [
        ("MAIL FROM:<you@example.org>", "250 "),
        (&format!("RCPT TO:<{user}>"), "250 "),
        ("DATA", "354 "),
        (&format!("Subject: hello\r\n\r\n{text}\r\n."), "250 "),
    ] {
        let reply = smtp.ask(line);
        assert!(reply.starts_with(expected), "{line}: {reply}");
    }
}

pub fn messages(port: u16, user: &str, password: &str) -> String {
    let (mut imap, _) = Session::open(port);
    let login = imap.tagged("a", &format!("LOGIN {user} {password}"));
    assert!(login.contains("a OK"), "{login}");
    imap.tagged("b", "STATUS INBOX (MESSAGES)")
}

/// The place of the node that leads an account's shard.
pub fn leader_of(dev: &Dev, user: &str) -> usize {
    let ask = |arguments: &[&str]| -> Value {
        let (code, printed, said) = dev.admin_of(0, arguments);
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(&printed).unwrap()
    };
    let shard = ask(&["mailbox", "where", user, "--json"])["shard"].clone();
    let status = ask(&["status", "--json"]);
    let groups = status["cluster"]["groups"].as_array().unwrap();
    let group = groups.iter().find(|group| group["shard"] == shard);
    let leader = group.unwrap()["leader"].as_str().unwrap();
    let number: usize = leader.strip_prefix("node").unwrap().parse().unwrap();
    number - 1
}

#[test]
fn nobody_notices_that_a_node_dies() {
    let dev = Dev::start(&["--plaintext", "--nodes", "3"], &[]);
    assert_eq!(dev.info["nodes"].as_array().unwrap().len(), 3);
    let account = &dev.info["accounts"][0];
    let (user, password) = (
        account["user"].as_str().unwrap(),
        account["password"].as_str().unwrap(),
    );
    for node in 0..3 {
        deliver(dev.port_of(node, "smtp"), user, &format!("by {node}"));
    }
    for node in 0..3 {
        let status = messages(dev.port_of(node, "imap"), user, password);
        assert!(status.contains("(MESSAGES 3)"), "at {node}: {status}");
    }
    // The one that leads the account's shard dies; a session at another one stays open.
    let leader = leader_of(&dev, user);
    let others: Vec<usize> = (0..3).filter(|node| *node != leader).collect();
    let (mut imap, _) = Session::open(dev.port_of(others[0], "imap"));
    imap.tagged("a", &format!("LOGIN {user} {password}"));
    imap.tagged("b", "SELECT INBOX");
    dev.kill_node(leader);
    deliver(dev.port_of(others[1], "smtp"), user, "after it");
    let noop = imap.tagged("c", "NOOP");
    assert!(noop.contains("* 4 EXISTS"), "{noop}");
    let stored = imap.tagged("d", "STORE 4 +FLAGS (\\Seen)");
    assert!(stored.contains("d OK"), "{stored}");
    let (code, status, said) = dev.admin_of(others[0], &["status", "--json"]);
    assert_eq!(code, 0, "{said}");
    let status: Value = serde_json::from_str(&status).unwrap();
    let missing = status["cluster"]["under_replicated"].as_array().unwrap();
    assert_eq!(missing.len(), 9, "every group lacks a copy: {missing:?}");
    let (_, text, _) = dev.admin_of(others[0], &["status"]);
    let dead = format!("node{}", leader + 1);
    assert!(
        text.contains(&dead) && text.contains("not reached"),
        "{text}"
    );
    let why = "cannot be reached, and no other node can take its copy";
    assert!(text.contains(why), "{text}");
    assert_eq!(dev.end(Signal::TERM), Some(0));
}

#[test]
fn copies_are_compared_while_mail_comes_in() {
    let dev = Dev::start(&["--plaintext", "--nodes", "3"], &[]);
    let users: Vec<_> = (0..2)
        .map(|at| dev.info["accounts"][at]["user"].as_str().unwrap())
        .collect();
    let (done, delivered) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for (at, user) in users.iter().enumerate() {
            let (port, done, delivered) = (dev.port_of(at, "smtp"), &done, &delivered);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let number = delivered.fetch_add(1, Ordering::Relaxed);
                    deliver(port, user, &format!("{at} {number}"));
                }
            });
        }
        let compared = (0..3).map(|_| {
            let before = delivered.load(Ordering::Relaxed);
            let outcome = dev.admin_of(2, &["cluster", "verify", "--json"]);
            (outcome, delivered.load(Ordering::Relaxed) - before)
        });
        let compared: Vec<_> = compared.collect();
        // Before the first assertion: a failure would wait for the threads for ever.
        done.store(true, Ordering::Relaxed);
        for ((code, printed, said), meanwhile) in compared {
            assert_eq!(code, 0, "{printed}{said}");
            assert!(meanwhile > 5, "{meanwhile} messages are no load");
            let printed: Value = serde_json::from_str(&printed).unwrap();
            for shard in printed["shards"].as_array().unwrap() {
                assert_eq!(shard["verdict"], "equal");
                assert_eq!(shard["copies"].as_array().unwrap().len(), 3, "{shard}");
            }
        }
    });
}

/// Puts a directory's files into another one, as a backup is put back.
fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_data_directory_that_was_put_back_is_refused() {
    let mut machines = Machines::new(3);
    machines.start(3);
    let data = machines.data("n3");
    let (backup, newer) = (machines.data("backup"), machines.data("newer"));
    let nodes = &mut machines.nodes;
    nodes[2].stop();
    copy(&data, &backup);
    nodes[2].serve();
    // It promises something since.
    for round in 0..3 {
        let domain = format!("d{round}.test");
        until("a domain", || {
            let (code, _, said) = nodes[2].run(&["domain", "add", &domain]);
            if code == 0 { Ok(()) } else { Err(said) }
        });
        std::thread::sleep(Duration::from_millis(1100));
    }
    nodes[2].stop();
    fs::rename(&data, &newer).unwrap();
    copy(&backup, &data);
    nodes[2].serve();
    until("the others refuse it", || {
        let log = nodes[2].log();
        if log.contains("old copy") && log.contains("must not serve what it holds") {
            Ok(())
        } else {
            Err(log)
        }
    });
    let listed = nodes[0].json(&["node", "list", "--json"]).unwrap();
    let refused = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["name"] == "n3");
    assert_eq!(refused.unwrap()["reachable"], false);
    // The others go on, and nothing of what it has is touched.
    assert_eq!(nodes[1].run(&["domain", "add", "after.test"]).0, 0);
    assert!(data.join("store/FORMAT").is_file());
    // With what it had last it is welcome.
    nodes[2].kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&newer, &data).unwrap();
    nodes[2].serve();
    until("it takes part again", || {
        let listed = nodes[2].json(&["node", "list", "--json"])?;
        match listed
            .as_array()
            .unwrap()
            .iter()
            .all(|node| node["reachable"] == true)
        {
            true => Ok(()),
            false => Err(listed.to_string()),
        }
    });
}

#[test]
fn an_old_copy_of_the_only_voter_serves_nothing() {
    let mut machines = Machines::new(2);
    machines.start(1);
    machines.join(1, 0);
    until("the other one follows", || {
        let status = machines.nodes[0].json(&["status", "--json"])?;
        let groups = status["cluster"]["groups"].as_array();
        let groups = groups.ok_or("no groups")?;
        let follows = |group: &Value| group["learners"][0] == "n2" && group["voters"][0] == "n1";
        match groups.iter().all(follows) {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    let data = machines.data("n1");
    let (backup, newer) = (machines.data("backup"), machines.data("newer"));
    let nodes = &mut machines.nodes;
    nodes[0].stop();
    copy(&data, &backup);
    nodes[0].serve();
    // It promises something since, and needs nobody for it.
    for round in 0..3 {
        let domain = format!("d{round}.test");
        until("a domain", || {
            let (code, _, said) = nodes[0].run(&["domain", "add", &domain]);
            if code == 0 { Ok(()) } else { Err(said) }
        });
        std::thread::sleep(Duration::from_millis(1100));
    }
    nodes[0].stop();
    fs::rename(&data, &newer).unwrap();
    copy(&backup, &data);
    nodes[0].serve();
    until("it stops serving", || {
        let log = nodes[0].log();
        match log.contains("must not serve what it holds") {
            true => Ok(()),
            false => Err(log),
        }
    });
    assert_ne!(nodes[0].run(&["domain", "add", "late.test"]).0, 0);
    // With what it had last it goes on.
    nodes[0].kill();
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&newer, &data).unwrap();
    nodes[0].serve();
    until("a domain", || {
        let (code, _, said) = nodes[0].run(&["domain", "add", "after.test"]);
        if code == 0 { Ok(()) } else { Err(said) }
    });
}

#[test]
fn nodes_join_are_drained_and_removed() {
    let mut machines = Machines::new(5);
    let nodes = &mut machines.nodes;
    // Nothing is made by itself: an empty disk is no new cluster.
    let (code, _, said) = nodes[0].run(&["serve"]);
    assert_eq!(code, 1);
    assert!(said.contains("mailrook cluster init"), "{said}");
    assert_eq!(nodes[0].run(&["cluster", "init"]).0, 0);
    let (code, _, said) = nodes[0].run(&["cluster", "init"]);
    assert_eq!(code, 1);
    assert!(said.contains("belongs to node"), "{said}");
    nodes[0].serve();
    for at in 1..3 {
        let token = nodes[0].token();
        let (code, _, said) = nodes[at].run(&["node", "join", &token]);
        assert_eq!(code, 0, "{said}");
        nodes[at].serve();
        // A token is for one node.
        let (code, _, said) = nodes[3].run(&["node", "join", &token]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("token"), "{said}");
    }
    let (code, _, said) = nodes[3].run(&["node", "join", "mrj1.AAAA"]);
    assert_eq!(code, 2, "{said}");
    nodes[0].until_copies(&["n1", "n2", "n3"]);
    until("equal copies", || {
        nodes[1].json(&["cluster", "verify", "--json"]).map(drop)
    });
    // Of three none can be emptied: that is said, and done once there is a fourth.
    let why = "no other node can take its copy: add a node";
    let said = nodes[1].done(&["node", "drain", "n1"]);
    assert!(said.contains(why), "{said}");
    let shown = nodes[1].done(&["status"]);
    assert!(
        shown.contains("Cannot leave their nodes:") && shown.contains(why),
        "{shown}"
    );
    let said = nodes[1].refused(&["cluster", "set", "--shards", "1"]);
    assert!(said.contains("not taken away"), "{said}");
    let (token, unused) = (nodes[1].token(), nodes[1].token());
    let typed = nodes[3].run_typing(&["node", "join", "-"], &format!("{token}\n"));
    assert_eq!(typed.0, 0, "{}", typed.2);
    nodes[3].serve();
    let (code, _, said) = nodes[1].run(&["node", "remove", "n1"]);
    assert_eq!(code, 1, "{said}");
    nodes[1].until_copies(&["n2", "n3", "n4"]);
    until("nothing is left", || {
        let (code, _, said) = nodes[1].run(&["node", "remove", "n1"]);
        if code == 0 { Ok(()) } else { Err(said) }
    });
    let listed = nodes[2].json(&["node", "list", "--json"]).unwrap();
    let removed = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["name"] == "n1");
    assert_eq!(removed.unwrap()["state"], "removed");
    for node in &mut *nodes {
        node.kill();
    }
    let (code, _, said) = nodes[4].run(&["node", "join", &unused]);
    assert_eq!(code, 3, "nobody is there: {said}");
}
