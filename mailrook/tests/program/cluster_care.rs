//! What operators do rarely: lost nodes replaced, certificates rotated, versions raised, lost shards brought back.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    by_hand::{Machines, Node, until},
    harness::Session,
};

fn state_of(asked: &Node, name: &str) -> Result<String, String> {
    let nodes = asked.json(&["node", "list", "--json"])?;
    let nodes = nodes.as_array().ok_or("no list")?;
    let node = nodes.iter().find(|node| node["name"] == name);
    Ok(node.ok_or("no such node")?["state"]
        .as_str()
        .unwrap_or("")
        .to_owned())
}

fn until_unreachable(asked: &Node, name: &str) {
    until("it is noticed that the node is gone", || {
        let nodes = asked.json(&["node", "list", "--json"])?;
        let nodes = nodes.as_array().ok_or("no list")?;
        let gone = |node: &&Value| node["name"] == name && node["reachable"] == false;
        nodes
            .iter()
            .find(gone)
            .map(drop)
            .ok_or(format!("{nodes:?}"))
    });
}

#[test]
fn a_lost_node_is_replaced_and_never_comes_back() {
    let mut machines = Machines::new(4);
    machines.start(3);
    machines.join(3, 0);
    let nodes = &mut machines.nodes;
    nodes[0].done(&["domain", "add", "example.test"]);
    let said = nodes[0].refused(&["node", "replace", "n3"]);
    assert!(said.contains("mailrook node drain n3"), "{said}");
    nodes[2].kill();
    until_unreachable(&nodes[0], "n3");
    nodes[0].done(&["node", "replace", "n3"]);
    // Long before heal_after.
    nodes[0].until_copies(&["n1", "n2", "n4"]);
    assert_eq!(state_of(&nodes[1], "n3").unwrap(), "removed");
    let said = nodes[0].refused(&["node", "replace", "n3"]);
    assert!(said.contains("there is no node"), "{said}");

    // It comes back after all: nobody talks to it, it is told why, and what it has stays.
    let groups = machines.data("n3").join("store/groups");
    let before = fs::read_dir(&groups).unwrap().count();
    let nodes = &mut machines.nodes;
    nodes[2].serve();
    until("the reason", || {
        let log = nodes[2].log();
        match log.contains("was removed from the cluster, and cannot come back") {
            true => Ok(()),
            false => Err(log),
        }
    });
    assert_eq!(fs::read_dir(&groups).unwrap().count(), before);
    nodes[0].until_copies(&["n1", "n2", "n4"]);
}

