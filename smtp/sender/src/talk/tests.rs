//! Conversations with remotes that say what the test has them say.

use mailrook_store_api::{
    NewMail, PreparedMessage, Queue,
    memory::MemoryCluster,
    shard::{ClaimJobs, NewJob},
};
use mailrook_types::{ClientId, ShardId};
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, duplex};

use super::*;
use crate::{
    BodyReader, Lease,
    testing::{domain, envelope as queued_envelope, recipient},
};

struct NoTls;

impl Handshake for NoTls {
    fn shake<'a>(&'a self, _: Box<dyn Io>) -> BoxFuture<'a, io::Result<(Box<dyn Io>, bool)>> {
        async { Err(io::Error::other("no TLS in this test")) }.boxed()
    }
}

/// A job as it is claimed, over a store that has its message.
async fn errand(text: &[u8], to: &[&str]) -> Errand {
    let store = Arc::new(MemoryCluster::new());
    let job = NewJob {
        destination: domain("remote.test"),
        recipients: to.iter().map(|text| recipient(text)).collect(),
        due: None,
    };
    let mail = NewMail {
        envelope: queued_envelope(),
        message: Arc::new(PreparedMessage::new(text).unwrap()),
        jobs: vec![job],
    };
    let wish = ClaimJobs {
        runner: ClientId(100),
        lease_ms: 60_000,
        limit: 1,
        per_destination: 1,
    };
    let queued = store.enqueue(mail, None, Some(wish)).await.unwrap();
    let job = queued.claimed.unwrap().jobs.remove(0);
    Errand {
        shard: ShardId(1),
        body: BodyReader::new(Arc::clone(&store) as _, ShardId(1), &job),
        lease: Arc::new(Lease::new(Instant::now())),
        job,
    }
}

/// The other end.
struct Remote(BufReader<DuplexStream>);

impl Remote {
    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Answers each command with the reply beside it, the text after DATA with the last.
    async fn answers(&mut self, script: &[(&str, &str)]) {
        for (command, reply) in script {
            assert_eq!(self.line().await, *command);
            self.say(reply).await;
        }
    }

    async fn text(&mut self) -> String {
        let mut text = String::new();
        loop {
            match self.line().await {
                line if line == "." => return text,
                line => text += &format!("{line}\r\n"),
            }
        }
    }
}

async fn open(offers: &str) -> (Talk, Remote) {
    let (ours, theirs) = duplex(1 << 20);
    let mut remote = Remote(BufReader::new(theirs));
    let mut config = ClientConfig::new(Protocol::Smtp, domain("mx.example.test"));
    config.chunking = false;
    let opening = async {
        remote.say("220 mx.remote.test ESMTP\r\n").await;
        assert_eq!(remote.line().await, "EHLO mx.example.test");
        remote.say(offers).await;
    };
    let talking = Talk::open(
        Box::new(ours),
        config,
        Arc::new(NoTls),
        "mx.remote.test".to_owned(),
    );
    let (talk, ()) = tokio::join!(talking, opening);
    (talk.unwrap(), remote)
}

const MAIL: (&str, &str) = ("MAIL FROM:<sender@example.test>", "250 2.1.0 ok\r\n");
const RCPT: (&str, &str) = ("RCPT TO:<a@remote.test>", "250 2.1.5 ok\r\n");
const DATA: (&str, &str) = ("DATA", "354 go on\r\n");

#[tokio::test]
async fn a_message_is_sent_and_another_on_the_same_connection() {
    let (mut talk, mut remote) = open("250 mx.remote.test\r\n").await;
    let long = "0123456789abcde\r\n".repeat(40_000);
    for text in ["Subject: x\r\n\r\n.dot\r\n", &long] {
        let errand = errand(text.as_bytes(), &["a@remote.test"]).await;
        let serving = async {
            remote.answers(&[MAIL, RCPT, DATA]).await;
            let got = remote.text().await;
            remote.say("250 2.0.0 taken\r\n").await;
            got
        };
        let (attempt, got) = tokio::join!(talk.send_all(&errand), serving);
        assert_eq!(
            got,
            format!("Received: here\r\n{text}").replace("\r\n.dot", "\r\n..dot")
        );
        let [Outcome::Delivered { told, is_final, .. }] = &attempt.outcomes[..] else {
            panic!("not delivered: {attempt:?}");
        };
        assert_eq!(told.to_string(), "mx.remote.test said: 250 2.0.0 taken");
        assert!(!is_final && talk.is_open());
    }
    let saying_goodbye = async {
        remote.answers(&[("QUIT", "221 2.0.0 bye\r\n")]).await;
    };
    tokio::join!(Box::new(talk).close(), saying_goodbye);
}

