//! Greeting, hello, STARTTLS, AUTH.

use zeroize::Zeroizing;

use super::*;

/// Says hello and goes.
fn only_hello() -> Plan {
    Plan {
        envelopes: Vec::new(),
        ..smtp()
    }
}

fn with_login(mut plan: Plan) -> Plan {
    let password = Zeroizing::new("secret".to_owned());
    plan.config.login = Some(Login {
        user: "ann".into(),
        password,
    });
    plan.config.tls = Tls::Verified;
    plan
}

#[test]
fn says_hello_and_goes() {
    let told = converse(
        &only_hello(),
        "S: 220-mx.test ESMTP
         S: 220 welcome
         C: EHLO out.test
         S: 250-mx.test
         S: 250 PIPELINING
         C: QUIT
         S: 221 bye",
    );
    assert_eq!(told, ["closed: the conversation is over"]);
}

#[test]
fn falls_back_to_helo() {
    let told = converse(
        &only_hello(),
        "S: 220 old.test
         C: EHLO out.test
         S: 502 what?
         C: HELO out.test
         S: 250 old.test
         C: QUIT
         X",
    );
    assert_eq!(told, ["closed: the conversation is over"]);
    let lmtp = Plan {
        envelopes: Vec::new(),
        ..lmtp()
    };
    let told = converse(&lmtp, "S: 220 x\nC: LHLO out.test\nS: 500 what?");
    assert_eq!(
        told,
        ["closed: the remote refused the conversation: 500 what?"]
    );
}

#[test]
fn is_turned_away() {
    for (script, end) in [
        (
            "S: 554 5.7.1 not you",
            "closed: the remote refused the conversation: 554 5.7.1 not you",
        ),
        (
            "S: 450 later",
            "closed: the remote refused the conversation: 450 later",
        ),
        (
            "S: 421 4.3.2 later",
            "closed: the remote closes the connection: 421 4.3.2 later",
        ),
        (
            "S: 250 hm",
            "closed: the remote's reply to the connection has no meaning there: 250 hm",
        ),
        (
            "S: SSH-2.0-x",
            "closed: the remote's line does not begin with a reply code",
        ),
        ("X", "closed: the connection was lost"),
        (
            "S: 220 x\nC: EHLO out.test\nS: 451 later",
            "closed: the remote refused the conversation: 451 later",
        ),
        (
            "S: 220 x\nC: EHLO out.test\nS: 550 no\nC: HELO out.test\nS: 550 no",
            "closed: the remote refused the conversation: 550 no",
        ),
    ] {
        assert_eq!(converse(&smtp(), script), [end], "{script}");
    }
}

#[test]
fn starts_tls_and_forgets() {
    let mut plan = only_hello();
    let script = "S: 220 mx.test
         C: EHLO out.test
         S: 250-mx.test
         S: 250-SIZE 5
         S: 250 STARTTLS
         C: STARTTLS
         S: 220 go
         C: (TLS)
         C: EHLO out.test
         S: 250-mx.test
         S: 250 DSN";
    converse(&plan, &format!("{script}\nC: QUIT"));
    plan.quits = false;
    for (verified, tls) in [(true, Tls::Verified), (false, Tls::Unverified)] {
        plan.verified = verified;
        let mut rig = Rig::new(plan.clone(), 3);
        hold(&mut rig, script);
        assert_eq!(rig.client.tls(), tls);
        let now = Capabilities {
            dsn: true,
            ..Capabilities::default()
        };
        assert_eq!(rig.client.capabilities(), &now);
    }
}

#[test]
fn plaintext_behind_starttls_is_an_attack() {
    let before = format!("{}C: STARTTLS\n", hello(&["mx.test", "STARTTLS"]));
    let mut rig = Rig::new(smtp(), usize::MAX);
    hold(
        &mut rig,
        &format!("{before}s: 220 go\\r\\n250-mx.test\\r\\n"),
    );
    assert_eq!(
        rig.told,
        ["closed: the remote's answer to STARTTLS was followed by plaintext"]
    );
    // Also if the caller gives the client what it read before the handshake.
    let mut rig = Rig::new(smtp(), usize::MAX);
    hold(&mut rig, &before);
    rig.client.receive(b"220 go\r\n", rig.now);
    rig.client.receive(b"2", rig.now);
    rig.pump();
    assert_eq!(
        rig.told,
        ["closed: the remote's answer to STARTTLS was followed by plaintext"]
    );
}

#[test]
fn goes_on_without_tls_only_if_it_may() {
    let mut plan = only_hello();
    let refused = format!(
        "{}C: STARTTLS\nS: 454 4.7.0 not now\n",
        hello(&["mx.test", "STARTTLS"])
    );
    converse(&plan, &format!("{refused}C: QUIT"));
    converse(&plan, &format!("{}C: QUIT", hello(&["mx.test"])));
    plan.config.starttls = StartTls::Required;
    let end = "closed: TLS is required, and the remote does not offer it";
    assert_eq!(converse(&plan, &refused), [end]);
    assert_eq!(converse(&plan, &hello(&["mx.test"])), [end]);
    let told = converse(&plan, "S: 220 x\nC: EHLO out.test\nS: 500 what?");
    assert_eq!(
        told,
        ["closed: the remote refused the conversation: 500 what?"]
    );
    plan.config.starttls = StartTls::Never;
    converse(
        &plan,
        &format!("{}C: QUIT", hello(&["mx.test", "STARTTLS"])),
    );
}

