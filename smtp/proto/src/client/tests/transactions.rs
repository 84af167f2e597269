//! Messages: accepted, refused, put off, given up.

use super::*;
use crate::BodyType;

const MAIL: &str = "C: MAIL FROM:<a@b.test>\n";
const STORED: &str = "delivered: 250 2.0.0 stored";
const OVER: &str = "closed: the conversation is over";

fn three() -> Plan {
    Plan {
        envelopes: vec![envelope(&["c@d.test", "e@d.test", "f@g.test"])],
        ..smtp()
    }
}

fn pipelining() -> String {
    hello(&["mx.test", "PIPELINING"])
}

/// MAIL, three recipients and DATA in one group.
fn group() -> String {
    pipelining()
        + MAIL
        + "C: RCPT TO:<c@d.test>\nC: RCPT TO:<e@d.test>\nC: RCPT TO:<f@g.test>\nC: DATA\n"
}

#[test]
fn one_command_after_the_other() {
    let script = hello(&["mx.test", "SIZE 1000", "8BITMIME"])
        + "C: MAIL FROM:<a@b.test> SIZE=7
         S: 250 2.1.0 ok
         C: RCPT TO:<c@d.test>
         S: 250 2.1.5 ok
         C: DATA
         S: 354 go
         C: hi
         C: ..
         C: .
         S: 250 2.0.0 stored
         C: QUIT
         S: 221 bye";
    assert_eq!(converse(&smtp(), &script), [STORED, OVER]);
}

#[test]
fn in_groups() {
    let script = group()
        + "S: 250 ok
         S: 250 ok
         S: 550 5.1.1 nobody
         S: 451 4.2.0 later
         S: 354 go
         C: hi
         C: ..
         C: .
         S: 250 2.0.0 stored
         C: QUIT";
    let told = converse(&three(), &script);
    assert_eq!(
        told,
        [
            STORED,
            "refused at RCPT TO: 550 5.1.1 nobody",
            "deferred at RCPT TO: 451 4.2.0 later"
        ]
    );
}

