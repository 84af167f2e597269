//! The directory as its users see it: commands in, replies and answers out.

#![allow(clippy::unwrap_used, reason = "tests may")]

use mailrook_kv::{MemoryStore, Overlay, Read, StateMachine, Store};
use mailrook_meta::{
    Credential, CredentialScope, GRANTS_KEPT, Meta, MetaAnswer, MetaCommand, MetaOperation,
    MetaQuery, MetaRefusal, MetaReply, NewAccount, REPLIES_KEPT, Resolution, UNANSWERED_MAX,
    answer,
};
use mailrook_types::{AccountId, Address, ClientId, Domain, OpId, ShardId};

struct Directory {
    store: MemoryStore,
    time_ms: i64,
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

impl Directory {
    /// `example.test` and two shards.
    fn new() -> Directory {
        let mut directory = Directory {
            store: MemoryStore::new(),
            time_ms: 1000,
        };
        directory.done(MetaCommand::SetShards(vec![ShardId(1), ShardId(2)]));
        directory.done(MetaCommand::AddDomain(domain("example.test")));
        directory
    }

    fn apply(&mut self, command: MetaCommand) -> MetaReply {
        let (reply, changed) = self.apply_entry(&command.encode());
        if matches!(reply, MetaReply::Refused(_)) {
            assert!(!changed, "{command:?} was refused and changed something");
        }
        reply
    }

    /// The reply, and whether anything was written.
    fn apply_entry(&mut self, entry: &[u8]) -> (MetaReply, bool) {
        self.time_ms += 1;
        let (applied, batch) = {
            let base = self.store.snapshot();
            let base: &dyn Read = &base;
            let mut view = Overlay::new(base);
            let applied = Meta.apply(&mut view, self.time_ms, entry).unwrap();
            (applied, view.into_batch())
        };
        let changed = !batch.is_empty();
        self.store.write(batch).unwrap();
        (MetaReply::decode(&applied.reply).unwrap(), changed)
    }

    /// Carries out operation `n` of a lane whose operations below `lowest` were seen answered.
    fn operate(&mut self, lane: u64, n: u64, lowest: u64, command: MetaCommand) -> MetaReply {
        let op = OpId {
            client: ClientId(1),
            lane,
            n,
            lowest_unanswered: lowest,
        };
        let operation = MetaOperation { op, command };
        self.apply_entry(&operation.encode()).0
    }

    fn done(&mut self, command: MetaCommand) {
        let reply = self.apply(command.clone());
        assert!(
            !matches!(reply, MetaReply::Refused(_)),
            "{command:?}: {reply:?}"
        );
    }

    fn refused(&mut self, command: MetaCommand) -> String {
        match self.apply(command.clone()) {
            MetaReply::Refused(refusal) => refusal.to_string(),
            other => panic!("{command:?}: {other:?}"),
        }
    }

    fn account(&mut self, text: &str) -> AccountId {
        match self.apply(add_account(text)) {
            MetaReply::Account(record) => record.id,
            other => panic!("{other:?}"),
        }
    }

    fn alias(&mut self, from: &str, to: &[&str]) {
        self.done(add_alias(from, to));
    }

    fn ask(&self, query: MetaQuery) -> MetaAnswer {
        let query = MetaQuery::decode(&query.encode()).unwrap();
        answer(&self.store.snapshot(), 0, &query).unwrap()
    }

