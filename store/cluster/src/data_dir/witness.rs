//! The witness: a small synced file that says what the log and the tables must hold at least.
//!
//! A log that lost its end looks like a shorter log. The witness tells them apart: it keeps each group's vote, and
//! the last entry that the log was known to hold, about a second ago. Both only ever grow, by (term, index): an
//! entry that replaces others has a higher term. It also is the list of the groups that the node has a copy of, and of
//! those that it had one of: a vote that was given stays given, should the copy come back.
//!
//! Each write counts up the `beat`, which other nodes are told: a data directory that was put back from an old copy shows
//! by a beat that is lower than what they heard.
//!
//! On disk: [`Witness`] as a versioned record, and the CRC-32 of it, little-endian.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use mailrook_kv::{decode, encode};
use mailrook_types::ShardId;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{damaged, io as io_error, replace_file};
use crate::OpenError;

/// A vote, ordered as votes are: by term, then node, then committed over not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct VoteMark {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) committed: bool,
}

/// The place of an entry, ordered as entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct LogMark {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// What is known of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The highest vote that was saved; none before the group's first start.
    pub(crate) vote: Option<VoteMark>,
    /// An entry that was durable.
    pub(crate) last: Option<LogMark>,
    /// The copy was made after the group: it does not begin it.
    pub(crate) given: bool,
    /// What its log must hold before it may lead; none for one that began its group.
    pub(crate) floor: Option<LogMark>,
}

/// [`Marks`] in version 1.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct MarksV1 {
    vote: Option<VoteMark>,
    last: Option<LogMark>,
}

/// [`Witness`] in version 2.
#[derive(Serialize, Deserialize)]
struct WitnessV2 {
    beat: u64,
    groups: BTreeMap<ShardId, (MarksV1, bool)>,
    dropped: BTreeMap<ShardId, Option<VoteMark>>,
}

/// [`Marks`] in version 3.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct MarksV3 {
    vote: Option<VoteMark>,
    last: Option<LogMark>,
    given: bool,
    floor: Option<LogMark>,
}

/// [`Witness`] in version 3.
#[derive(Serialize, Deserialize)]
struct WitnessV3 {
    beat: u64,
    groups: BTreeMap<ShardId, MarksV3>,
    dropped: BTreeMap<ShardId, Option<VoteMark>>,
}

#[derive(Serialize, Deserialize)]
enum Stored {
    V1(BTreeMap<ShardId, MarksV1>),
    V2(WitnessV2),
    V3(WitnessV3),
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    /// How often it was written.
    pub(crate) beat: u64,
    /// The groups that the node has a copy of.
    pub(crate) groups: BTreeMap<ShardId, Marks>,
    /// Those that it had one of, with the highest vote that the copy gave.
    pub(crate) dropped: BTreeMap<ShardId, Option<VoteMark>>,
}

impl From<Stored> for Witness {
    fn from(stored: Stored) -> Witness {
        let marks = |MarksV1 { vote, last }, given| Marks {
            vote,
            last,
            given,
            floor: None,
        };
        match stored {
            Stored::V1(groups) => Witness {
                groups: (groups.into_iter())
                    .map(|(shard, old)| (shard, marks(old, false)))
                    .collect(),
                ..Witness::default()
            },
            Stored::V2(now) => Witness {
                beat: now.beat,
                groups: (now.groups.into_iter())
                    .map(|(shard, (old, given))| (shard, marks(old, given)))
                    .collect(),
                dropped: now.dropped,
            },
            Stored::V3(now) => {
                let marks = |(shard, known)| {
                    let MarksV3 {
                        vote,
                        last,
                        given,
                        floor,
                    } = known;
                    let marks = Marks {
                        vote,
                        last,
                        given,
                        floor,
                    };
                    (shard, marks)
                };
                Witness {
                    beat: now.beat,
                    groups: now.groups.into_iter().map(marks).collect(),
                    dropped: now.dropped,
                }
            }
        }
    }
}