#[test]
fn a_group_is_bounded() {
    let to: Vec<String> = (0..100).map(|n| format!("u{n}@d.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let mut rig = Rig::new(
        Plan {
            envelopes: vec![envelope(&to)],
            ..smtp()
        },
        usize::MAX,
    );
    rig.pump();
    rig.receive(b"220 x\r\n");
    rig.written.clear();
    rig.receive(b"250-x\r\n250 PIPELINING\r\n");
    for answered in 0..=100 {
        let said = rig.written.iter().filter(|byte| **byte == b'\n').count();
        let all = 1 + 100 + 1;
        assert_eq!(said, all.min(limits::PIPELINE_MAX + answered));
        rig.receive(b"250 ok\r\n");
    }
    rig.receive(b"354 go\r\n");
    rig.receive(b"250 stored\r\n");
    assert_eq!(
        rig.told
            .iter()
            .filter(|told| *told == "delivered: 250 stored")
            .count(),
        100
    );
}

#[test]
fn a_lone_dot_ends_data_for_nobody() {
    let script = group()
        + "S: 250 ok
         S: 550 a
         S: 550 b
         S: 550 c
         S: 354 go
         C: .
         S: 554 5.5.1 no valid recipients
         C: QUIT";
    let told = converse(&three(), &script);
    assert_eq!(
        told,
        [
            "refused at RCPT TO: 550 a",
            "refused at RCPT TO: 550 b",
            "refused at RCPT TO: 550 c"
        ]
    );
}

#[test]
fn a_refused_sender_is_everybodys_answer() {
    let no = "refused at MAIL FROM: 550 5.7.1 not you";
    let answers = "S: 550 5.7.1 not you\nS: 503 x\nS: 250 x\nS: 503 x\n";
    let told = converse(&three(), &(group() + answers + "S: 503 x\nC: QUIT"));
    assert_eq!(told, [no; 3]);
    // Even from a remote that takes recipients all the same, nothing is sent.
    let told = converse(
        &three(),
        &(group() + answers + "S: 354 go\nC: .\nS: 250 ok\nC: QUIT"),
    );
    assert_eq!(told, [no; 3]);
    let told = converse(
        &three(),
        &(hello(&["x"]) + MAIL + "S: 550 5.7.1 not you\nC: QUIT"),
    );
    assert_eq!(told, [no; 3]);
}

#[test]
fn refused_data_and_verdicts() {
    let accepted = group() + "S: 250 x\nS: 250 x\nS: 550 nobody\nS: 250 x\n";
    let nobody = "refused at RCPT TO: 550 nobody";
    let told = converse(&three(), &format!("{accepted}S: 451 4.3.0 later\nC: QUIT"));
    let later = "deferred at DATA: 451 4.3.0 later";
    assert_eq!(told, [later, nobody, later]);
    let text = "S: 354 go\nC: hi\nC: ..\nC: .\n";
    for (code, word) in [
        ("452 4.3.1 full", "deferred"),
        ("554 5.6.0 spam", "refused"),
    ] {
        let told = converse(&three(), &format!("{accepted}{text}S: {code}\nC: QUIT"));
        let end = format!("{word} at the end of the message: {code}");
        assert_eq!(told, [end.as_str(), nobody, end.as_str()]);
    }
}

#[test]
fn too_many_recipients_go_in_the_next_transaction() {
    for too_many in [
        "452 too many",
        "452 4.5.3 too many",
        "552 too many",
        "552 5.5.3 too many",
    ] {
        let answers = format!(
            "S: 250 x\nS: 250 x\nS: {too_many}\nS: {too_many}\nS: 354 go\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT"
        );
        let told = converse(&three(), &(group() + &answers));
        assert_eq!(told, [STORED, "next transaction", "next transaction"]);
    }
    // One by one, the third is not even named.
    let script = hello(&["x"])
        + MAIL
        + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: RCPT TO:<e@d.test>\nS: 452 x\nC: DATA\nS: 354 x\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT";
    assert_eq!(
        converse(&three(), &script),
        [STORED, "next transaction", "next transaction"]
    );
    // What is about one mailbox, or comes before any was accepted, is an answer like others.
    for (reply, outcome) in [
        ("452 4.2.2 full", "deferred at RCPT TO: 452 4.2.2 full"),
        ("552 5.2.2 full", "refused at RCPT TO: 552 5.2.2 full"),
    ] {
        let answers = format!(
            "S: 250 x\nS: 250 x\nS: {reply}\nS: 250 x\nS: 354 go\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT"
        );
        assert_eq!(
            converse(&three(), &(group() + &answers)),
            [STORED, outcome, STORED]
        );
    }
    let answers = "S: 250 x\nS: 452 x\nS: 552 5.5.3 x\nS: 552 x\nS: 503 x\nC: QUIT";
    let told = converse(&three(), &(group() + answers));
    assert_eq!(
        told,
        [
            "deferred at RCPT TO: 452 x",
            "deferred at RCPT TO: 552 5.5.3 x",
            "refused at RCPT TO: 552 x"
        ]
    );
}

#[test]
fn limits_are_kept() {
    let rest = "S: 250 x\nS: 250 x\nS: 250 x\nS: 354 go\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT\nS: 221 bye";
    let offers = |limit: &str| hello(&["x", "PIPELINING", limit]);
    let two = "C: RCPT TO:<c@d.test>\nC: RCPT TO:<e@d.test>\nC: DATA\n";
    for limit in ["LIMITS RCPTMAX=2", "LIMITS RCPTDOMAINMAX=1"] {
        let told = converse(&three(), &(offers(limit) + MAIL + two + rest));
        assert_eq!(told, [STORED, STORED, "next transaction", OVER]);
    }
    // The second message is never asked for.
    let plan = Plan {
        envelopes: vec![envelope(&["c@d.test", "e@d.test"]); 2],
        ..smtp()
    };
    let told = converse(&plan, &(offers("LIMITS MAILMAX=1") + MAIL + two + rest));
    assert_eq!(told, [STORED, STORED, OVER]);
}

#[test]
fn what_the_remote_lacks_is_told_before_a_word() {
    let script = hello(&["x", "SIZE 6"]) + "C: QUIT";
    assert_eq!(
        converse(&smtp(), &script),
        ["impossible: Size { size_max: 6 }"]
    );
    let mut plan = smtp();
    plan.envelopes[0].require_tls = true;
    assert_eq!(
        converse(&plan, &(hello(&["x", "REQUIRETLS"]) + "C: QUIT")),
        ["impossible: RequireTls"]
    );
    // One recipient's UTF-8 is no other recipient's fault.
    let plan = Plan {
        envelopes: vec![envelope(&["j\u{fc}@d.test", "c@d.test"])],
        ..smtp()
    };
    let one = "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\nS: 354 x\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT";
    let told = converse(&plan, &(hello(&["x"]) + MAIL + one));
    assert_eq!(told, ["impossible: SmtpUtf8", STORED]);
}

#[test]
fn require_tls_goes_under_verified_tls() {
    let mut plan = smtp();
    plan.envelopes[0].require_tls = true;
    plan.config.tls = Tls::Verified;
    let script =
        hello(&["x", "REQUIRETLS"]) + "C: MAIL FROM:<a@b.test> REQUIRETLS\nS: 550 x\nC: QUIT";
    assert_eq!(converse(&plan, &script), ["refused at MAIL FROM: 550 x"]);
}

#[test]
fn a_remote_with_dsn_answers_for_the_reports() {
    let script = hello(&["x", "DSN"])
        + MAIL
        + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\nS: 354 x\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT";
    assert_eq!(
        converse(&smtp(), &script),
        ["delivered with dsn: 250 2.0.0 stored"]
    );
}

#[test]
fn chunks() {
    let offers = hello(&["x", "PIPELINING", "CHUNKING"]);
    let script = offers.clone()
        + MAIL
        + "C: RCPT TO:<c@d.test>\nS: 250 x\nS: 250 x\nc: BDAT 7 LAST\\r\\nhi\\r\\n.\\r\\n\nS: 250 2.0.0 stored\nC: QUIT";
    assert_eq!(converse(&smtp(), &script), [STORED]);
    // No recipient: not a byte of text.
    let script = offers.clone() + MAIL + "C: RCPT TO:<c@d.test>\nS: 250 x\nS: 550 x\nC: QUIT";
    assert_eq!(converse(&smtp(), &script), ["refused at RCPT TO: 550 x"]);
    let mut plan = Plan {
        text: Vec::new(),
        ..smtp()
    };
    let script = offers
        + MAIL
        + "C: RCPT TO:<c@d.test>\nS: 250 x\nS: 250 x\nC: BDAT 0 LAST\nS: 250 2.0.0 stored\nC: QUIT";
    assert_eq!(converse(&plan, &script), [STORED]);
    plan.config.chunking = false;
    plan.envelopes[0].body = BodyType::BinaryMime;
    plan.text = b"\n.\r".to_vec();
    let script = hello(&["x", "CHUNKING", "BINARYMIME"])
        + "C: MAIL FROM:<a@b.test> BODY=BINARYMIME\nS: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nc: BDAT 3 LAST\\r\\n\\n.\\r\nS: 250 2.0.0 stored\nC: QUIT";
    assert_eq!(converse(&plan, &script), [STORED]);
}

/// A client that has been asked for text that takes several BDATs, after `count` pieces of 64 KiB.
fn in_chunks(extension: &str, count: usize) -> Rig {
    let plan = Plan {
        text: vec![b'x'; count * limits::CHUNK_LEN + 1],
        ..smtp()
    };
    let mut rig = Rig::new(plan, limits::CHUNK_LEN);
    rig.pump();
    rig.receive(b"220 x\r\n");
    rig.receive(format!("250-x\r\n250-{extension}\r\n250 CHUNKING\r\n").as_bytes());
    rig.receive(b"250 x\r\n");
    rig.receive(b"250 x\r\n");
    rig
}

fn bdats(rig: &Rig) -> usize {
    memchr::memmem::find_iter(&rig.written, b"BDAT ").count()
}

#[test]
fn chunks_are_answered_one_by_one() {
    for (extension, window) in [("PIPELINING", limits::CHUNKS_MAX), ("X", 1)] {
        let mut rig = in_chunks(extension, 4);
        for answered in 0..4 {
            assert_eq!(bdats(&rig), 4.min(answered + window), "{extension}");
            assert_eq!(rig.committed, 0, "not before each is answered");
            rig.receive(b"250 x\r\n");
        }
        assert_eq!((bdats(&rig), rig.committed), (5, 1));
        assert!(rig.written.ends_with(b"BDAT 3 LAST\r\nx\r\n"));
        rig.receive(b"250 2.0.0 stored\r\n");
        assert_eq!(rig.told, [STORED]);
    }
}

#[test]
fn a_refused_chunk_ends_the_transaction_and_not_the_connection() {
    let mut rig = in_chunks("PIPELINING", 4);
    rig.plan.envelopes.push(envelope(&["c@d.test"]));
    rig.receive(b"552 5.3.4 too big\r\n");
    assert_eq!(rig.told, Vec::<String>::new(), "one answer is due");
    rig.written.clear();
    rig.receive(b"503 5.5.1 what?\r\n");
    assert_eq!(rig.told, ["refused at BDAT: 552 5.3.4 too big"]);
    assert!(
        rig.written.starts_with(b"RSET\r\nMAIL "),
        "{}",
        rig.written.escape_ascii()
    );
    assert_eq!(rig.committed, 0);
}

#[test]
fn several_messages_on_one_connection() {
    let plan = Plan {
        envelopes: vec![envelope(&["c@d.test"]); 3],
        ..smtp()
    };
    let mail = format!("{MAIL}C: RCPT TO:<c@d.test>\nC: DATA\n");
    let script = pipelining()
        + &mail
        + "S: 250 x\nS: 250 x\nS: 354 x\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\n"
        + &mail
        + "S: 250 x\nS: 550 x\nS: 503 x\nC: RSET\n"
        + &mail
        + "S: 250 x\nS: 250 x\nS: 250 x\nS: 354 x\nC: hi\nC: ..\nC: .\nS: 250 2.0.0 stored\nC: QUIT";
    assert_eq!(
        converse(&plan, &script),
        [STORED, "refused at RCPT TO: 550 x", STORED]
    );
}

#[test]
fn given_up_before_data_the_connection_is_kept() {
    let mut rig = Rig::new(
        Plan {
            envelopes: vec![envelope(&["c@d.test"]); 2],
            ..smtp()
        },
        usize::MAX,
    );
    hold(&mut rig, &(hello(&["x"]) + MAIL));
    rig.client.abandon(rig.now);
    rig.pump();
    assert!(rig.told.is_empty(), "MAIL is to be answered first");
    hold(
        &mut rig,
        "S: 250 x\nC: RSET\nS: 250 x\nC: MAIL FROM:<a@b.test>",
    );
    assert_eq!(rig.told, ["not sent: given up on our side"]);
    // And once more, before even MAIL was said.
    hold(&mut rig, "S: 550 x\nC: QUIT");
    let again = Plan {
        envelopes: vec![envelope(&["c@d.test"]); 2],
        ..smtp()
    };
    let mut rig = Rig::new(again, usize::MAX);
    hold(&mut rig, &(hello(&["x"]) + MAIL + "S: 550 x\nC: RSET"));
    rig.client.abandon(rig.now);
    hold(&mut rig, "S: 250 x\nC: QUIT\nS: 221 bye");
    assert_eq!(rig.told[1..], ["not sent: given up on our side", OVER]);
}

#[test]
fn given_up_at_the_lease_nothing_is_committed() {
    let given_up = [
        "not sent: given up on our side",
        "closed: given up on our side",
    ];
    let plan = Plan {
        commit: Commit::Never,
        ..smtp()
    };
    let script = pipelining()
        + MAIL
        + "C: RCPT TO:<c@d.test>\nC: DATA\nS: 250 x\nS: 250 x\nS: 354 x\nC: hi\nC: ..";
    assert_eq!(converse(&plan, &script), given_up);
    // With BDAT not a byte of a small message is out, and the connection is good.
    let script = hello(&["x", "PIPELINING", "CHUNKING"])
        + MAIL
        + "C: RCPT TO:<c@d.test>\nS: 250 x\nS: 250 x\nC: QUIT";
    assert_eq!(converse(&plan, &script), given_up[..1]);
    let mut rig = in_chunks("PIPELINING", 1);
    rig.plan.commit = Commit::Never;
    rig.receive(b"250 x\r\n");
    assert_eq!(rig.told, given_up);
    assert!(memchr::memmem::find(&rig.written, b"LAST").is_none());
}

#[test]
fn lmtp_has_a_verdict_for_each() {
    let plan = Plan {
        envelopes: three().envelopes,
        ..lmtp()
    };
    let script = "S: 220 x
         C: LHLO out.test
         S: 250-x
         S: 250 PIPELINING
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<c@d.test>
         C: RCPT TO:<e@d.test>
         C: RCPT TO:<f@g.test>
         C: DATA
         S: 250 x
         S: 250 x
         S: 550 nobody
         S: 250 x
         S: 354 x
         C: hi
         C: ..
         C: .
         S: 250 2.0.0 stored\n";
    let end = "closed: the connection was lost";
    let told = converse(&plan, &format!("{script}S: 452 4.2.2 full\nC: QUIT\nX"));
    let full = "deferred at the end of the message: 452 4.2.2 full";
    assert_eq!(told, [STORED, "refused at RCPT TO: 550 nobody", full, OVER]);
    let told = converse(&plan, &format!("{script}X"));
    assert_eq!(
        told,
        [
            STORED,
            "refused at RCPT TO: 550 nobody",
            "unknown: the connection was lost",
            end
        ]
    );
}

#[test]
fn service_closing_at_any_point() {
    let closes = "the remote closes the connection: 421 4.3.2 bye";
    let not_sent = [format!("not sent: {closes}"), format!("closed: {closes}")];
    let bye = "S: 421 4.3.2 bye";
    let upto = [
        hello(&["x"]) + MAIL,
        hello(&["x"]) + MAIL + "S: 250 x\nC: RCPT TO:<c@d.test>\n",
        hello(&["x"]) + MAIL + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\n",
    ];
    for script in upto {
        assert_eq!(
            converse(&smtp(), &format!("{script}{bye}")),
            not_sent,
            "{script}"
        );
    }
    let text = hello(&["x"])
        + MAIL
        + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\nS: 354 x\nC: hi\nC: ..\nC: .\n";
    let told = converse(&smtp(), &format!("{text}{bye}"));
    assert_eq!(
        told,
        [
            "deferred at the end of the message: 421 4.3.2 bye",
            not_sent[1].as_str()
        ]
    );
    // To nobody's command, while the connection waits for a message.
    let plan = Plan {
        envelopes: Vec::new(),
        quits: false,
        ..smtp()
    };
    assert_eq!(
        converse(&plan, &(hello(&["x"]) + bye)),
        [not_sent[1].as_str()]
    );
}

/// A client that is in the middle of its text.
fn in_text() -> Rig {
    let mut rig = Rig::new(
        Plan {
            envelopes: Vec::new(),
            quits: false,
            ..smtp()
        },
        usize::MAX,
    );
    hold(&mut rig, &hello(&["x", "PIPELINING"]));
    rig.client.send(envelope(&["c@d.test"]), rig.now);
    rig.client.output_sent(rig.client.output().len(), rig.now);
    rig.client.receive(b"250 x\r\n250 x\r\n354 x\r\n", rig.now);
    rig.client.body(b"text", rig.now);
    rig
}

#[test]
fn an_early_yes_is_no_yes() {
    let mut rig = in_text();
    rig.receive(b"250 2.0.0 stored\r\n");
    let end = "the remote's reply to nothing has no meaning there: 250 2.0.0 stored";
    assert_eq!(
        rig.told,
        [format!("not sent: {end}"), format!("closed: {end}")]
    );
    // Nor one that came with the answer to DATA.
    let mut rig = Rig::new(smtp(), usize::MAX);
    let script = pipelining() + MAIL + "C: RCPT TO:<c@d.test>\nC: DATA\nS: 250 x\nS: 250 x";
    hold(&mut rig, &script);
    rig.receive(b"354 go\r\n250 2.0.0 stored\r\n");
    assert_eq!(rig.told[0], format!("not sent: {end}"));
}

#[test]
fn an_answer_to_what_was_not_written_is_none() {
    // All at once, as somebody would who cannot read along.
    let mut rig = Rig::new(smtp(), usize::MAX);
    rig.client.receive(b"220 x\r\n250 x\r\n", rig.now);
    rig.pump();
    let end = "closed: the remote's reply to nothing has no meaning there: 250 x";
    assert_eq!(rig.told, [end]);
    // The end of a message that was given out, and is not written, or not whole.
    for (extension, sent) in [("X", 0), ("X", 2), ("CHUNKING", 0), ("CHUNKING", 15)] {
        let mut rig = Rig::new(
            Plan {
                envelopes: Vec::new(),
                quits: false,
                ..smtp()
            },
            usize::MAX,
        );
        hold(&mut rig, &hello(&["x", extension]));
        rig.client.send(envelope(&["c@d.test"]), rig.now);
        while rig.client.next_step() != Step::NeedBody {
            rig.client.output_sent(rig.client.output().len(), rig.now);
            let reply = if rig.client.pending == [(Command::Data, rig.client.output.end())] {
                "354 x\r\n"
            } else {
                "250 x\r\n"
            };
            rig.client.receive(reply.as_bytes(), rig.now);
        }
        rig.client.body(b"text\r\n", rig.now);
        rig.client.end_body(rig.now);
        rig.client.output_sent(rig.client.output().len(), rig.now);
        assert_eq!(rig.client.next_step(), Step::AboutToCommit);
        rig.client.commit(rig.now);
        rig.client.output_sent(sent, rig.now);
        rig.receive(b"250 2.0.0 stored\r\n");
        assert!(
            rig.told[0].starts_with("unknown: the remote's reply"),
            "{:?}",
            rig.told
        );
    }
}

#[test]
fn an_early_no_is_a_no() {
    let mut rig = in_text();
    rig.receive(b"552 5.3.4 too big\r\n");
    assert_eq!(
        rig.told,
        [
            "refused at DATA: 552 5.3.4 too big",
            "closed: the remote refused the message before its end: 552 5.3.4 too big"
        ]
    );
    // What the caller still brings is dropped.
    rig.client.body(b"more", rig.now);
    rig.client.end_body(rig.now);
    assert!(rig.client.output().is_empty());
}

#[test]
fn replies_that_mean_nothing_end_the_connection() {
    for (script, reply) in [
        (MAIL.to_owned(), "354 x"),
        (
            MAIL.to_owned() + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\n",
            "250 x",
        ),
        (
            MAIL.to_owned() + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\n",
            "334 x",
        ),
    ] {
        let told = converse(&smtp(), &format!("{}{script}S: {reply}", hello(&["x"])));
        assert!(
            told[0].starts_with("not sent: ") && told[0].ends_with(reply),
            "{told:?}"
        );
    }
    let told = converse(&smtp(), &(hello(&["x"]) + MAIL + "S: 250-x\nS: 251 x"));
    assert_eq!(
        told[0],
        "not sent: the lines of the remote's reply have different codes"
    );
    let text = MAIL.to_owned()
        + "S: 250 x\nC: RCPT TO:<c@d.test>\nS: 250 x\nC: DATA\nS: 354 x\nC: hi\nC: ..\nC: .\n";
    let told = converse(&smtp(), &format!("{}{text}S: hm", hello(&["x"])));
    assert_eq!(
        told[0],
        "unknown: the remote's line does not begin with a reply code"
    );
}

#[test]
fn a_connection_that_ended_meanwhile_sends_nothing() {
    let mut rig = Rig::new(
        Plan {
            envelopes: Vec::new(),
            quits: false,
            ..smtp()
        },
        usize::MAX,
    );
    hold(&mut rig, &hello(&["x"]));
    assert_eq!(rig.client.next_step(), Step::Ready);
    rig.client.connection_lost();
    rig.client.send(envelope(&["c@d.test"]), rig.now);
    rig.pump();
    assert_eq!(
        rig.told,
        [
            "not sent: the connection was lost",
            "closed: the connection was lost"
        ]
    );
}
