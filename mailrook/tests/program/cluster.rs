//! Several nodes as their operators run them: made, joined, looked at, killed, drained.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Dev, HeldPorts, Session, mailrook, outcome};

/// A debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn deliver(port: u16, user: &str, text: &str) {
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

fn messages(port: u16, user: &str, password: &str) -> String {
    let (mut imap, _) = Session::open(port);
    let login = imap.tagged("a", &format!("LOGIN {user} {password}"));
    assert!(login.contains("a OK"), "{login}");
    imap.tagged("b", "STATUS INBOX (MESSAGES)")
}

/// Asks until the answer is as wanted.
fn until(what: &str, mut wanted: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(seen) = wanted() {
        assert!(begun.elapsed() < PATIENCE, "{what}: {seen}");
        std::thread::sleep(Duration::from_millis(100));
    }
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
    let (mut imap, _) = Session::open(dev.port_of(0, "imap"));
    imap.tagged("a", &format!("LOGIN {user} {password}"));
    imap.tagged("b", "SELECT INBOX");
    // Whoever leads the account's shard, one of these leads something; the first one's session stays open.
    dev.kill_node(2);
    deliver(dev.port_of(1, "smtp"), user, "after it");
    let noop = imap.tagged("c", "NOOP");
    assert!(noop.contains("* 4 EXISTS"), "{noop}");
    let stored = imap.tagged("d", "STORE 4 +FLAGS (\\Seen)");
    assert!(stored.contains("d OK"), "{stored}");
    let (code, status, said) = dev.admin_of(1, &["status", "--json"]);
    assert_eq!(code, 0, "{said}");
    let status: Value = serde_json::from_str(&status).unwrap();
    let missing = status["cluster"]["under_replicated"].as_array().unwrap();
    assert_eq!(missing.len(), 9, "every group lacks a copy: {missing:?}");
    let (_, text, _) = dev.admin_of(1, &["status"]);
    assert!(
        text.contains("node3") && text.contains("not reached"),
        "{text}"
    );
    assert_eq!(dev.end(Signal::TERM), Some(0));
}

/// A node of a cluster that is made by hand.
struct Node {
    config: std::path::PathBuf,
    child: Option<Child>,
}

impl Node {
    fn new(folder: &Path, name: &str, port: u16) -> Node {
        let config = folder.join(format!("{name}.toml"));
        let text = format!(
            "hostname = \"{name}.example.test\"\ndata_dir = \"{}\"\nuser = \"nobody\"\n[listen]\nsmtp = []\nsubmission = []\n\
             submissions = []\nimap = []\nimaps = []\npop3 = []\npop3s = []\nhttp = []\n[store]\nshards = 2\n\
             disk_reserve = \"1MiB\"\n[cluster]\nname = \"{name}\"\nlisten = [\"127.0.0.1:{port}\"]\n",
            folder.join(name).display()
        );
        fs::write(&config, text).unwrap();
        Node {
            config,
            child: None,
        }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(&self.config).args(arguments);
        outcome(&command.output().unwrap())
    }

    fn serve(&mut self) {
        let mut command = mailrook(&[]);
        command.arg("--config").arg(&self.config).arg("serve");
        let log = fs::File::create(self.config.with_extension("log")).unwrap();
        self.child = Some(command.stderr(log).stdout(Stdio::null()).spawn().unwrap());
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let (code, printed, said) = self.run(arguments);
        if code != 0 {
            return Err(said);
        }
        serde_json::from_str(&printed).map_err(|error| error.to_string())
    }

    fn token(&self) -> String {
        let mut token = String::new();
        until("a token", || {
            let reply = self.json(&["node", "token", "--json"])?;
            token = reply["token"].as_str().unwrap().to_owned();
            Ok(())
        });
        token
    }

    /// Waits until each group has so many copies, on the nodes of these names.
    fn until_copies(&self, names: &[&str]) {
        until("copies", || {
            let status = self.json(&["status", "--json"])?;
            let groups = status["cluster"]["groups"].as_array().ok_or("no groups")?;
            let as_wanted = |group: &Value| {
                let mut voters: Vec<_> = group["voters"].as_array().unwrap().clone();
                voters.sort_by_key(|name| name.to_string());
                group["leader"].is_string()
                    && group["learners"] == Value::Array(Vec::new())
                    && voters
                        .iter()
                        .map(|name| name.as_str().unwrap())
                        .eq(names.iter().copied())
            };
            match groups.len() >= 3 && groups.iter().all(as_wanted) {
                true => Ok(()),
                false => Err(status["cluster"].to_string()),
            }
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn nodes_join_are_drained_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), open).unwrap();
    let ports = HeldPorts::take(4);
    let mut nodes: Vec<Node> = (0..4)
        .map(|at| Node::new(folder.path(), &format!("n{}", at + 1), ports.base + at))
        .collect();
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
    // A fourth takes the place of one that is drained.
    let token = nodes[1].token();
    assert_eq!(nodes[3].run(&["node", "join", &token]).0, 0);
    nodes[3].serve();
    let (code, _, said) = nodes[1].run(&["node", "remove", "n1"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(nodes[1].run(&["node", "drain", "n1"]).0, 0);
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
}