    /// `a1/Mailbox a2 else@where`, or why not.
    fn resolve(&self, text: &str) -> String {
        match self.ask(MetaQuery::Resolve(address(text))) {
            MetaAnswer::Resolution(Resolution::Local {
                accounts,
                elsewhere,
            }) => {
                let account = |target: &mailrook_meta::ResolvedTarget| match &target.mailbox {
                    Some(mailbox) => format!("{}/{mailbox}", target.account),
                    None => target.account.to_string(),
                };
                let accounts = accounts.iter().map(account);
                accounts
                    .chain(elsewhere.iter().map(Address::to_string))
                    .collect::<Vec<_>>()
                    .join(" ")
            }
            MetaAnswer::Resolution(other) => format!("{other:?}"),
            other => panic!("{other:?}"),
        }
    }
}

fn add_account(text: &str) -> MetaCommand {
    MetaCommand::AddAccount(NewAccount {
        address: address(text),
        credential: None,
        quota_storage_bytes: None,
        quota_messages: None,
    })
}

fn add_alias(from: &str, to: &[&str]) -> MetaCommand {
    MetaCommand::AddAlias {
        address: address(from),
        targets: to.iter().copied().map(address).collect(),
    }
}

fn credential(name: &str, verifier: &str) -> Credential {
    Credential {
        name: name.to_owned(),
        scopes: vec![CredentialScope::Imap],
        verifier: verifier.into(),
        version: 99,
        created: Default::default(),
    }
}

#[test]
fn finds_users_whatever_the_spelling() {
    let mut directory = Directory::new();
    directory.account("User@example.test");
    assert_eq!(directory.resolve("uSER@EXAMPLE.test"), "a1");
    assert_eq!(
        directory.resolve("user+Lists/Rust@example.test"),
        "a1/Lists/Rust"
    );
    assert_eq!(
        directory.resolve("user+a//b@example.test"),
        "a1",
        "no name of a mailbox asks for INBOX"
    );
    assert_eq!(directory.resolve("other@example.test"), "NoSuchUser");
    assert_eq!(directory.resolve("user@elsewhere.test"), "NotLocal");
    directory.account("user+own@example.test");
    assert_eq!(
        directory.resolve("user+own@example.test"),
        "a2",
        "an exact address comes before a subaddress"
    );
    let name = MetaQuery::Login("USER@example.test".to_owned());
    assert!(matches!(directory.ask(name), MetaAnswer::Login(Some(_))));
    assert_eq!(
        directory.ask(MetaQuery::Login("no address".to_owned())),
        MetaAnswer::Login(None)
    );
}

/// In lower case some letters are longer, up to a local part that is none any more.
#[test]
fn a_name_may_grow_in_lower_case() {
    let mut directory = Directory::new();
    let long = format!("{}@example.test", "İ".repeat(32));
    assert_eq!(directory.account(&long), AccountId(1));
    assert_eq!(directory.resolve(&long), "a1");
    let all = MetaQuery::Accounts {
        domain: None,
        after: None,
        limit: 10,
    };
    assert!(matches!(directory.ask(all), MetaAnswer::Accounts(list) if list.len() == 1));
}

#[test]
fn postmaster_and_abuse_are_everywhere() {
    let mut directory = Directory::new();
    assert_eq!(
        directory.resolve("postmaster@example.test"),
        "NoSuchUser",
        "there is nobody at all"
    );
    directory.account("first@example.test");
    directory.account("second@example.test");
    directory.done(MetaCommand::AddDomain(domain("empty.test")));
    for name in [
        "postmaster@example.test",
        "Abuse@example.test",
        "postmaster+x@empty.test",
        "abuse@empty.test",
    ] {
        assert_eq!(directory.resolve(name), "a1", "{name}");
    }
    directory.alias("postmaster@example.test", &["second@example.test"]);
    assert_eq!(
        directory.resolve("abuse@example.test"),
        "a2",
        "abuse follows postmaster"
    );
    let setting = |value: &str| MetaCommand::PutSetting {
        name: "abuse".to_owned(),
        value: Some(value.into()),
    };
    assert!(
        directory
            .refused(setting("nobody@example.test"))
            .contains("no account nobody@")
    );
    directory.done(setting("abuse@elsewhere.test"));
    assert_eq!(
        directory.resolve("abuse@empty.test"),
        "abuse@elsewhere.test"
    );

    let remove = |name: &str| MetaCommand::RemoveAlias {
        address: address(name),
        targets: Vec::new(),
    };
    directory.done(remove("postmaster@example.test"));
    assert_eq!(directory.resolve("postmaster@example.test"), "a1");
    assert_eq!(
        directory.refused(remove("postmaster@example.test")),
        "postmaster@ exists in every domain"
    );
}

#[test]
fn a_setting_whose_account_is_gone_does_not_lose_postmaster() {
    let mut directory = Directory::new();
    directory.account("first@example.test");
    directory.account("admin@example.test");
    let value = Some(b"admin@example.test".to_vec());
    directory.done(MetaCommand::PutSetting {
        name: "postmaster".to_owned(),
        value,
    });
    assert_eq!(directory.resolve("postmaster@example.test"), "a2");
    directory.done(MetaCommand::RemoveAccount(address("admin@example.test")));
    assert_eq!(directory.resolve("postmaster@example.test"), "a1");
}

/// `user+own` looks like a subaddress of `user`, and is somebody else.
#[test]
fn an_account_that_looks_like_a_subaddress_is_left_alone() {
    let mut directory = Directory::new();
    directory.account("user@example.test");
    directory.account("user+own@example.test");
    directory.alias(
        "team@example.test",
        &["user+own@example.test", "user+box@example.test"],
    );
    assert_eq!(directory.resolve("team@example.test"), "a2 a1/box");
    directory.done(MetaCommand::RenameAccount {
        from: address("user@example.test"),
        to: address("new@example.test"),
    });
    assert_eq!(directory.resolve("team@example.test"), "a2 a1/box");
    directory.done(MetaCommand::RemoveAccount(address("new@example.test")));
    assert_eq!(directory.resolve("team@example.test"), "a2");
}

#[test]
fn aliases_nest_and_never_circle() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    directory.account("two@example.test");
    directory.alias(
        "team@example.test",
        &[
            "one@example.test",
            "two+Team@example.test",
            "TEAM@elsewhere.test",
        ],
    );
    directory.alias(
        "all@example.test",
        &["team@example.test", "one@example.test"],
    );
    assert_eq!(
        directory.resolve("all@example.test"),
        "a1 a2/Team TEAM@elsewhere.test"
    );
    assert_eq!(
        directory.resolve("team+Urgent@example.test"),
        "a1/Urgent a2/Team TEAM@elsewhere.test"
    );

