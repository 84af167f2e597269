//! Two sessions do random things to one mailbox; each keeps a model of it by the responses alone, which must never
//! contradict themselves and be the truth in the end.

use mailrook_store_api::{Mailstore, shard::MailboxRef};
use mailrook_types::{MailboxName, Uid, UidSet};
use proptest::prelude::*;

use super::rig::{Rig, Wire};

/// What a session does. Messages are named by a number that is taken modulo the mailbox's size.
#[derive(Clone, Copy, Debug)]
enum Act {
    Append,
    Add {
        message: u32,
        silent: bool,
        by_uid: bool,
    },
    Remove {
        message: u32,
    },
    Delete {
        from: u32,
        count: u32,
    },
    Expunge,
    UidExpunge,
    FetchFlags {
        by_uid: bool,
    },
    FetchBody {
        message: u32,
    },
    CopyHere {
        message: u32,
    },
    MoveAway {
        message: u32,
    },
    Noop,
    Idle,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Append),
        3 => (any::<u32>(), any::<bool>(), any::<bool>()).prop_map(|(message, silent, by_uid)| Act::Add { message, silent, by_uid }),
        1 => any::<u32>().prop_map(|message| Act::Remove { message }),
        3 => (any::<u32>(), 0u32..3).prop_map(|(from, count)| Act::Delete { from, count }),
        2 => Just(Act::Expunge),
        1 => Just(Act::UidExpunge),
        2 => any::<bool>().prop_map(|by_uid| Act::FetchFlags { by_uid }),
        2 => any::<u32>().prop_map(|message| Act::FetchBody { message }),
        1 => any::<u32>().prop_map(|message| Act::CopyHere { message }),
        1 => any::<u32>().prop_map(|message| Act::MoveAway { message }),
        2 => Just(Act::Noop),
        1 => Just(Act::Idle),
    ]
}

/// A message as a client knows it.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: Option<u32>,
    flags: Option<Vec<String>>,
}

struct Modelled {
    wire: Wire,
    messages: Vec<Known>,
    commands: u32,
}

impl Modelled {
    async fn new(rig: &Rig, qresync: bool) -> Modelled {
        let mut wire = rig.logged_in().await;
        if qresync {
            wire.play("C: e1 ENABLE QRESYNC\nS~ e1 OK ...").await;
        }
        let mut client = Modelled {
            wire,
            messages: Vec::new(),
            commands: 0,
        };
        client.command("SELECT INBOX", true).await;
        client.command("FETCH 1:* (UID FLAGS)", false).await;
        client
    }

    fn len(&self) -> u32 {
        self.messages.len() as u32
    }

    /// Sends a command and takes its responses in. Says whether it was OK.
    async fn command(&mut self, command: &str, may_expunge: bool) -> bool {
        self.commands += 1;
        let tag = format!("t{}", self.commands);
        self.wire
            .send(format!("{tag} {command}\r\n").as_bytes())
            .await;
        self.take_in(&tag, may_expunge).await
    }

    async fn take_in(&mut self, tag: &str, may_expunge: bool) -> bool {
        loop {
            let line = self.wire.line().await.expect("the server closes");
            if let Some(end) = line.strip_prefix(&format!("{tag} ")) {
                return end.starts_with("OK");
            }
            let is_expunge = line.ends_with(" EXPUNGE") || line.starts_with("* VANISHED");
            assert!(may_expunge || !is_expunge, "{line} must wait");
            self.response(&line).await;
        }
    }

    async fn response(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        if words.first() != Some(&"*") {
            // A continuation, or the end of a literal.
            return;
        }
        match (words[1].parse::<usize>(), words.get(2)) {
            (Ok(count), Some(&"EXISTS")) => {
                assert!(count >= self.messages.len(), "{line}");
                self.messages.resize(count, Known::default());
            }
            (Ok(sequence), Some(&"EXPUNGE")) => {
                assert!((1..=self.messages.len()).contains(&sequence), "{line}");
                self.messages.remove(sequence - 1);
            }
            (Ok(sequence), Some(&"FETCH")) => self.fetched(sequence, line),
            (Err(_), _) if words[1] == "VANISHED" => {
                for range in words[2].split(',') {
                    let (from, to) = range.split_once(':').unwrap_or((range, range));
                    let gone = from.parse::<u32>().unwrap()..=to.parse::<u32>().unwrap();
                    for uid in gone {
                        // A message that was gone before its UID could be asked for stands behind all smaller UIDs.
                        let known = self
                            .messages
                            .iter()
                            .position(|known| known.uid == Some(uid));
                        let smaller = |known: &Known| known.uid.is_some_and(|known| known < uid);
                        let behind = self
                            .messages
                            .iter()
                            .rposition(smaller)
                            .map_or(0, |at| at + 1);
                        let at = known.unwrap_or(behind);
                        let vanished = self.messages.remove(at);
                        assert!(
                            known.is_some() || vanished.uid.is_none(),
                            "{line}: {vanished:?}"
                        );
                    }
                }
            }
            _ => {}
        }
    }

