//! Whole IMAP and POP3 sessions over the in-memory twin: what a client sends never stops one, never hangs it, and is
//! answered in the protocol's form, however it is cut.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use mailrook_auth::Logins;
use mailrook_imap_server::{Client, SessionContext, Settings, serve_imap, serve_pop3};
use mailrook_net::{
    BlockingPool, Connection, Limiter, Limits, LoginThrottle, Network, Peer, SessionId,
    SessionRegistry, Shutdown, Stream, ThrottleSettings,
};
use mailrook_sasl::{FakeSaltKey, PasswordCache};
use mailrook_store_api::{
    Append, Directory, Mailstore, PreparedMessage,
    memory::MemoryCluster,
    meta::{Credential, MetaCommand, MetaReply, NewAccount},
    shard::MailboxRef,
};
use mailrook_types::{Address, Domain, Flags, MailboxName, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::{Builder, Runtime},
};

use crate::{
    Target,
    choices::{Choices, pieces},
    imap::{IMAP_WORDS, POP3_WORDS},
    sasl,
    wire::response_len,
};

pub(crate) const IMAP_SESSION: Target = Target {
    name: "imap_session",
    run: imap_session,
    seeds: || {
        [
            "a1 CAPABILITY\r\na2 NOOP\r\na3 ID NIL\r\na4 AUTHENTICATE PLAIN\r\nAHVzZXIxQGV4YW1wbGUudGVzdABzZWNyZXQ=\r\na5 LOGOUT\r\n",
            "a FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[1]<0.9>)\r\nb UID SEARCH RETURN (ALL) TEXT hello\r\nc CLOSE\r\n",
            "a STORE 1:2 +FLAGS (\\Deleted kw)\r\nb EXPUNGE\r\nc COPY 1 Trash\r\nd MOVE 1 Sent\r\ne UID FETCH 1:* BINARY[1]\r\n",
            "a APPEND INBOX (\\Seen) {23+}\r\nSubject: x\r\n\r\nhello!\r\n\r\nb IDLE\r\nDONE\r\nc STATUS INBOX (MESSAGES UIDNEXT SIZE)\r\n",
            "a LIST \"\" * RETURN (STATUS (MESSAGES) SPECIAL-USE)\r\nb CREATE A/B\r\nc RENAME A Z\r\nd DELETE Z/B\r\ne LSUB \"\" *\r\n",
            "a ENABLE QRESYNC IMAP4rev2\r\nb SELECT INBOX (QRESYNC (1 1))\r\nc UID FETCH 1:* FLAGS (CHANGEDSINCE 1 VANISHED)\r\n",
        ]
        .iter()
        .zip([0, 2, 2, 1, 1, 6])
        .map(|(text, state)| [&[state, 9], text.as_bytes()].concat())
        .collect()
    },
    dictionary: IMAP_WORDS,
    len_max: 1_500,
    rounds: 1_500,
};

pub(crate) const POP3_SESSION: Target = Target {
    name: "pop3_session",
    run: pop3_session,
    seeds: || {
        [
            "CAPA\r\nUSER user1@example.test\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 2 1\r\nDELE 1\r\nRSET\r\nQUIT\r\n",
            "RETR 1\r\nRETR 3\r\nTOP 3 0\r\nUIDL 2\r\nDELE 3\r\nDELE 3\r\nLIST 3\r\nNOOP\r\nQUIT\r\n",
        ]
        .iter()
        .zip([0, 1])
        .map(|(text, state)| [&[state, 9], text.as_bytes()].concat())
        .collect()
    },
    dictionary: POP3_WORDS,
    len_max: 1_000,
    rounds: 1_500,
};

const USER: &str = "user1@example.test";

/// What INBOX holds.
const MESSAGES: [&str; 3] = [
    "From: a@b.test\r\nSubject: one\r\n\r\nhello\r\n",
    "Subject: two\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: \
message/rfc822\r\n\r\nSubject: \"in\\ner\r\n\r\n.\r\n--b--\r\n",
    "Subject: =?utf-8?q?=C3=A4?=\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n..\r\nno newline",
];

/// Far more than a session needs, and an end for one that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one byte of input may make the server say: a byte asks for a whole mailbox at most.
const OUTPUT_PER_BYTE_MAX: usize = 4_096;

