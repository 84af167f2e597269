//! IMAP and POP3 as bytes: the same events however the input is cut, nothing left over, nothing kept between commands.

use mailrook_imap_proto::{
    command::{Command, SequenceSet},
    framing, pop3, utf7,
    writer::Writer,
};

use crate::{
    Target,
    choices::{Choices, pieces},
    wire::response_len,
};

pub(crate) const IMAP_FRAMING: Target = Target {
    name: "imap_framing",
    run: imap_framing,
    seeds: || {
        [
            "a1 CAPABILITY\r\na2 LOGIN {4+}\r\nuser \"pa\\\"ss\"\r\na3 AUTHENTICATE PLAIN\r\nAHQAdA==\r\n",
            "a SELECT INBOX (QRESYNC (67 9 1:* (1,5 1:6)))\r\nb UID FETCH 1:*,5 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (To)]<0.9>)\r\n",
            "a APPEND Box (\\Seen x) \"17-Jul-1996 02:44:25 -0700\" {5}\r\nhello (\\Draft) ~{3+}\r\na\0b\r\nb IDLE\r\nDONE\r\n",
            "a UID SEARCH RETURN (MIN SAVE) CHARSET UTF-8 OR NOT TEXT {2+}\r\nxy (1:3 $) SENTSINCE 1-Feb-1994 HEADER A B\r\n",
            "a LIST (SUBSCRIBED) \"\" (\"&AOQ-\" %) RETURN (STATUS (MESSAGES SIZE))\r\nb CREATE x (USE (\\Sent))\r\n",
            "a STORE 1:* (UNCHANGEDSINCE 5) -FLAGS.SILENT (\\Deleted k)\r\nb UID MOVE $ Trash\r\nc UID EXPUNGE 3:4\r\n",
            "a ID (\"name\" NIL)\r\nb ENABLE IMAP4rev2 CONDSTORE\r\nc SETQUOTA \"\" (STORAGE 5)\r\nd COMPRESS DEFLATE\r\n",
        ]
        .map(|text| [b"\x03\x07", text.as_bytes()].concat())
        .to_vec()
    },
    dictionary: IMAP_WORDS,
    len_max: 6_000,
    rounds: 120_000,
};

/// The words of the grammar.
pub(crate) const IMAP_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b" ",
    b"a1 ",
    b"{3}\r\n",
    b"{3+}\r\n",
    b"~{3+}\r\n",
    b"{0+}\r\n",
    b"{99999999999}\r\n",
    b"{1048577+}\r\n",
    b"()",
    b"(",
    b")",
    b"\"\"",
    b"NIL",
    b"*",
    b"%",
    b"$",
    b"1:*",
    b"4294967295",
    b"0",
    b"18446744073709551616",
    b"UID ",
    b"FETCH ",
    b"SEARCH ",
    b"STORE ",
    b"COPY ",
    b"MOVE ",
    b"EXPUNGE",
    b"APPEND INBOX ",
    b"LOGIN ",
    b"AUTHENTICATE SCRAM-SHA-256 ",
    b"AUTHENTICATE LOGIN",
    b"SELECT INBOX",
    b"EXAMINE ",
    b"IDLE\r\n",
    b"DONE\r\n",
    b"CLOSE",
    b"UNSELECT",
    b"LIST ",
    b"LSUB \"\" *",
    b"STATUS INBOX (MESSAGES)",
    b"CREATE ",
    b"DELETE ",
    b"RENAME INBOX ",
    b"SUBSCRIBE ",
    b"GETQUOTAROOT INBOX",
    b"ENABLE QRESYNC",
    b"ENABLE IMAP4rev2",
    b"NAMESPACE",
    b"COMPRESS DEFLATE",
    b"LOGOUT",
    b"NOOP",
    b"BODY[]",
    b"BODY.PEEK[1.MIME]",
    b"BINARY.PEEK[1]<0.5>",
    b"BINARY.SIZE[1]",
    b"BODY[HEADER.FIELDS.NOT (Subject)]",
    b"ENVELOPE",
    b"BODYSTRUCTURE",
    b"RFC822.SIZE",
    b"MODSEQ",
    b"EMAILID",
    b"(CHANGEDSINCE 1 VANISHED)",
    b"+FLAGS (\\Seen)",
    b"\\Deleted",
    b"RETURN (SAVE)",
    b"RETURN (ALL COUNT)",
    b"OR ",
    b"NOT ",
    b"TEXT ",
    b"BODY ",
    b"HEADER Subject x",
    b"OLDER 5",
    b"BEFORE 1-Jan-2020",
    b"LARGER 5",
    b"INBOX",
    b"Trash",
    b"&AOQ-",
    b"\xc3\xa4",
    b"\0",
    b"\xff",
    b"=",
    b"AAAA",
    b"CHARSET UTF-8 ",
    b"(UNCHANGEDSINCE 1) ",
    b"17-Jul-1996 02:44:25 -0700",
];