    fn fetched(&mut self, sequence: usize, line: &str) {
        let len = self.messages.len();
        assert!((1..=len).contains(&sequence), "{line} of {len}");
        let known = &mut self.messages[sequence - 1];
        if let Some(at) = line.find("UID ") {
            let digits = line[at + 4..].split(|c: char| !c.is_ascii_digit()).next();
            let uid = digits.unwrap().parse().unwrap();
            assert!(
                known.uid.is_none_or(|before| before == uid),
                "{line}: was {known:?}"
            );
            known.uid = Some(uid);
        }
        if let Some(at) = line.find("FLAGS (") {
            let list = line[at + 7..].split(')').next().unwrap();
            known.flags = Some(sorted(list.split(' ').filter(|flag| !flag.is_empty())));
        }
    }

    /// RFC 7162 §3.2.10: with VANISHED a client must know the UIDs.
    async fn learn_uids(&mut self) {
        if self.messages.iter().any(|known| known.uid.is_none()) {
            self.command("FETCH 1:* (UID FLAGS)", false).await;
        }
    }

    async fn act(&mut self, act: Act) {
        self.learn_uids().await;
        let len = self.len();
        if len == 0 && !matches!(act, Act::Append | Act::Expunge | Act::Noop | Act::Idle) {
            return;
        }
        let sequence = |message: u32| message % len.max(1) + 1;
        match act {
            Act::Append => {
                let done = self
                    .command("APPEND INBOX {12+}\r\nSubject: x\r\n", true)
                    .await;
                assert!(done);
            }
            Act::Add {
                message,
                silent,
                by_uid,
            } => self.add(sequence(message), silent, by_uid).await,
            Act::Remove { message } => {
                let store = format!("STORE {} -FLAGS (\\Flagged \\Seen)", sequence(message));
                self.command(&store, false).await;
            }
            Act::Delete { from, count } => {
                let from = sequence(from);
                let to = (from + count).min(len);
                let store = format!("STORE {from}:{to} +FLAGS (\\Deleted)");
                self.command(&store, false).await;
            }
            Act::Expunge => assert!(self.command("EXPUNGE", true).await),
            Act::UidExpunge => assert!(self.command("UID EXPUNGE 1:5", true).await),
            Act::FetchFlags { by_uid: true } => {
                assert!(self.command("UID FETCH 1:* (FLAGS)", true).await);
            }
            Act::FetchFlags { by_uid: false } => {
                assert!(self.command("FETCH 1:* (FLAGS UID)", false).await);
            }
            Act::FetchBody { message } => {
                let fetch = format!("FETCH {} (BODY[TEXT])", sequence(message));
                assert!(self.command(&fetch, false).await);
            }
            Act::CopyHere { message } => {
                let copy = format!("COPY {} INBOX", sequence(message));
                assert!(self.command(&copy, true).await);
            }
            Act::MoveAway { message } => {
                let transfer = format!("MOVE {} Trash", sequence(message));
                assert!(self.command(&transfer, true).await);
            }
            Act::Noop => assert!(self.command("NOOP", true).await),
            Act::Idle => {
                self.commands += 1;
                let tag = format!("t{}", self.commands);
                self.wire
                    .send(format!("{tag} IDLE\r\nDONE\r\n").as_bytes())
                    .await;
                assert!(self.take_in(&tag, true).await);
            }
        }
    }

    async fn add(&mut self, sequence: u32, silent: bool, by_uid: bool) {
        let silent_word = if silent { ".SILENT" } else { "" };
        let known = self.messages[sequence as usize - 1].clone();
        let (name, number) = match known.uid.filter(|_| by_uid) {
            Some(uid) => ("UID STORE", uid),
            None => ("STORE", sequence),
        };
        let command = format!("{name} {number} +FLAGS{silent_word} (\\Flagged)");
        assert!(self.command(&command, name == "UID STORE").await);
        // What .SILENT does the client keeps track of by itself, on top of what it was told meanwhile.
        let same = self.messages.iter_mut().find(|now| now.uid == known.uid);
        if let Some(Known {
            flags: Some(flags), ..
        }) = same.filter(|_| silent)
            && !flags.iter().any(|flag| flag == "\\Flagged")
        {
            flags.push("\\Flagged".to_owned());
            flags.sort();
        }
    }
}

fn sorted<'f>(flags: impl Iterator<Item = &'f str>) -> Vec<String> {
    let mut flags: Vec<String> = flags.map(str::to_owned).collect();
    flags.sort();
    flags
}

async fn run(acts: Vec<(bool, Act)>, qresync: bool) {
    let rig = Rig::new().await;
    rig.add_numbered(5).await;
    let mut clients = [
        Modelled::new(&rig, false).await,
        Modelled::new(&rig, qresync).await,
    ];
    for (second, act) in acts {
        clients[usize::from(second)].act(act).await;
    }
    let store: &dyn Mailstore = &rig.twin;
    let inbox = MailboxRef::Name(MailboxName::inbox());
    let status = store.status(rig.account, inbox).await.unwrap().unwrap();
    let all = UidSet::from_range(Uid::MIN..=Uid::MAX);
    for client in &mut clients {
        client.learn_uids().await;
        client.command("NOOP", true).await;
        let truth = store
            .index(rig.account, status.id, all.clone(), 10_000)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(client.messages.len(), truth.len());
        for (known, entry) in client.messages.iter().zip(&truth) {
            assert!(known.uid.is_none_or(|uid| uid == entry.uid.get()));
            let flags = sorted(entry.flags.system.names());
            assert!(
                known.flags.as_ref().is_none_or(|known| *known == flags),
                "{known:?} is {flags:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn both_sessions_know_the_truth(
        acts in prop::collection::vec((any::<bool>(), act()), 1..60),
        qresync in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(acts, qresync));
    }
}
