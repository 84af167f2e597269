//! Conversations: what a client writes, and what is understood.

mod printer;
mod property;

use std::num::NonZeroU32;

use mailrook_types::{FlagUpdate, Keyword, ModSeq, SpecialUse, SystemFlags, UidValidity};

use super::command;
use crate::{
    command::{
        Command, Date, Fetch, FetchItem, List, ListReturn, ListSelection, Partial, Qresync, Search,
        SearchKey, SearchReturn, Secret, SectionText, Select, SequenceBound, SequenceRange,
        SequenceSet, StatusItem, Store, Transfer,
    },
    error::{Fault, ParseError},
};

/// What the client's line means, before IMAP4rev2 is enabled.
fn c(line: &str) -> Command {
    match command(format!("{line}\r\n").as_bytes(), false) {
        Ok(tagged) => {
            assert_eq!(tagged.tag.as_str(), "a1");
            tagged.command
        }
        Err(error) => panic!("{line:?} was refused: {error:?}"),
    }
}

/// Why the client's line means nothing; the tag was found.
fn refused(line: &str) -> ParseError {
    match command(format!("{line}\r\n").as_bytes(), false) {
        Ok(tagged) => panic!("{line:?} was accepted: {:?}", tagged.command),
        Err((tag, error)) => {
            assert_eq!(tag.expect("a tag").as_str(), "a1", "{line}");
            error
        }
    }
}

fn search(line: &str) -> SearchKey {
    match c(line) {
        Command::Search(search) => search.key,
        other => panic!("{other:?}"),
    }
}

fn fetch_items(line: &str) -> Vec<FetchItem> {
    match c(line) {
        Command::Fetch(fetch) => fetch.items,
        other => panic!("{other:?}"),
    }
}

fn set(ranges: &[(u32, u32)]) -> SequenceSet {
    let bound = |n| NonZeroU32::new(n).map_or(SequenceBound::Largest, SequenceBound::Number);
    let range = |&(start, end)| SequenceRange {
        start: bound(start),
        end: bound(end),
    };
    SequenceSet::Ranges(ranges.iter().map(range).collect())
}