    let circle = directory.refused(add_alias("team@example.test", &["all@example.test"]));
    assert_eq!(
        circle,
        "the alias team@example.test would lead back to itself"
    );
    directory.refused(add_alias("self@example.test", &["Self@example.test"]));
    directory.refused(add_alias("self@example.test", &["self+x@example.test"]));
    assert_eq!(
        directory.refused(add_alias("one@example.test", &["two@example.test"])),
        "one@example.test is taken"
    );
    let nobody = directory.refused(add_alias("x@example.test", &["nobody@example.test"]));
    assert_eq!(nobody, "there is no account nobody@example.test");

    directory.alias("d1@example.test", &["one@example.test"]);
    for n in 2..=16 {
        directory.alias(
            &format!("d{n}@example.test"),
            &[&format!("d{}@example.test", n - 1)],
        );
    }
    assert_eq!(directory.resolve("d16@example.test"), "a1");
    assert!(
        directory
            .refused(add_alias("d17@example.test", &["d16@example.test"]))
            .contains("16 aliases")
    );
    directory.alias("e@example.test", &["two@example.test"]);
    directory.alias("f@example.test", &["e@example.test"]);
    let below = directory.refused(add_alias("e@example.test", &["d15@example.test"]));
    assert!(
        below.contains("16 aliases"),
        "the depth counts from the top: {below}"
    );
}

#[test]
fn an_alias_reaches_a_bounded_number() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    for list in ["a", "b", "c"] {
        let targets: Vec<String> = (0..400)
            .map(|n| format!("{list}{n}@elsewhere.test"))
            .collect();
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        directory.alias(&format!("{list}@example.test"), &targets);
    }
    directory.alias("all@example.test", &["a@example.test", "b@example.test"]);
    assert!(
        directory
            .refused(add_alias("all@example.test", &["c@example.test"]))
            .contains("1000 addresses")
    );
    assert_eq!(
        directory.resolve("all@example.test").split(' ').count(),
        800
    );
}

