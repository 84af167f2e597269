//! Accounts that ask for much: `rebalance` takes them apart.

use serde_json::Value;

use crate::harness::{Dev, Session, http};

/// Requests of each busy account; all together more than what is taken for an idle cluster.
const REQUESTS: usize = 3_000;

fn ask(dev: &Dev, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--json"]].concat();
    let (code, printed, said) = dev.admin(&arguments);
    assert_eq!(code, 0, "{arguments:?}: {said}");
    serde_json::from_str(&printed).unwrap()
}

/// Has an account ask for something often, at one of the nodes.
fn keep_busy(dev: &Dev, node: usize, account: &Value) {
    let (mut imap, _) = Session::open(dev.port_of(node, "imap"));
    let text = |field: &str| account[field].as_str().unwrap().to_owned();
    let login = format!("LOGIN {} {}", text("user"), text("password"));
    assert!(imap.tagged("l", &login).contains("l OK"));
    for _ in 0..REQUESTS {
        let said = imap.tagged("s", "STATUS INBOX (MESSAGES)");
        assert!(said.contains("s OK"), "{said}");
    }
}

#[test]
fn busy_accounts_do_not_stay_together() {
    let dev = Dev::start(&["--plaintext", "--nodes", "3"], &[]);
    let accounts = dev.info["accounts"].as_array().unwrap();
    let (one, two) = (&accounts[0], &accounts[1]);
    let users: Vec<&str> = [one, two].map(|of| of["user"].as_str().unwrap()).to_vec();
    ask(
        &dev,
        &["mailbox", "move", users[0], users[1], "--to", "shard:1"],
    );
    let plan = |dev: &Dev| ask(dev, &["rebalance", "--plan"]);
    let moves = |plan: &Value| -> Vec<Value> {
        let all = plan["moves"].as_array().unwrap().iter();
        let ours = all.filter(|of| users.iter().any(|user| of["user"] == **user));
        ours.cloned().collect()
    };
    // Two accounts with next to nothing are nothing to move for.
    let idle = plan(&dev);
    assert_eq!(moves(&idle), [] as [Value; 0], "{idle}");

    // Whichever nodes they are connected to.
    keep_busy(&dev, 0, one);
    keep_busy(&dev, 2, two);
    let busy = plan(&dev);
    let moved = moves(&busy);
    assert_eq!(moved.len(), 1, "{busy}");
    assert_eq!(moved[0]["from"], 1, "{busy}");
    let why = moved[0]["why"].as_str().unwrap();
    assert!(why.contains("times its share of load"), "{why}");
    assert_eq!(busy["unreached"], Value::Array(Vec::new()));
    let shard = |shard: u64| {
        let mut all = busy["shards"].as_array().unwrap().iter();
        all.find(|of| of["shard"] == shard).unwrap().clone()
    };
    let (from, to) = (shard(1), shard(moved[0]["to"].as_u64().unwrap()));
    let load = |of: &Value, field: &str| of[field].as_u64().unwrap();
    assert!(load(&from, "load") > load(&from, "load_after"), "{busy}");
    assert!(load(&to, "load") < load(&to, "load_after"), "{busy}");
    let (_, table, _) = dev.admin(&["rebalance", "--plan"]);
    assert!(table.contains("LOAD/H") && table.contains(why), "{table}");
    let (_, figures) = http(dev.port_of(0, "http"), "/metrics");
    let counted = |line: &str| line.starts_with("mailrook_shard_load{shard=\"1\"} ");
    assert!(figures.lines().any(counted), "{figures}");

    // The load goes along with the account: once moved, it stays.
    ask(&dev, &["rebalance"]);
    let after = plan(&dev);
    assert_eq!(moves(&after), [] as [Value; 0], "{after}");
}
