//! FETCH, and the bounds on its items.

use mailrook_types::ModSeq;

use super::{c, fetch_items, part, refused, set, text};
use crate::{
    command::{Command, Fetch, FetchItem, Partial, SectionText},
    error::{Fault, ParseError},
};

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
            std::slice::from_ref(&item),
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
