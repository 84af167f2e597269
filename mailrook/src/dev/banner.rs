//! What a person sees when a throwaway server is ready: what there is, and what to paste.

use std::path::{Path, PathBuf};

use super::Ready;

/// What to type to run this program again: its name where a shell finds it by that, else where it is.
pub fn program() -> PathBuf {
    let name = PathBuf::from("mailrook");
    let Ok(here) = std::env::current_exe() else {
        return name;
    };
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(&name))
            .find(|file| file.is_file())
            .is_some_and(|file| file.canonicalize().is_ok_and(|file| file == here))
    });
    if found { name } else { here }
}

/// The text. `program` is what to type to run this program.
pub fn text(ready: &Ready, program: &Path, plaintext: bool, temporary: bool) -> String {
    let Some(node) = ready.nodes.first() else {
        return String::new();
    };
    let port = |service: &str| node.ports.get(service).copied().filter(|port| *port != 0);
    let mut text = format!(
        "Mailrook {} is ready: a throwaway server for the domain {}, reachable from this machine alone.\n\n",
        env!("CARGO_PKG_VERSION"),
        ready.domain
    );
    for (service, what) in [
        ("smtp", "mail from other systems"),
        ("submission", "mail from users, STARTTLS"),
        ("submissions", "mail from users, TLS"),
        ("lmtp", "mail from a local mail system"),
        ("imap", "mail clients, STARTTLS"),
        ("imaps", "mail clients, TLS"),
        ("pop3", "mail clients, STLS"),
        ("pop3s", "mail clients, TLS"),
        ("http", "/livez, /readyz, /metrics"),
    ] {
        if let Some(port) = port(service) {
            text += &format!("  {service:<12} localhost:{port:<6} {what}\n");
        }
    }
    if plaintext {
        text += "\nPasswords are taken without TLS, too.\n";
    }
    text += "\nAccounts and passwords:\n";
    for account in ready.accounts.iter().take(10) {
        text += &format!("  {:<24} {}\n", account.user, account.password);
    }
    if let Some(more) = ready
        .accounts
        .len()
        .checked_sub(10)
        .filter(|more| *more > 0)
    {
        text += &format!("  and {more} more; --json lists them all\n");
    }
    text += "\nTry, in another terminal:\n";
    text += &commands(ready, program, &port);
    text += if temporary {
        "\nCtrl-C stops it and removes everything.\n"
    } else {
        "\nCtrl-C stops it. The data stays.\n"
    };
    text
}

/// The same of several nodes: where they are, and how to see one die.
pub fn cluster_text(ready: &Ready, program: &Path, plaintext: bool, temporary: bool) -> String {
    let count = ready.nodes.len();
    let mut text = format!(
        "Mailrook {} is ready: a throwaway cluster of {count} nodes for the domain {}, reachable from this machine alone.\n\n",
        env!("CARGO_PKG_VERSION"),
        ready.domain
    );
    text += &format!("  {:<8} {:>9}", "", "process");
    for service in ["smtp", "submission", "imaps", "pop3s", "http"] {
        text += &format!(" {service:>11}");
    }
    text += "\n";
    for node in &ready.nodes {
        text += &format!("  node{:<4} {:>9}", node.id, node.pid);
        for service in ["smtp", "submission", "imaps", "pop3s", "http"] {
            let port = node.ports.get(service).copied().unwrap_or(0);
            text += &format!(" {port:>11}");
        }
        text += "\n";
    }
    if plaintext {
        text += "\nPasswords are taken without TLS, too.\n";
    }
    text += "\nAny node serves every account. Accounts and passwords:\n";
    for account in ready.accounts.iter().take(10) {
        text += &format!("  {:<24} {}\n", account.user, account.password);
    }
    text += "\nTry, in another terminal, with the first node:\n";
    if let Some(node) = ready.nodes.first() {
        let port = |service: &str| node.ports.get(service).copied().filter(|port| *port != 0);
        let mut first = ready.config.clone();
        first.truncate(1);
        text += &commands_of(ready, &first, program, &port);
    }
    let program = quoted(&program.display().to_string());
    if let (Some(config), Some(last)) = (ready.config.first(), ready.nodes.last()) {
        let config = quoted(&config.display().to_string());
        text += &format!("  {program} --config {config} status --watch\n");
        text += &format!(
            "\nThen have a node die while mail is sent and read at the others: who is connected there should not notice, and who was\nconnected to it connects to another:\n  kill -9 {}\n",
            last.pid
        );
    }
    text += if temporary {
        "\nCtrl-C stops all nodes and removes everything.\n"
    } else {
        "\nCtrl-C stops all nodes. The data stays.\n"
    };
    text
}

