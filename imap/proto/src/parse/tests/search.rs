//! SEARCH, and the bounds on its keys.

use mailrook_types::{Keyword, ModSeq, SystemFlags};

use super::{c, refused, search, set, text};
use crate::{
    command::{Command, Date, Search, SearchKey, SearchReturn, SequenceSet},
    error::ParseError,
    parse::command,
};

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