fn part(numbers: &[u32]) -> Vec<NonZeroU32> {
    numbers.iter().filter_map(|n| NonZeroU32::new(*n)).collect()
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn commands_without_arguments() {
    assert_eq!(c("a1 CAPABILITY"), Command::Capability);
    assert_eq!(c("a1 noop"), Command::Noop);
    assert_eq!(c("a1 Logout "), Command::Logout);
    assert_eq!(c("a1 STARTTLS"), Command::StartTls);
    assert_eq!(c("a1 NAMESPACE"), Command::Namespace);
    assert_eq!(c("a1 IDLE"), Command::Idle);
    assert_eq!(c("a1 CHECK"), Command::Check);
    assert_eq!(c("a1 CLOSE"), Command::Close);
    assert_eq!(c("a1 UNSELECT"), Command::Unselect);
    assert_eq!(c("a1 EXPUNGE"), Command::Expunge { uids: None });
    assert_eq!(c("a1 COMPRESS DEFLATE"), Command::CompressDeflate);
    assert_eq!(refused("a1 NOOP now"), ParseError::TrailingArguments);
    assert_eq!(refused("a1 XYZZY"), ParseError::UnknownCommand);
    assert_eq!(refused("a1 UID XYZZY"), ParseError::UnknownCommand);
    assert_eq!(refused("a1 COMPRESS GZIP").fault(), Fault::Request);
    assert!(matches!(refused("a1"), ParseError::Expected(_)));
    assert!(matches!(refused("a1 "), ParseError::Expected(_)));
    assert!(matches!(refused("a1  NOOP"), ParseError::Expected(_)));
}

#[test]
fn lines_without_a_tag() {
    let long = "x".repeat(200);
    for line in [
        "",
        " NOOP",
        "+ NOOP",
        "* NOOP",
        "\"a\" NOOP",
        "ä NOOP",
        long.as_str(),
    ] {
        let outcome = command(format!("{line}\r\n").as_bytes(), false);
        assert_eq!(outcome, Err((None, ParseError::NoTag)), "{line}");
    }
    // A bare LF ends a line, a bare CR does not.
    assert!(command(b"a1 NOOP\n", false).is_ok());
    assert!(command(b"a1 NOOP\rb NOOP\r\n", false).is_err());
}

#[test]
fn logging_in() {
    let password = Secret::new(*b"a\"b");
    let login = Command::Login {
        user: text("fred"),
        password: password.clone(),
    };
    assert_eq!(c("a1 LOGIN fred \"a\\\"b\""), login);
    assert_eq!(c("a1 LOGIN {4}\r\nfred {3+}\r\na\"b"), login);
    assert_eq!(c("a1 login \"jürgen\" x").name(), "LOGIN");
    assert_eq!(format!("{password:?}"), "Secret(3 bytes)");
    let plain = |initial_response| Command::Authenticate {
        mechanism: text("PLAIN"),
        initial_response,
    };
    assert_eq!(c("a1 AUTHENTICATE plain"), plain(None));
    assert_eq!(c("a1 AUTHENTICATE PLAIN ="), plain(Some(Secret::new(*b""))));
    assert_eq!(
        c("a1 AUTHENTICATE PLAIN AHQAdA=="),
        plain(Some(Secret::new(*b"\0t\0t")))
    );
    assert_eq!(
        refused("a1 AUTHENTICATE PLAIN AHQAdA"),
        ParseError::BadBase64
    );
    assert!(matches!(refused("a1 LOGIN fred"), ParseError::Expected(_)));
    assert_eq!(refused("a1 LOGIN fred {1}\r\n\0"), ParseError::Nul);
    assert_eq!(
        c("a1 ENABLE condstore X"),
        Command::Enable(vec![text("CONDSTORE"), text("X")])
    );
    assert!(matches!(refused("a1 ENABLE"), ParseError::Expected(_)));
}

#[test]
fn exchanging_ids() {
    assert_eq!(c("a1 ID NIL"), Command::Id(None));
    assert_eq!(c("a1 ID ()"), Command::Id(Some(vec![])));
    let fields = vec![(text("name"), Some(text("x"))), (text("os"), None)];
    assert_eq!(
        c("a1 ID (\"name\" \"x\" \"os\" NIL)"),
        Command::Id(Some(fields))
    );
    let many = "\"a\" NIL ".repeat(31);
    let too_many = refused(&format!("a1 ID ({})", many.trim_end()));
    assert_eq!(
        too_many,
        ParseError::TooMany {
            what: "fields",
            max: 30
        }
    );
}

#[test]
fn naming_mailboxes() {
    let delete = |mailbox: &str| Command::Delete {
        mailbox: text(mailbox),
    };
    assert_eq!(c("a1 DELETE Entw&APw-rfe"), delete("Entwürfe"));
    assert_eq!(c("a1 DELETE \"Entwürfe\""), delete("Entwürfe"));
    assert_eq!(c("a1 DELETE Entwürfe"), delete("Entwürfe"));
    assert_eq!(c("a1 DELETE \"A &- B\""), delete("A & B"));
    assert_eq!(c("a1 DELETE ~x/[y]"), delete("~x/[y]"));
    assert_eq!(refused("a1 DELETE \"A & B\""), ParseError::MailboxEncoding);
    assert_eq!(refused("a1 DELETE &AGE-").fault(), Fault::Request);
    let enabled = command("a1 DELETE \"A & &APw- Ü\"\r\n".as_bytes(), true).unwrap();
    assert_eq!(enabled.command, delete("A & &APw- Ü"));
    assert!(command(b"a1 DELETE {1}\r\n\xff\r\n", true).is_err());
    assert_eq!(
        c("a1 RENAME a {1}\r\nb"),
        Command::Rename {
            from: text("a"),
            to: text("b")
        }
    );
    assert_eq!(
        c("a1 SUBSCRIBE INBOX"),
        Command::Subscribe {
            mailbox: text("INBOX")
        }
    );
    assert_eq!(
        c("a1 UNSUBSCRIBE \"\""),
        Command::Unsubscribe { mailbox: text("") }
    );
    let create = |special_uses| Command::Create {
        mailbox: text("x/"),
        special_uses,
    };
    assert_eq!(c("a1 CREATE x/"), create(vec![]));
    let uses = vec![SpecialUse::Drafts, SpecialUse::Sent];
    assert_eq!(
        c("a1 CREATE x/ (USE (\\drafts \\Sent \\Sent))"),
        create(uses)
    );
    assert_eq!(refused("a1 CREATE x (USE (\\All))"), ParseError::SpecialUse);
    assert_eq!(
        refused("a1 CREATE x (FOO)"),
        ParseError::Unknown("parameter")
    );
}

#[test]
fn selecting() {
    let plain = Select {
        mailbox: text("INBOX"),
        read_only: false,
        condstore: false,
        qresync: None,
    };
    assert_eq!(c("a1 SELECT INBOX"), Command::Select(plain.clone()));
    let examine = Select {
        read_only: true,
        condstore: true,
        ..plain.clone()
    };
    assert_eq!(c("a1 EXAMINE INBOX (CONDSTORE)"), Command::Select(examine));
    let mut qresync = Qresync {
        uid_validity: UidValidity::new(67_890_007).unwrap(),
        mod_seq: ModSeq(90_060_115_194_045_000),
        known_uids: None,
        match_data: None,
    };
    let select = |qresync: &Qresync| {
        Command::Select(Select {
            qresync: Some(qresync.clone()),
            ..plain.clone()
        })
    };
    let head = "a1 SELECT INBOX (QRESYNC (67890007 90060115194045000";
    assert_eq!(c(&format!("{head}))")), select(&qresync));
    qresync.known_uids = Some(set(&[(41, 41), (43, 211)]));
    assert_eq!(c(&format!("{head} 41,43:211))")), select(&qresync));
    qresync.match_data = Some((set(&[(1, 2)]), set(&[(41, 43)])));
    assert_eq!(
        c(&format!("{head} 41,43:211 (1:2 41:43)))")),
        select(&qresync)
    );
    qresync.known_uids = None;
    assert_eq!(c(&format!("{head} (1:2 41:43)))")), select(&qresync));
    for bad in [
        "a1 SELECT INBOX (QRESYNC (0 1))",
        "a1 SELECT INBOX (QRESYNC (1 9223372036854775808))",
        "a1 SELECT INBOX (QRESYNC (1 1 1:*))",
        "a1 SELECT INBOX (QRESYNC (1 1 $))",
        "a1 SELECT INBOX (QRESYNC (1 1)",
        "a1 SELECT INBOX ()",
        "a1 SELECT INBOX (ANNOTATE)",
        "a1 SELECT",
    ] {
        refused(bad);
    }
}

#[test]
fn listing() {
    let basic = |reference: &str, pattern: &str| List {
        reference: text(reference),
        patterns: vec![text(pattern)],
        ..List::default()
    };
    assert_eq!(c("a1 LIST \"\" *"), Command::List(basic("", "*")));
    assert_eq!(c("a1 LIST \"\" \"\""), Command::List(basic("", "")));
    assert_eq!(c("a1 LIST ~/Mail/ %"), Command::List(basic("~/Mail/", "%")));
    assert_eq!(c("a1 LIST \"\" &APw-*"), Command::List(basic("", "ü*")));
    let lsub = Command::Lsub {
        reference: text(""),
        pattern: text("*%"),
    };
    assert_eq!(c("a1 LSUB \"\" *%"), lsub);

    let subscribed = ListSelection {
        subscribed: true,
        recursive_match: true,
        ..Default::default()
    };
    let returns = ListReturn {
        subscribed: true,
        children: true,
        special_use: true,
        status: vec![StatusItem::Messages, StatusItem::Unseen],
    };
    let extended = List {
        patterns: vec![text("INBOX"), text("D*")],
        select: subscribed,
        returns,
        extended: true,
        ..List::default()
    };
    assert_eq!(
        c("a1 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX \"D*\") \
           RETURN (SUBSCRIBED children SPECIAL-USE STATUS (MESSAGES UNSEEN MESSAGES))"),
        Command::List(extended)
    );
    let empty = List {
        extended: true,
        ..basic("", "*")
    };
    assert_eq!(c("a1 LIST () \"\" * RETURN ()"), Command::List(empty));
    assert!(matches!(
        refused("a1 LIST (RECURSIVEMATCH) \"\" *"),
        ParseError::Combination(_)
    ));
    assert!(matches!(
        refused("a1 LIST (RECURSIVEMATCH REMOTE) \"\" *"),
        ParseError::Combination(_)
    ));
    assert_eq!(
        refused("a1 LIST (FOO) \"\" *"),
        ParseError::Unknown("selection option")
    );
    assert_eq!(
        refused("a1 LIST \"\" * RETURN (FOO)"),
        ParseError::Unknown("return option")
    );
    refused("a1 LIST \"\"");
    refused("a1 LIST \"\" ()");
    refused(&format!("a1 LIST \"\" ({})", ["x"; 65].join(" ")));
}

#[test]
fn asking_status_and_quota() {
    let items = vec![
        StatusItem::UidNext,
        StatusItem::HighestModSeq,
        StatusItem::DeletedStorage,
    ];
    assert_eq!(
        c("a1 STATUS x (UIDNEXT highestmodseq DELETED-STORAGE UIDNEXT)"),
        Command::Status {
            mailbox: text("x"),
            items
        }
    );
    for (_, name) in StatusItem::ALL {
        c(&format!("a1 STATUS x ({name})"));
    }
    refused("a1 STATUS x ()");
    refused("a1 STATUS x MESSAGES");
    assert_eq!(
        refused("a1 STATUS x (FOO)"),
        ParseError::Unknown("status item")
    );
    assert_eq!(c("a1 GETQUOTA \"\""), Command::GetQuota { root: text("") });
    assert_eq!(
        c("a1 GETQUOTAROOT INBOX"),
        Command::GetQuotaRoot {
            mailbox: text("INBOX")
        }
    );
    let limits = vec![(text("STORAGE"), 512), (text("MESSAGE"), 9)];
    assert_eq!(
        c("a1 SETQUOTA \"\" (storage 512 MESSAGE 9)"),
        Command::SetQuota {
            root: text(""),
            limits
        }
    );
    refused("a1 SETQUOTA \"\" (STORAGE -1)");
}

#[test]
fn searching() {
    assert_eq!(search("a1 SEARCH ALL"), SearchKey::All);
    let and = SearchKey::And(vec![
        SearchKey::Flag(SystemFlags::FLAGGED),
        SearchKey::Since(Date::new(1994, 2, 1).unwrap()),
        SearchKey::Not(Box::new(SearchKey::From(text("Smith")))),
    ]);
    assert_eq!(
        search("a1 SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM \"Smith\""),
        and
    );
    assert_eq!(
        search("a1 SEARCH CHARSET utf-8 (FLAGGED SINCE \"1-Feb-1994\" NOT FROM Smith)"),
        and
    );
    let or = SearchKey::Or(
        Box::new(SearchKey::Sequence(set(&[(1, 3), (0, 0)]))),
        Box::new(SearchKey::And(vec![
            SearchKey::Uid(set(&[(5, 0)])),
            SearchKey::New,
        ])),
    );
    assert_eq!(search("a1 UID SEARCH OR 1:3,* (UID 5:* NEW)"), or);
    assert_eq!(
        search("a1 SEARCH $"),
        SearchKey::Sequence(SequenceSet::Saved)
    );
    assert_eq!(
        search("a1 SEARCH TEXT {7}\r\nGrüße"),
        SearchKey::Text(text("Grüße"))
    );
    assert_eq!(
        search("a1 SEARCH HEADER X-A \"\""),
        SearchKey::Header(text("X-A"), text(""))
    );
    assert_eq!(
        search("a1 SEARCH KEYWORD $Junk"),
        SearchKey::Keyword(Keyword::parse("$Junk").unwrap())
    );
    assert_eq!(
        search("a1 SEARCH UNSEEN"),
        SearchKey::NotFlag(SystemFlags::SEEN)
    );
    assert_eq!(
        search("a1 SEARCH LARGER 9999999999"),
        SearchKey::Larger(9_999_999_999)
    );
    assert_eq!(search("a1 SEARCH OLDER 60"), SearchKey::Older(60));
    assert_eq!(
        search("a1 SEARCH MODSEQ 620"),
        SearchKey::ModSeq(ModSeq(620))
    );
    let entry = search("a1 SEARCH MODSEQ \"/flags/\\\\draft\" all 620");
    assert!(entry.uses_mod_seq() && !SearchKey::All.uses_mod_seq());
    assert_eq!(
        search("a1 SEARCH EMAILID e12"),
        SearchKey::EmailId(text("e12"))
    );
    assert_eq!(
        refused("a1 SEARCH CHARSET KOI8-R ALL"),
        ParseError::BadCharset
    );
    assert_eq!(
        command(b"a1 SEARCH TEXT {1}\r\n\xe4\r\n", false)
            .unwrap_err()
            .1,
        ParseError::BadCharset
    );
    for bad in [
        "a1 SEARCH",
        "a1 SEARCH ",
        "a1 SEARCH FOO",
        "a1 SEARCH ()",
        "a1 SEARCH (ALL",
        "a1 SEARCH ALL ALL)",
        "a1 SEARCH NOT",
        "a1 SEARCH OR ALL",
        "a1 SEARCH 0",
        "a1 SEARCH 1:",
        "a1 SEARCH 1,,2",
        "a1 SEARCH SINCE 30-Feb-1994",
        "a1 SEARCH SINCE 1-Foo-1994",
        "a1 SEARCH OLDER 0",
        "a1 SEARCH 4294967296",
        "a1 SEARCH MODSEQ \"/x\" all 1",
        "a1 SEARCH LARGER -1",
        "a1 SEARCH ALLx",
    ] {
        refused(bad);
    }
}

#[test]
fn searching_with_results_of_choice() {
    let returns = |line: &str| match c(line) {
        Command::Search(Search { returns, .. }) => returns,
        other => panic!("{other:?}"),
    };
    let none = SearchReturn::default();
    assert_eq!(returns("a1 SEARCH ALL"), None);
    assert_eq!(
        returns("a1 SEARCH RETURN () ALL"),
        Some(SearchReturn { all: true, ..none })
    );
    assert_eq!(
        returns("a1 UID SEARCH RETURN (SAVE) ALL"),
        Some(SearchReturn { save: true, ..none })
    );
    let all = SearchReturn {
        min: true,
        max: true,
        all: true,
        count: true,
        save: true,
    };
    assert_eq!(
        returns("a1 SEARCH RETURN (min MAX ALL COUNT SAVE) CHARSET UTF-8 ALL"),
        Some(all)
    );
    assert_eq!(
        refused("a1 SEARCH RETURN (FOO) ALL"),
        ParseError::Unknown("result option")
    );
    refused("a1 SEARCH RETURN (ALL)");
}

#[test]
fn fetching() {
    use FetchItem::*;
    assert_eq!(
        fetch_items("a1 FETCH 1 ALL"),
        [Flags, InternalDate, Size, Envelope]
    );
    assert_eq!(fetch_items("a1 FETCH 1 fast"), [Flags, InternalDate, Size]);
    assert_eq!(
        fetch_items("a1 FETCH 1 FULL"),
        [Flags, InternalDate, Size, Envelope, Body]
    );
    assert_eq!(fetch_items("a1 FETCH 1:* (UID FLAGS UID)"), [Uid, Flags]);
    assert_eq!(fetch_items("a1 FETCH 1 BODYSTRUCTURE"), [BodyStructure]);
    assert_eq!(
        fetch_items(
            "a1 FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE MODSEQ EMAILID THREADID BODY)"
        ),
        [
            Rfc822,
            Rfc822Header,
            Rfc822Text,
            Size,
            ModSeq,
            EmailId,
            ThreadId,
            Body
        ]
    );
    let section = |part, text, partial, peek| Section {
        section: crate::command::Section { part, text },
        partial,
        peek,
    };
    let cases = [
        ("BODY[]", section(vec![], SectionText::Full, None, false)),
        (
            "BODY.PEEK[HEADER]",
            section(vec![], SectionText::Header, None, true),
        ),
        (
            "body.peek[4.1.mime]",
            section(part(&[4, 1]), SectionText::Mime, None, true),
        ),
        (
            "BODY[2]<5.20>",
            section(
                part(&[2]),
                SectionText::Full,
                Some(Partial {
                    start: 5,
                    length: 20,
                }),
                false,
            ),
        ),
        (
            "BODY[3.TEXT]",
            section(part(&[3]), SectionText::Text, None, false),
        ),
        (
            "BODY[1.HEADER.FIELDS (To \"From\")]",
            section(
                part(&[1]),
                SectionText::HeaderFields(vec![text("To"), text("From")]),
                None,
                false,
            ),
        ),
        (
            "BODY.PEEK[HEADER.FIELDS.NOT (To)]<0.1>",
            section(
                vec![],
                SectionText::HeaderFieldsNot(vec![text("To")]),
                Some(Partial {
                    start: 0,
                    length: 1,
                }),
                true,
            ),
        ),
        (
            "BINARY[1.2]<0.9>",
            Binary {
                part: part(&[1, 2]),
                partial: Some(Partial {
                    start: 0,
                    length: 9,
                }),
                peek: false,
            },
        ),
        (
            "BINARY.PEEK[]",
            Binary {
                part: vec![],
                partial: None,
                peek: true,
            },
        ),
        ("BINARY.SIZE[1]", BinarySize { part: part(&[1]) }),
    ];
    for (wire, item) in cases {
        assert_eq!(
            fetch_items(&format!("a1 FETCH 1 {wire}")),
            [item.clone()],
            "{wire}"
        );
        assert_eq!(
            fetch_items(&format!("a1 UID FETCH 1 (FLAGS {wire})")),
            [Flags, item]
        );
    }
    for bad in [
        "a1 FETCH 1",
        "a1 FETCH 1 ()",
        "a1 FETCH 1 FOO",
        "a1 FETCH 1 (ALL)",
        "a1 FETCH 1 BODY.PEEK",
        "a1 FETCH 1 BODY[",
        "a1 FETCH 1 BODY[MIME]",
        "a1 FETCH 1 BODY[0]",
        "a1 FETCH 1 BODY[1.]",
        "a1 FETCH 1 BODY[1..2]",
        "a1 FETCH 1 BODY[FOO]",
        "a1 FETCH 1 BODY[]<1>",
        "a1 FETCH 1 BODY[]<1.0>",
        "a1 FETCH 1 BINARY[TEXT]",
        "a1 FETCH 1 BINARY[1.]",
        "a1 FETCH 1 BODY[HEADER.FIELDS ()]",
        "a1 FETCH x FLAGS",
        "a1 FETCH 1 FLAGS[1]",
    ] {
        refused(bad);
    }
    assert!(fetch_items("a1 FETCH 1 BODY[]")[0].sets_seen());
    assert!(!fetch_items("a1 FETCH 1 BODY.PEEK[]")[0].sets_seen());
    assert!(fetch_items("a1 FETCH 1 BINARY.SIZE[1]")[0].needs_bytes());
}

#[test]
fn fetching_what_has_changed() {
    let fetch = Fetch {
        set: set(&[(300, 500)]),
        by_uid: true,
        items: vec![FetchItem::Flags],
        changed_since: Some(ModSeq(12345)),
        vanished: true,
    };
    let line = "a1 UID FETCH 300:500 (FLAGS) (CHANGEDSINCE 12345 VANISHED)";
    assert_eq!(c(line), Command::Fetch(fetch.clone()));
    let fetch = Fetch {
        vanished: false,
        ..fetch
    };
    assert_eq!(
        c("a1 UID FETCH 300:500 FLAGS (CHANGEDSINCE 12345)"),
        Command::Fetch(fetch)
    );
    assert!(matches!(
        refused("a1 FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)"),
        ParseError::Combination(_)
    ));
    assert!(matches!(
        refused("a1 UID FETCH 1 FLAGS (VANISHED)"),
        ParseError::Combination(_)
    ));
    assert_eq!(
        refused("a1 FETCH 1 FLAGS (FOO)"),
        ParseError::Unknown("modifier")
    );
}

#[test]
fn storing_and_moving() {
    let mut flags = mailrook_types::Flags::system(SystemFlags::DELETED | SystemFlags::SEEN);
    flags.insert_keyword(Keyword::parse("$Junk").unwrap());
    let store = Store {
        set: set(&[(2, 4)]),
        by_uid: false,
        unchanged_since: None,
        update: FlagUpdate::Add,
        silent: false,
        flags,
    };
    assert_eq!(
        c("a1 STORE 2:4 +FLAGS (\\Deleted \\seen $Junk $junk)"),
        Command::Store(store.clone())
    );
    assert_eq!(
        c("a1 STORE 2:4 +FLAGS \\Deleted \\Recent \\Seen $Junk"),
        Command::Store(store.clone())
    );
    let conditional = Store {
        by_uid: true,
        unchanged_since: Some(ModSeq(0)),
        update: FlagUpdate::Remove,
        silent: true,
        ..store.clone()
    };
    assert_eq!(
        c("a1 UID STORE 2:4 (UNCHANGEDSINCE 0) -flags.silent (\\Deleted \\Seen $Junk)"),
        Command::Store(conditional)
    );
    let none = Store {
        update: FlagUpdate::Replace,
        flags: Default::default(),
        ..store
    };
    assert_eq!(c("a1 STORE 2:4 FLAGS ()"), Command::Store(none));
    for bad in [
        "a1 STORE 1 FLAGS",
        "a1 STORE 1 +-FLAGS ()",
        "a1 STORE 1 FLAGS.LOUD ()",
        "a1 STORE 1 FLAGS (\\Foo)",
        "a1 STORE 1 FLAGS (\\*)",
        "a1 STORE 1 FLAGS (a b",
        "a1 STORE 1 (FOO 1) FLAGS ()",
    ] {
        refused(bad);
    }
    let long = refused(&format!("a1 STORE 1 FLAGS ({})", "x".repeat(256)));
    assert_eq!(long.fault(), Fault::Request);
    let many: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    assert_eq!(
        refused(&format!("a1 STORE 1 FLAGS ({})", many.join(" "))).fault(),
        Fault::Request
    );

    let transfer = Transfer {
        set: set(&[(2, 4)]),
        by_uid: false,
        mailbox: text("MEETING"),
    };
    assert_eq!(c("a1 COPY 2:4 MEETING"), Command::Copy(transfer.clone()));
    assert_eq!(c("a1 MOVE 2:4 MEETING"), Command::Move(transfer));
    let saved = Transfer {
        set: SequenceSet::Saved,
        by_uid: true,
        mailbox: text("ü"),
    };
    assert_eq!(c("a1 UID COPY $ &APw-"), Command::Copy(saved.clone()));
    assert_eq!(c("a1 UID MOVE $ {2}\r\nü"), Command::Move(saved));
    let uids = Some(set(&[(3000, 3002), (9, 9)]));
    assert_eq!(c("a1 UID EXPUNGE 3000:3002,9"), Command::Expunge { uids });
    refused("a1 UID EXPUNGE");
    refused("a1 COPY 1");
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("a1 SEARCH {}ALL{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(search(&nested(50)), SearchKey::All);
    assert_eq!(refused(&nested(51)), ParseError::TooDeep(50));
    assert_eq!(refused(&nested(30_000)), ParseError::TooDeep(50));
    assert_eq!(
        refused(&format!("a1 SEARCH {}ALL", "NOT ".repeat(10_000))),
        ParseError::TooDeep(50)
    );
    assert_eq!(
        refused(&format!("a1 SEARCH {}", "OR ".repeat(10_000))),
        ParseError::TooDeep(50)
    );
    let wide = refused(&format!("a1 SEARCH ALL{}", " ALL".repeat(10_000)));
    assert_eq!(
        wide,
        ParseError::TooMany {
            what: "search keys",
            max: 1024
        }
    );
}

#[test]
fn counts_are_bounded() {
    let many = format!("a1 FETCH {}1 FLAGS", "1,".repeat(1_000_000));
    assert!(matches!(refused(&many), ParseError::TooMany { .. }));
    let items: Vec<String> = (1..400).map(|n| format!("BODY[{n}]")).collect();
    let too_many = refused(&format!("a1 FETCH 1 ({})", items.join(" ")));
    assert_eq!(
        too_many,
        ParseError::TooMany {
            what: "fetch items",
            max: 256
        }
    );
    let deep = refused(&format!("a1 FETCH 1 BODY[{}1]", "1.".repeat(10_000)));
    assert_eq!(deep.fault(), Fault::Request);
    let fields = refused(&format!(
        "a1 FETCH 1 BODY[HEADER.FIELDS (x{})]",
        " x".repeat(10_000)
    ));
    assert_eq!(fields.fault(), Fault::Request);
}
