//! Snapshots: a checkpoint of the tables in a folder, and a folder that replaces them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mailrook_kv::KvError;
use tokio::time::Instant;

use super::{Applied, CURRENT, Flushed, GroupState, open_tables};
use crate::data_dir::{replace_file, sync_dir};

const WHOLE: &str = "incoming-whole";

impl GroupState {
    /// Makes `folder`, which must not exist, a database of its own with all that is applied, and says how far it is.
    /// Its files are shared with the group's until one of both removes them; it must lie on the same file system.
    pub(crate) fn checkpoint(&self, folder: &Path) -> Result<Applied, KvError> {
        let _one = self.maintenance.lock();
        // Commands go on being applied meanwhile, so only the folder itself knows how far it is.
        self.tables()?.checkpoint(folder)?;
        let (_, applied) = open_tables(&self.engine, folder)?;
        Ok(applied)
    }

    /// Replaces the state by the database in `folder`, which moves into the group's own.
    pub(crate) fn install(&self, folder: &Path) -> Result<Applied, KvError> {
        let _one = self.maintenance.lock();
        let broken = |error: std::io::Error| {
            KvError::Engine(format!("installing {}: {error}", folder.display()))
        };
        let name = self.next_name().map_err(broken)?;
        let place = self.dir.join(&name);
        fs::rename(folder, &place).map_err(broken)?;
        sync_folder(&place).map_err(broken)?;
        sync_dir(&self.dir).map_err(broken)?;
        let (tables, applied) = open_tables(&self.engine, &place)?;
        replace_file(&self.dir.join(CURRENT), format!("{name}\n").as_bytes()).map_err(broken)?;
        *self.tables.write() = Some(tables);
        *self.applied.lock() = applied.clone();
        *self.flushed.lock() = Flushed {
            applied: applied.clone(),
            at: Instant::now(),
        };
        self.unflushed_bytes
            .store(0, std::sync::atomic::Ordering::Relaxed);
        Ok(applied)
    }

    /// The name after all that are there.
    fn next_name(&self) -> std::io::Result<String> {
        let mut highest = 0;
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix("state-")?.parse::<u64>().ok());
            highest = highest.max(number.unwrap_or(0));
        }
        Ok(format!("state-{}", highest + 1))
    }

    /// Where a checkpoint of this group can be made.
    pub(crate) fn checkpoint_folder(&self, name: &str) -> PathBuf {
        self.dir.join(format!("checkpoint-{name}"))
    }

    /// Where the files of a snapshot gather that arrives. They stay over a restart: the transfer goes on.
    pub(crate) fn incoming_folder(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    /// Where they lie once all are there, under their names.
    pub(crate) fn whole_folder(&self) -> PathBuf {
        self.dir.join(WHOLE)
    }

    /// The folder of the tables in use.
    pub(crate) fn current_folder(&self) -> std::io::Result<PathBuf> {
        let current = fs::read_to_string(self.dir.join(CURRENT))?;
        Ok(self.dir.join(current.trim_end()))
    }

    /// Removes what earlier installs and checkpoints left: states that `current` does not name any more, and
    /// checkpoints, which are for one transfer each.
    pub(crate) fn remove_leftovers(&self) -> std::io::Result<()> {
        let current = fs::read_to_string(self.dir.join(CURRENT))?;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let old_state = name.starts_with("state-") && name != current.trim_end();
            if old_state || name == WHOLE || name.starts_with("checkpoint-") {
                tracing::info!(shard = %self.shard, folder = name, "removing what a newer snapshot replaced");
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        fs::File::open(entry?.path())?.sync_all()?;
    }
    sync_dir(folder)
}
