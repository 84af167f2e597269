//! A file system under the log that can lose what is not synced, as a power cut does.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

type Inner = <DefaultFileSystem as FileSystem>::Handle;

/// What a write replaced: reverted by a power cut, unless synced before.
struct Undo {
    offset: u64,
    bytes: Vec<u8>,
}

/// An open file with the writes that are not synced.
pub(super) struct PowerHandle {
    inner: Arc<Inner>,
    file: File,
    unsynced: Mutex<Vec<Undo>>,
}

impl Handle for PowerHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        self.inner.truncate(offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        // What is written while the sync runs is not part of it.
        let synced = self.unsynced.lock().len();
        self.inner.sync()?;
        self.unsynced.lock().drain(..synced);
        Ok(())
    }
}

pub(super) struct PowerWriter {
    inner: <DefaultFileSystem as FileSystem>::Writer,
    handle: Arc<PowerHandle>,
    offset: u64,
}

impl Seek for PowerWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.offset = self.inner.seek(to)?;
        Ok(self.offset)
    }
}

impl Write for PowerWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut unsynced = self.handle.unsynced.lock();
        let mut before = vec![0; bytes.len()];
        let mut read = 0;
        while read < before.len() {
            match self
                .handle
                .file
                .read_at(&mut before[read..], self.offset + read as u64)?
            {
                0 => break,
                more => read += more,
            }
        }
        let written = self.inner.write(bytes)?;
        before.truncate(written);
        unsynced.push(Undo {
            offset: self.offset,
            bytes: before,
        });
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl WriteExt for PowerWriter {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        self.inner.truncate(offset)?;
        self.offset = self.inner.stream_position()?;
        Ok(())
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        self.inner.allocate(offset, size)
    }
}

/// The file system. Clones share their files.
#[derive(Clone, Default)]
pub(super) struct PowerFs {
    handles: Arc<Mutex<Vec<Weak<PowerHandle>>>>,
}

impl PowerFs {
    fn wrap(&self, inner: Inner, path: &Path) -> io::Result<PowerHandle> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(PowerHandle {
            inner: Arc::new(inner),
            file,
            unsynced: Mutex::default(),
        })
    }

    /// Reverts each unsynced page or keeps it, as `keep` says, and ends the process.
    pub(super) fn cut(&self, mut keep: impl FnMut() -> bool) -> ! {
        const PAGE: u64 = 4096;
        let handles = self.handles.lock();
        let handles: Vec<_> = handles.iter().filter_map(Weak::upgrade).collect();
        // From here on nothing is written or synced.
        let unsynced: Vec<_> = handles
            .iter()
            .map(|handle| handle.unsynced.lock())
            .collect();
        for (handle, undos) in handles.iter().zip(&unsynced) {
            let len = handle.file.metadata().unwrap().len();
            for undo in undos.iter().rev() {
                let mut at = 0;
                while at < undo.bytes.len() {
                    let offset = undo.offset + at as u64;
                    let part = ((PAGE - offset % PAGE) as usize).min(undo.bytes.len() - at);
                    if offset < len && !keep() {
                        handle
                            .file
                            .write_at(&undo.bytes[at..at + part], offset)
                            .unwrap();
                    }
                    at += part;
                }
            }
        }
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .unwrap();
        unreachable!("the process is gone");
    }
}

impl FileSystem for PowerFs {
    type Handle = PowerHandle;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = PowerWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<PowerHandle> {
        self.wrap(DefaultFileSystem.create(&path)?, path.as_ref())
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<PowerHandle> {
        self.wrap(DefaultFileSystem.open(&path, permission)?, path.as_ref())
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<PowerHandle>) -> io::Result<Self::Reader> {
        DefaultFileSystem.new_reader(Arc::clone(&handle.inner))
    }

    fn new_writer(&self, handle: Arc<PowerHandle>) -> io::Result<PowerWriter> {
        self.handles.lock().push(Arc::downgrade(&handle));
        Ok(PowerWriter {
            inner: DefaultFileSystem.new_writer(Arc::clone(&handle.inner))?,
            handle,
            offset: 0,
        })
    }
}
