//! One POP3 session at a time has a maildrop, whichever front end it is at (RFC 1939 §4).

use std::time::Duration;

use mailrook_store_api::shard::limits::MAILDROP_NOTICE;
use tokio::time::sleep;

use super::rig::{Door, Rig, Wire};
use crate::{Settings, pop3::LOCK_WAIT_MAX};

const DOOR: Door = Door {
    pop3: true,
    plaintext_login: true,
    starttls: false,
    capacity: 64 << 10,
};

/// What a login comes to.
const IN: &str = "S: +OK ...";
const IN_USE: &str = "S: -ERR [IN-USE] ...";

/// A little longer than a lease, and than the notice behind it.
const LEASE: Duration = Duration::from_secs(31);
const NOTICE: Duration = Duration::from_secs(9);

/// Far more than a renewal of a [`busy`] front end takes.
const A_WHILE: Duration = Duration::from_millis(500);

/// A client that logs in.
async fn login(rig: &Rig, outcome: &str) -> Wire {
    let mut wire = rig.connect(DOOR);
    wire.play(&format!(
        "S: +OK ...
         C: USER user1@example.test
         S: +OK ...
         C: PASS secret
         {outcome}"
    ))
    .await;
    wire
}

/// A front end with three messages in the maildrop, which renews what it has all the time.
async fn busy() -> Rig {
    let rig = Rig::with(|settings| settings.maildrop_renewal = Duration::from_millis(10)).await;
    rig.add_numbered(3).await;
    rig
}

/// How many messages there are.
async fn expect_messages(rig: &Rig, count: usize) {
    let mut imap = rig.logged_in().await;
    imap.play(&format!(
        "C: x1 STATUS INBOX (MESSAGES)\nS: * STATUS INBOX (MESSAGES {count})\nS: x1 OK ..."
    ))
    .await;
}

#[tokio::test]
async fn two_front_ends_have_one_maildrop() {
    let one = Rig::new().await;
    one.add_numbered(3).await;
    let two = one.beside(|_| {});
    let mut first = login(&one, IN).await;
    login(&two, IN_USE).await;
    // Free by the time at which the client hears of it, whether anything is removed or not.
    first
        .play("C: DELE 1\nS: +OK ...\nC: QUIT\nS: +OK ...")
        .await;
    let mut second = login(&two, IN).await;
    login(&one, IN_USE).await;
    second
        .play("C: STAT\nS: +OK 2 ...\nC: QUIT\nS: +OK ...")
        .await;
    // And however a session ends.
    let third = login(&one, IN).await;
    drop(third.stream);
    third.session.await.unwrap();
    let mut fourth = login(&two, IN).await;
    two.trigger.shut_down();
    fourth.play("S: -ERR [SYS/TEMP] ...\nEND").await;
    login(&one, IN).await;
    expect_messages(&one, 2).await;
}

#[test]
fn a_login_waits_for_longer_than_a_notice_and_a_lease_outlasts_renewals() {
    let settings = Settings::default();
    assert!(settings.maildrop_patience >= MAILDROP_NOTICE + 2 * LOCK_WAIT_MAX);
    assert!(settings.maildrop_renewal < MAILDROP_NOTICE);
    assert!(settings.maildrop_lease >= 5 * settings.maildrop_renewal);
}

#[tokio::test]
async fn a_login_waits_a_little() {
    let one = Rig::new().await;
    let two = one.beside(|settings| settings.maildrop_patience = Duration::from_secs(20));
    let mut first = login(&one, IN).await;
    let (mut second, mut third) = (two.connect(DOOR), two.connect(DOOR));
    let password = "S: +OK ...\nC: USER user1@example.test\nS: +OK ...\nC: PASS secret";
    second.play(password).await;
    sleep(Duration::from_millis(100)).await;
    first.play("C: QUIT\nS: +OK ...\nEND").await;
    second.play(IN).await;
    // At the same front end, too; and a server that stops waits for nobody.
    third.play(password).await;
    sleep(Duration::from_millis(100)).await;
    second.play("C: QUIT\nS: +OK ...\nEND").await;
    third.play(IN).await;
    let mut fourth = two.connect(DOOR);
    fourth.play(password).await;
    sleep(Duration::from_millis(100)).await;
    two.trigger.shut_down();
    fourth.play("S: -ERR [SYS/TEMP] ...\nEND").await;
}