pub(crate) const POP3_FRAMING: Target = Target {
    name: "pop3_framing",
    run: pop3_framing,
    seeds: || {
        [
            "CAPA\r\nAUTH PLAIN\r\nAHQAdA==\r\nUSER a\r\nPASS  b c \r\nSTAT\r\nTOP 1 5\r\n.dot\r\n..\r\nend\n.\n",
            "auth plain =\r\nLIST 2\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nRSET\r\nUTF8\r\nLANG *\r\nSTLS\r\nQUIT\r\n",
        ]
        .map(|text| [b"\x07\x03", text.as_bytes()].concat())
        .to_vec()
    },
    dictionary: POP3_WORDS,
    len_max: 3_000,
    rounds: 120_000,
};

/// The words of POP3.
pub(crate) const POP3_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"CAPA\r\n",
    b"USER ",
    b"PASS ",
    b"AUTH PLAIN ",
    b"AUTH LOGIN\r\n",
    b"AUTH \r\n",
    b"STAT\r\n",
    b"LIST ",
    b"UIDL ",
    b"RETR 1\r\n",
    b"TOP 1 ",
    b"DELE 1\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"QUIT\r\n",
    b"UTF8\r\n",
    b"STLS\r\n",
    b"*\r\n",
    b"=",
    b"AAAA",
    b"4294967296",
    b"0",
    b"\xc3\xa4",
    b"\xff",
    b"\0",
];

/// A framer in the states that the first byte chooses.
///
/// # Panics
/// If the cuts of the input change what is heard, or what was read is not what it prints.
pub fn imap_framing(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (switches, seed) = (choices.byte(), choices.byte());
    let bytes = choices.rest();
    let whole = hear(bytes, &[bytes], switches);
    assert_eq!(hear(bytes, &pieces(bytes, seed), switches), whole);
}

/// All that a session hears, message bytes joined.
fn hear(bytes: &[u8], pieces: &[&[u8]], switches: u8) -> Vec<String> {
    let mut framer = framing::Framer::new();
    framer.set_authenticated(switches & 1 != 0);
    framer.set_utf8(switches & 2 != 0);
    match switches >> 2 & 3 {
        1 => framer.expect_done(),
        2 => framer.expect_auth_response(),
        _ => {}
    }
    let mut heard = Vec::new();
    let mut message = Vec::new();
    let mut unread: Vec<u8> = Vec::new();
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let (used, event) = framer.next(&unread);
            assert!(used <= unread.len());
            // A framer that gives events for nothing would hold a session for ever.
            assert!(heard.len() <= 2 * bytes.len() + 16);
            let again = event.is_some();
            let told = event.and_then(|event| listen(event, &mut message));
            unread.drain(..used);
            let Some((line, next)) = told else {
                if again || used > 0 {
                    continue;
                }
                break;
            };
            if !message.is_empty() {
                heard.push(format!("bytes {:?}", std::mem::take(&mut message)));
            }
            heard.push(line);
            act(&mut framer, next, switches);
        }
    }
    heard.push(format!(
        "{message:?}, between: {}",
        framer.is_between_commands()
    ));
    heard
}

/// What the session does to the framer after an event.
enum Next {
    Nothing,
    Message,
    Done,
    AuthResponse,
    Utf8,
}

fn listen(event: framing::Event<'_>, message: &mut Vec<u8>) -> Option<(String, Next)> {
    use framing::Event;
    let next = match &event {
        Event::AppendBytes(bytes) => {
            assert!(!bytes.is_empty());
            message.extend_from_slice(bytes);
            return None;
        }
        Event::Command(tagged) => {
            print_again(&tagged.command);
            match &tagged.command {
                Command::Idle => Next::Done,
                Command::Authenticate {
                    initial_response: None,
                    ..
                } => Next::AuthResponse,
                Command::Enable(_) => Next::Utf8,
                _ => Next::Nothing,
            }
        }
        Event::Append { .. } | Event::AppendNext(_) => Next::Message,
        Event::Bad { tag, error } => {
            let mut out = Vec::new();
            Writer::new(&mut out, true).parse_error(tag.as_ref(), error);
            assert_eq!(
                response_len(&out),
                Some(out.len()),
                "{}",
                out.escape_ascii()
            );
            assert!(out.len() < 2_000);
            Next::Nothing
        }
        _ => Next::Nothing,
    };
    Some((format!("{event:?}"), next))
}

