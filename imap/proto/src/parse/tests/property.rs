//! What is printed is read back as it was; what is cut, bent or random does no harm.

use std::num::NonZeroU32;

use mailrook_types::{FlagUpdate, Flags, Keyword, ModSeq, SpecialUse, SystemFlags, UidValidity};
use proptest::{collection::vec, option, prelude::*};

use super::printer::{print, print_append_message};
use crate::{
    command::{
        AppendMessage, Command, Date, Fetch, FetchItem, List, ListReturn, ListSelection, Partial,
        Qresync, Search, SearchKey, SearchReturn, Secret, Section, SectionText, Select,
        SequenceBound, SequenceRange, SequenceSet, StatusItem, Store, Transfer,
    },
    parse,
};

fn nz() -> impl Strategy<Value = NonZeroU32> {
    prop_oneof![1u32..20, any::<u32>()].prop_filter_map("zero", NonZeroU32::new)
}

fn bound() -> impl Strategy<Value = SequenceBound> {
    prop_oneof![9 => nz().prop_map(SequenceBound::Number), 1 => Just(SequenceBound::Largest)]
}

fn range() -> impl Strategy<Value = SequenceRange> {
    (bound(), bound()).prop_map(|(start, end)| SequenceRange { start, end })
}

fn explicit_set() -> impl Strategy<Value = SequenceSet> {
    let number = || nz().prop_map(SequenceBound::Number);
    let range = (number(), number()).prop_map(|(start, end)| SequenceRange { start, end });
    vec(range, 1..4).prop_map(SequenceSet::Ranges)
}

fn set() -> impl Strategy<Value = SequenceSet> {
    prop_oneof![9 => vec(range(), 1..6).prop_map(SequenceSet::Ranges), 1 => Just(SequenceSet::Saved)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z &/]{0,12}", "[^\0]{0,12}"]
}

fn mod_seq() -> impl Strategy<Value = ModSeq> {
    (0..=ModSeq::MAX.0).prop_map(ModSeq)
}

fn date() -> impl Strategy<Value = Date> {
    (0i64..40_000).prop_map(Date::from_days_since_epoch)
}

fn keyword() -> impl Strategy<Value = Keyword> {
    "[$a-zA-Z0-9_.:-]{1,10}".prop_map(|text| Keyword::parse(&text).unwrap())
}

fn system_flag() -> impl Strategy<Value = SystemFlags> {
    prop::sample::select(SystemFlags::ALL.map(|(flag, _)| flag).to_vec())
}

fn flags() -> impl Strategy<Value = Flags> {
    (vec(system_flag(), 0..4), vec(keyword(), 0..3)).prop_map(|(system, keywords)| {
        let mut flags = Flags::system(system.into_iter().fold(SystemFlags::NONE, |a, b| a | b));
        keywords
            .into_iter()
            .for_each(|keyword| flags.insert_keyword(keyword));
        flags
    })
}

fn leaf() -> impl Strategy<Value = SearchKey> {
    let texts = (0usize..7, text()).prop_map(|(which, text)| {
        [
            SearchKey::From,
            SearchKey::To,
            SearchKey::Cc,
            SearchKey::Bcc,
            SearchKey::Subject,
            SearchKey::Body,
            SearchKey::Text,
        ][which](text)
    });
    let dates = (0usize..6, date()).prop_map(|(which, date)| {
        [
            SearchKey::Before,
            SearchKey::On,
            SearchKey::Since,
            SearchKey::SentBefore,
            SearchKey::SentOn,
            SearchKey::SentSince,
        ][which](date)
    });
    prop_oneof![
        prop::sample::select(vec![
            SearchKey::All,
            SearchKey::Recent,
            SearchKey::New,
            SearchKey::Old
        ]),
        set().prop_map(SearchKey::Sequence),
        set().prop_map(SearchKey::Uid),
        system_flag().prop_map(SearchKey::Flag),
        system_flag().prop_map(SearchKey::NotFlag),
        keyword().prop_map(SearchKey::Keyword),
        keyword().prop_map(SearchKey::NotKeyword),
        texts,
        dates,
        (text(), text()).prop_map(|(field, text)| SearchKey::Header(field, text)),
        any::<u64>().prop_map(SearchKey::Larger),
        any::<u64>().prop_map(SearchKey::Smaller),
        nz().prop_map(|n| SearchKey::Older(n.get())),
        nz().prop_map(|n| SearchKey::Younger(n.get())),
        mod_seq().prop_map(SearchKey::ModSeq),
        "[a-z0-9_-]{1,9}".prop_map(SearchKey::EmailId),
        "[a-z0-9_-]{1,9}".prop_map(SearchKey::ThreadId),
    ]
}