#[tokio::test]
async fn each_recipient_has_its_own_answer() {
    let (mut talk, mut remote) = open("250 mx.remote.test\r\n").await;
    let errand = errand(
        b"x\r\n",
        &["a@remote.test", "b@remote.test", "c@remote.test"],
    )
    .await;
    let serving = async {
        let refused = ("RCPT TO:<b@remote.test>", "550 5.1.1 nobody\r\n");
        let greylisted = ("RCPT TO:<c@remote.test>", "451 4.7.1 later\r\n");
        remote
            .answers(&[MAIL, RCPT, refused, greylisted, DATA])
            .await;
        remote.text().await;
        remote.say("250 2.0.0 taken\r\n").await;
    };
    let (attempt, ()) = tokio::join!(talk.send_all(&errand), serving);
    assert!(matches!(
        &attempt.outcomes[..],
        [Outcome::Delivered { .. }, Outcome::Refused(b), Outcome::Deferred(c)]
            if b.status == "5.1.1" && c.status == "4.7.1"
    ));
}

#[tokio::test]
async fn without_the_lease_there_is_no_final_dot() {
    let (mut talk, mut remote) = open("250 mx.remote.test\r\n").await;
    let errand = errand(b"x\r\n", &["a@remote.test"]).await;
    errand.lease.lose();
    let serving = async {
        remote.answers(&[MAIL, RCPT, DATA]).await;
        let mut rest = String::new();
        remote.0.read_to_string(&mut rest).await.unwrap();
        rest
    };
    let sending = async {
        let attempt = talk.send_all(&errand).await;
        assert!(!talk.is_open());
        drop(talk);
        attempt
    };
    let (attempt, rest) = tokio::join!(sending, serving);
    assert_eq!(attempt.outcomes, [Outcome::NotTried]);
    assert_eq!(rest, "Received: here\r\nx\r\n");
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_dot_is_said_to_be() {
    let (mut talk, mut remote) = open("250 mx.remote.test\r\n").await;
    let errand = errand(b"x\r\n", &["a@remote.test"]).await;
    let serving = async {
        remote.answers(&[MAIL, RCPT, DATA]).await;
        remote.text().await;
        drop(remote);
    };
    let (attempt, ()) = tokio::join!(talk.send_all(&errand), serving);
    let [Outcome::Deferred(told)] = &attempt.outcomes[..] else {
        panic!("not put off: {attempt:?}");
    };
    assert!(
        told.to_string()
            .contains("whether the message arrived is not known"),
        "{told}"
    );
    assert!(!talk.is_open());
}

#[tokio::test]
async fn a_remote_that_hangs_up_is_heard_to_its_last_word() {
    let (mut talk, mut remote) = open("250 mx.remote.test\r\n").await;
    let errand = errand(b"x\r\n", &["a@remote.test"]).await;
    remote.say("421 4.3.2 going down\r\n").await;
    drop(remote);
    let attempt = talk.send_all(&errand).await;
    let [Outcome::Deferred(told)] = &attempt.outcomes[..] else {
        panic!("not put off: {attempt:?}");
    };
    assert_eq!(
        told.to_string(),
        "mx.remote.test said: 421 4.3.2 going down"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_remote_is_given_up_in_its_time() {
    let (mut talk, mut remote) = open("250 mx.remote.test\r\n").await;
    let errand = errand(b"x\r\n", &["a@remote.test"]).await;
    let begun = Instant::now();
    let serving = async {
        assert_eq!(remote.line().await, MAIL.0);
        std::future::pending::<()>().await;
    };
    let attempt = tokio::select! {
        attempt = talk.send_all(&errand) => attempt,
        () = serving => panic!("it is silent"),
    };
    // RFC 5321 §4.5.3.2.2
    assert_eq!(begun.elapsed().as_secs(), 300);
    assert!(matches!(&attempt.outcomes[..], [Outcome::Deferred(told)] if told.status == "4.4.2"));
}
