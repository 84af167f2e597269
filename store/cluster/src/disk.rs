//! Free space on the data directory's file system, and the reserve below which nothing new is accepted.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::GroupError;

/// Tells how much room there is.
pub trait DiskSpace: Send + Sync + 'static {
    /// The bytes that an ordinary user may still write.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Asks the file system that a path lies on.
#[derive(Clone, Debug)]
pub struct FileSystemSpace {
    /// Any path on it.
    pub path: PathBuf,
}

impl DiskSpace for FileSystemSpace {
    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Whether an error says that there is no room: on the disk, or for this user.
pub(crate) fn is_no_room(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A write that found no room is tried again after this time, and then after longer ones.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// With less than this free no write is tried again: half of the largest would find room, and each try costs the log a file.
const ROOM_BYTES_MIN: u64 = 16 << 20;

/// Whether there is room, as of the last sample and of the last writes.
///
/// The sample tells in good time. It does not tell all: a quota, or what others write meanwhile. So who finds no room to write
/// says so, too ([`Reserve::short`]), and waits.
pub(crate) struct Reserve {
    space: Box<dyn DiskSpace>,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    full: AtomicBool,
    /// Who waits for room.
    short: AtomicUsize,
    given_up: Mutex<bool>,
    giving_up: Condvar,
}

/// Something waits for room to be written, until this is dropped.
pub(crate) struct Short {
    reserve: Arc<Reserve>,
    what: String,
    pause: Duration,
}

impl Short {
    /// How long to wait before the next try; longer each time.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(RETRY_MAX);
        pause
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        self.reserve.short.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(what = self.what, "it waits for room no longer");
    }
}

impl Reserve {
    /// Takes the first sample.
    pub(crate) fn new(space: Box<dyn DiskSpace>, reserve_bytes: u64) -> io::Result<Reserve> {
        let reserve = Reserve {
            space,
            reserve_bytes,
            free_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
            short: AtomicUsize::new(0),
            given_up: Mutex::new(false),
            giving_up: Condvar::new(),
        };
        reserve.sample()?;
        Ok(reserve)
    }

    /// Looks again.
    pub(crate) fn sample(&self) -> io::Result<()> {
        let free = self.space.free_bytes()?;
        self.free_bytes.store(free, Ordering::Relaxed);
        // Full below the reserve, and room again only an eighth above it: no flapping at the edge.
        let limit = if self.full.load(Ordering::Relaxed) {
            self.reserve_bytes.saturating_add(self.reserve_bytes / 8)
        } else {
            self.reserve_bytes
        };
        let full = free < limit;
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::error!(
                    free,
                    reserve = self.reserve_bytes,
                    "the disk is nearly full: nothing new is accepted"
                );
            } else {
                tracing::info!(free, "there is room on the disk again");
            }
        }
        Ok(())
    }

    /// Refuses what is new when there is no room for it. What makes room may take half of the reserve.
    pub(crate) fn check(&self, makes_room: impl FnOnce() -> bool) -> Result<(), GroupError> {
        if !self.is_full() {
            return Ok(());
        }
        let free_bytes = self.free_bytes();
        let waits = self.short.load(Ordering::Relaxed) > 0;
        if !waits && free_bytes >= self.reserve_bytes / 2 && makes_room() {
            return Ok(());
        }
        Err(self.full(free_bytes))
    }

    /// Refuses what others have ordered when the last quarter of the reserve is reached: it is for what frees some. A log that has
    /// no room at all cannot even be cut.
    pub(crate) fn check_last(&self) -> Result<(), GroupError> {
        let free_bytes = self.free_bytes();
        if free_bytes < self.reserve_bytes / 4 {
            return Err(self.full(free_bytes));
        }
        Ok(())
    }

    fn full(&self, free_bytes: u64) -> GroupError {
        GroupError::Full {
            free_bytes,
            reserve_bytes: self.reserve_bytes,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed) || self.short.load(Ordering::Relaxed) > 0
    }

    /// There was no room for `what`, which waits for some from now on.
    pub(crate) fn short(self: &Arc<Self>, what: String, cause: &str) -> Short {
        tracing::error!(
            what,
            cause,
            "the disk is full: nothing new is accepted, and this waits for room"
        );
        self.short.fetch_add(1, Ordering::Relaxed);
        Short {
            reserve: Arc::clone(self),
            what,
            pause: RETRY_MIN,
        }
    }

    /// Waits so long, and until there may be room; false once nobody waits for that any more.
    pub(crate) fn wait(&self, pause: Duration) -> bool {
        let mut given_up = self.given_up.lock();
        loop {
            if !*given_up {
                self.giving_up.wait_for(&mut given_up, pause);
            }
            // At a node's start nobody else looks.
            if let Err(error) = self.sample() {
                tracing::warn!(%error, "cannot ask how much room there is");
            }
            if *given_up || self.free_bytes() >= ROOM_BYTES_MIN {
                return !*given_up;
            }
        }
    }

    /// Whether nobody waits for room any more.
    pub(crate) fn has_given_up(&self) -> bool {
        *self.given_up.lock()
    }

    /// From now on nobody waits for room: the node ends.
    pub(crate) fn give_up(&self) {
        *self.given_up.lock() = true;
        self.giving_up.notify_all();
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
    };

    use super::{DiskSpace, Reserve};

    struct Fake(Arc<AtomicU64>);

    impl DiskSpace for Fake {
        fn free_bytes(&self) -> io::Result<u64> {
            Ok(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn full_is_a_state_that_heals() {
        let free = Arc::new(AtomicU64::new(1000));
        let reserve = Reserve::new(Box::new(Fake(Arc::clone(&free))), 800).unwrap();
        for (free_bytes, full) in [
            (801, false),
            (799, true),
            (850, true),
            (900, false),
            (850, false),
        ] {
            free.store(free_bytes, Ordering::Relaxed);
            reserve.sample().unwrap();
            assert_eq!(reserve.check(|| false).is_err(), full, "{free_bytes} free");
            let removal = reserve.check(|| true);
            assert_eq!(removal.is_err(), free_bytes < 400, "{free_bytes} free");
            let last = reserve.check_last();
            assert_eq!(last.is_err(), free_bytes < 200, "{free_bytes} free");
        }
    }

    #[test]
    fn who_finds_no_room_knows_better_than_the_sample() {
        let free = Arc::new(AtomicU64::new(super::ROOM_BYTES_MIN));
        let reserve = Arc::new(Reserve::new(Box::new(Fake(free)), 800).unwrap());
        let mut short = reserve.short("a test".into(), "a quota");
        reserve.sample().unwrap();
        assert!(reserve.is_full());
        let pauses: Vec<_> = (0..20).map(|_| short.pause()).collect();
        assert_eq!(
            (pauses[0], pauses[19]),
            (super::RETRY_MIN, super::RETRY_MAX)
        );
        assert!(reserve.wait(std::time::Duration::ZERO));
        drop(short);
        reserve.check(|| false).unwrap();
        reserve.give_up();
        assert!(!reserve.wait(std::time::Duration::from_secs(60)));
    }
}