fn act(framer: &mut framing::Framer, next: Next, switches: u8) {
    match next {
        Next::Nothing => {}
        Next::Done => framer.expect_done(),
        Next::AuthResponse => framer.expect_auth_response(),
        Next::Utf8 => framer.set_utf8(true),
        Next::Message if switches & 16 == 0 => framer.accept_message(),
        Next::Message => framer.refuse_append(),
    }
}

/// Sets and names come to the same when they are printed and read.
fn print_again(command: &Command) {
    match command {
        Command::Fetch(fetch) => print_set(&fetch.set),
        Command::Store(store) => print_set(&store.set),
        Command::Copy(transfer) | Command::Move(transfer) => {
            print_set(&transfer.set);
            print_name(&transfer.mailbox);
        }
        Command::Expunge { uids: Some(set) } => print_set(set),
        Command::Create { mailbox, .. }
        | Command::Delete { mailbox }
        | Command::Subscribe { mailbox }
        | Command::Status { mailbox, .. } => print_name(mailbox),
        _ => {}
    }
}

fn print_set(set: &SequenceSet) {
    let line = format!("t UID EXPUNGE {set}\r\n");
    if line.len() > framing::LINE_LEN_MAX_BEFORE_LOGIN {
        return;
    }
    match read(line.as_bytes()) {
        Some(Command::Expunge { uids: Some(again) }) => assert_eq!(again, *set),
        other => panic!("{line:?} is read as {other:?}"),
    }
    if let Some(resolved) = set.resolve(1000) {
        assert!(!set.exceeds(1000) || resolved.last().is_some_and(|last| last.get() > 1000));
    }
}

fn print_name(name: &str) {
    let mut encoded = Vec::new();
    utf7::encode(name, &mut encoded);
    let mut line = format!("t DELETE {{{}+}}\r\n", encoded.len()).into_bytes();
    line.extend_from_slice(&encoded);
    line.extend_from_slice(b"\r\n");
    if encoded.len() > framing::LITERALS_LEN_MAX_BEFORE_LOGIN {
        return;
    }
    match read(&line) {
        Some(Command::Delete { mailbox }) => assert_eq!(mailbox, name),
        other => panic!("{} is read as {other:?}", line.escape_ascii()),
    }
}

fn read(line: &[u8]) -> Option<Command> {
    match framing::Framer::new().next(line) {
        (used, Some(framing::Event::Command(tagged))) if used == line.len() => Some(tagged.command),
        _ => None,
    }
}

/// POP3's framer, and its dots.
///
/// # Panics
/// If the cuts of the input change what is heard or printed, or a message's end is anywhere but at its end.
pub fn pop3_framing(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (seed, lines) = (choices.byte(), u32::from(choices.byte()));
    let bytes = choices.rest();
    let cut = pieces(bytes, seed);
    assert_eq!(hear_pop3(&cut), hear_pop3(&[bytes]));

    let stuffed = stuff(&[bytes]);
    assert_eq!(stuff(&cut), stuffed);
    assert!(stuffed.len() <= 2 * bytes.len() + 5);
    let end = stuffed
        .windows(5)
        .position(|window| window == b"\r\n.\r\n")
        .map_or(3, |at| at + 5);
    assert_eq!(end, stuffed.len(), "{}", stuffed.escape_ascii());

    let mut limit = pop3::LineLimit::new(lines);
    let taken: usize = cut.iter().map(|piece| limit.take(piece)).sum();
    let wanted = bytes.split_inclusive(|byte| *byte == b'\n');
    let expected: usize = wanted.take(lines as usize).map(<[u8]>::len).sum();
    assert_eq!(taken, expected);
}

fn hear_pop3(pieces: &[&[u8]]) -> Vec<String> {
    let mut framer = pop3::Framer::new();
    let mut heard = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            let (used, event) = framer.next(&piece[at..]);
            at += used;
            let Some(event) = event else { break };
            assert!(used > 0, "an event for nothing");
            if let pop3::Event::Command(pop3::Command::Auth {
                mechanism: Some(_),
                initial_response: None,
            }) = event
            {
                framer.expect_auth_response();
            }
            heard.push(format!("{event:?}"));
        }
        assert_eq!(at, piece.len(), "bytes are left over");
    }
    heard
}

fn stuff(pieces: &[&[u8]]) -> Vec<u8> {
    let mut stuffer = pop3::DotStuffer::new();
    let mut out = Vec::new();
    pieces
        .iter()
        .for_each(|piece| stuffer.encode(piece, &mut out));
    stuffer.finish(&mut out);
    out
}
