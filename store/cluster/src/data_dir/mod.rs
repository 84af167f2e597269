//! A node's data directory.
//!
//! ```text
//! LOCK            held by the process that has the directory open
//! FORMAT          text: the format's version, the cluster's and the node's identity, a checksum. Written last when
//!                 a directory is made: without it there is no data directory yet
//! witness         what the log and the tables must hold at least: see `witness`
//! log/            the log shared by all groups: raft-engine's files
//! groups/SHARD/   one group's state: `current` names the folder of its RocksDB, `state-1/` is the first one
//! quarantine/     what was taken out of use and is kept for a person to look at; `removed-*` is being removed
//! ```
//!
//! Every file of our own is replaced as a whole: written beside, synced, renamed, and its folder synced. A directory
//! that cannot be understood is refused and left as it is: nothing is removed but a copy that was well and that its group
//! does without.

mod durable;
mod format;
mod witness;

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use mailrook_types::ShardId;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

pub use durable::replace_file;
pub(crate) use durable::sync_dir;
pub(crate) use format::Identity;
pub(crate) use witness::{LogMark, Marks, VoteMark, Witness, WitnessFile};

use crate::OpenError;

const FORMAT: &str = "FORMAT";
const LOCK: &str = "LOCK";
const WITNESS: &str = "witness";
const LOG: &str = "log";
const GROUPS: &str = "groups";
const QUARANTINE: &str = "quarantine";
/// How the names of what is being removed begin.
const REMOVED: &str = "removed-";

/// What may lie in a directory whose making was interrupted, beside the folders, which must be empty.
const UNFINISHED: [&str; 4] = [LOCK, WITNESS, "witness.new", "FORMAT.new"];

/// Keeps other processes out of a data directory, until the last clone is dropped: a node that is dropped without a
/// shutdown closes its files a little later.
#[derive(Clone, Debug)]
pub(crate) struct DirLock(Arc<File>);

impl DirLock {
    /// For whoever will have files open only as long as somebody else has, too.
    pub(crate) fn downgrade(&self) -> WeakDirLock {
        WeakDirLock(Arc::downgrade(&self.0))
    }
}

/// Does not hold the lock, but can while somebody does.
#[derive(Clone, Debug)]
pub(crate) struct WeakDirLock(Weak<File>);

impl WeakDirLock {
    /// The lock, unless it is given up.
    pub(crate) fn upgrade(&self) -> Option<DirLock> {
        self.0.upgrade().map(DirLock)
    }
}

/// A directory that this process alone has open.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    identity: Identity,
    /// None once the directory was released.
    lock: Mutex<Option<DirLock>>,
}

impl DataDir {
    /// Opens the directory at `root`, or makes it, with a copy of each of `first_groups`.
    pub(crate) fn open(root: &Path, first_groups: &[ShardId]) -> Result<DataDir, OpenError> {
        make_dir(root)?;
        let unused = unused_or_format(root)?;
        let lock = lock(root)?;
        if unused {
            let path = root.join(FORMAT);
            let identity = Identity::random()
                .map_err(|source| io("drawing an identity for", &path, source))?;
            make(root, first_groups, &identity)?;
        }
        let identity = read_identity(root)?;
        for dir in [LOG, GROUPS, QUARANTINE] {
            let path = root.join(dir);
            if !path.is_dir() {
                return Err(damaged(&path, "the folder is missing"));
            }
        }
        let dir = DataDir {
            root: root.to_owned(),
            identity,
            lock: Mutex::new(Some(lock)),
        };
        dir.remove_left()?;
        Ok(dir)
    }

    /// Makes the directory at `root`, which must be empty or missing, with a copy of each of `first_groups`.
    pub(crate) fn enrol(
        root: &Path,
        first_groups: &[ShardId],
        identity: &Identity,
    ) -> Result<(), OpenError> {
        make_dir(root)?;
        if !unused_or_format(root)? {
            let known = read_identity(root)?;
            return Err(OpenError::Known {
                path: root.to_owned(),
                cluster: known.cluster(),
                node: known.node_id,
            });
        }
        let _lock = lock(root)?;
        make(root, first_groups, identity)
    }

    /// Who the directory at `root` belongs to; none if there is none yet.
    pub(crate) fn identity_of(root: &Path) -> Result<Option<Identity>, OpenError> {
        if !root.is_dir() || unused_or_format(root)? {
            return Ok(None);
        }
        read_identity(root).map(Some)
    }