/// A session in the state that the first byte chooses: before login, after it, or with INBOX selected; with or without
/// IMAP4rev2.
///
/// # Panics
/// If the session does, or hangs, or says something that is no response, or answers otherwise when the input is cut
/// otherwise.
pub fn imap_session(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (state, seed) = (choices.byte(), choices.byte());
    let bytes = choices.rest();
    let login = format!("l LOGIN {USER} {}\r\n", sasl::PASSWORD);
    let mut prelude = match state & 3 {
        0 => String::new(),
        1 => login,
        _ => format!("{login}m SELECT INBOX\r\n"),
    };
    if state & 4 != 0 {
        prelude.push_str("n ENABLE IMAP4rev2\r\n");
    }
    let whole = converse(false, &[prelude.as_bytes(), bytes]);
    let mut cut = vec![prelude.as_bytes()];
    cut.extend(pieces(bytes, seed));
    let in_pieces = converse(false, &cut);
    // Under DEFLATE it is the compressor's form.
    if bytes
        .to_ascii_uppercase()
        .windows(8)
        .any(|window| window == b"COMPRESS")
    {
        return;
    }
    assert_eq!(
        imap_answers(&whole),
        imap_answers(&in_pieces),
        "the cuts matter"
    );
}

/// The tagged answers with their status; all else is checked for its form.
fn imap_answers(mut output: &[u8]) -> Vec<String> {
    let mut answers = Vec::new();
    while !output.is_empty() {
        let Some(length) = response_len(output) else {
            panic!("no response: {}", output.escape_ascii());
        };
        let (response, rest) = output.split_at(length);
        output = rest;
        let mut words = response.split(|byte| *byte == b' ');
        let tag = words.next().unwrap_or_default();
        if matches!(tag, b"*" | b"+") {
            continue;
        }
        let status = words.next().unwrap_or_default();
        assert!(
            matches!(status, b"OK" | b"NO" | b"BAD"),
            "{}",
            response.escape_ascii()
        );
        answers.push(format!("{} {}", tag.escape_ascii(), status.escape_ascii()));
    }
    answers
}

/// A session before login, or with the maildrop open.
///
/// # Panics
/// As [`imap_session`] does.
pub fn pop3_session(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (state, seed) = (choices.byte(), choices.byte());
    let bytes = choices.rest();
    let prelude = match state & 1 {
        0 => String::new(),
        _ => format!("USER {USER}\r\nPASS {}\r\n", sasl::PASSWORD),
    };
    let whole = converse(true, &[prelude.as_bytes(), bytes]);
    let mut cut = vec![prelude.as_bytes()];
    cut.extend(pieces(bytes, seed));
    let in_pieces = converse(true, &cut);
    let scram = bytes
        .to_ascii_uppercase()
        .windows(5)
        .any(|window| window == b"SCRAM");
    if !scram {
        let (whole, in_pieces) = (without_uids(&whole), without_uids(&in_pieces));
        assert_eq!(whole, in_pieces, "the cuts matter");
    }
    assert!(whole.starts_with(b"+OK "));
    for line in whole.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\r\n"), "{}", line.escape_ascii());
    }
}

