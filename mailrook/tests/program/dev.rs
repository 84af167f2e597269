//! `mailrook dev`: its line of JSON, its folder, its end, its second start.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Dev, HeldPorts, Session, http, mailrook, outcome, wait};

#[test]
fn keeps_its_contract_and_leaves_nothing_behind() {
    let dev = Dev::start(&[], &[]);
    let info = &dev.info;
    assert_eq!(info["domain"], "example.test");
    assert_eq!(info["nodes"][0]["id"], 1);
    assert_eq!(info["nodes"][0]["pid"], dev.pid());
    assert_eq!(info["accounts"][1]["user"], "user2@example.test");
    assert!(info["accounts"][1]["password"].as_str().unwrap().len() > 16);
    for service in [
        "smtp",
        "submission",
        "submissions",
        "lmtp",
        "imap",
        "imaps",
        "pop3",
        "pop3s",
        "http",
    ] {
        assert_ne!(dev.port(service), 0, "{service}");
    }
    assert!(
        std::fs::read_to_string(info["ca"].as_str().unwrap())
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    assert_eq!(
        http(dev.port("http"), "/readyz"),
        (200, "ready\n".to_owned())
    );
    assert_eq!(http(dev.port("http"), "/livez").0, 200);
    let metrics = http(dev.port("http"), "/metrics").1;
    assert!(
        metrics.contains("mailrook_ready 1\n")
            && metrics.contains("mailrook_connections{service=\"imap\"} 0")
    );
    let (_, greeting) = Session::open(dev.port("smtp"));
    assert!(greeting.starts_with("220 mail.example.test"), "{greeting}");

    let (code, list, _) = dev.admin(&["account", "list", "--json"]);
    assert_eq!(code, 0);
    assert!(
        list.contains("user1@example.test") && list.lines().count() == 1,
        "{list}"
    );
    let by_environment = mailrook(&["mailbox", "where", "user1@example.test", "--json"])
        .env("MAILROOK_CONFIG", dev.config())
        .output();
    let (code, found, _) = outcome(&by_environment.unwrap());
    assert_eq!(code, 0);
    assert!(
        found.starts_with("{\"user\":\"user1@example.test\",\"shard\":"),
        "{found}"
    );

    let folder = dev.config().parent().unwrap().to_owned();
    assert!(folder.exists());
    assert_eq!(dev.end(Signal::TERM), Some(0));
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn a_second_start_finds_everything_also_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    // It does not exist yet, and is given as a relative path would be.
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let ports = HeldPorts::take(9);
    let base = ports.base.to_string();
    let first = Dev::start(&["--data", data, "--base-port", &base], &[]);
    let accounts = first.info["accounts"].clone();
    assert_eq!(
        first
            .admin(&["alias", "add", "all@example.test", "user1@example.test"])
            .0,
        0
    );
    let port = first.port("smtp");
    assert_eq!(first.end(Signal::KILL), None);

    let second = Dev::start(
        &["--data", data, "--accounts", "3", "--base-port", &base],
        &[],
    );
    assert_eq!(second.port("smtp"), port);
    assert_eq!(second.port("http"), port + 8);
    assert_eq!(second.info["accounts"][0], accounts[0]);
    assert_eq!(second.info["accounts"][1], accounts[1]);
    assert_eq!(second.info["accounts"].as_array().unwrap().len(), 3);
    let (_, aliases, _) = second.admin(&["alias", "list", "--json"]);
    assert_eq!(
        aliases,
        "[{\"alias\":\"all@example.test\",\"targets\":[\"user1@example.test\"]}]\n"
    );
    assert_eq!(second.end(Signal::INT), Some(0));
    assert!(
        Path::new(data).join("store").exists(),
        "a folder that was given stays"
    );
}

#[test]
fn a_cluster_is_found_again_where_its_nodes_know_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let first = Dev::start(&["--nodes", "3", "--data", data], &[]);
    let nodes = |dev: &Dev| {
        let (code, listed, said) = dev.admin(&["node", "list", "--json"]);
        assert_eq!(code, 0, "{said}");
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let address = |node: &serde_json::Value| node["address"].clone();
        listed
            .as_array()
            .unwrap()
            .iter()
            .map(address)
            .collect::<Vec<_>>()
    };
    let (accounts, addresses) = (first.info["accounts"].clone(), nodes(&first));
    let ports: Vec<_> = (0..3).map(|node| first.port_of(node, "imaps")).collect();
    assert_eq!(first.end(Signal::TERM), Some(0));

    // Somebody else has one of its ports meanwhile.
    let taken = std::net::TcpListener::bind(("127.0.0.1", ports[1])).unwrap();
    let second = Dev::start(&["--nodes", "3", "--data", data], &[]);
    assert_eq!(second.info["accounts"], accounts);
    assert_eq!(nodes(&second), addresses);
    assert_eq!(second.port_of(0, "imaps"), ports[0]);
    assert_ne!(second.port_of(1, "imaps"), ports[1]);
    drop(taken);
    assert_eq!(second.end(Signal::INT), Some(0));
}

