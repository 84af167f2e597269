//! Frees the space of bodies that are gone.
//!
//! RocksDB can do it in every compaction. The keys of bodies are random, so that every compaction touches all of
//! them, and it would copy all live bodies every few flushes. So it is off there, and on for one compaction of our
//! own, once enough of the blob files is garbage. That copies what is live: with a quarter of garbage at most three
//! bytes for each byte freed. Where there is no room for that, it is done for the oldest files first, and for more when those
//! are gone.

use std::{any::Any, ffi::CStr};

use mailrook_kv::{KvError, Space};

use super::{
    GroupState, StateTables,
    engine::BLOB_FILE_BYTES,
    tables::{Tables, kv_error},
};

/// What RocksDB calls the numbers that are asked for; its binding does not name them.
const GARBAGE: &CStr = c"rocksdb.live-blob-file-garbage-size";
const TOTAL: &CStr = c"rocksdb.live-blob-file-size";
const FILES: &CStr = c"rocksdb.num-blob-files";
const TABLES: &CStr = c"rocksdb.live-sst-files-size";
#[cfg(test)]
const RUNNING: &CStr = c"rocksdb.num-running-compactions";
#[cfg(test)]
const ON_DISK: &CStr = c"rocksdb.total-blob-file-size";

/// From how much garbage on it is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worth {
    /// At least so much of a group's.
    pub(crate) bytes: u64,
    /// At least this part of the group's blob files.
    pub(crate) percent: u64,
}

impl GroupState {
    /// Frees garbage if that is worth it, as far as `room_bytes` on the disk hold a copy of what is live; says how much.
    /// Slow: run it where nothing waits. Closing the group cuts it short.
    pub(crate) fn collect_garbage(&self, worth: Worth, room_bytes: u64) -> Result<u64, KvError> {
        let opened = self.tables()?;
        let Some(tables) = rocksdb(&*opened) else {
            return Ok(0);
        };
        let body = tables.space(Space::Body)?;
        let number = |name| {
            let value = tables
                .db
                .property_int_value_cf(&body, name)
                .map_err(|error| kv_error(&error))?;
            Ok::<u64, KvError>(value.unwrap_or(0))
        };
        let garbage = number(GARBAGE)?;
        let total = number(TOTAL)?;
        if garbage < worth.bytes || garbage * 100 < total * worth.percent {
            return Ok(0);
        }
        let live = total.saturating_sub(garbage);
        let cutoff = match room_bytes >= live {
            true => 1.0,
            false => match oldest_files(number(FILES)?, room_bytes) {
                Some(part) => part,
                None => {
                    tracing::warn!(shard = %self.shard, garbage, total, room_bytes, "no room to free the space of bodies that are gone");
                    return Ok(0);
                }
            },
        };
        tracing::info!(shard = %self.shard, garbage, total, cutoff, "freeing the space of bodies that are gone");
        let set = |on: &str| {
            let options = [
                ("enable_blob_garbage_collection", on),
                ("blob_garbage_collection_age_cutoff", &cutoff.to_string()),
            ];
            tables
                .db
                .set_options_cf(&body, &options)
                .map_err(|error| kv_error(&error))
        };
        if let Err(error) = set("true") {
            // It may be on all the same: it takes effect before it is written down.
            return set("false").and(Err(error));
        }
        // Also tables of the last level, where most keys lie.
        let mut how = rocksdb::CompactOptions::default();
        how.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        tables
            .db
            .compact_range_cf_opt(&body, None::<&[u8]>, None::<&[u8]>, &how);
        set("false")?;
        // An error if the group was closed, which ends a compaction without its having said so.
        self.tables()?;
        Ok(garbage.saturating_sub(number(GARBAGE)?))
    }

    /// Merges the tables that say which bodies there are, if there is room for that and for what is not flushed: only then
    /// RocksDB sees what is garbage. It does so by itself once there are several new ones.
    pub(crate) fn merge_bodies(&self, room_bytes: u64) -> Result<(), KvError> {
        let opened = self.tables()?;
        let Some(tables) = rocksdb(&*opened) else {
            return Ok(());
        };
        let body = tables.space(Space::Body)?;
        let len = tables.db.property_int_value_cf(&body, TABLES);
        let len = len.map_err(|error| kv_error(&error))?.unwrap_or(0);
        if len + self.unflushed_bytes() <= room_bytes {
            tables
                .db
                .compact_range_cf(&body, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    /// How many compactions run.
    #[cfg(test)]
    pub(crate) fn compactions(&self) -> u64 {
        let number = |tables: &Tables| tables.db.property_int_value(RUNNING).ok().flatten();
        let opened = self.tables().ok();
        let tables = opened.as_deref().and_then(rocksdb);
        tables.and_then(number).unwrap_or(0)
    }
}

/// Which part of so many blob files, the oldest, can be copied with so much room, as RocksDB counts them: by files, rounded down.
fn oldest_files(files: u64, room_bytes: u64) -> Option<f64> {
    let fit = (room_bytes / BLOB_FILE_BYTES).min(files);
    (fit > 0).then(|| (fit as f64 + 0.5) / files as f64)
}

/// The tables as RocksDB's; a simulation has others.
fn rocksdb(tables: &dyn StateTables) -> Option<&Tables> {
    (tables as &dyn Any).downcast_ref()
}

#[cfg(test)]
mod tests {
    use mailrook_kv::{Batch, Space};

    use crate::state::{Applied, tests::fresh};

    #[test]
    fn as_many_of_the_oldest_files_as_there_is_room_for() {
        for (files, room_files, taken) in [
            (3, 0, None),
            (3, 1, Some(1)),
            (10, 4, Some(4)),
            (4, 9, Some(4)),
        ] {
            let part = super::oldest_files(files, room_files * super::BLOB_FILE_BYTES + 1);
            // As RocksDB does.
            let files_taken = part.map(|part| (part * files as f64) as u64);
            assert_eq!(files_taken, taken, "{files} files, room for {room_files}");
        }
    }

    #[test]
    fn the_space_of_bodies_that_are_gone_is_freed() {
        let dir = tempfile::tempdir().unwrap();
        let state = fresh(dir.path());
        let body = |seed: u32| seed.to_le_bytes().repeat(8 << 10);
        for seed in 0..64u32 {
            let mut batch = Batch::default();
            batch.put(Space::Body, seed.to_be_bytes().to_vec(), body(seed));
            state.commit(batch, Applied::default()).unwrap();
        }
        state.flush().unwrap();
        let mut batch = Batch::default();
        (0..48u32).for_each(|seed| batch.delete(Space::Body, seed.to_be_bytes().to_vec()));
        state.commit(batch, Applied::default()).unwrap();
        state.flush().unwrap();
        let used = || {
            let opened = state.tables().unwrap();
            let tables = super::rocksdb(&*opened).unwrap();
            let body = tables.space(Space::Body).unwrap();
            let name = super::ON_DISK;
            tables
                .db
                .property_int_value_cf(&body, name)
                .unwrap()
                .unwrap()
        };
        let before = used();
        let any = super::Worth {
            bytes: 1,
            percent: 25,
        };
        state.merge_bodies(u64::MAX).unwrap();
        assert!(state.collect_garbage(any, u64::MAX).unwrap() > 0);
        assert!(used() < before / 3, "{} of {before} bytes are left", used());
        assert_eq!(
            state
                .tables()
                .unwrap()
                .get(Space::Body, &60u32.to_be_bytes())
                .unwrap(),
            Some(body(60))
        );
    }
}