#[tokio::test]
async fn a_front_end_that_died_is_taken_over_from() {
    let one = busy().await;
    let two = one.beside(|_| {});
    let mut first = login(&one, IN).await;
    first.play("C: DELE 1\nS: +OK ...").await;
    // As far as anybody can see.
    one.twin.set_reachable(false);
    login(&two, IN_USE).await;
    two.twin.advance(LEASE);
    login(&two, IN_USE).await;
    two.twin.advance(NOTICE);
    let mut second = login(&two, IN).await;
    // It was only cut off: what it marked stays, and it says so.
    one.twin.set_reachable(true);
    sleep(A_WHILE).await;
    first
        .play("C: QUIT\nS: -ERR [SYS/TEMP] some deleted messages not removed, none is: ...another session...\nEND")
        .await;
    login(&one, IN_USE).await;
    expect_messages(&two, 3).await;
    second
        .play("C: STAT\nS: +OK 3 ...\nC: DELE 2\nS: +OK ...\nC: QUIT\nS: +OK ...\nEND")
        .await;
    expect_messages(&one, 2).await;
    login(&one, IN).await;
}

#[tokio::test]
async fn who_was_taken_over_from_removes_nothing_when_the_other_is_gone_too() {
    // It never renews: a machine that stood still.
    let one = Rig::with(|settings| settings.maildrop_renewal = Duration::from_secs(3600)).await;
    one.add_numbered(3).await;
    let two = one.beside(|_| {});
    let mut first = login(&one, IN).await;
    two.twin.advance(LEASE);
    login(&two, IN_USE).await;
    two.twin.advance(NOTICE);
    let mut second = login(&two, IN).await;
    second.play("C: QUIT\nS: +OK ...\nEND").await;
    first
        .play("C: DELE 1\nS: +OK ...\nC: QUIT\nS: -ERR [SYS/TEMP] ...\nEND")
        .await;
    expect_messages(&one, 3).await;
}

#[tokio::test]
async fn a_long_session_keeps_its_maildrop() {
    let one = busy().await;
    let two = one.beside(|_| {});
    let mut first = login(&one, IN).await;
    for _ in 0..3 {
        one.twin.advance(LEASE - NOTICE);
        sleep(A_WHILE).await;
        login(&two, IN_USE).await;
    }
    one.twin.advance(NOTICE);
    login(&two, IN_USE).await;
    first
        .play("C: DELE 1\nS: +OK ...\nC: QUIT\nS: +OK ...\nEND")
        .await;
    expect_messages(&two, 2).await;
}

#[tokio::test]
async fn a_store_that_did_not_answer_for_long_ends_no_session() {
    let one = busy().await;
    let two = one.beside(|_| {});
    let mut first = login(&one, IN).await;
    // Nobody leads the shard, for far longer than a lease. Then somebody does, and who asks first is not the holder.
    one.twin.set_reachable(false);
    sleep(A_WHILE).await;
    one.twin.advance(20 * LEASE);
    login(&two, IN_USE).await;
    one.twin.set_reachable(true);
    sleep(A_WHILE).await;
    two.twin.advance(NOTICE);
    login(&two, IN_USE).await;
    first
        .play("C: DELE 1\nS: +OK ...\nC: QUIT\nS: +OK ...\nEND")
        .await;
    expect_messages(&two, 2).await;
}

#[tokio::test]
async fn a_login_whose_answer_was_lost_keeps_nobody_out() {
    let one = Rig::new().await;
    let two = one.beside(|settings| settings.maildrop_patience = Duration::from_secs(20));
    one.twin.set_loses_answers(true);
    login(&one, "S: -ERR [SYS/TEMP] ...").await;
    one.twin.set_loses_answers(false);
    login(&two, IN).await;
}

#[tokio::test]
async fn a_front_end_takes_over_from_its_own_session_that_is_gone() {
    let one = Rig::new().await;
    let two = one.beside(|_| {});
    let first = login(&one, IN).await;
    // The lock cannot be given back.
    one.twin.set_reachable(false);
    drop(first.stream);
    first.session.await.unwrap();
    one.twin.set_reachable(true);
    login(&two, IN_USE).await;
    login(&one, IN).await;
}

#[tokio::test]
async fn until_all_nodes_know_the_lock_each_front_end_has_its_own() {
    let one = Rig::new().await;
    one.add_numbered(3).await;
    one.twin.set_locks_maildrops(false);
    let two = one.beside(|_| {});
    let mut first = login(&one, IN).await;
    login(&one, IN_USE).await;
    login(&two, IN).await;
    first
        .play("C: DELE 1\nS: +OK ...\nC: QUIT\nS: +OK ...\nEND")
        .await;
    expect_messages(&two, 2).await;
    // From then on.
    one.twin.set_locks_maildrops(true);
    let _held = login(&one, IN).await;
    login(&two, IN_USE).await;
}
