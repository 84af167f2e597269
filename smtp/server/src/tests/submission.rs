//! Mail from users: logins, senders, reports.

use base64::{Engine, engine::general_purpose::STANDARD};
use mailrook_net::{Reason, SessionEntry};
use mailrook_sasl::{Client as SaslClient, Mechanism};
use mailrook_smtp_proto::Service;
use mailrook_store_api::{Directory, meta::MetaCommand};
use mailrook_types::Address;

use super::rig::{Client, Rig};

const USER: &str = "user1@example.test";

/// A client under TLS, greeted.
async fn secure(rig: &Rig) -> Client {
    let mut client = rig.connect(Service::Submission);
    let offer = client.hello().await;
    assert!(
        offer.contains("STARTTLS") && !offer.contains("AUTH"),
        "{offer}"
    );
    let mut client = client.start_tls(&rig.certificate).await;
    client.send(b"EHLO client.test\r\n").await;
    let offer = client.reply().await;
    assert!(
        offer.contains("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"),
        "{offer}"
    );
    assert!(
        offer.contains("DSN") && !offer.contains("STARTTLS"),
        "{offer}"
    );
    client
}

async fn login(client: &mut Client, mechanism: Mechanism, password: &str) -> String {
    let mut sasl = SaslClient::new(mechanism, USER, password, &client.bindings);
    let initial = sasl.initial().map_or(String::new(), |initial| {
        format!(" {}", STANDARD.encode(initial))
    });
    client
        .send(format!("AUTH {}{initial}\r\n", mechanism.name()).as_bytes())
        .await;
    loop {
        let reply = client.reply().await;
        let Some(challenge) = reply.strip_prefix("334 ") else {
            return reply;
        };
        let response = sasl.respond(&STANDARD.decode(challenge).unwrap()).unwrap();
        client
            .send(format!("{}\r\n", STANDARD.encode(response)).as_bytes())
            .await;
    }
}

#[tokio::test]
async fn each_mechanism_logs_in() {
    let rig = Rig::new().await;
    for mechanism in Mechanism::PASSWORD {
        let mut client = secure(&rig).await;
        let reply = login(&mut client, mechanism, "wrong").await;
        assert!(reply.starts_with("535 5.7.8"), "{mechanism}: {reply}");
        let reply = login(&mut client, mechanism, "secret").await;
        assert!(reply.starts_with("235 2.7.0"), "{mechanism}: {reply}");
    }
    assert_eq!(
        (rig.metric("logins_succeeded"), rig.metric("logins_failed")),
        (4, 4)
    );
}

#[tokio::test]
async fn sessions_are_listed_while_they_last() {
    let rig = Rig::new().await;
    let listed = || {
        let sessions = rig.sessions.list().into_iter();
        let what = sessions.map(|session| (session.protocol, session.tls, session.user));
        what.collect::<Vec<_>>()
    };
    let mut mx = rig.connect(Service::Mx);
    mx.hello().await;
    assert_eq!(listed(), [("test", false, None)]);
    let mut client = secure(&rig).await;
    assert_eq!(listed()[1], ("test", true, None));
    login(&mut client, Mechanism::Plain, "wrong").await;
    assert_eq!(listed()[1].2, None);
    login(&mut client, Mechanism::Plain, "secret").await;
    assert_eq!(listed()[1], ("test", true, Some(USER.to_owned())));
    client.vanish().await;
    mx.vanish().await;
    assert_eq!(listed(), []);
}

/// The exchange has read the account before it is disabled, and ends after the kill, which cannot know of it.
#[tokio::test]
async fn a_login_that_began_before_its_account_was_disabled_fails() {
    let rig = Rig::new().await;
    let mut client = secure(&rig).await;
    let bindings = client.bindings.clone();
    let mut sasl = SaslClient::new(Mechanism::ScramSha256, USER, "secret", &bindings);
    let first = STANDARD.encode(sasl.initial().unwrap());
    client
        .send(format!("AUTH SCRAM-SHA-256 {first}\r\n").as_bytes())
        .await;
    let challenge = client.reply().await;
    let disable = MetaCommand::SetEnabled {
        address: Address::parse(USER).unwrap(),
        enabled: false,
    };
    rig.twin.command(disable).await.unwrap();
    let of_user = |entry: &SessionEntry| entry.user.as_deref() == Some(USER);
    assert_eq!(rig.sessions.end(&Reason::default(), of_user).len(), 0);
    let mut last = challenge;
    while let Some(challenge) = last.strip_prefix("334 ") {
        let response = sasl.respond(&STANDARD.decode(challenge).unwrap()).unwrap();
        client
            .send(format!("{}\r\n", STANDARD.encode(response)).as_bytes())
            .await;
        last = client.reply().await;
    }
    assert!(last.starts_with("535 5.7.8"), "{last}");
    client
        .talk("C: MAIL FROM:<user1@example.test>\nS: 530 5.7.0")
        .await;
    assert_eq!(rig.sessions.list()[0].user, None);
}