#[test]
fn logs_in() {
    let plan = with_login(only_hello());
    for mechanisms in ["AUTH LOGIN PLAIN", "AUTH=PLAIN"] {
        let script = "C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 235 2.7.0 welcome\nC: QUIT";
        converse(
            &plan,
            &format!("{}{script}", hello(&["mx.test", mechanisms])),
        );
    }
    let script = "C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: YW5u
         S: 334 UGFzc3dvcmQ6
         C: c2VjcmV0
         S: 235 welcome
         C: QUIT";
    converse(
        &plan,
        &format!("{}{script}", hello(&["mx.test", "AUTH X LOGIN"])),
    );
}

#[test]
fn does_not_log_in_where_it_must_not() {
    let mut plan = with_login(only_hello());
    let offers = hello(&["mx.test", "AUTH PLAIN"]);
    let no_login = "closed: logging in is not possible: no TLS, or no mechanism in common";
    assert_eq!(
        converse(&plan, &hello(&["mx.test", "AUTH CRAM-MD5"])),
        [no_login]
    );
    let told = converse(
        &plan,
        &format!("{offers}C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 535 5.7.8 wrong"),
    );
    assert_eq!(
        told,
        ["closed: the remote refused the login: 535 5.7.8 wrong"]
    );
    // PLAIN asks for nothing more.
    let told = converse(
        &plan,
        &format!("{offers}C: AUTH PLAIN AGFubgBzZWNyZXQ=\nS: 334 eA=="),
    );
    assert_eq!(told, ["closed: the remote broke the exchange of the login"]);
    plan.config.tls = Tls::Off;
    assert_eq!(converse(&plan, &offers), [no_login]);
}

#[test]
fn scram_wants_proof_of_the_server() {
    let plan = with_login(only_hello());
    let mut rig = Rig::new(plan, usize::MAX);
    hold(&mut rig, "S: 220 x\nC: EHLO out.test");
    rig.receive(b"250-x\r\n250 AUTH PLAIN SCRAM-SHA-256\r\n");
    assert!(
        rig.written.starts_with(b"AUTH SCRAM-SHA-256 biwsbj1hbm4s"),
        "{}",
        rig.written.escape_ascii()
    );
    // A server that does not know the password may say yes at once.
    rig.receive(b"235 2.7.0 welcome\r\n");
    assert_eq!(
        rig.told,
        ["closed: the remote broke the exchange of the login"]
    );
}

#[test]
fn credentials_are_shown_nowhere() {
    let plan = with_login(only_hello());
    let mut rig = Rig::new(plan.clone(), usize::MAX);
    hold(&mut rig, "S: 220 x\nC: EHLO out.test");
    rig.client.receive(b"250-x\r\n250 AUTH PLAIN\r\n", rig.now);
    assert!(rig.client.output().ends_with(b" AGFubgBzZWNyZXQ=\r\n"));
    let shown = format!("{:?} {:?}", rig.client, plan.config);
    for secret in ["secret", "AGFubgBzZWNyZXQ", "ann"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn each_answer_has_its_time() {
    let timeouts = Timeouts::default();
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let mut rig = Rig::new(
        Plan {
            envelopes: vec![envelope(&["c@d.test"])],
            ..smtp()
        },
        usize::MAX,
    );
    let start = rig.now;
    let check = |rig: &mut Rig, said: &[u8], wait: Duration| {
        rig.now += Duration::from_secs(7);
        rig.receive(said);
        assert_eq!(
            rig.client.deadline(),
            Some(rig.now + wait),
            "{}",
            said.escape_ascii()
        );
    };
    rig.pump();
    assert_eq!(rig.client.deadline(), Some(start + minutes(5)));
    check(&mut rig, b"220 x\r\n", timeouts.command);
    check(&mut rig, b"250 x\r\n", minutes(5));
    check(&mut rig, b"250 sender\r\n", minutes(5));
    check(&mut rig, b"250 recipient\r\n", minutes(2));
    check(&mut rig, b"354 go\r\n", minutes(10));
    // Half an answer does not make it longer.
    let deadline = rig.client.deadline();
    rig.now += minutes(9);
    rig.receive(b"250-st");
    assert_eq!(rig.client.deadline(), deadline);
    assert!(!rig.client.expire(rig.now));
    assert!(rig.client.expire(deadline.unwrap()));
    rig.pump();
    let end = "no answer to the end of the message in time";
    assert_eq!(
        rig.told,
        [format!("unknown: {end}"), format!("closed: {end}")]
    );
    assert_eq!(rig.client.deadline(), None);
}

#[test]
fn a_remote_that_takes_no_text_has_three_minutes() {
    let mut rig = Rig::new(
        Plan {
            envelopes: Vec::new(),
            quits: false,
            ..smtp()
        },
        usize::MAX,
    );
    hold(&mut rig, &hello(&["x", "PIPELINING"]));
    let mut now = rig.now;
    rig.client.send(envelope(&["c@d.test"]), now);
    rig.client.output_sent(rig.client.output().len(), now);
    rig.client.receive(b"250 x\r\n250 x\r\n354 x\r\n", now);
    assert_eq!(rig.client.next_step(), Step::NeedBody);
    assert_eq!(rig.client.deadline(), None, "the caller is waited for");
    now += Duration::from_secs(3600);
    rig.client.body(b"text\r\n", now);
    assert_eq!(rig.client.deadline(), Some(now + Duration::from_secs(180)));
    rig.client.output_sent(1, now + Duration::from_secs(100));
    assert_eq!(rig.client.deadline(), Some(now + Duration::from_secs(280)));
    assert!(rig.client.expire(now + Duration::from_secs(280)));
    let Step::Finished(outcomes) = rig.client.next_step() else {
        panic!("no outcomes")
    };
    assert_eq!(outcomes, [Outcome::NotSent(Ended::TimedOut(Command::Data))]);
}
