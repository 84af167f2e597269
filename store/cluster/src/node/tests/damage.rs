//! Damaged data directories: what a crash leaves is taken, everything else is refused and left as it is.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use mailrook_types::ShardId;

use super::{
    machine::{command, count},
    open, options, parts, start, try_start,
};
use crate::{
    OpenError,
    data_dir::{LogMark, VoteMark, WitnessFile, replace_file},
    guard::log_group,
    log::{
        APPEND_BYTES_MAX, EngineLog, EngineOptions, LogStore, LogWrite, RecordKey, WRITE_BYTES_MAX,
        encode_log_id, encode_vote, log_id,
    },
};

const ONE: ShardId = ShardId(1);

/// A directory as kill -9 leaves it: `commands` of 4 KiB, none flushed, the log not closed.
async fn crashed(commands: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    let group = node.group(ONE).unwrap();
    for key in 0..commands {
        group
            .propose(command(key, &[key as u8 | 1; 4096]))
            .await
            .unwrap();
    }
    // As it lies there now, with the space that is allocated ahead. The upkeep may write meanwhile, and a crash leaves
    // no mixture of two moments: then another copy is made.
    loop {
        let before = stamps(dir.path());
        let image = tempfile::tempdir().unwrap();
        copy(dir.path(), image.path());
        if stamps(dir.path()) == before {
            return image;
        }
    }
}

/// When each file was written last, and its length.
fn stamps(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let mut stamps = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // One that goes meanwhile makes the stamps differ.
        match fs::metadata(&path) {
            Ok(data) if data.is_dir() => stamps.extend(self::stamps(&path)),
            Ok(data) => drop(stamps.insert(path, (data.modified().unwrap(), data.len()))),
            Err(_) => {}
        }
    }
    stamps
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "raftlog")
        })
        .collect();
    files.sort();
    files
}

/// The last file's path and content, and where its data ends.
fn last_file(dir: &Path) -> (PathBuf, Vec<u8>, usize) {
    let path = log_files(dir).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, bytes, end)
}

async fn applied(dir: &Path) -> u64 {
    let node = start(dir).await;
    let group = node.group(ONE).unwrap();
    group.read_barrier().await.unwrap();
    let applied = group.read(|state| count(state).unwrap()).unwrap();
    node.shutdown().await;
    applied
}

/// Refused as damaged, with one of `words` in what is said, and not a byte changed.
async fn refused(dir: &Path, words: &[&str]) {
    let before = content(dir);
    let error = try_start(dir).await.err().expect("damage is refused");
    assert!(matches!(&error, OpenError::Damaged { .. }), "{error}");
    assert!(
        words.iter().any(|words| error.to_string().contains(words)),
        "{error}"
    );
    assert!(
        error.to_string().contains("backup"),
        "it says what to do: {error}"
    );
    assert!(content(dir) == before, "the log was changed");
}

/// The log's files without the space that is allocated ahead, which every opening gives back.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for path in log_files(dir) {
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(
            bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1),
        );
        files.push((path, bytes));
    }
    files
}

#[tokio::test]
async fn a_crash_image_is_taken_whole() {
    let dir = crashed(20).await;
    assert_eq!(applied(dir.path()).await, 20);
}

/// A torn write was never known to be durable; on a slow machine the upkeep came before the tear was made.
fn forget_last(dir: &Path) {
    let path = dir.join("witness");
    let mut witness = WitnessFile::open(path.clone()).unwrap().content();
    witness
        .groups
        .values_mut()
        .for_each(|marks| marks.last = None);
    replace_file(&path, &witness.encode()).unwrap();
}