    /// Who this node is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The lock, for whoever opens files in the directory.
    pub(crate) fn lock(&self) -> DirLock {
        let lock = self.lock.lock().clone();
        lock.expect("files are opened before the directory is released, which is last")
    }

    /// Others may open the directory, once nobody has files open in it.
    pub(crate) fn release(&self) {
        self.lock.lock().take();
    }

    /// The data directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the shared log lies.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join(LOG)
    }

    /// Where a group's state lies.
    pub(crate) fn group(&self, shard: ShardId) -> PathBuf {
        self.root.join(GROUPS).join(shard.to_string())
    }

    /// Takes a group's state out of use.
    pub(crate) fn quarantine(&self, shard: ShardId) -> Result<(), OpenError> {
        let from = self.group(shard);
        if !from.exists() {
            return Ok(());
        }
        let to = self.quarantine_for(&format!("group-{shard}"))?;
        rename(&from, &to)?;
        self.sync(&[GROUPS, QUARANTINE])
    }

    /// Removes a group's state. What a crash leaves of it goes when the directory is opened.
    pub(crate) fn remove(&self, shard: ShardId) -> Result<(), OpenError> {
        let from = self.group(shard);
        if !from.exists() {
            return Ok(());
        }
        let to = self.quarantine_for(&format!("{REMOVED}{shard}"))?;
        rename(&from, &to)?;
        self.sync(&[GROUPS, QUARANTINE])?;
        remove_all(&to)
    }

    /// What [`DataDir::remove`] had not removed when the process was killed.
    fn remove_left(&self) -> Result<(), OpenError> {
        let quarantine = self.root.join(QUARANTINE);
        let reading = |source| io("reading", &quarantine, source);
        for entry in fs::read_dir(&quarantine).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            if entry.file_name().to_string_lossy().starts_with(REMOVED) {
                remove_all(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Takes what the log holds out of use, file by file: the folder itself stays. Nobody has it open.
    pub(crate) fn quarantine_log(&self) -> Result<(), OpenError> {
        let log = self.log();
        let files = fs::read_dir(&log).map_err(|source| io("reading", &log, source))?;
        let files = files.collect::<Result<Vec<_>, _>>();
        let files = files.map_err(|source| io("reading", &log, source))?;
        if files.is_empty() {
            return Ok(());
        }
        let folder = self.quarantine_for(LOG)?;
        make_dir(&folder)?;
        for file in files {
            rename(&file.path(), &folder.join(file.file_name()))?;
        }
        sync_dir(&folder).map_err(|source| io("syncing", &folder, source))?;
        self.sync(&[LOG, QUARANTINE])
    }

    /// A name in the quarantine that is free.
    fn quarantine_for(&self, what: &str) -> Result<PathBuf, OpenError> {
        let folder = self.root.join(QUARANTINE);
        let mut names = (1u32..).map(|number| folder.join(format!("{what}-{number}")));
        let free = names.find(|path| !path.exists());
        free.ok_or_else(|| OpenError::Options(format!("{} is full", folder.display())))
    }

    fn sync(&self, folders: &[&str]) -> Result<(), OpenError> {
        for folder in folders {
            let folder = self.root.join(folder);
            sync_dir(&folder).map_err(|source| io("syncing", &folder, source))?;
        }
        Ok(())
    }

    /// Where the witness lies.
    pub(crate) fn witness(&self) -> PathBuf {
        self.root.join(WITNESS)
    }
}

/// Whether the directory is to be made; an error if it holds what is not ours.
fn unused_or_format(root: &Path) -> Result<bool, OpenError> {
    if root.join(FORMAT).exists() {
        return Ok(false);
    }
    let entries = fs::read_dir(root).map_err(|source| io("reading", root, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| io("reading", root, source))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What a file system puts into its root directory itself.
        let of_the_system = name == "lost+found";
        let of_a_first_start = UNFINISHED.contains(&name.as_str())
            || [LOG, GROUPS, QUARANTINE].contains(&name.as_str()) && is_empty(&entry.path())?;
        if !of_the_system && !of_a_first_start {
            return Err(OpenError::Foreign {
                path: root.to_owned(),
                found: name,
            });
        }
    }
    Ok(true)
}

fn lock(root: &Path) -> Result<DirLock, OpenError> {
    let path = root.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|source| io("opening", &path, source))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(DirLock(Arc::new(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked {
            path: root.to_owned(),
        }),
        Err(errno) => Err(io("locking", &path, errno.into())),
    }
}

fn read_identity(root: &Path) -> Result<Identity, OpenError> {
    let path = root.join(FORMAT);
    let text = fs::read(&path).map_err(|source| io("reading", &path, source))?;
    Identity::parse(&path, root, &text)
}

/// Fills a new directory; `FORMAT` comes last.
fn make(root: &Path, first_groups: &[ShardId], identity: &Identity) -> Result<(), OpenError> {
    for dir in [LOG, GROUPS, QUARANTINE] {
        make_dir(&root.join(dir))?;
    }
    let path = root.join(WITNESS);
    let witness = Witness::of_groups(first_groups);
    replace_file(&path, &witness.encode()).map_err(|source| io("writing", &path, source))?;
    let path = root.join(FORMAT);
    replace_file(&path, identity.print().as_bytes())
        .map_err(|source| io("writing", &path, source))?;
    if let Some(parent) = root
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        sync_dir(parent).map_err(|source| io("syncing", parent, source))?;
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    fs::rename(from, to).map_err(|source| io("moving", from, source))
}

fn remove_all(path: &Path) -> Result<(), OpenError> {
    fs::remove_dir_all(path).map_err(|source| io("removing", path, source))
}

fn make_dir(path: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(path).map_err(|source| io("making", path, source))
}

fn is_empty(path: &Path) -> Result<bool, OpenError> {
    Ok(path.is_dir()
        && fs::read_dir(path)
            .map_err(|source| io("reading", path, source))?
            .next()
            .is_none())
}

pub(crate) fn io(doing: &'static str, path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// What to do about damage, on a node whose groups have no other copies.
const RESTORE: &str = "Nothing was changed. Look at the disk's health (dmesg, smartctl), keep a copy of the whole data \
     directory, and restore the latest backup into a new one";

/// Something in the directory is not what was written.
pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> OpenError {
    OpenError::Damaged {
        path: path.to_owned(),
        what: what.into(),
        remedy: RESTORE,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use mailrook_types::ShardId;

    use super::DataDir;
    use crate::OpenError;

    const GROUPS: [ShardId; 2] = [ShardId(0), ShardId(1)];

    #[test]
    fn an_identity_is_drawn_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path(), &GROUPS)
            .unwrap()
            .identity()
            .clone();
        let second = DataDir::open(dir.path(), &GROUPS)
            .unwrap()
            .identity()
            .clone();
        assert_eq!(first, second);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(
            &first,
            DataDir::open(other.path(), &GROUPS).unwrap().identity()
        );
    }

    #[test]
    fn what_was_being_removed_goes_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path(), &GROUPS).unwrap();
        let kept = root.path().join("quarantine/group-0-1");
        let left = root.path().join("quarantine/removed-1-1");
        for folder in [&kept, &left] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("CURRENT"), b"x").unwrap();
        }
        fs::create_dir_all(dir.group(GROUPS[1])).unwrap();
        dir.remove(GROUPS[1]).unwrap();
        assert!(!dir.group(GROUPS[1]).exists() && left.exists());
        dir.release();
        DataDir::open(root.path(), &GROUPS).unwrap();
        assert!(kept.join("CURRENT").exists() && !left.exists());
    }

    #[test]
    fn two_do_not_open_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _open = DataDir::open(dir.path(), &GROUPS).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), &GROUPS),
            Err(OpenError::Locked { .. })
        ));
    }

    #[test]
    fn what_is_not_ours_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), &GROUPS),
            Err(OpenError::Foreign { .. })
        ));
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn an_interrupted_first_start_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        DataDir::open(dir.path(), &GROUPS).unwrap();
        fs::remove_file(dir.path().join("FORMAT")).unwrap();
        DataDir::open(dir.path(), &GROUPS).unwrap();
        // With data in it, it was no first start.
        fs::remove_file(dir.path().join("FORMAT")).unwrap();
        fs::write(dir.path().join("log/1.raftlog"), "x").unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), &GROUPS),
            Err(OpenError::Foreign { .. })
        ));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        DataDir::open(dir.path(), &GROUPS).unwrap();
        let path = dir.path().join("FORMAT");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("format 1", "format 2")).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), &GROUPS),
            Err(OpenError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
        fs::write(&path, text.replace("node ", "node 1")).unwrap();
        assert!(matches!(
            DataDir::open(dir.path(), &GROUPS),
            Err(OpenError::Damaged { .. })
        ));
    }
}
