//! Clients that mean no good, and those that are slow.

use std::time::Duration;

use mailrook_smtp_proto::Service;

use super::rig::Rig;

#[tokio::test]
async fn nothing_survives_starttls() {
    let rig = Rig::new().await;
    let mut client = rig.connect(Service::Submission);
    client.hello().await;
    client
        .send(b"STARTTLS\r\nMAIL FROM:<evil@client.test>\r\n")
        .await;
    assert!(client.reply().await.starts_with("554 5.5.1"));
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn no_message_is_smuggled() {
    let rig = Rig::new().await;
    for ending in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r"] {
        let mut client = rig.connect(Service::Mx);
        client.hello().await;
        client.talk("C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<user1@example.test>\nS: 250\nC: DATA\nS: 354").await;
        let smuggled = format!(
            "one{ending}MAIL FROM:<evil@client.test>\r\nRCPT TO:<user1@example.test>\r\nDATA\r\ntwo\r\n.\r\n"
        );
        client.send(smuggled.as_bytes()).await;
        assert!(client.reply().await.starts_with("550 5.6.11"), "{ending:?}");
        client.talk("C: NOOP\nS: 250").await;
    }
    assert_eq!(rig.count("user1@example.test").await, 0);
}

#[tokio::test]
async fn a_silent_client_is_told_and_left() {
    let rig = Rig::with(|settings| settings.timeouts.command = Duration::from_millis(200)).await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    client.talk("S: 421 4.4.2\nS: closed").await;
    assert_eq!(rig.metric("timeouts"), 1);
}

#[tokio::test]
async fn a_client_that_drips_is_left() {
    let rig = Rig::with(|settings| settings.timeouts.command = Duration::from_millis(500)).await;
    let mut client = rig.connect(Service::Mx);
    client.hello().await;
    // Each byte comes in time, and the command does not.
    for _ in 0..6 {
        client.try_send(b"N").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.talk("S: 421 4.4.2").await;
}

#[tokio::test]
async fn memory_for_messages_is_bounded() {
    let rig = Rig::with(|settings| {
        settings.memory_max = 100_000;
        settings.timeouts.memory = Duration::from_millis(100);
    })
    .await;
    let mut first = rig.connect(Service::Mx);
    first.hello().await;
    let begin = "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<user1@example.test>\nS: 250\nC: DATA\nS: 354";
    first.talk(begin).await;
    first.send(&b"x\r\n".repeat(20_000)).await;
    let mut second = rig.connect(Service::Mx);
    second.hello().await;
    second.talk(begin).await;
    second.send(&b"y\r\n".repeat(30_000)).await;
    second.talk("C: .\nS: 452 4.3.1").await;
    first.talk("C: .\nS: 250").await;
    second.talk(begin).await;
    second.send(&b"y\r\n".repeat(20_000)).await;
    second.talk("C: .\nS: 250").await;
}

#[tokio::test]
async fn one_network_does_not_hold_all_the_memory() {
    let rig = Rig::with(|settings| {
        settings.size_max = 1_000_000;
        settings.memory_max = 24_000_000;
        settings.timeouts.memory = Duration::from_millis(60);
    })
    .await;
    let begin = "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<user1@example.test>\nS: 250\nC: DATA\nS: 354";
    let text = b"0123456789abcde\r\n".repeat(50_000);
    // Slow clients of one /64: enough of them for all of it, and none ends its message.
    let mut slow = Vec::new();
    for n in 1..=30 {
        let from = format!("[2001:db8::{n}]:1234");
        let mut client = rig.connect_to(rig.endpoint(Service::Mx), &from);
        client.hello().await;
        client.talk(begin).await;
        client.send(&text).await;
        slow.push(client);
    }
    // One of another network, and one of this machine, go on.
    for from in ["[2001:db8:0:1::1]:1234", "127.0.0.1:1234"] {
        let mut other = rig.connect_to(rig.endpoint(Service::Mx), from);
        other.hello().await;
        other.talk(begin).await;
        other.send(&text).await;
        other.talk("C: .\nS: 250").await;
    }
    let mut put_off = 0;
    for mut client in slow {
        client.talk("C: .").await;
        let reply = client.reply().await;
        put_off += u32::from(reply.starts_with("452 4.3.1"));
    }
    assert!((25..30).contains(&put_off), "{put_off} of 30 were put off");
}

/// Or each reload of the settings would let the process take as much again.
#[tokio::test]
async fn memory_is_bounded_across_a_change_of_settings() {
    let mut settings = None;
    let mut rig = Rig::with(|first| {
        first.memory_max = 100_000;
        first.timeouts.memory = Duration::from_millis(100);
        settings = Some(first.clone());
    })
    .await;
    let begin = "C: MAIL FROM:<a@client.test>\nS: 250\nC: RCPT TO:<user1@example.test>\nS: 250\nC: DATA\nS: 354";
    let mut first = rig.connect(Service::Mx);
    first.hello().await;
    first.talk(begin).await;
    first.send(&b"x\r\n".repeat(20_000)).await;

    let mut settings = settings.unwrap();
    settings.memory_max = 1_000_000_000;
    settings.size_max = 500_000;
    rig.front = rig.front.with_settings(settings);
    let mut second = rig.connect(Service::Mx);
    assert!(second.hello().await.contains("SIZE 500000"));
    second.talk(begin).await;
    second.send(&b"y\r\n".repeat(30_000)).await;
    second.talk("C: .\nS: 452 4.3.1").await;
    first.talk("C: .\nS: 250").await;
    assert_eq!(rig.metric("sessions_started"), 2);
}

#[tokio::test]
async fn a_thousand_bad_clients_disturb_nobody() {
    let rig = Rig::new().await;
    let attacks: [&[u8]; 8] = [
        b"\xff\xfe\0\0\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<user1@example.test>\r\nDATA\r\nunfinished",
        b"EHLO x\r\nBDAT 99999999999999999999 LAST\r\n",
        b"EHLO x\r\nBDAT 1000000\r\nshort",
        b"NOOP\nNOOP\nNOOP\n",
        b"EHLO x\r\nAUTH PLAIN\r\nRCPT TO:<\"unclosed@example.test>\r\nVRFY\r\n",
        b"MAIL FROM:<@a,@b,@c:x@y.test> SIZE=1 SIZE=1 SIZE=1\r\n",
    ];
    let mut clients = Vec::new();
    for n in 0..1000 {
        let mut client = rig.connect_to(
            rig.endpoint(Service::Mx),
            &format!("10.0.{}.{}:1", n / 200, n % 200),
        );
        client.send(attacks[n % attacks.len()]).await;
        clients.push(client);
    }
    // A good client among them is served.
    let mut good = rig.connect(Service::Mx);
    good.hello().await;
    good.message("user1@example.test", "text", "250").await;
    for client in clients {
        client.vanish().await;
    }
    assert_eq!(rig.count("user1@example.test").await, 1);
    assert_eq!(
        rig.metric("sessions_started") - rig.metric("sessions_ended"),
        1
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_little() {
    let rig = Rig::with(|settings| settings.timeouts.reply = Duration::from_millis(200)).await;
    let mut client = rig.connect(Service::Mx);
    // More EHLOs than the pipe takes answers for: the session must stop reading, and give up.
    let flood = b"EHLO x\r\n".repeat(90);
    client.send(&flood).await;
    client.vanish().await;
    assert_eq!(rig.metric("sessions_ended"), 1);
}
