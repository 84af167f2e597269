//! Commands on mailboxes: their names, SELECT, LIST, STATUS and QUOTA.

use mailrook_types::{ModSeq, SpecialUse, UidValidity};

use super::{c, refused, set, text};
use crate::{
    command::{Command, List, ListReturn, ListSelection, Qresync, Select, StatusItem},
    error::{Fault, ParseError},
    parse::command,
};

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
