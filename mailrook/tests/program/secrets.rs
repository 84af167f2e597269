//! No password in logs, in the list of processes, or on the disk.

use std::{io::Write, process::Stdio};

use rustix::process::Signal;

use crate::harness::{Dev, Session, files_below, mailrook};

const PASSWORD: &str = "correct-horse-battery-staple";
/// `\0user9@example.test\0correct-horse-battery-staple`
const PLAIN: &str = "AHVzZXI5QGV4YW1wbGUudGVzdABjb3JyZWN0LWhvcnNlLWJhdHRlcnktc3RhcGxl";

#[test]
fn a_password_is_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    // Everything that can be logged is.
    let dev = Dev::start(
        &["--plaintext", "--data", data.to_str().unwrap()],
        &[("MAILROOK_LOG", "trace")],
    );
    let add = ["account", "add", "user9@example.test", "--password-stdin"];
    assert_eq!(dev.admin_with_input(&add, &format!("{PASSWORD}\n")).0, 0);

    // A command that waits for its password shows none.
    let mut command = mailrook(&[
        "account",
        "password",
        "set",
        "user9@example.test",
        "--password-stdin",
        "--config",
    ]);
    let mut waiting = command
        .arg(dev.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    waiting
        .stdin
        .as_mut()
        .unwrap()
        .write_all(PASSWORD.as_bytes())
        .unwrap();
    for file in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/{}/{file}", waiting.id())).unwrap();
        assert!(
            !String::from_utf8_lossy(&shown).contains(PASSWORD),
            "{file}"
        );
    }
    drop(waiting.stdin.take());
    assert!(waiting.wait().unwrap().success());

    let (mut session, _) = Session::open(dev.port("submission"));
    session.ask("EHLO client.test");
    let accepted = session.ask(&format!("AUTH PLAIN {PLAIN}"));
    assert!(accepted.starts_with("235 "), "{accepted}");
    let (mut session, _) = Session::open(dev.port("submission"));
    session.ask("EHLO client.test");
    let refused = session.ask("AUTH PLAIN AHVzZXI5QGV4YW1wbGUudGVzdABub3QtdGhlLXBhc3N3b3Jk");
    assert!(refused.starts_with("535 "), "{refused}");
    drop(session);

    let log = dev.log();
    assert!(
        log.contains("session{id="),
        "sessions have an id in the log:\n{}",
        &log[..log.len().min(2000)]
    );
    assert_eq!(dev.end(Signal::TERM), Some(0));
    for secret in [
        PASSWORD,
        PLAIN,
        "not-the-password",
        "bm90LXRoZS1wYXNzd29yZ",
        "SCRAM-SHA-256$",
    ] {
        let at = log.find(secret);
        assert_eq!(
            at,
            None,
            "{secret} is logged: {:?}",
            at.map(|at| &log[at.saturating_sub(200)..at])
        );
    }
    // What dev made up stands in a file of its own, readable by its user alone; nothing else holds a password.
    for file in files_below(&data) {
        let content = std::fs::read(&file).unwrap();
        let found = content
            .windows(PASSWORD.len())
            .any(|window| window == PASSWORD.as_bytes());
        assert!(!found, "{} holds the password", file.display());
    }
}