fn search_key() -> impl Strategy<Value = SearchKey> {
    leaf().prop_recursive(5, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(SearchKey::And),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| SearchKey::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|key| SearchKey::Not(Box::new(key))),
        ]
    })
}

fn search() -> impl Strategy<Value = Command> {
    let returns = any::<(bool, bool, bool, bool, bool)>().prop_filter_map(
        "RETURN () means ALL",
        |(min, max, all, count, save)| {
            (min | max | all | count | save).then_some(SearchReturn {
                min,
                max,
                all,
                count,
                save,
            })
        },
    );
    (any::<bool>(), option::of(returns), search_key()).prop_map(|(by_uid, returns, key)| {
        // At the top the parentheses vanish, and a list of keys is the same key.
        Command::Search(Search {
            by_uid,
            returns,
            key,
        })
    })
}

fn section() -> impl Strategy<Value = Section> {
    let fields = || vec("[A-Za-z-]{1,9}|[ -~]{0,5}", 1..4);
    let texts = prop_oneof![
        Just(SectionText::Full),
        Just(SectionText::Header),
        Just(SectionText::Text),
        Just(SectionText::Mime),
        fields().prop_map(SectionText::HeaderFields),
        fields().prop_map(SectionText::HeaderFieldsNot),
    ];
    (vec(nz(), 0..4), texts)
        .prop_filter("MIME needs a part", |(part, text)| {
            !part.is_empty() || *text != SectionText::Mime
        })
        .prop_map(|(part, text)| Section { part, text })
}

fn fetch_item() -> impl Strategy<Value = FetchItem> {
    let partial = || {
        option::of(
            (any::<u64>(), 1..=u64::MAX).prop_map(|(start, length)| Partial { start, length }),
        )
    };
    use FetchItem::*;
    let simple = [
        Flags,
        Uid,
        ModSeq,
        InternalDate,
        Size,
        Envelope,
        Body,
        BodyStructure,
        EmailId,
        ThreadId,
        Rfc822,
        Rfc822Header,
        Rfc822Text,
    ];
    prop_oneof![
        prop::sample::select(simple.to_vec()),
        (section(), partial(), any::<bool>()).prop_map(|(section, partial, peek)| Section {
            section,
            partial,
            peek
        }),
        (vec(nz(), 0..3), partial(), any::<bool>()).prop_map(|(part, partial, peek)| Binary {
            part,
            partial,
            peek
        }),
        vec(nz(), 0..3).prop_map(|part| BinarySize { part }),
    ]
}

fn fetch() -> impl Strategy<Value = Command> {
    let since = option::of((mod_seq(), any::<bool>()));
    (set(), any::<bool>(), vec(fetch_item(), 1..5), since).prop_map(
        |(set, by_uid, items, since)| {
            let mut once = Vec::new();
            items.into_iter().for_each(|item| {
                if !once.contains(&item) {
                    once.push(item)
                }
            });
            let vanished = by_uid && since.is_some_and(|(_, vanished)| vanished);
            let changed_since = since.map(|(mod_seq, _)| mod_seq);
            Command::Fetch(Fetch {
                set,
                by_uid,
                items: once,
                changed_since,
                vanished,
            })
        },
    )
}

fn store() -> impl Strategy<Value = Command> {
    let update = prop::sample::select(vec![
        FlagUpdate::Replace,
        FlagUpdate::Add,
        FlagUpdate::Remove,
    ]);
    (
        set(),
        any::<bool>(),
        option::of(mod_seq()),
        update,
        any::<bool>(),
        flags(),
    )
        .prop_map(|(set, by_uid, unchanged_since, update, silent, flags)| {
            Command::Store(Store {
                set,
                by_uid,
                unchanged_since,
                update,
                silent,
                flags,
            })
        })
}

fn status_items(min: usize) -> impl Strategy<Value = Vec<StatusItem>> {
    prop::sample::subsequence(
        StatusItem::ALL.map(|(item, _)| item).to_vec(),
        min..=StatusItem::ALL.len(),
    )
}

fn list() -> impl Strategy<Value = Command> {
    let select = any::<(bool, bool, bool, bool)>().prop_map(
        |(subscribed, remote, recursive, special_use)| {
            let recursive_match = recursive && (subscribed || special_use);
            ListSelection {
                subscribed,
                remote,
                recursive_match,
                special_use,
            }
        },
    );
    let returns = (any::<(bool, bool, bool)>(), status_items(0)).prop_map(
        |((subscribed, children, special_use), status)| ListReturn {
            subscribed,
            children,
            special_use,
            status,
        },
    );
    prop_oneof![
        (text(), text()).prop_map(|(reference, pattern)| {
            Command::List(List {
                reference,
                patterns: vec![pattern],
                ..List::default()
            })
        }),
        (text(), vec(text(), 1..4), select, returns).prop_map(
            |(reference, patterns, select, returns)| {
                Command::List(List {
                    reference,
                    patterns,
                    select,
                    returns,
                    extended: true,
                })
            }
        ),
    ]
}

