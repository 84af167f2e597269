//! A node says at any time how it fares: while it waits for the others, while it is cut off from them, and while it stops.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    by_hand::{Machines, Node, until},
    harness::{Session, http},
};

/// What a person bears, and a probe.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Tells how long something takes.
fn soon<T>(what: &str, ask: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let answer = ask();
    let took = begun.elapsed();
    assert!(took < AT_ONCE, "{what} took {took:?}");
    answer
}

fn greeting(node: &Node, service: &str) -> String {
    soon(service, || Session::open(node.port(service)).1)
}

/// One of three is up after a power cut.
#[test]
fn a_node_that_waits_for_the_others_says_so() {
    let mut machines = Machines::new(3);
    machines.start(3);
    let nodes = &mut machines.nodes;
    for node in &mut *nodes {
        node.kill();
    }
    let asked = &mut nodes[0];
    asked.serve();
    asked.until_not_ready("waiting for the cluster's directory: ");
    let (code, said) = soon("livez", || http(asked.port("http"), "/livez"));
    assert_eq!((code, said.as_str()), (200, "live\n"));
    let (_, figures) = soon("metrics", || http(asked.port("http"), "/metrics"));
    assert!(figures.contains("\nmailrook_ready 0\n"), "{figures}");
    for (service, begins) in [
        ("smtp", "421 4.3.2 "),
        ("imap", "* BYE [UNAVAILABLE] "),
        ("pop3", "-ERR [SYS/TEMP] "),
    ] {
        for _ in 0..3 {
            let greeting = greeting(asked, service);
            assert!(greeting.starts_with(begins), "{service}: {greeting}");
        }
    }

    let status = soon("status", || asked.json(&["status", "--json"])).unwrap();
    assert_eq!(status["ready"], false);
    let known = &status["cluster_unreached"];
    assert_eq!(known["nodes"].as_array().unwrap().len(), 2, "{known}");
    assert_eq!(known["nodes"][0]["link"], "refused", "{known}");
    assert_eq!(known["copies"].as_array().unwrap().len(), 3, "{known}");
    let text = asked.done(&["status"]);
    assert!(
        text.contains("waiting for the cluster's directory"),
        "{text}"
    );
    assert!(text.contains("\nmeta ") && text.contains("n2"), "{text}");
    let (code, _, said) = soon("another command", || asked.run(&["domain", "list"]));
    assert_eq!(code, 3, "{said}");
    assert!(
        said.contains("not ready: waiting for the cluster's"),
        "{said}"
    );

    nodes[1].serve();
    nodes[0].until_ready();
    assert!(greeting(&nodes[0], "smtp").starts_with("220 "));
    nodes[0].done(&["domain", "add", "example.test"]);
}

#[test]
fn a_node_that_waits_can_be_stopped() {
    let mut machines = Machines::new(2);
    machines.nodes[0].done(&["cluster", "init"]);
    machines.nodes[0].serve();
    machines.join(1, 0);
    let nodes = &mut machines.nodes;
    nodes[1].until_ready();
    nodes[0].kill();
    nodes[1].kill();
    nodes[1].serve();
    nodes[1].until_not_ready("directory");
    nodes[1].done(&["stop"]);
    assert_eq!(nodes[1].end(), Some(1));
    assert!(nodes[1].log().contains("stopped while it was starting"));
}

#[test]
fn a_node_that_is_cut_off_shows_what_it_knows() {
    let mut machines = Machines::new(3);
    machines.start(3);
    let nodes = &mut machines.nodes;
    nodes[0].kill();
    nodes[1].kill();
    let asked = &nodes[2];
    // Its copies may go on naming a leader that is gone.
    asked.until_not_ready("the cluster's directory has not answered for ");
    let status = soon("status", || asked.json(&["status", "--json"])).unwrap();
    assert_eq!(status["cluster"], Value::Null, "{status}");
    let known = &status["cluster_unreached"];
    let error = known["error"].as_str().unwrap();
    assert!(error.contains("directory cannot be reached: "), "{error}");
    let gone = |node: &&Value| node["link"] == "refused";
    let others = known["nodes"].as_array().unwrap();
    assert_eq!(others.iter().filter(gone).count(), 2, "{known}");
    let (code, _, said) = soon("node list", || asked.run(&["node", "list"]));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("directory cannot be reached"), "{said}");
    assert!(said.contains("n1 (127.0.0.1:"), "{said}");
}

/// A balancer is to send nobody to a node that could only say "try later".
#[test]
fn a_node_without_copies_says_that_it_is_cut_off() {
    let mut machines = Machines::new(4);
    machines.start(3);
    machines.join(3, 0);
    let nodes = &mut machines.nodes;
    nodes[0].done(&["node", "drain", "n4"]);
    nodes[0].until_copies(&["n1", "n2", "n3"]);
    nodes[3].until_ready();
    until("no copies", || {
        let status = nodes[3].json(&["status", "--json"])?;
        match status["node"]["groups"].as_array().map(Vec::len) {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    nodes[0].kill();
    nodes[1].kill();
    nodes[3].until_not_ready("the cluster's directory has not answered for ");
    nodes[0].serve();
    nodes[3].until_ready();
}

/// The balancer sees it before a client does.
#[test]
fn a_node_that_stops_says_so_first() {
    const PAUSE: Duration = Duration::from_secs(6);
    let mut machines = Machines::new(3);
    machines.nodes[0].configure("stop_pause = \"6s\"\n");
    machines.start(3);
    let nodes = &mut machines.nodes;
    nodes[0].until_ready();
    nodes[0].done(&["stop"]);
    let begun = Instant::now();
    nodes[0].until_not_ready("stopping");
    // Others lead already, and clients that come are served.
    until("others lead", || {
        let status = nodes[1].json(&["status", "--json"])?;
        let groups = status["cluster"]["groups"].as_array().ok_or("no groups")?;
        let leads = |group: &&Value| group["leader"] == "n1" || group["leader"] == Value::Null;
        match groups.iter().find(leads) {
            None => Ok(()),
            Some(group) => Err(group.to_string()),
        }
    });
    assert!(greeting(&nodes[0], "smtp").starts_with("220 "));
    assert!(begun.elapsed() < PAUSE, "too slow a machine for this test");
    assert_eq!(nodes[0].end(), Some(0));
    assert!(begun.elapsed() >= PAUSE);
}