#[tokio::test]
async fn a_user_sends_to_a_user() {
    let rig = Rig::new().await;
    let mut client = secure(&rig).await;
    client
        .talk("C: MAIL FROM:<user1@example.test>\nS: 530 5.7.0")
        .await;
    login(&mut client, Mechanism::Plain, "secret").await;
    client
        .talk(
            "
        C: MAIL FROM:<user2@example.test>
        S: 553 5.7.1
        C: MAIL FROM:<x@elsewhere.test>
        S: 553 5.7.1
        C: MAIL FROM:<sales@example.test>
        S: 250
        C: RSET
        S: 250
        C: MAIL FROM:<USER1+tag@example.test> AUTH=<>
        S: 250
        C: RCPT TO:<x@elsewhere.test>
        S: 550 5.7.1 outgoing mail is not served yet
        C: RCPT TO:<user2@example.test>
        S: 250
        C: DATA
        S: 354
        hello
        C: .
        S: 250
    ",
        )
        .await;
    let mail = rig.mail("user2@example.test", "INBOX").await;
    assert!(mail[0].0.contains(" with ESMTPSA id "), "{}", mail[0].0);
}

#[tokio::test]
async fn a_report_of_success_comes_back() {
    let rig = Rig::new().await;
    let mut client = secure(&rig).await;
    login(&mut client, Mechanism::Plain, "secret").await;
    client
        .talk(
            "
        C: MAIL FROM:<user1@example.test> RET=HDRS ENVID=QQ1
        S: 250
        C: RCPT TO:<user2@example.test> NOTIFY=SUCCESS ORCPT=rfc822;two@example.test
        S: 250
        C: RCPT TO:<small@example.test> NOTIFY=NEVER
        S: 250
        C: DATA
        S: 354
        Subject: report me
        C:
        text
        C: .
        S: 250
        C: QUIT
        S: 221
    ",
        )
        .await;
    let reports = rig.mail(USER, "INBOX").await;
    assert_eq!(reports.len(), 1);
    let (prefix, report) = &reports[0];
    assert_eq!(prefix, "Return-Path: <>\r\n");
    for part in [
        "multipart/report; report-type=delivery-status",
        "Original-Envelope-Id: QQ1\r\n",
        "Original-Recipient: rfc822;two@example.test\r\nFinal-Recipient: rfc822;user2@example.test\r\nAction: delivered\r\n",
        "Subject: report me\r\n",
    ] {
        assert!(report.contains(part), "{part} is not in {report}");
    }
    assert!(!report.contains("small@"), "{report}");
}

#[tokio::test]
async fn plaintext_only_on_loopback_and_only_if_told() {
    let rig = Rig::new().await;
    let mut endpoint = rig.endpoint(Service::Submission);
    endpoint.plaintext_auth = true;
    let mut client = rig.connect_to(endpoint.clone(), "127.0.0.1:1");
    assert!(
        client
            .hello()
            .await
            .contains("AUTH SCRAM-SHA-256 PLAIN LOGIN")
    );
    assert!(
        login(&mut client, Mechanism::Plain, "secret")
            .await
            .starts_with("235")
    );
    let mut client = rig.connect_to(endpoint, super::rig::CLIENT);
    assert!(!client.hello().await.contains("AUTH"));
    assert!(
        login(&mut client, Mechanism::Plain, "secret")
            .await
            .starts_with("538 5.7.11")
    );
}

#[tokio::test]
async fn an_unreachable_directory_is_no_wrong_password() {
    let rig = Rig::new().await;
    let mut client = secure(&rig).await;
    rig.twin.set_reachable(false);
    let reply = login(&mut client, Mechanism::Plain, "secret").await;
    assert!(reply.starts_with("454 4.7.0"), "{reply}");
    rig.twin.set_reachable(true);
    let reply = login(&mut client, Mechanism::Plain, "secret").await;
    assert!(reply.starts_with("235"), "{reply}");
}
