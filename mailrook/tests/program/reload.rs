//! A reload changes certificates and settings, and drops no session.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Dev, Session};

fn edit(dev: &Dev, from: &str, to: &str) {
    let text = std::fs::read_to_string(dev.config()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(dev.config(), text.replace(from, to)).unwrap();
}

#[test]
fn sessions_stay_and_new_ones_see_the_change() {
    let dev = Dev::start(&[], &[]);
    let (mut session, _) = Session::open(dev.port("smtp"));
    assert!(session.ask("EHLO a.test").starts_with("250 "));
    edit(
        &dev,
        "[login]",
        "[smtp]\nmessage_size_max = \"1MB\"\n[login]",
    );
    let (code, said, _) = dev.admin(&["reload", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "{\"reloaded\":[\"certificates\",\"smtp.message_size_max\"],\"needs_restart\":[]}\n"
    );
    assert!(
        session.ask("NOOP").starts_with("250 "),
        "the session was dropped"
    );
    let (mut fresh, _) = Session::open(dev.port("smtp"));
    fresh.ask("EHLO a.test");
    let refused = fresh.ask("MAIL FROM:<a@b.test> SIZE=2000000");
    assert!(refused.starts_with("552 "), "{refused}");
    assert!(
        session
            .ask("MAIL FROM:<a@b.test> SIZE=2000000")
            .starts_with("250 "),
        "a session keeps what it was told"
    );

    // What needs a restart is said, also the second time.
    edit(&dev, "disk_reserve = \"64MiB\"", "disk_reserve = \"65MiB\"");
    for _ in 0..2 {
        let (code, said, _) = dev.admin(&["reload"]);
        assert_eq!(code, 0);
        assert!(
            said.contains("only after a restart: store.disk_reserve."),
            "{said}"
        );
    }
}

/// The front end that a reload makes is made of what is in force, and not of all that the file says.
#[test]
fn what_needs_a_restart_does_not_come_with_what_is_live() {
    let dev = Dev::start(&[], &[]);
    let (mut before, greeting) = Session::open(dev.port("smtp"));
    let text = std::fs::read_to_string(dev.config()).unwrap();
    let hostname = text
        .lines()
        .find(|line| line.starts_with("hostname = "))
        .unwrap();
    edit(&dev, hostname, "hostname = \"renamed.test\"");
    edit(
        &dev,
        "[login]",
        "[smtp]\nmessage_size_max = \"1MB\"\nmemory_max = \"64MB\"\n[login]",
    );
    for _ in 0..2 {
        let (code, said, _) = dev.admin(&["reload"]);
        assert_eq!(code, 0);
        assert!(
            said.contains("only after a restart: hostname, smtp.memory_max."),
            "{said}"
        );
    }
    let (mut fresh, said) = Session::open(dev.port("smtp"));
    assert_eq!(said, greeting);
    let offered = fresh.ask("EHLO a.test");
    assert!(!offered.contains("renamed.test"), "{offered}");
    let refused = fresh.ask("MAIL FROM:<a@b.test> SIZE=2000000");
    assert!(refused.starts_with("552 "), "{refused}");
    assert!(before.ask("NOOP").starts_with("250 "));
}

#[test]
fn a_mistake_changes_nothing() {
    let dev = Dev::start(&[], &[]);
    edit(
        &dev,
        "[login]",
        "[smtp]\nmessage_size_max = \"1MB\"\n[logn]",
    );
    let (code, _, said) = dev.admin(&["status"]);
    assert_eq!(code, 1, "the command reads the same file: {said}");
    dev.signal(Signal::HUP);
    let begin = Instant::now();
    while !dev.log().contains("nothing was reloaded") {
        assert!(begin.elapsed() < Duration::from_secs(30), "{}", dev.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(dev.log().contains("did you mean"), "{}", dev.log());
    let (mut session, _) = Session::open(dev.port("smtp"));
    session.ask("EHLO a.test");
    assert!(
        session
            .ask("MAIL FROM:<a@b.test> SIZE=2000000")
            .starts_with("250 ")
    );
    // A certificate that is gone is no reason to lose the one in use.
    edit(
        &dev,
        "[smtp]\nmessage_size_max = \"1MB\"\n[logn]",
        "[login]",
    );
    std::fs::rename(
        dev.config().with_file_name("server.key"),
        dev.config().with_file_name("elsewhere"),
    )
    .unwrap();
    let (code, _, said) = dev.admin(&["reload"]);
    assert!(code == 1 && said.contains("server.key"), "{said}");
    assert!(session.ask("NOOP").starts_with("250 "));
}
