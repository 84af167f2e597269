//! Where a message ends, and bare CR and LF (the "SMTP smuggling" class, CVE-2023-51764).

use crate::{hello, inbox};

const ENVELOPE: &str = "C: MAIL FROM:<a@x.example>\nS: 250 ...\nC: RCPT TO:<<<user>>>\nS: 250 ...\nC: DATA\nS: 354 ...";

#[test]
fn dots_are_unstuffed() {
    // RFC 5321 §4.5.2.
    let (fixture, mut script) = hello();
    script
        .play(ENVELOPE)
        .play("C- Subject: dots\\r\\n\\r\\n..\\r\\n..a\\r\\n...\\r\\nb.\\r\\n.\\r\\n\nS: 250 ...");
    assert!(
        inbox(&fixture)[0].ends_with("\r\n\r\n.\r\n.a\r\n..\r\nb.\r\n"),
        "{:?}",
        inbox(&fixture)
    );
}

#[test]
fn an_empty_message_and_one_that_begins_with_a_dot() {
    let (fixture, mut script) = hello();
    script
        .play(ENVELOPE)
        .play("C: .\nS: 250 ...")
        .play(ENVELOPE)
        .play("C- ..x: y\\r\\n.\\r\\n\nS: 250 ...");
    let mail = inbox(&fixture);
    assert_eq!(mail.len(), 2);
    assert!(mail[1].ends_with(".x: y\r\n"), "{:?}", mail[1]);
}

/// Every false end must not end the message: what follows would be a second message of the attacker's.
#[test]
fn only_the_true_end_ends() {
    for (number, end) in [
        "\\n.\\n",
        "\\r\\n.\\n",
        "\\n.\\r\\n",
        "\\r.\\r",
        "\\r\\n.\\r",
        "\\r\\n\\x00.\\r\\n",
    ]
    .iter()
    .enumerate()
    {
        let (fixture, mut script) = hello();
        script.play(ENVELOPE);
        let smuggled = format!(
            "C- Subject: outer {number}\\r\\n\\r\\ntext{end}MAIL FROM:<evil@x.example>\\r\\nRCPT TO:<<<user>>>\\r\\nDATA\\r\\nSubject: smuggled\\r\\n\\r\\n\\r\\n.\\r\\n"
        );
        script.play(&smuggled);
        // Refused, or taken as one message; never two.
        script.play("S: ...\nC: QUIT\nS~ 221 ...\nEND");
        let mail = inbox(&fixture);
        assert!(mail.len() <= 1, "{end} ended a message: {mail:?}");
        assert!(mail.iter().all(|m| !m.starts_with("Subject: smuggled")));
        for message in &mail {
            let bare = message.replace("\r\n", "").contains(['\r', '\n']);
            assert!(
                !bare,
                "a bare CR or LF was passed on after {end}: {message:?}"
            );
        }
    }
}

#[test]
fn the_end_may_come_in_pieces() {
    let (fixture, mut script) = hello();
    script.play(ENVELOPE);
    for piece in [
        "Subject: slow\\r\\n\\r\\ntext",
        "\\r",
        "\\n",
        ".",
        "\\r",
        "\\n",
    ] {
        script.play(&format!("C- {piece}"));
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    script.play("S: 250 ...");
    assert_eq!(inbox(&fixture).len(), 1);
}

#[test]
fn a_client_that_goes_away_within_data_delivers_nothing() {
    let (fixture, mut script) = hello();
    script.play(ENVELOPE).play("C: Subject: half");
    drop(script);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(inbox(&fixture).is_empty());
}

#[test]
fn overlong_text_lines_are_taken_or_refused_but_not_cut() {
    // RFC 5321 §4.5.3.1.6 asks for 1000 at least.
    let (fixture, mut script) = hello();
    let line = "x".repeat(5_000);
    script.play(ENVELOPE).play(&format!(
        "C: Subject: long\nC:\nC: {line}\nC: .\nS: <<code>> ..."
    ));
    let mail = inbox(&fixture);
    assert!(if script.value("code") == "250" {
        mail[0].contains(&line)
    } else {
        mail.is_empty()
    });
}