/// Each alias keeps to its bound when it is written; the catch-alls that are set afterwards chain them.
#[test]
fn too_many_behind_one_address_is_an_answer() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    let catch_all = |n: usize, target: &str| MetaCommand::SetCatchAll {
        domain: domain(&format!("d{n}.test")),
        target: Some(address(target)),
    };
    for n in 1..=11 {
        directory.done(MetaCommand::AddDomain(domain(&format!("d{n}.test"))));
        directory.done(catch_all(n, "one@example.test"));
    }
    for n in 1..=11 {
        for part in 0..2 {
            let mut targets: Vec<String> = (0..480)
                .map(|at| format!("p{part}x{at}@d{n}.elsewhere.test"))
                .collect();
            targets.push(format!("unknown@d{}.test", (n + 1).min(11)));
            let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
            directory.alias(&format!("part{part}@d{n}.test"), &targets);
        }
        let parts = [&*format!("part0@d{n}.test"), &*format!("part1@d{n}.test")];
        directory.alias(&format!("list@d{n}.test"), &parts);
    }
    assert_eq!(
        directory.resolve("list@d1.test").split(' ').count(),
        961,
        "so far it is within the bound"
    );
    for n in 1..=11 {
        directory.done(catch_all(n, &format!("list@d{n}.test")));
    }
    assert_eq!(directory.resolve("list@d1.test"), "TooMany");
    assert_eq!(directory.resolve("whoever@d1.test"), "TooMany");
    assert_ne!(directory.resolve("list@d11.test"), "TooMany");

    for command in [
        add_alias("top@example.test", &["list@d1.test"]),
        add_alias("list@d1.test", &["one@example.test"]),
        add_alias("more@example.test", &["one@example.test", "x@d1.test"]),
    ] {
        let refused = directory.refused(command);
        assert!(refused.contains("a limit is reached"), "{refused}");
    }
    // Whoever is behind it can log in and go all the same.
    let login = directory.ask(MetaQuery::Login("one@example.test".to_owned()));
    assert!(matches!(login, MetaAnswer::Login(Some(_))));
    directory.done(MetaCommand::RemoveAccount(address("one@example.test")));
    directory.done(MetaCommand::SetCatchAll {
        domain: domain("d6.test"),
        target: None,
    });
    assert_ne!(directory.resolve("list@d1.test"), "TooMany");
}

#[test]
fn a_catch_all_takes_the_rest() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    let set = |target: Option<&str>| MetaCommand::SetCatchAll {
        domain: domain("example.test"),
        target: target.map(address),
    };
    assert_eq!(
        directory.refused(set(Some("nobody@example.test"))),
        "there is no account nobody@example.test"
    );
    directory.done(set(Some("one@example.test")));
    assert_eq!(directory.resolve("whoever@example.test"), "a1");
    directory.done(MetaCommand::RenameAccount {
        from: address("one@example.test"),
        to: address("uno@example.test"),
    });
    assert_eq!(
        directory.resolve("whoever@example.test"),
        "a1",
        "it follows the account"
    );
    directory.done(MetaCommand::RemoveAccount(address("uno@example.test")));
    assert_eq!(directory.resolve("whoever@example.test"), "NoSuchUser");
}

/// Each half is allowed by itself, and in the end the catch-all leads to itself.
#[test]
fn a_circle_through_a_catch_all_ends() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    directory.alias(
        "a@example.test",
        &["one@example.test", "out@elsewhere.test"],
    );
    directory.done(MetaCommand::SetCatchAll {
        domain: domain("example.test"),
        target: Some(address("a@example.test")),
    });
    directory.alias(
        "b@example.test",
        &["one@example.test", "unknown@example.test"],
    );
    assert_eq!(directory.resolve("b@example.test"), "a1 out@elsewhere.test");
    let back = directory.refused(add_alias("a@example.test", &["b@example.test"]));
    assert_eq!(back, "the alias a@example.test would lead back to itself");
}

#[test]
fn an_id_is_never_given_twice() {
    let mut directory = Directory::new();
    let first = directory.account("one@example.test");
    assert_eq!(
        directory.account("one@example.test"),
        first,
        "the same command again"
    );
    let removed = directory.apply(MetaCommand::RemoveAccount(address("one@example.test")));
    assert!(matches!(removed, MetaReply::Removed(record) if record.id == first));
    assert_ne!(directory.account("one@example.test"), first);
}

