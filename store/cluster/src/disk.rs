//! Free space on the data directory's file system, and the reserve below which nothing new is accepted.

use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

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

/// Whether there is room, as of the last sample.
pub(crate) struct Reserve {
    space: Box<dyn DiskSpace>,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    full: AtomicBool,
}

impl Reserve {
    /// Takes the first sample.
    pub(crate) fn new(space: Box<dyn DiskSpace>, reserve_bytes: u64) -> io::Result<Reserve> {
        let reserve = Reserve {
            space,
            reserve_bytes,
            free_bytes: AtomicU64::new(0),
            full: AtomicBool::new(false),
        };
        reserve.sample()?;
        Ok(reserve)
    }

    /// Looks again.
    pub(crate) fn sample(&self) -> io::Result<()> {
        let free = self.space.free_bytes()?;
        self.free_bytes.store(free, Ordering::Relaxed);
        // Full below the reserve, and room again only an eighth above it: no flapping at the edge.
        let limit = if self.is_full() {
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

    /// Refuses what is new when there is no room for it.
    pub(crate) fn check(&self) -> Result<(), GroupError> {
        if self.is_full() {
            return Err(GroupError::Full {
                free_bytes: self.free_bytes(),
                reserve_bytes: self.reserve_bytes,
            });
        }
        Ok(())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
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
            assert_eq!(reserve.check().is_err(), full, "{free_bytes} free");
        }
    }
}
