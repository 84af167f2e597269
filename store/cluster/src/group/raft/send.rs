//! Sending a snapshot: see [`transfer`](super::transfer).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use mailrook_kv::encode;
use mailrook_transport::{Class, Duplex};
use mailrook_types::NodeId;
use openraft::error::{NetworkError, StreamingError, Unreachable};
use tokio::sync::Semaphore;

use super::{
    network::Ways,
    snapshot::SnapshotSource,
    transfer::{Answer, CHUNK_BYTES, FileInfo, Missing, Offer, chunk},
    types::{SnapshotMeta, Types, Vote},
    wire::{self, WireLogId},
};
use crate::{
    log::encode_membership,
    simulation::{self, run_blocking},
};

/// Snapshots that a node sends at a time: each reads the disk as fast as the other side takes it.
const SENDING_MAX: usize = 2;

/// A receiver that looks for files that it has, or writes a chunk, says something within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends the snapshots of a node. Clones share the bound.
#[derive(Clone)]
pub(crate) struct SnapshotSender {
    permits: Arc<Semaphore>,
    /// Numbers the checkpoints.
    next: Arc<AtomicU64>,
}

impl Default for SnapshotSender {
    fn default() -> SnapshotSender {
        SnapshotSender {
            permits: Arc::new(Semaphore::new(SENDING_MAX)),
            next: Arc::default(),
        }
    }
}

/// Removes the checkpoint's folder when the transfer is over.
struct Checkpoint {
    folder: PathBuf,
}

impl Drop for Checkpoint {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.folder);
        let remove = move || {
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "a checkpoint that was sent stays until the next start");
            }
        };
        if simulation::is_on() {
            return remove();
        }
        // It may hold many files.
        tokio::task::spawn_blocking(remove);
    }
}

fn failed(error: impl Into<io::Error>) -> StreamingError<Types> {
    StreamingError::Network(NetworkError::new(&error.into()))
}

impl SnapshotSender {
    /// Sends what `source` is, and gives the receiver's vote once it is installed there.
    pub(super) async fn send(
        &self,
        ways: &Ways,
        to: NodeId,
        vote: Vote,
        source: SnapshotSource,
    ) -> Result<Vote, StreamingError<Types>> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let made = run_blocking(move || checkpoint(&source, number)).await;
        let (checkpoint, meta, files) = made.map_err(failed)?.map_err(failed)?;
        let offer = offer(vote, &meta, files.clone()).map_err(failed)?;
        let stream = ways
            .network
            .open(
                to,
                Class::Bulk,
                wire::with_body(ways.shard, &encode(&offer)),
            )
            .map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))?;
        tracing::info!(shard = %ways.shard, %to, files = files.len(), "sending a snapshot");
        let vote = carry(stream, &checkpoint.folder, &files)
            .await
            .map_err(failed)?;
        tracing::info!(shard = %ways.shard, %to, "the snapshot is installed");
        Ok(vote)
    }
}

fn offer(vote: Vote, meta: &SnapshotMeta, files: Vec<FileInfo>) -> io::Result<Offer> {
    let last = meta.last_log_id.as_ref();
    Ok(Offer {
        vote: (&vote).into(),
        last: last
            .map(WireLogId::from)
            .ok_or_else(|| io::Error::other("nothing is applied yet"))?,
        membership: encode_membership(&meta.last_membership),
        files,
    })
}

fn checkpoint(
    source: &SnapshotSource,
    number: u64,
) -> io::Result<(Checkpoint, SnapshotMeta, Vec<FileInfo>)> {
    let (meta, folder) = source.checkpoint(&number.to_string())?;
    let checkpoint = Checkpoint { folder };
    let mut files = Vec::new();
    for entry in fs::read_dir(&checkpoint.folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // RocksDB's lock and text log are each database's own.
        if name == "LOCK" || name.starts_with("LOG") {
            continue;
        }
        let (len, digest) = digest(&entry.path())?;
        files.push(FileInfo { name, len, digest });
    }
    Ok((checkpoint, meta, files))
}

/// A file's length and digest.
pub(super) fn digest(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let mut hasher = blake3::Hasher::new();
    let len = io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok((len, *hasher.finalize().as_bytes()))
}

async fn carry(mut stream: Duplex, folder: &Path, files: &[FileInfo]) -> io::Result<Vote> {
    let missing = match answer(&mut stream).await? {
        Answer::Missing(missing) => missing,
        other => return outcome(other),
    };
    for Missing { file, offset } in missing {
        let info = usize::try_from(file).ok().and_then(|at| files.get(at));
        let info =
            info.ok_or_else(|| io::Error::other("it asks for a file that was not offered"))?;
        let path = folder.join(&info.name);
        let mut reader = run_blocking(move || {
            let mut reader = File::open(path)?;
            reader.seek(SeekFrom::Start(offset))?;
            Ok::<_, io::Error>(reader)
        })
        .await??;
        let mut left = info.len.saturating_sub(offset);
        while left > 0 {
            let (bytes, back) = run_blocking(move || read_chunk(reader, left)).await??;
            reader = back;
            left = left.saturating_sub(bytes.len() as u64);
            let sent = stream.outgoing.send(chunk(file, &bytes));
            if !matches!(tokio::time::timeout(PATIENCE, sent).await, Ok(Ok(()))) {
                // What it said last, if it said why.
                return outcome(answer(&mut stream).await?);
            }
        }
    }
    outcome(answer(&mut stream).await?)
}

fn read_chunk(mut reader: File, left: u64) -> io::Result<(Bytes, File)> {
    // At most the length of a chunk.
    let len = left.min(CHUNK_BYTES as u64) as usize;
    let mut bytes = vec![0; len];
    reader.read_exact(&mut bytes)?;
    Ok((bytes.into(), reader))
}

async fn answer(stream: &mut Duplex) -> io::Result<Answer> {
    let item = tokio::time::timeout(PATIENCE, stream.incoming.recv())
        .await
        .map_err(|_| io::Error::other("the receiver says nothing"))?
        .ok_or_else(|| io::Error::other("the connection broke"))?;
    wire::read_reply(&item).map_err(io::Error::other)
}

fn outcome(answer: Answer) -> io::Result<Vote> {
    match answer {
        Answer::Installed(vote) => Ok(vote.into()),
        Answer::Failed(why) => Err(io::Error::other(why)),
        Answer::Missing(_) => Err(io::Error::other("an answer out of turn")),
    }
}