#[test]
fn a_removal_is_noted_until_the_shard_has_confirmed_it() {
    let mut directory = Directory::new();
    let removals = |directory: &Directory, after: Option<u64>, limit| {
        let after = after.map(AccountId);
        match directory.ask(MetaQuery::Removals { after, limit }) {
            MetaAnswer::Removals(list) => list
                .iter()
                .map(|removal| (removal.account.0, removal.shard.0))
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    for name in ["a", "b", "c"] {
        directory.account(&format!("{name}@example.test"));
    }
    for name in ["c", "a", "b"] {
        let gone = address(&format!("{name}@example.test"));
        directory.done(MetaCommand::RemoveAccount(gone));
    }
    assert_eq!(
        removals(&directory, None, 10),
        [(1, 1), (2, 2), (3, 1)],
        "all, with their shards"
    );
    assert_eq!(removals(&directory, Some(1), 1), [(2, 2)]);
    for _ in 0..2 {
        directory.done(MetaCommand::EndRemoval(AccountId(2)));
        assert_eq!(removals(&directory, None, 10), [(1, 1), (3, 1)]);
    }
}

#[test]
fn a_repeated_grant_is_the_same() {
    let mut directory = Directory::new();
    let nonce = |n: u64| MetaCommand::GrantClient {
        nonce: u128::from(n).to_be_bytes(),
    };
    assert_eq!(directory.apply(nonce(7)), MetaReply::Client(ClientId(1)));
    assert_eq!(directory.apply(nonce(8)), MetaReply::Client(ClientId(2)));
    assert_eq!(directory.apply(nonce(7)), MetaReply::Client(ClientId(1)));
    for n in 0..GRANTS_KEPT {
        directory.done(nonce(1000 + n));
    }
    assert_eq!(
        directory.apply(nonce(7)),
        MetaReply::Client(ClientId(GRANTS_KEPT + 3)),
        "forgotten, and not reused"
    );
}

/// Without operation ids each of these repeats would do harm.
#[test]
fn a_repeated_operation_undoes_nobodys_work() {
    let mut directory = Directory::new();
    let remove = || MetaCommand::RemoveAccount(address("one@example.test"));
    let first = directory.account("one@example.test");
    let removed = directory.operate(1, 1, 1, remove());
    assert!(matches!(&removed, MetaReply::Removed(record) if record.id == first));
    // Somebody gives the address anew, and then the first command comes again.
    let second = directory.account("one@example.test");
    assert_eq!(directory.operate(1, 1, 1, remove()), removed);
    assert_eq!(directory.resolve("one@example.test"), second.to_string());

    let add = || MetaCommand::AddDomain(domain("b.test"));
    assert_eq!(directory.operate(1, 2, 1, add()), MetaReply::Done);
    directory.done(MetaCommand::RemoveDomain(domain("b.test")));
    assert_eq!(directory.operate(1, 2, 1, add()), MetaReply::Done);
    assert_eq!(directory.resolve("x@b.test"), "NotLocal");

    // What was refused, and told so, does not happen later.
    let taken = directory.operate(1, 3, 1, add_alias("one@example.test", &["x@y.test"]));
    assert!(matches!(taken, MetaReply::Refused(_)));
    directory.done(remove());
    let again = directory.operate(1, 3, 1, add_alias("one@example.test", &["x@y.test"]));
    assert_eq!(again, taken);
    assert_eq!(directory.resolve("one@example.test"), "NoSuchUser");

    // Once the client has said that it saw them, they are refused, not carried out.
    assert_eq!(directory.operate(1, 4, 4, add()), MetaReply::Done);
    let stale = MetaReply::Refused(MetaRefusal::StaleOperation);
    assert_eq!(directory.operate(1, 2, 2, add()), stale);
    assert_eq!(directory.operate(1, 4, 4, add()), MetaReply::Done);
}

#[test]
fn kept_replies_are_bounded_and_forgotten() {
    let mut directory = Directory::new();
    let add = || MetaCommand::AddDomain(domain("b.test"));
    let unanswered = UNANSWERED_MAX as u64;
    for n in 1..=unanswered {
        assert_eq!(directory.operate(1, n, 1, add()), MetaReply::Done);
    }
    let full = directory.operate(1, unanswered + 1, 1, add());
    assert!(matches!(full, MetaReply::Refused(MetaRefusal::Limit(_))));
    assert_eq!(
        directory.operate(1, unanswered + 1, 2, add()),
        MetaReply::Done
    );
    for lane in 2..100 {
        directory.operate(lane, 1, 1, add());
    }
    let pairs = |directory: &Directory| directory.store.snapshot().pairs().count();
    let (before, day_ms) = (pairs(&directory), REPLIES_KEPT.as_millis() as i64);
    // One that is used lives on.
    directory.time_ms += day_ms - 1000;
    assert_eq!(directory.operate(1, 100, 100, add()), MetaReply::Done);
    directory.time_ms += 2000;
    for n in 1..=100 {
        directory.operate(1000, n, n, add());
    }
    assert_eq!(
        pairs(&directory),
        before - 2 * 97,
        "98 lanes went, one came"
    );
    let stale = MetaReply::Refused(MetaRefusal::StaleOperation);
    assert_eq!(directory.operate(1, 99, 99, add()), stale);
}

#[test]
fn accounts_spread_over_shards() {
    let mut directory = Directory::new();
    for name in ["a", "b", "c"] {
        directory.account(&format!("{name}@example.test"));
    }
    assert_eq!(
        directory.ask(MetaQuery::Shards),
        MetaAnswer::Shards(vec![(ShardId(1), 2), (ShardId(2), 1)])
    );
    directory.done(MetaCommand::SetShards(vec![ShardId(2), ShardId(3)]));
    let MetaReply::Account(record) = directory.apply(add_account("d@example.test")) else {
        panic!()
    };
    assert_eq!(record.shard, ShardId(3));
}

#[test]
fn passwords_have_names_and_a_version() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    let put = |name: &str, verifier: &str| MetaCommand::PutCredential {
        address: address("one@example.test"),
        credential: credential(name, verifier),
    };
    let versions = |reply: MetaReply| match reply {
        MetaReply::Account(record) => {
            let own: Vec<_> = record
                .credentials
                .iter()
                .map(|c| (c.name.clone(), c.version))
                .collect();
            (record.credentials_version, own)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        versions(directory.apply(put("main", "v1"))),
        (2, vec![("main".to_owned(), 2)])
    );
    directory.done(put("phone", "v2"));
    let replaced = vec![("main".to_owned(), 4), ("phone".to_owned(), 3)];
    assert_eq!(versions(directory.apply(put("main", "v3"))), (4, replaced));
    let remove = MetaCommand::RemoveCredential {
        address: address("one@example.test"),
        name: "main".to_owned(),
    };
    assert_eq!(
        versions(directory.apply(remove.clone())),
        (5, vec![("phone".to_owned(), 3)])
    );
    assert_eq!(
        directory.refused(remove),
        "there is no password named \"main\""
    );
    let barred = MetaCommand::SetEnabled {
        address: address("one@example.test"),
        enabled: false,
    };
    assert_eq!(versions(directory.apply(barred.clone())).0, 6);
    assert_eq!(
        versions(directory.apply(barred)).0,
        6,
        "nothing changed the second time"
    );
    for n in 0..31 {
        directory.done(put(&format!("p{n}"), "v"));
    }
    assert!(
        directory
            .refused(put("one-more", "v"))
            .contains("32 passwords")
    );
    directory.refused(put("", "v"));
    directory.refused(put("two\nlines", "v"));
}

#[test]
fn says_who_may_be_sent_as() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    directory.account("two@example.test");
    directory.alias("sales@example.test", &["one@example.test"]);
    directory.alias("shop@example.test", &["sales+Shop@example.test"]);
    directory.alias(
        "both@example.test",
        &["one@example.test", "two@example.test"],
    );
    directory.alias(
        "copy@example.test",
        &["one@example.test", "x@elsewhere.test"],
    );
    let MetaAnswer::Login(Some(login)) =
        directory.ask(MetaQuery::Login("one@example.test".to_owned()))
    else {
        panic!()
    };
    let senders: Vec<_> = login.senders.iter().map(Address::to_string).collect();
    assert_eq!(
        senders,
        [
            "one@example.test",
            "sales@example.test",
            "shop@example.test"
        ]
    );
}

#[test]
fn lists_in_pages() {
    let mut directory = Directory::new();
    directory.done(MetaCommand::AddDomain(domain("b.test")));
    for name in ["b@example.test", "A@example.test", "c@b.test"] {
        directory.account(name);
    }
    let page = |of: Option<&str>, after: Option<&str>, limit| {
        let query = MetaQuery::Accounts {
            domain: of.map(domain),
            after: after.map(address),
            limit,
        };
        match directory.ask(query) {
            MetaAnswer::Accounts(list) => list
                .iter()
                .map(|r| r.address.to_string())
                .collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(None, None, 2), ["c@b.test", "A@example.test"]);
    assert_eq!(page(None, Some("a@example.test"), 2), ["b@example.test"]);
    assert_eq!(
        page(Some("example.test"), None, u32::MAX),
        ["A@example.test", "b@example.test"]
    );
    assert_eq!(
        page(Some("example.test"), Some("c@b.test"), 9),
        ["A@example.test", "b@example.test"]
    );
    assert!(page(None, None, 0).is_empty());
}

#[test]
fn long_records_come_in_several_answers() {
    // 6 MB of aliases: 60 with 500 targets of 200 bytes.
    let mut directory = Directory::new();
    let host = format!("{}.example", ["x".repeat(60), "y".repeat(60)].join("."));
    let targets: Vec<String> = (0..500).map(|n| format!("{n:u>60}@{host}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    for n in 0..60 {
        directory.alias(&format!("list{n:03}@example.test"), &targets);
    }
    let mut seen = Vec::new();
    let mut answers = 0;
    loop {
        let query = MetaQuery::Aliases {
            domain: None,
            after: seen.last().cloned(),
            limit: u32::MAX,
        };
        let answer = directory.ask(query);
        assert!(answer.encode().len() <= mailrook_kv::ANSWER_BYTES_MAX);
        let MetaAnswer::Aliases(list) = answer else {
            panic!("{answer:?}");
        };
        if list.is_empty() {
            break;
        }
        answers += 1;
        seen.extend(list.into_iter().map(|record| record.address));
    }
    assert!(answers > 1);
    assert!(seen.len() == 60 && seen.is_sorted());

    // 5 MB of accounts: 150 with 32 passwords of a kilobyte.
    for n in 0..150 {
        directory.account(&format!("user{n:03}@example.test"));
        for password in 0..32 {
            directory.done(MetaCommand::PutCredential {
                address: address(&format!("user{n:03}@example.test")),
                credential: credential(&format!("device {password}"), &"v".repeat(1000)),
            });
        }
    }
    let mut after = None;
    let mut count = 0;
    for answers in 0.. {
        let query = MetaQuery::Accounts {
            domain: None,
            after: after.clone(),
            limit: u32::MAX,
        };
        let answer = directory.ask(query);
        assert!(answer.encode().len() <= mailrook_kv::ANSWER_BYTES_MAX);
        let MetaAnswer::Accounts(list) = answer else {
            panic!("{answer:?}");
        };
        let Some(last) = list.last() else {
            assert!(answers > 1);
            break;
        };
        after = Some(last.address.clone());
        count += list.len();
    }
    assert_eq!(count, 150);
}

#[test]
fn a_domain_in_use_stays() {
    let mut directory = Directory::new();
    directory.account("one@example.test");
    directory.alias("two@example.test", &["one@example.test"]);
    let remove = MetaCommand::RemoveDomain(domain("example.test"));
    assert_eq!(
        directory.refused(remove.clone()),
        "example.test still has 1 accounts and 1 aliases"
    );
    directory.done(MetaCommand::RemoveAccount(address("one@example.test")));
    assert_eq!(
        directory.resolve("two@example.test"),
        "NoSuchUser",
        "an alias goes with its last target"
    );
    directory.done(remove.clone());
    assert_eq!(
        directory.apply(remove),
        MetaReply::Refused(MetaRefusal::NoSuchDomain(domain("example.test")))
    );
}
