//! The connection is lost, or the remote falls silent, at every byte of a conversation: what was not committed is not sent,
//! what was committed and not answered is unknown, and what was answered is what the answer says.

use super::*;

/// What the remote says to each command line, and to the end of a message.
struct Remote {
    extensions: &'static str,
    lmtp: bool,
    heard: Vec<u8>,
    text: bool,
}

impl Remote {
    /// Answers to what was written, one for each line; text is passed over.
    fn hear(&mut self, written: &mut Vec<u8>, verdicts: &[&str]) -> String {
        self.heard.append(written);
        let mut said = String::new();
        while let Some(end) = memchr::memmem::find(&self.heard, b"\r\n") {
            let line: Vec<u8> = self.heard.drain(..end + 2).collect();
            let line = String::from_utf8(line).unwrap();
            let word = line.split([' ', '\r']).next().unwrap();
            let verdict = if self.lmtp { verdicts } else { &verdicts[..1] };
            match word {
                "." => {
                    self.text = false;
                    verdict.iter().for_each(|verdict| said.push_str(verdict));
                }
                _ if self.text => {}
                "EHLO" | "LHLO" => said.push_str(self.extensions),
                "DATA" => {
                    self.text = true;
                    said.push_str("354 go\r\n");
                }
                "BDAT" => {
                    let octets: usize = line.split([' ', '\r']).nth(1).unwrap().parse().unwrap();
                    if self.heard.len() < octets {
                        self.heard.splice(0..0, line.into_bytes());
                        return said;
                    }
                    self.heard.drain(..octets);
                    verdict.iter().for_each(|verdict| said.push_str(verdict));
                }
                _ => said.push_str("250 ok\r\n"),
            }
        }
        said
    }
}

/// Holds a conversation in which the remote says `limit` bytes and no more; then `end` comes. Returns what the caller was
/// told, how much of the verdicts was said, and how much the remote would have said.
fn cut(
    plan: &Plan,
    extensions: &'static str,
    verdicts: &[&str],
    limit: usize,
    end: fn(&mut Client),
) -> (Rig, usize, usize) {
    let lmtp = plan.config.protocol == Protocol::Lmtp;
    let mut remote = Remote {
        extensions,
        lmtp,
        heard: Vec::new(),
        text: false,
    };
    let mut rig = Rig::new(plan.clone(), usize::MAX);
    rig.pump();
    let (mut waiting, mut said, mut of_verdict) = ("220 x\r\n".to_owned().into_bytes(), 0, 0);
    loop {
        while !waiting.is_empty() && said < limit {
            let byte = waiting.remove(0);
            of_verdict += usize::from(rig.committed > 0);
            said += 1;
            rig.receive(&[byte]);
        }
        if said == limit {
            break;
        }
        let mut written = std::mem::take(&mut rig.written);
        waiting = remote.hear(&mut written, verdicts).into_bytes();
        if waiting.is_empty() {
            break;
        }
    }
    end(&mut rig.client);
    rig.pump();
    (rig, of_verdict, said)
}

fn lost(client: &mut Client) {
    client.connection_lost();
}

fn silent(client: &mut Client) {
    client.expire(Duration::MAX);
}

const EVERYTHING: &str = "250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 DSN\r\n";
const NOTHING: &str = "250 x\r\n";

#[test]
fn at_every_byte_of_the_remote() {
    let stored = ["250 2.0.0 stored\r\n", "452 4.2.2 full\r\n"];
    for (plan, extensions) in [
        (smtp(), EVERYTHING),
        (smtp(), NOTHING),
        (lmtp(), EVERYTHING),
        (lmtp(), NOTHING),
    ] {
        let plan = Plan {
            envelopes: vec![envelope(&["c@d.test", "e@d.test"])],
            quits: false,
            ..plan
        };
        let (_, _, whole) = cut(&plan, extensions, &stored, usize::MAX, lost);
        for limit in 0..=whole {
            for (end, timed_out) in [(lost as fn(&mut Client), false), (silent, true)] {
                let (rig, of_verdict, _) = cut(&plan, extensions, &stored, limit, end);
                let told = format!("{:?}", rig.told);
                let Some(outcomes) = rig.outcomes.first() else {
                    assert!(limit < 7 + extensions.len(), "no outcome: {told}");
                    continue;
                };
                for (index, outcome) in outcomes.iter().enumerate() {
                    let answers = if plan.config.protocol == Protocol::Lmtp {
                        index + 1
                    } else {
                        1
                    };
                    let due: usize = stored[..answers].iter().map(|answer| answer.len()).sum();
                    let right = match outcome {
                        Outcome::NotSent(_) => rig.committed == 0,
                        Outcome::Unknown(ended) => {
                            rig.committed == 1
                                && of_verdict < due
                                && timed_out
                                    == matches!(ended, Ended::TimedOut(Command::EndOfMessage(_)))
                        }
                        Outcome::Delivered { .. } => of_verdict >= due && answers == 1,
                        Outcome::Deferred(_) => of_verdict >= due && answers == 2,
                        _ => false,
                    };
                    assert!(right, "after {limit} of {whole} bytes, {index}: {told}");
                }
            }
        }
    }
}

#[test]
fn at_every_byte_of_the_client() {
    for extensions in [EVERYTHING, NOTHING] {
        let stored = ["250 2.0.0 stored\r\n"];
        let run = |limit: usize| {
            let mut remote = Remote {
                extensions,
                lmtp: false,
                heard: Vec::new(),
                text: false,
            };
            let mut rig = Rig::new(
                Plan {
                    quits: false,
                    ..smtp()
                },
                1,
            );
            rig.pump();
            rig.receive(b"220 x\r\n");
            let mut heard = 0;
            loop {
                let room = (limit - heard).min(rig.written.len());
                let mut written: Vec<u8> = rig.written.drain(..room).collect();
                heard += room;
                let answers = remote.hear(&mut written, &stored);
                rig.receive(answers.as_bytes());
                if answers.is_empty() && (rig.written.is_empty() || heard == limit) {
                    break;
                }
            }
            rig.client.connection_lost();
            rig.pump();
            (rig, heard)
        };
        let (rig, whole) = run(usize::MAX);
        assert_eq!(rig.outcomes.len(), 1);
        for limit in 0..=whole {
            let (rig, _) = run(limit);
            let outcome = rig.outcomes.first().map(|outcomes| &outcomes[0]);
            match outcome {
                // What the remote does not hear of the end, it cannot have; the client knows only what it gave out.
                Some(Outcome::Unknown(_)) => assert!(rig.committed == 1 && limit < whole),
                Some(Outcome::NotSent(_)) => assert_eq!(rig.committed, 0),
                Some(Outcome::Delivered { .. }) => assert_eq!(limit, whole),
                None => assert!(limit < "EHLO out.test\r\n".len()),
                other => panic!("{other:?}"),
            }
        }
    }
}