fn select() -> impl Strategy<Value = Command> {
    let match_data = option::of((explicit_set(), explicit_set()));
    let qresync = (nz(), mod_seq(), option::of(explicit_set()), match_data).prop_map(
        |(uid_validity, mod_seq, known_uids, match_data)| {
            let uid_validity = UidValidity::new(uid_validity.get()).unwrap();
            Qresync {
                uid_validity,
                mod_seq,
                known_uids,
                match_data,
            }
        },
    );
    (text(), any::<bool>(), any::<bool>(), option::of(qresync)).prop_map(
        |(mailbox, read_only, condstore, qresync)| {
            Command::Select(Select {
                mailbox,
                read_only,
                condstore,
                qresync,
            })
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let transfer = || {
        (set(), any::<bool>(), text()).prop_map(|(set, by_uid, mailbox)| Transfer {
            set,
            by_uid,
            mailbox,
        })
    };
    let uses = prop::sample::subsequence(SpecialUse::ALL.map(|(u, _)| u).to_vec(), 0..4);
    prop_oneof![
        4 => search(),
        4 => fetch(),
        2 => store(),
        2 => list(),
        2 => select(),
        1 => transfer().prop_map(Command::Copy),
        1 => transfer().prop_map(Command::Move),
        1 => set().prop_map(|uids| Command::Expunge { uids: Some(uids) }),
        1 => (text(), text()).prop_map(|(user, password)| {
            Command::Login { user, password: Secret::new(password.into_bytes()) }
        }),
        1 => (text(), uses).prop_map(|(mailbox, special_uses)| Command::Create { mailbox, special_uses }),
        1 => (text(), text()).prop_map(|(from, to)| Command::Rename { from, to }),
        1 => (text(), status_items(1)).prop_map(|(mailbox, items)| Command::Status { mailbox, items }),
        1 => prop::sample::select(vec![Command::Capability, Command::Noop, Command::Idle, Command::Close]),
    ]
}

fn read(line: &[u8]) -> Option<Command> {
    parse::command(line, false)
        .ok()
        .map(|tagged| tagged.command)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn reads_back_what_it_prints(command in command()) {
        let line = format!("a1 {}\r\n", print(&command));
        prop_assert_eq!(parse::command(line.as_bytes(), false).map(|tagged| tagged.command), Ok(command), "{}", line);
    }

    #[test]
    fn survives_what_is_cut_or_bent(command in command(), cut: prop::sample::Index, bent: prop::sample::Index, byte: u8) {
        let line = format!("a1 {}\r\n", print(&command)).into_bytes();
        let _ = parse::command(&line[..cut.index(line.len())], false);
        let mut other = line.clone();
        other[bent.index(line.len())] = byte;
        if let Ok(tagged) = parse::command(&other, false) {
            // Whatever was understood can be printed and understood again; the printer knows no password
            // that is not UTF-8.
            let again = format!("a1 {}\r\n", print(&tagged.command));
            if !matches!(tagged.command, Command::Id(_) | Command::Enable(_) | Command::Login { .. }) {
                prop_assert_eq!(read(again.as_bytes()), Some(tagged.command));
            }
        }
    }

    #[test]
    fn survives_anything(bytes in vec(any::<u8>(), 0..300), utf8: bool) {
        let _ = parse::command(&bytes, utf8);
        let _ = parse::append_start(&bytes, utf8);
        let _ = parse::append_next(&bytes, utf8);
    }

    #[test]
    fn survives_words_in_any_order(words in vec(prop::sample::select(vec![
        "a", " ", " ", " ", "UID", "SEARCH", "FETCH", "STORE", "LIST", "SELECT", "APPEND", "(", ")", "[", "]", "<", ">", "1", "0", ":", "*", ",",
        "$", "\"", "\\", "{3}", "{3+}", "~{2}", "\r\n", "abc", "BODY", "HEADER.FIELDS", "RETURN", "CHARSET", "UTF-8", "NOT", "OR", "NIL", "FLAGS",
        "+", "-", "1-Feb-1994", "18446744073709551616", "&", "&APw-", "ü",
    ]), 0..30)) {
        let _ = parse::command(words.concat().as_bytes(), false);
    }

    #[test]
    fn reads_back_append_messages(flags in flags(), size: u64, binary: bool, synchronising: bool) {
        let message = AppendMessage { flags, internal_date: None, size, binary, synchronising };
        let line = print_append_message(&message) + "\r\n";
        prop_assert_eq!(parse::append_next(line.as_bytes(), false), Ok(message));
    }
}