#[test]
fn a_node_that_is_killed_comes_back() {
    let mut command = mailrook(&["dev", "--nodes", "2"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let printed = BufReader::new(child.stdout.take().unwrap());
    let (says, said) = mpsc::channel();
    thread::spawn(move || {
        printed
            .lines()
            .try_for_each(|line| says.send(line.unwrap()))
    });
    let line_with = |words: &str| {
        loop {
            let line = said.recv_timeout(Duration::from_secs(150)).unwrap();
            if line.contains(words) {
                return line;
            }
        }
    };
    let line = line_with("  kill -9 ");
    let pid: i32 = line.split_whitespace().last().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    line_with("node2 ended (signal: 9 (SIGKILL)); the others go on");
    line_with("node2 is started again: process");
    let own = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(own, Signal::TERM).unwrap();
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn nodes_that_were_started_by_hand_belong_to_it() {
    let dev = Dev::start(&["--nodes", "3"], &[]);
    let begun = Instant::now();
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", dev.log());
            thread::sleep(Duration::from_millis(100));
        }
    };
    dev.kill_node(2);
    // What it held is free by then.
    until(&|| dev.admin_of(2, &["status"]).0 != 0);
    let mut command = mailrook(&["--config", dev.config_of(2).to_str().unwrap()]);
    let serve = command.args(["serve", "--keep-root"]);
    let mut by_hand = serve.stderr(Stdio::null()).spawn().unwrap();
    until(&|| dev.admin_of(2, &["domain", "list"]).0 == 0);
    // The last ones that it started itself.
    dev.kill_node(0);
    dev.kill_node(1);
    thread::sleep(Duration::from_secs(1));
    let folder = dev.config().parent().unwrap().parent().unwrap().to_owned();
    assert!(folder.exists(), "{}", dev.log());
    assert_eq!(dev.end(Signal::TERM), Some(0));
    assert_eq!(wait(&mut by_hand), Some(0));
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn says_what_it_cannot_do() {
    let (code, _, said) = outcome(&mailrook(&["dev", "--nodes", "10"]).output().unwrap());
    assert_eq!(code, 2);
    assert!(
        said.contains("a throwaway cluster has 1 to 9 nodes"),
        "{said}"
    );
    let planted = mailrook(&["dev"])
        .env("MAILROOK_PLANT", "no-such-fault")
        .output()
        .unwrap();
    assert_eq!(outcome(&planted).0, 2);
    let foreign = tempfile::tempdir().unwrap();
    std::fs::create_dir(foreign.path().join("store")).unwrap();
    std::fs::write(foreign.path().join("store/somebody's"), "x").unwrap();
    let (code, _, said) = outcome(
        &mailrook(&["dev", "--data", foreign.path().to_str().unwrap()])
            .output()
            .unwrap(),
    );
    assert_eq!(code, 1);
    assert!(said.contains("no data directory of Mailrook"), "{said}");
}

#[test]
fn listens_on_this_machine_alone() {
    for arguments in [&["--plaintext"][..], &[]] {
        let dev = Dev::start(arguments, &[]);
        let sockets = std::fs::read_to_string(format!("/proc/{}/net/tcp", dev.pid())).unwrap();
        let port = format!(":{:04X}", dev.port("imap"));
        let listening: Vec<_> = sockets
            .lines()
            .filter(|line| line.contains(&port) && line.contains(" 0A "))
            .collect();
        assert!(
            !listening.is_empty() && listening.iter().all(|line| line.contains("0100007F:")),
            "{listening:?}"
        );
        let sockets =
            std::fs::read_to_string(format!("/proc/{}/net/tcp6", dev.pid())).unwrap_or_default();
        assert!(!sockets.contains(&format!("{port} 00000000000000000000000000000000:0000 0A")));
    }
}
