//! Mail goes in by SMTP and comes out by IMAP and POP3; who is connected is listed, and told when the server stops.

use rustix::process::Signal;

use crate::harness::{Dev, Session};

#[test]
fn mail_goes_in_and_comes_out() {
    let dev = Dev::start(&["--plaintext"], &[]);
    let account = &dev.info["accounts"][0];
    let (user, password) = (
        account["user"].as_str().unwrap(),
        account["password"].as_str().unwrap(),
    );

    let (mut smtp, _) = Session::open(dev.port("smtp"));
    smtp.ask("EHLO client.test");
    for (line, expected) in [
        ("MAIL FROM:<you@example.org>", "250 "),
        (&format!("RCPT TO:<{user}>"), "250 "),
        ("DATA", "354 "),
        ("Subject: hello\r\n\r\nA line.\r\n.", "250 "),
    ] {
        let reply = smtp.ask(line);
        assert!(reply.starts_with(expected), "{line}: {reply}");
    }

    let (mut imap, greeting) = Session::open(dev.port("imap"));
    assert!(greeting.starts_with("* OK"), "{greeting}");
    assert!(
        imap.tagged("a", &format!("LOGIN {user} {password}"))
            .contains("a OK")
    );
    assert!(imap.tagged("b", "SELECT INBOX").contains("* 1 EXISTS"));
    assert!(
        imap.tagged("c", "FETCH 1 BODY.PEEK[TEXT]")
            .contains("A line.")
    );
    let (code, sessions, _) = dev.admin(&["session", "list", "--json"]);
    assert_eq!(code, 0);
    let sessions: serde_json::Value = serde_json::from_str(&sessions).unwrap();
    let sessions = &sessions["sessions"];
    assert_eq!(sessions[0]["service"], "smtp");
    assert_eq!(sessions[0]["user"], serde_json::Value::Null);
    assert_eq!(sessions[1]["user"], user);
    assert_eq!(sessions[1]["service"], "imap");
    assert_eq!(sessions[1]["mailbox"], "INBOX");
    // Behind the node's name.
    let (_, id) = sessions[1]["id"]
        .as_str()
        .unwrap()
        .rsplit_once('-')
        .unwrap();
    assert!(
        dev.log().contains(id),
        "the log knows the session by the same name"
    );

    let (mut pop3, _) = Session::open(dev.port("pop3"));
    pop3.ask(&format!("USER {user}"));
    assert!(pop3.ask(&format!("PASS {password}")).starts_with("+OK"));
    assert!(pop3.ask("STAT").starts_with("+OK 1 "));
    drop(pop3);

    // One that waits for mail is told that there will be no more.
    imap.send("d IDLE");
    assert!(imap.line().starts_with('+'));
    dev.signal(Signal::TERM);
    let goodbye = imap.line();
    assert!(goodbye.starts_with("* BYE"), "{goodbye}");
    assert_eq!(dev.end(Signal::CONT), Some(0));
}