impl Witness {
    /// Knows nothing but which groups there are.
    pub(crate) fn of_groups(groups: &[ShardId]) -> Witness {
        Witness {
            groups: groups
                .iter()
                .map(|shard| (*shard, Marks::default()))
                .collect(),
            ..Witness::default()
        }
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let marks = |marks: &Marks| {
            let Marks {
                vote,
                last,
                given,
                floor,
            } = *marks;
            MarksV3 {
                vote,
                last,
                given,
                floor,
            }
        };
        let mut bytes = encode(&Stored::V3(WitnessV3 {
            beat: self.beat,
            groups: (self.groups.iter())
                .map(|(shard, known)| (*shard, marks(known)))
                .collect(),
            dropped: self.dropped.clone(),
        }));
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(path: &Path, bytes: &[u8]) -> Result<Witness, OpenError> {
        let Some((record, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(damaged(path, "it is too short"));
        };
        if crc32fast::hash(record) != u32::from_le_bytes(*crc) {
            return Err(damaged(path, "its checksum does not match"));
        }
        let stored: Stored = decode(record).map_err(|error| damaged(path, error.to_string()))?;
        Ok(stored.into())
    }
}

/// The witness on disk, and in memory what is on disk.
#[derive(Debug)]
pub(crate) struct WitnessFile {
    path: PathBuf,
    /// Held while the file is written: one change at a time.
    writing: Mutex<()>,
    /// Never held while the disk is waited for: it is read where frames are, for the beat.
    content: Mutex<Witness>,
}

impl WitnessFile {
    /// Reads it.
    pub(crate) fn open(path: PathBuf) -> Result<WitnessFile, OpenError> {
        let bytes = std::fs::read(&path).map_err(|source| io_error("reading", &path, source))?;
        let content = Mutex::new(Witness::decode(&path, &bytes)?);
        Ok(WitnessFile {
            path,
            writing: Mutex::new(()),
            content,
        })
    }

    /// What it says.
    pub(crate) fn content(&self) -> Witness {
        self.content.lock().clone()
    }

    /// How often it was written.
    pub(crate) fn beat(&self) -> u64 {
        self.content.lock().beat
    }

    /// As if the disk did not answer, for as long as the guard is held.
    #[cfg(test)]
    pub(crate) fn hold_writes(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// Raises votes; returns once they are durable. A lower vote than the known one changes nothing.
    pub(crate) fn raise_votes(&self, votes: &[(ShardId, VoteMark)]) -> io::Result<()> {
        self.change(|witness| {
            for (shard, vote) in votes {
                match witness.groups.get_mut(shard) {
                    Some(marks) => marks.vote = marks.vote.max(Some(*vote)),
                    // The last one of a copy that is being dropped.
                    None => {
                        let known = witness.dropped.entry(*shard).or_default();
                        *known = (*known).max(Some(*vote));
                    }
                }
            }
        })
    }

    /// Raises the last entries of groups; returns once they are durable.
    pub(crate) fn raise_last(&self, last: &[(ShardId, LogMark)]) -> io::Result<()> {
        self.change(|witness| {
            for (shard, mark) in last {
                if let Some(marks) = witness.groups.get_mut(shard) {
                    marks.last = marks.last.max(Some(*mark));
                }
            }
        })
    }

    /// Notes a copy of a group with nothing in it; returns once that is durable. Others began the group if it is `given`.
    /// The vote of an earlier copy stays.
    pub(crate) fn add_copy(
        &self,
        shard: ShardId,
        given: bool,
        floor: Option<LogMark>,
    ) -> io::Result<()> {
        self.change(|witness| {
            let dropped = witness.dropped.remove(&shard).flatten();
            let known = witness.groups.get(&shard).and_then(|marks| marks.vote);
            let marks = Marks {
                vote: dropped.max(known),
                last: None,
                given,
                floor,
            };
            witness.groups.insert(shard, marks);
        })
    }

    /// Notes that there is no copy of the group any more; returns once that is durable.
    pub(crate) fn drop_copy(&self, shard: ShardId) -> io::Result<()> {
        self.change(|witness| {
            if let Some(marks) = witness.groups.remove(&shard) {
                let known = witness.dropped.entry(shard).or_default();
                *known = (*known).max(marks.vote);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Witness)) -> io::Result<()> {
        let _one = self.writing.lock();
        let before = self.content();
        let mut next = before.clone();
        change(&mut next);
        if next != before {
            next.beat += 1;
            replace_file(&self.path, &next.encode())?;
            *self.content.lock() = next;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mailrook_types::ShardId;

    use super::{LogMark, Marks, VoteMark, Witness, WitnessFile};
    use crate::{OpenError, data_dir::replace_file};

    #[test]
    fn marks_only_rise_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        replace_file(&path, &Witness::of_groups(&[ShardId(3)]).encode()).unwrap();
        let file = WitnessFile::open(path.clone()).unwrap();
        let vote = |term| VoteMark {
            term,
            node: 7,
            committed: true,
        };
        file.raise_votes(&[(ShardId(3), vote(5))]).unwrap();
        file.raise_votes(&[(ShardId(3), vote(4))]).unwrap();
        // Entry 9 of term 2 replaced entry 50 of term 1.
        file.raise_last(&[(ShardId(3), LogMark { term: 1, index: 50 })])
            .unwrap();
        file.raise_last(&[(ShardId(3), LogMark { term: 2, index: 9 })])
            .unwrap();
        let read = WitnessFile::open(path.clone()).unwrap().content();
        assert_eq!(read, file.content());
        assert_eq!(read.groups[&ShardId(3)].vote, Some(vote(5)));
        assert_eq!(
            read.groups[&ShardId(3)].last,
            Some(LogMark { term: 2, index: 9 })
        );
        assert_eq!(read.beat, 3, "a lower vote wrote nothing");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(
            WitnessFile::open(path),
            Err(OpenError::Damaged { .. })
        ));
    }

    #[test]
    fn it_is_read_while_the_disk_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        replace_file(&path, &Witness::of_groups(&[ShardId(3)]).encode()).unwrap();
        let file = WitnessFile::open(path).unwrap();
        let writing = file.hold_writes();
        std::thread::scope(|scope| {
            let raise = || file.raise_last(&[(ShardId(3), LogMark { term: 1, index: 5 })]);
            let raised = scope.spawn(raise);
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(file.beat(), 0, "it is not durable yet");
            assert_eq!(file.content().groups[&ShardId(3)].last, None);
            drop(writing);
            raised.join().unwrap().unwrap();
        });
        assert_eq!(file.beat(), 1);
    }

    #[test]
    fn the_first_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        // Version 0, one group, number 3: a vote of term 5 by node 7, committed; no last entry.
        let mut bytes = vec![0, 1, 3, 1, 5, 7, 1, 0];
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        replace_file(&path, &bytes).unwrap();
        let read = WitnessFile::open(path).unwrap().content();
        let vote = VoteMark {
            term: 5,
            node: 7,
            committed: true,
        };
        assert_eq!(read.groups[&ShardId(3)].vote, Some(vote));
        assert!(!read.groups[&ShardId(3)].given);
    }

    #[test]
    fn a_copy_that_comes_back_has_its_vote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        replace_file(&path, &Witness::of_groups(&[]).encode()).unwrap();
        let file = WitnessFile::open(path.clone()).unwrap();
        let vote = VoteMark {
            term: 5,
            node: 7,
            committed: false,
        };
        let floor = Some(LogMark { term: 4, index: 90 });
        file.add_copy(ShardId(3), true, None).unwrap();
        file.raise_votes(&[(ShardId(3), vote)]).unwrap();
        file.drop_copy(ShardId(3)).unwrap();
        assert!(file.content().groups.is_empty());
        let file = WitnessFile::open(path.clone()).unwrap();
        file.add_copy(ShardId(3), true, floor).unwrap();
        let made = Marks {
            vote: Some(vote),
            last: None,
            given: true,
            floor,
        };
        assert_eq!(file.content().groups[&ShardId(3)], made);
        // Made again after an interruption, it holds nothing again, but for its vote.
        file.raise_last(&[(ShardId(3), LogMark { term: 5, index: 95 })])
            .unwrap();
        file.add_copy(ShardId(3), true, floor).unwrap();
        assert_eq!(file.content().groups[&ShardId(3)], made);
        assert_eq!(WitnessFile::open(path).unwrap().content(), file.content());
    }
}