#[tokio::test]
async fn a_torn_last_write_is_dropped_and_the_rest_goes_on() {
    let image = crashed(20).await;
    let (_, bytes, end) = last_file(image.path());
    for (name, torn) in [
        ("cut short", bytes[..end - 1000].to_vec()),
        (
            "a page of zeros",
            [&bytes[..end - 3000], &[0; 3000]].concat(),
        ),
        (
            "one byte",
            [
                &bytes[..end - 2000],
                &[!bytes[end - 2000]],
                &bytes[end - 1999..],
            ]
            .concat(),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(image.path(), dir.path());
        forget_last(dir.path());
        fs::write(last_file(dir.path()).0, torn).unwrap();
        assert_eq!(applied(dir.path()).await, 19, "{name}");
        // And it goes on from there.
        let node = start(dir.path()).await;
        node.group(ONE)
            .unwrap()
            .propose(command(77, b""))
            .await
            .unwrap();
        node.shutdown().await;
        assert_eq!(applied(dir.path()).await, 20, "{name}");
    }
}

#[tokio::test]
async fn damage_in_the_middle_of_the_last_file_is_refused() {
    let image = crashed(40).await;
    let (_, bytes, end) = last_file(image.path());
    let batch = 4096;
    // Every part of a batch: its header, its entries, its footer, wherever they are.
    for offset in (end / 2..end / 2 + batch + 200).step_by(97) {
        let dir = tempfile::tempdir().unwrap();
        copy(image.path(), dir.path());
        let mut bytes = bytes.clone();
        bytes[offset] ^= 0x40;
        fs::write(last_file(dir.path()).0, bytes).unwrap();
        // In its entries, which only reading them shows; in the rest, by what follows.
        refused(dir.path(), &["group 1: ", "valid entries follow"]).await;
    }
}

#[tokio::test]
async fn a_missing_file_is_refused() {
    let image = crashed(1000).await;
    let files = log_files(image.path());
    assert!(files.len() > 3, "{}", files.len());
    let last = files.len() - 1;
    for (missing, words) in [
        // With the first one, the votes or the first entries are gone.
        (0, ["the log's vote is none", "the log begins at"]),
        (1, ["files are missing", "files are missing"]),
        (last, ["was known to reach", "but the tables hold"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(image.path(), dir.path());
        // As the upkeep does every second.
        let witness = WitnessFile::open(dir.path().join("witness")).unwrap();
        witness
            .raise_last(&[(
                ONE,
                LogMark {
                    term: 1,
                    index: 1000,
                },
            )])
            .unwrap();
        fs::remove_file(log_files(dir.path()).remove(missing)).unwrap();
        refused(dir.path(), &words).await;
    }
}

#[tokio::test]
async fn a_large_tear_is_refused() {
    let dir = crashed(20).await;
    let (path, bytes, end) = last_file(dir.path());
    // More than one unsynced write can leave, framing included.
    let torn = vec![7; WRITE_BYTES_MAX + APPEND_BYTES_MAX + (5 << 20)];
    fs::write(path, [&bytes[..end], torn.as_slice()].concat()).unwrap();
    refused(dir.path(), &["more than one write"]).await;
}

/// Writes to a log that no node has open.
fn edit(dir: &Path, writes: Vec<LogWrite>) {
    let log = EngineLog::open(
        &dir.join("log"),
        &EngineOptions {
            bytes_max: 8 << 20,
            file_bytes: Some(1 << 20),
        },
    );
    log.unwrap().write_synced(&writes).unwrap();
}

async fn stopped(commands: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let node = start(dir.path()).await;
    for key in 0..commands {
        node.group(ONE)
            .unwrap()
            .propose(command(key, b"x"))
            .await
            .unwrap();
    }
    node.shutdown().await;
    dir
}

#[tokio::test]
async fn a_vote_that_went_back_is_refused() {
    let dir = stopped(3).await;
    let vote = |term| openraft::Vote {
        leader_id: log_id(term, 1, 0).leader_id,
        committed: true,
    };
    let value = encode_vote(&vote(0));
    edit(
        dir.path(),
        vec![LogWrite::Record {
            group: log_group(ONE),
            key: RecordKey::Vote,
            value,
        }],
    );
    refused(dir.path(), &["the log's vote is one of term 0"]).await;
    // The other way round: a lost record of a vote that was given.
    let dir = stopped(3).await;
    let witness = WitnessFile::open(dir.path().join("witness")).unwrap();
    witness
        .raise_votes(&[(
            ONE,
            VoteMark {
                term: 99,
                node: 1,
                committed: false,
            },
        )])
        .unwrap();
    refused(dir.path(), &["one of term 99 was given"]).await;
}

#[tokio::test]
async fn a_vote_that_only_the_log_has_is_noted() {
    let dir = stopped(3).await;
    let vote = openraft::Vote {
        leader_id: log_id(99, 1, 0).leader_id,
        committed: false,
    };
    edit(
        dir.path(),
        vec![LogWrite::Record {
            group: log_group(ONE),
            key: RecordKey::Vote,
            value: encode_vote(&vote),
        }],
    );
    // Before any group starts.
    let looked = open::look(&options(dir.path()), parts()).unwrap();
    let known = looked.witness.content().groups[&ONE].vote;
    assert_eq!(known.map(|vote| vote.term), Some(99));
    looked.log.close();
}

#[tokio::test]
async fn a_log_that_is_shorter_than_known_is_refused() {
    let dir = stopped(3).await;
    let witness = WitnessFile::open(dir.path().join("witness")).unwrap();
    witness
        .raise_last(&[(
            ONE,
            LogMark {
                term: 1,
                index: 1000,
            },
        )])
        .unwrap();
    refused(dir.path(), &["was known to reach entry 1000"]).await;
}

#[tokio::test]
async fn a_log_behind_the_tables_is_refused() {
    // Flushed by the shutdown, and then the log of the crash before is put in its place.
    let image = crashed(5).await;
    let old_log = tempfile::tempdir().unwrap();
    copy(&image.path().join("log"), old_log.path());
    let node = start(image.path()).await;
    for key in 100..120 {
        node.group(ONE)
            .unwrap()
            .propose(command(key, b"x"))
            .await
            .unwrap();
    }
    node.shutdown().await;
    fs::remove_dir_all(image.path().join("log")).unwrap();
    copy(old_log.path(), &image.path().join("log"));
    let error = try_start(image.path()).await.err().unwrap().to_string();
    // The vote of the later start shows it first.
    assert!(error.contains("the log's vote"), "{error}");
    // With the vote the tables do, if the witness is as after a crash: it was not raised last.
    let path = image.path().join("witness");
    let mut witness = WitnessFile::open(path.clone()).unwrap().content();
    let marks = witness.groups.values_mut();
    marks.for_each(|marks| marks.last = None);
    replace_file(&path, &witness.encode()).unwrap();
    let writes = witness.groups.iter().map(|(shard, marks)| {
        let mark = marks.vote.unwrap();
        let vote = openraft::Vote {
            leader_id: log_id(mark.term, mark.node, 0).leader_id,
            committed: mark.committed,
        };
        LogWrite::Record {
            group: log_group(*shard),
            key: RecordKey::Vote,
            value: encode_vote(&vote),
        }
    });
    edit(image.path(), writes.collect());
    refused(image.path(), &["but the tables hold entry"]).await;
}

#[tokio::test]
async fn a_log_cut_beyond_the_tables_is_refused() {
    let dir = stopped(3).await;
    let value = encode_log_id(&log_id(1, 1, 500));
    let group = log_group(ONE);
    edit(
        dir.path(),
        vec![
            LogWrite::Record {
                group,
                key: RecordKey::Purged,
                value,
            },
            LogWrite::Compact {
                group,
                first_kept: 501,
            },
        ],
    );
    refused(dir.path(), &["but the log was cut up to 500"]).await;
}

#[tokio::test]
async fn a_missing_state_is_refused() {
    let dir = stopped(3).await;
    fs::remove_dir_all(dir.path().join("groups/1")).unwrap();
    let error = try_start(dir.path()).await.err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_witness_is_refused() {
    let dir = stopped(3).await;
    fs::write(dir.path().join("witness"), b"").unwrap();
    refused(dir.path(), &["witness is damaged"]).await;
}

#[tokio::test]
async fn the_options_of_a_later_start_do_not_change_the_groups() {
    let dir = stopped(3).await;
    let mut more = options(dir.path());
    more.first_shards = 5;
    let node = open::open(more, super::machines(), parts()).await.unwrap();
    assert_eq!(node.groups().count(), 3);
}
