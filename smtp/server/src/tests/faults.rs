//! What breaks on the way: the store, the connection, the process.

use mailrook_net::Reason;
use mailrook_smtp_proto::Service;

use super::rig::Rig;

const TO: &str = "user1@example.test";

#[tokio::test]
async fn an_unreachable_store_puts_off() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client
        .talk(
            "
        C: MAIL FROM:<a@client.test>
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 250
    ",
        )
        .await;
    rig.twin.set_reachable(false);
    client
        .talk(
            "
        C: RCPT TO:<nobody@example.test>
        S: 451 4.3.0
        C: RCPT TO:<x@elsewhere.test>
        S: 451 4.3.0
        C: DATA
        S: 354
        text
        C: .
        S: 451 4.3.0
    ",
        )
        .await;
    rig.twin.set_reachable(true);
    assert_eq!(rig.count(TO).await, 0);
    client.message(TO, "text", "250").await;
    assert_eq!(rig.count(TO).await, 1);
}

#[tokio::test]
async fn lmtp_puts_off_each() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Lmtp);
    client.hello().await;
    client
        .talk(
            "
        C: MAIL FROM:<a@client.test>
        S: 250
        C: RCPT TO:<user1@example.test>
        S: 250
        C: RCPT TO:<user2@example.test>
        S: 250
        C: DATA
        S: 354
    ",
        )
        .await;
    rig.twin.set_reachable(false);
    client
        .talk(
            "
        text
        C: .
        S: 451 4.3.0
        S: 451 4.3.0
    ",
        )
        .await;
}

/// The client never hears the `250`: it went away with the message's last byte.
async fn lose_the_reply(rig: &Rig, text: &str) {
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    let script = format!(
        "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<{TO}>\nS: 250\nC: DATA\nS: 354\n{text}\nC: ."
    );
    client.talk(&script).await;
    client.vanish().await;
}

#[tokio::test]
async fn a_retry_after_a_lost_reply_adds_nothing() {
    let rig = Rig::new().await;
    lose_the_reply(&rig, "the same").await;
    lose_the_reply(&rig, "the same").await;
    assert_eq!(rig.count(TO).await, 1);
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client.message(TO, "the same", "250").await;
    assert_eq!(
        (rig.count(TO).await, rig.metric("copies_suppressed")),
        (1, 2)
    );
    // Another sender, or other bytes, is another message.
    client.message(TO, "the same ", "250").await;
    assert_eq!(rig.count(TO).await, 2);
}

#[tokio::test]
async fn a_retry_fills_in_what_is_missing() {
    let rig = Rig::new().await;
    lose_the_reply(&rig, "for two").await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client.message("both@example.test", "for two", "250").await;
    assert_eq!(
        (rig.count(TO).await, rig.count("user2@example.test").await),
        (1, 1)
    );
}

#[tokio::test]
async fn the_same_bytes_after_a_confirmed_reply_are_delivered() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    for _ in 0..3 {
        client.message(TO, "the same", "250").await;
    }
    assert_eq!(rig.count(TO).await, 3);
    // QUIT confirms, too, before it is answered.
    client.talk("C: QUIT\nS: 221\nS: closed").await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client.message(TO, "the same", "250").await;
    client.talk("C: NOOP\nS: 250").await;
    let mut other = rig.connect(Service::Mx);
    other.hello().await;
    other.message(TO, "the same", "250").await;
    assert_eq!(rig.count(TO).await, 5);
}

#[tokio::test]
async fn what_was_sent_ahead_confirms_nothing() {
    let rig = Rig::new().await;
    for _ in 0..2 {
        // As Postfix does: QUIT comes with the message's end.
        let mut client = rig.connect(Service::Mx);
        client.hello().await;
        let script = format!(
            "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<{TO}>\nS: 250\nC: DATA\nS: 354\nsame\nC: .\nC: QUIT"
        );
        client.talk(&script).await;
        client.vanish().await;
    }
    assert_eq!(rig.count(TO).await, 1);
}

#[tokio::test]
async fn a_session_that_is_ended_finishes_its_message_and_hears_why() {
    let rig = Rig::new().await;
    let mut idle = rig.connect(Service::Mx);
    idle.hello().await;
    let mut busy = rig.connect(Service::Mx);
    busy.hello().await;
    busy.talk(&format!(
        "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<{TO}>\nS: 250"
    ))
    .await;
    let reason = Reason::parse("come back tomorrow").unwrap();
    assert_eq!(rig.sessions.end(&reason, |_| true).len(), 2);
    idle.talk("S: 421 4.3.2 come back tomorrow\nS: closed")
        .await;
    busy.talk("C: DATA\nS: 354\ntext\nC: .\nS: 250\nS: 421 4.3.2\nS: closed")
        .await;
    assert_eq!(rig.count(TO).await, 1);
}

#[tokio::test]
async fn a_session_that_is_dropped_as_overdue_stores_what_its_client_has_heard() {
    let rig = Rig::new().await;
    let mut busy = rig.connect(Service::Mx);
    busy.hello().await;
    busy.message(TO, "the same", "250").await;
    // Shows that it has heard of the 250; what is under way would take that along, and never ends.
    busy.talk(&format!(
        "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<{TO}>\nS: 250\nC: DATA\nS: 354\nhalf of a message"
    ))
    .await;
    assert_eq!(rig.sessions.end(&Reason::default(), |_| true).len(), 1);
    busy.talk("S: closed").await;
    busy.vanish().await;
    assert!(rig.sessions.is_empty());
    let mut again = rig.connect(Service::Mx);
    again.hello().await;
    again.message(TO, "the same", "250").await;
    assert_eq!(
        rig.count(TO).await,
        2,
        "a message of its own, no repetition"
    );
}

#[tokio::test]
async fn a_stopping_server_finishes_what_was_begun() {
    let rig = Rig::new().await;
    let mut idle = rig.connect(Service::Mx);
    idle.hello().await;
    let mut busy = rig.connect(Service::Mx);
    busy.hello().await;
    busy.talk(&format!(
        "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<{TO}>\nS: 250"
    ))
    .await;
    rig.trigger.shut_down();
    idle.talk("S: 421 4.3.2\nS: closed").await;
    busy.talk("C: DATA\nS: 354\ntext\nC: .\nS: 250\nS: 421 4.3.2\nS: closed")
        .await;
    assert_eq!(rig.count(TO).await, 1);
}
