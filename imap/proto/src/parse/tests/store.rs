//! STORE, COPY, MOVE and UID EXPUNGE.

use mailrook_types::{FlagUpdate, Keyword, ModSeq, SystemFlags};

use super::{c, refused, set, text};
use crate::{
    command::{Command, SequenceSet, Store, Transfer},
    error::Fault,
};

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