fn commands(ready: &Ready, program: &Path, port: &dyn Fn(&str) -> Option<u16>) -> String {
    commands_of(ready, &ready.config, program, port)
}

fn commands_of(
    ready: &Ready,
    configs: &[PathBuf],
    program: &Path,
    port: &dyn Fn(&str) -> Option<u16>,
) -> String {
    let ca = quoted(&ready.ca.display().to_string());
    let mut text = String::new();
    if let Some(account) = ready.accounts.first() {
        let login = quoted(&format!("{}:{}", account.user, account.password));
        if let Some(port) = port("smtp") {
            text += &format!(
                "  swaks -4 --server localhost:{port} --from you@example.org --to {} --header 'Subject: hello'\n",
                account.user
            );
        }
        if let Some(port) = port("submission") {
            text += &format!(
                "  swaks -4 --server localhost:{port} --tls --auth-user {0} --auth-password {1} --from {0} --to {0}\n",
                account.user, account.password
            );
        }
        if let Some(port) = port("imaps") {
            text += &format!(
                "  curl --cacert {ca} --user {login} 'imaps://localhost:{port}/INBOX;MAILINDEX=1'\n"
            );
        }
        if let Some(port) = port("pop3s") {
            text += &format!("  curl --cacert {ca} --user {login} 'pop3s://localhost:{port}/1'\n");
        }
    }
    if let Some(port) = port("imaps").or(port("submissions")) {
        text += &format!(
            "  openssl s_client -crlf -quiet -verify_return_error -CAfile {ca} -connect localhost:{port}\n"
        );
    }
    if let Some(port) = port("http") {
        text += &format!("  curl http://localhost:{port}/metrics\n");
    }
    let program = quoted(&program.display().to_string());
    for config in configs {
        text += &format!(
            "  {program} --config {} account list\n",
            quoted(&config.display().to_string())
        );
    }
    text
}

/// For a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::{NodeInfo, accounts::Account};

    #[test]
    fn shows_only_what_is_there() {
        let ready = Ready {
            nodes: vec![NodeInfo {
                id: 1,
                pid: 5,
                ports: [("smtp", 2525), ("imaps", 0), ("http", 8025)].into(),
            }],
            domain: "example.test".to_owned(),
            ca: "/tmp/with space/ca.pem".into(),
            config: vec!["/tmp/m.toml".into()],
            accounts: vec![Account {
                user: "user1@example.test".to_owned(),
                password: "p-w".to_owned(),
            }],
        };
        let shown = text(&ready, Path::new("/opt/mailrook"), false, true);
        assert!(
            shown.contains("swaks -4 --server localhost:2525")
                && shown.contains("user1@example.test       p-w")
        );
        assert!(!shown.contains("imaps") && !shown.contains("openssl"));
        assert!(shown.contains("  /opt/mailrook --config /tmp/m.toml account list"));
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn the_line_of_json_has_its_contract() {
        let ready = Ready {
            nodes: vec![NodeInfo {
                id: 1,
                pid: 123,
                ports: [("smtp", 1), ("http", 9)].into(),
            }],
            domain: "example.test".to_owned(),
            ca: "FILE".into(),
            config: vec!["FILE".into()],
            accounts: vec![Account {
                user: "user1@example.test".to_owned(),
                password: "…".to_owned(),
            }],
        };
        assert_eq!(
            serde_json::to_string(&ready).unwrap(),
            "{\"nodes\":[{\"id\":1,\"pid\":123,\"ports\":{\"http\":9,\"smtp\":1}}],\"domain\":\"example.test\",\"ca\":\"FILE\",\
             \"config\":[\"FILE\"],\"accounts\":[{\"user\":\"user1@example.test\",\"password\":\"…\"}]}"
        );
    }
}