#[test]
fn the_ca_is_rotated_while_a_node_is_away() {
    let mut machines = Machines::new(4);
    machines.start(3);
    let nodes = &mut machines.nodes;
    let ca = |node: &Node| {
        let status = node.json(&["status", "--json"])?;
        // None while the directory is not reached.
        let ca = status["cluster"]["ca"].as_object();
        ca.cloned().map(Value::Object).ok_or(status.to_string())
    };
    let old = ca(&nodes[0]).unwrap();
    assert_eq!(old["rotation"], Value::Null, "{old}");
    let old_token = nodes[0].token();
    nodes[2].stop();
    nodes[0].done(&["cluster", "rotate-ca"]);
    let said = nodes[0].refused(&["cluster", "rotate-ca"]);
    assert!(said.contains("already"), "{said}");
    until("only the stopped node is waited for", || {
        let text = nodes[0].done(&["status"]);
        match text.contains("step 1 of 2") && text.contains("waiting for n3\n") {
            true => Ok(()),
            false => Err(text),
        }
    });
    // Whoever leads may change meanwhile.
    nodes[0].kill();
    nodes[0].serve();
    nodes[2].serve();
    until("all have followed", || {
        let now = ca(&nodes[1])?;
        match now["rotation"] == Value::Null && now["fingerprint"] != old["fingerprint"] {
            true => Ok(()),
            false => Err(now.to_string()),
        }
    });
    // Without the old one, all find each other again, and let another in.
    for node in &mut *nodes {
        node.kill();
    }
    for node in &mut nodes[..3] {
        node.serve();
    }
    nodes[1].until_copies(&["n1", "n2", "n3"]);
    let said = nodes[3].refused(&["node", "join", &old_token]);
    assert!(said.contains("token"), "{said}");
    machines.join(3, 1);
    until("the new node takes part", || {
        match state_of(&machines.nodes[0], "n4")?.as_str() {
            "active" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

#[test]
fn a_version_is_used_once_all_nodes_run_it() {
    const OLDER: (&str, &str) = ("MAILROOK_FEATURE_LEVEL_MAX", "1");
    let mut machines = Machines::new(3);
    machines.nodes[0].environment.push(OLDER);
    machines.nodes[0].done(&["cluster", "init"]);
    machines.nodes[0].serve();
    for at in 1..3 {
        machines.join(at, 0);
    }
    let nodes = &mut machines.nodes;
    nodes[1].until_copies(&["n1", "n2", "n3"]);
    nodes[1].done(&["domain", "add", "example.test"]);
    let level = |node: &Node| -> Result<u64, String> {
        let status = node.json(&["status", "--json"])?;
        Ok(status["cluster"]["feature_level"].as_u64().unwrap_or(0))
    };
    assert_eq!(level(&nodes[1]).unwrap(), 1);
    let said = nodes[1].refused(&["cluster", "upgrade"]);
    assert!(
        said.contains("the programs of n1 know no level above 1"),
        "{said}"
    );
    let said = nodes[1].refused(&["cluster", "rotate-ca"]);
    assert!(said.contains("needs feature level 2"), "{said}");

    // The last node gets the new version.
    nodes[0].stop();
    nodes[0].environment = vec![("MAILROOK_FEATURE_LEVEL_MAX", "2")];
    nodes[0].serve();
    until("the level is raised", || {
        let (code, printed, said) = nodes[1].run(&["cluster", "upgrade"]);
        if code == 0 {
            Ok(())
        } else {
            Err(printed + &said)
        }
    });
    assert_eq!(level(&nodes[1]).unwrap(), 2);
    until("everybody knows", || match level(&nodes[0])? {
        2 => Ok(()),
        other => Err(other.to_string()),
    });

    // And the old one back: it says so itself, if it knows, and so do the others.
    std::thread::sleep(std::time::Duration::from_secs(3));
    nodes[0].stop();
    let (code, _, said) = nodes[0].run_with(&["serve", "--keep-root"], &[OLDER]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the cluster is at feature level 2"), "{said}");
    nodes[1].done(&["domain", "add", "example.org"]);
}

#[test]
fn added_shards_get_their_slots_once_all_nodes_know_how() {
    const MOVED: &str = "slots of the shared tables have moved";
    let mut machines = Machines::new(1);
    let node = &mut machines.nodes[0];
    node.environment = vec![("MAILROOK_FEATURE_LEVEL_MAX", "2")];
    node.done(&["cluster", "init"]);
    node.serve();
    let led = |node: &Node, shards: usize| {
        until("the shards are led", || {
            let status = node.json(&["status", "--json"])?;
            let groups = status["cluster"]["groups"].as_array().ok_or("no groups")?;
            // The meta group is one of them.
            match groups.len() > shards && groups.iter().all(|group| group["leader"].is_string()) {
                true => Ok(()),
                false => Err(status["cluster"].to_string()),
            }
        });
    };
    led(node, 2);
    node.done(&["cluster", "set", "--shards", "4"]);
    led(node, 4);
    // Some looks of the controller at the cluster.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(!node.log().contains(MOVED), "{}", node.log());
    node.stop();
    // As it is without the bound, and still as the user that the files belong to.
    node.environment = vec![("MAILROOK_FEATURE_LEVEL_MAX", "3")];
    node.serve();
    led(node, 4);
    assert!(node.done(&["cluster", "upgrade"]).contains('3'));
    let to_move = |node: &Node| -> Result<Vec<String>, String> {
        let status = node.json(&["status", "--json"])?;
        let lines = status["cluster"]["healing"].as_array().ok_or("no list")?;
        let lines = lines.iter().filter_map(|line| line.as_str());
        let slots = lines.filter(|line| line.contains("slots of the shared tables"));
        Ok(slots.map(str::to_owned).collect())
    };
    let begun = to_move(node).unwrap();
    assert_eq!(begun.len(), 1, "2,048 slots move, which takes a while");
    // In the middle of it, as a power cut.
    node.kill();
    node.serve();
    until("all have their share", || {
        let left = to_move(node)?;
        match left.is_empty() && node.log().contains(MOVED) {
            true => Ok(()),
            false => Err(left.join("; ")),
        }
    });
    node.done(&["cluster", "verify"]);
}

const USER: &str = "someone@example.test";
const PASSWORD: &str = "correct horse battery";

/// The UID that the next message of the user's INBOX gets.
fn uid_next(node: &Node) -> u64 {
    let (mut imap, _) = Session::open(node.port("imap"));
    let login = imap.tagged("a", &format!("LOGIN {USER} \"{PASSWORD}\""));
    assert!(login.contains("a OK"), "{login}");
    let status = imap.tagged("b", "STATUS INBOX (UIDNEXT)");
    let number = status.split_once("UIDNEXT ").unwrap().1.split_once(')');
    number.unwrap().0.parse().unwrap()
}

#[test]
fn what_lost_its_quorum_is_brought_back_from_one_copy() {
    let mut machines = Machines::new(5);
    machines.start(3);
    let nodes = &mut machines.nodes;
    nodes[0].done(&["domain", "add", "example.test"]);
    let add = ["account", "add", USER, "--password-stdin"];
    let (code, printed, said) = nodes[0].run_typing(&add, PASSWORD);
    assert_eq!(code, 0, "{printed}{said}");
    let uid_before = uid_next(&nodes[1]);
    let said = nodes[1].refused(&["cluster", "recover"]);
    assert!(said.contains("in use by another process"), "{said}");
    nodes[0].kill();
    nodes[2].kill();
    nodes[1].stop();

    let shown = nodes[1].json(&["cluster", "recover", "--json"]).unwrap();
    let copies = shown["copies"].as_array().unwrap();
    assert_eq!(copies.len(), 3, "{shown}");
    assert_eq!(copies[0]["others"].as_array().unwrap().len(), 2);
    assert!(copies[0]["log_time"].as_str().unwrap().starts_with("20"));
    // Nothing happens without the right words.
    let (code, printed, said) = nodes[1].run_typing(&["cluster", "recover", "--all"], "n2\nyes\n");
    assert_eq!(code, 1, "{printed}{said}");
    assert!(printed.contains("What may be missing"), "{printed}");
    assert!(said.contains("nothing was changed"), "{said}");
    let said = nodes[1].refused(&["cluster", "recover", "--shards", "9", "--yes-lose-mail"]);
    assert!(said.contains("no copy of shard 9"), "{said}");
    let typed = "n2\nyes, this may lose mail\n";
    let (code, printed, said) = nodes[1].run_typing(&["cluster", "recover", "--all"], typed);
    assert_eq!(code, 0, "{printed}{said}");
    nodes[1].serve();
    nodes[1].until_copies(&["n2"]);
    let domains = nodes[1].done(&["domain", "list"]);
    assert!(domains.contains("example.test"), "{domains}");
    nodes[1].done(&["domain", "add", "after.test"]);
    // What is lost may have had a million messages more.
    let uid_after = uid_next(&nodes[1]);
    assert!(
        uid_after > uid_before + 1_000_000,
        "{uid_before}, {uid_after}"
    );

    // One of the others comes back after all: what it had is put aside, and it is filled anew.
    nodes[2].serve();
    until("the old copies are put aside", || {
        let quarantine = fs::read_dir(machines.data("n3").join("store/quarantine"));
        match quarantine.unwrap().count() {
            0..3 => Err(machines.nodes[1].log() + &machines.nodes[2].log()),
            _ => Ok(()),
        }
    });
    let nodes = &mut machines.nodes;
    nodes[1].done(&["node", "replace", "n1"]);
    machines.join(3, 1);
    machines.nodes[1].until_copies(&["n2", "n3", "n4"]);
    let nodes = &mut machines.nodes;
    until("equal copies", || {
        nodes[1].json(&["cluster", "verify", "--json"]).map(drop)
    });
    let domains = nodes[2].done(&["domain", "list"]);
    assert!(domains.contains("after.test"), "{domains}");
}

/// Changes a byte early in a node's log, where no torn write can be the cause.
fn damage_log(data: &Path) {
    let log = data.join("store/log");
    let files = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = files.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "raftlog"));
    files.sort();
    let mut bytes = fs::read(&files[0]).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 3] ^= 0x55;
    fs::write(&files[0], bytes).unwrap();
}

/// What lies in a node's quarantine.
fn quarantine(data: &Path) -> Vec<String> {
    let entries = fs::read_dir(data.join("store/quarantine")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn until_logged(node: &Node, words: &str) {
    until(words, || match node.log() {
        log if log.contains(words) => Ok(()),
        log => Err(log),
    });
}

fn until_copies_are_equal(asked: &Node) {
    until("equal copies", || {
        let (code, printed, said) = asked.run(&["cluster", "verify"]);
        (code == 0).then_some(()).ok_or(format!("{printed}{said}"))
    });
}

#[test]
fn damage_is_mended_from_the_other_nodes() {
    let mut machines = Machines::new(3);
    machines.start(3);
    for number in 0..20 {
        machines.nodes[0].done(&["domain", "add", &format!("d{number}.example.test")]);
    }
    let data = machines.data("n3");
    let all = ["n1", "n2", "n3"];
    let nodes = &mut machines.nodes;

    nodes[2].kill();
    damage_log(&data);
    nodes[2].serve();
    until_logged(&nodes[2], " ready version");
    nodes[0].until_copies(&all);
    until_copies_are_equal(&nodes[2]);
    assert!(quarantine(&data).contains(&"log-1".to_owned()));

    nodes[2].kill();
    fs::remove_file(data.join("store/groups/1/current")).unwrap();
    nodes[2].serve();
    until_logged(&nodes[2], "a copy of the group is made");
    nodes[0].until_copies(&all);
    until_copies_are_equal(&nodes[2]);

    // Who cannot ask the others changes nothing.
    for node in &mut *nodes {
        node.kill();
    }
    let before = quarantine(&data).len();
    damage_log(&data);
    nodes[2].serve();
    until_logged(&nodes[2], "groups still count with this node's copies");
    nodes[2].until_not_ready("the log is damaged: ");
    let status = nodes[2].done(&["status"]);
    assert!(status.contains("the log is damaged: "), "{status}");
    assert_eq!(quarantine(&data).len(), before);
    nodes[0].serve();
    nodes[1].serve();
    nodes[0].until_copies(&all);
    until_copies_are_equal(&nodes[2]);
    assert!(quarantine(&data).contains(&"log-2".to_owned()));
}