/// The UIDL of a message begins with the second in which its mailbox was made.
fn without_uids(output: &[u8]) -> String {
    let is_uid = |word: &&str| word.len() == 16 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let text = output.escape_ascii().to_string();
    let lines = text.replace("\\r\\n", " \n ");
    let words = lines.split(' ');
    words
        .map(|word| if is_uid(&word) { "uid" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// All that the server says to these pieces, until it has said all.
fn converse(is_pop3: bool, pieces: &[&[u8]]) -> Vec<u8> {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a thread can have a runtime");
    }
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    RUNTIME.with(|runtime| {
        let output = runtime.block_on(async {
            let conversation = hold(is_pop3, pieces);
            tokio::time::timeout(PATIENCE, conversation)
                .await
                .expect("the session hangs")
        });
        assert!(
            output.len() <= OUTPUT_PER_BYTE_MAX * (length + 1),
            "{} bytes",
            output.len()
        );
        output
    })
}

async fn hold(is_pop3: bool, pieces: &[&[u8]]) -> Vec<u8> {
    let (ours, theirs) = tokio::io::duplex(8 << 10);
    let context = context(cluster().await);
    let address: SocketAddr = SocketAddr::from(([192, 0, 2, 7], 1234));
    let limiter = Limiter::new(Limits::default());
    let connection = Connection {
        stream: Stream::from(theirs),
        peer: Peer::Tcp {
            address,
            local: address,
        },
        id: SessionId::next(),
        admission: limiter
            .admit(Some(address.ip()))
            .expect("it is the only one"),
        shutdown: Shutdown::never(),
    };
    let registration = SessionRegistry::new().enter("fuzz", &connection);
    let client = Client {
        connection,
        starttls: None,
        plaintext_login: true,
        registration,
    };
    let session = if is_pop3 {
        tokio::spawn(serve_pop3(client, context))
    } else {
        tokio::spawn(serve_imap(client, context))
    };
    let (mut from_server, mut to_server) = tokio::io::split(ours);
    let mut output = Vec::new();
    let say = async {
        for piece in pieces {
            // A session that has ended takes no more.
            if to_server.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let _ = to_server.shutdown().await;
    };
    let hear = from_server.read_to_end(&mut output);
    let (_, heard) = tokio::join!(say, hear);
    heard.expect("a pipe in memory does not break");
    if let Err(error) = session.await {
        std::panic::resume_unwind(error.into_panic());
    }
    output
}

/// A store with one account and its mail.
async fn cluster() -> MemoryCluster {
    let cluster = MemoryCluster::new();
    let domain = Domain::parse("example.test").expect("a domain");
    let added = cluster.command(MetaCommand::AddDomain(domain)).await;
    added.expect("the twin is in reach");
    let credential = Credential {
        name: "main".to_owned(),
        scopes: Vec::new(),
        verifier: sasl::verifier().to_bytes(),
        version: 0,
        created: Timestamp(0),
    };
    let account = NewAccount {
        address: Address::parse(USER).expect("an address"),
        credential: Some(credential),
        quota_storage_bytes: Some(100_000),
        quota_messages: None,
    };
    let added = cluster.command(MetaCommand::AddAccount(account)).await;
    let Ok(MetaReply::Account(record)) = added else {
        panic!("{added:?}");
    };
    static PREPARED: OnceLock<Vec<Arc<PreparedMessage>>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        let prepare = |text: &&str| PreparedMessage::new(text.as_bytes()).expect("it is small");
        MESSAGES.iter().map(prepare).map(Arc::new).collect()
    });
    let stored = |message: &Arc<PreparedMessage>| {
        (
            Arc::clone(message),
            Flags::default(),
            Timestamp(1_000_000_000_000),
        )
    };
    let append = Append {
        mailbox: MailboxRef::Name(MailboxName::inbox()),
        messages: prepared.iter().map(stored).collect(),
    };
    let mut lane = cluster.open_lane().await.expect("the twin is in reach");
    let appended = cluster.append(&mut lane, record.id, append).await;
    appended
        .expect("the twin is in reach")
        .expect("there is room");
    cluster
}

fn context(cluster: MemoryCluster) -> Arc<SessionContext> {
    // One for all, so that the right password is hashed once.
    static CACHE: OnceLock<Arc<PasswordCache>> = OnceLock::new();
    let cache = CACHE.get_or_init(|| {
        let cache = PasswordCache::new(100, Duration::from_secs(86_400));
        Arc::new(cache.expect("there are random bytes"))
    });
    let everywhere: Network = "0.0.0.0/0".parse().expect("a network");
    let throttle = ThrottleSettings {
        exempt: vec![everywhere],
        ..ThrottleSettings::default()
    };
    let logins = Logins {
        cache: Arc::clone(cache),
        fake_salts: FakeSaltKey::new([7; 32]),
        throttle: Arc::new(LoginThrottle::new(throttle)),
        hashing: BlockingPool::new(1, 10),
        tokens: None,
    };
    let settings = Settings {
        append_limit: 10_000,
        failed_login_delay: Duration::ZERO,
        maildrop_patience: Duration::ZERO,
        ..Settings::default()
    };
    let (store, directory) = (Arc::new(cluster.clone()), Arc::new(cluster));
    SessionContext::new(
        store,
        directory,
        logins,
        BlockingPool::new(1, 100),
        settings,
    )
}
