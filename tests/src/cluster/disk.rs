//! A disk of a few hundred megabytes for one node: ext4 in a file, mounted in the node's namespace alone.
//!
//! The mount and the loop device under it go with the namespace.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use super::space::Space;

/// The file that takes the room away.
const BALLAST: &str = "ballast";

/// What a node may write while its disk is filled up.
const FASTER_BY: u64 = 1 << 20;

/// The mounted disk.
pub struct SmallDisk {
    /// Where it stands, seen from everywhere.
    seen_at: PathBuf,
}

impl SmallDisk {
    /// Makes the file system in `image` and mounts it at `at`, a folder.
    pub fn mount(space: &Space, image: &Path, at: &Path, mebibytes: u64) -> io::Result<Self> {
        // Sparse: it takes from the real disk what is written.
        File::create(image)?.set_len(mebibytes << 20)?;
        let (image, at_text) = (image.display().to_string(), at.display().to_string());
        // No blocks kept for root (-m 0), who the nodes may run as.
        space.run(&["mkfs.ext4", "-q", "-F", "-m", "0", &image])?;
        space
            .run(&["mount", "-o", "loop", &image, &at_text])
            .map_err(|e| {
                let text = format!("{e} (the fault tests need loop devices and ext4)");
                io::Error::new(e.kind(), text)
            })?;
        Ok(Self {
            seen_at: space.path(at),
        })
    }

    /// Takes all room but so many bytes, and what the node writes meanwhile.
    pub fn fill_to(&self, left_bytes: u64) -> io::Result<()> {
        let mut left_bytes = left_bytes;
        loop {
            // An earlier try is given back with this.
            let ballast = File::create(self.seen_at.join(BALLAST))?;
            let take = self.free_bytes()?.saturating_sub(left_bytes);
            match fallocate(&ballast, FallocateFlags::empty(), 0, take.max(1)) {
                // The node was faster.
                Err(Errno::NOSPC) if take > 0 => left_bytes += FASTER_BY,
                done => return done.map_err(io::Error::from),
            }
        }
    }

    /// Gives it back.
    pub fn empty(&self) -> io::Result<()> {
        match fs::remove_file(self.seen_at.join(BALLAST)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What takes the room, folder by folder, for who wants to know why there is none.
    pub fn used(&self) -> io::Result<String> {
        let mut folders = Vec::new();
        sum_up(&self.seen_at, &self.seen_at, &mut folders)?;
        let large = folders.into_iter().filter(|(_, bytes)| *bytes >= 1 << 20);
        let text = large.map(|(name, bytes)| format!("{name} {} MiB", bytes >> 20));
        let free = self.free_bytes()? >> 20;
        Ok(format!(
            "{}, free {free} MiB",
            text.collect::<Vec<_>>().join(", ")
        ))
    }

    /// What is free.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let room = statvfs(&self.seen_at)?;
        Ok(room.f_bavail * room.f_frsize)
    }
}

/// The bytes of the files that stand in each folder itself.
fn sum_up(root: &Path, folder: &Path, folders: &mut Vec<(String, u64)>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        // The node goes on while this looks.
        let Ok(entry) = entry else { continue };
        match entry.metadata() {
            Ok(of) if of.is_dir() => match sum_up(root, &entry.path(), folders) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            },
            Ok(of) => bytes += of.blocks() * 512,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    let name = folder.strip_prefix(root).unwrap_or(folder).display();
    folders.push((name.to_string(), bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn fills_up_and_empties() {
        let folder = tempfile::tempdir().unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&at).unwrap();
        let space = Space::new().unwrap();
        let disk = SmallDisk::mount(&space, &image, &at, 32).unwrap();
        let seen = space.path(&at);
        fs::write(seen.join("mail"), vec![b'x'; 1 << 20]).unwrap();
        disk.fill_to(100_000).unwrap();
        let full = File::create(seen.join("more"))
            .unwrap()
            .write_all(&vec![b'x'; 1 << 20]);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let used = disk.used().unwrap();
        assert!(
            used.starts_with(" ") && used.ends_with("free 0 MiB"),
            "{used}"
        );
        disk.empty().unwrap();
        fs::write(seen.join("more"), vec![b'x'; 1 << 20]).unwrap();
        assert!(
            !at.join("mail").exists(),
            "the mount is the namespace's own"
        );
        drop(space);
        assert!(image.exists() && disk.free_bytes().is_err());
    }
}
