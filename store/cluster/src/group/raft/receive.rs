//! Receiving a snapshot: see [`transfer`](super::transfer).
//!
//! What arrives lies in the group's folder `incoming`: files that are whole under their digests, what is not yet whole
//! under its digest and `.part`. Once all are whole they move, under their own names, to `incoming-whole`, which is
//! installed.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use mailrook_kv::decode;
use mailrook_transport::Duplex;
use mailrook_types::NodeId;

use super::{
    handle::RaftGroup,
    send::digest,
    snapshot::SnapshotSource,
    transfer::{Answer, FILES_MAX, FileInfo, Missing, Offer, read_chunk},
    types::{LogId, Snapshot, SnapshotMeta, Vote},
    wire::{self, WireVote},
};
use crate::{data_dir::sync_dir, log::decode_membership, simulation::run_blocking};

/// A sender whose disk is slow says something within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the parts of a snapshot gather.
struct Incoming {
    folder: PathBuf,
    files: Vec<FileInfo>,
}

impl RaftGroup {
    /// Takes what is offered, and installs it. One at a time: who comes second is sent away.
    pub(crate) async fn receive_snapshot(&self, from: NodeId, offer: Bytes, mut stream: Duplex) {
        let received = match self.receiving.try_lock() {
            Ok(_one) => self.take_snapshot(from, &offer, &mut stream).await,
            Err(_) => Err(io::Error::other("another snapshot is on its way")),
        };
        let answer = match received {
            Ok(vote) => Answer::Installed(vote),
            Err(error) => {
                tracing::warn!(shard = %self.shard(), %error, "a snapshot was not installed");
                Answer::Failed(error.to_string())
            }
        };
        // Who is gone offers it again.
        let _ = stream.outgoing.send(wire::reply(&answer)).await;
    }

    async fn take_snapshot(
        &self,
        from: NodeId,
        offer: &[u8],
        stream: &mut Duplex,
    ) -> io::Result<WireVote> {
        let offer: Offer = decode(offer).map_err(io::Error::other)?;
        let meta = self.judge_offer(from, &offer).await?;
        check_names(&offer.files)?;
        self.reserve.check(|| false).map_err(io::Error::other)?;
        let incoming = Incoming {
            folder: self.state.incoming_folder(),
            files: offer.files.clone(),
        };
        let current = self.state.current_folder()?;
        let (incoming, missing) = run_blocking(move || {
            let missing = incoming.begin(&current)?;
            Ok::<_, io::Error>((incoming, missing))
        })
        .await??;
        let answer = wire::reply(&Answer::Missing(missing.clone()));
        let gone = |_| io::Error::other("the sender is gone");
        stream.outgoing.send(answer).await.map_err(gone)?;
        for Missing { file, offset } in missing {
            // It was made from the list.
            let info = incoming.files[file as usize].clone();
            self.take_file(&incoming, file, &info, offset, stream)
                .await?;
        }
        let whole = self.state.whole_folder();
        let folder = run_blocking(move || incoming.assemble(whole)).await??;
        // Again: it took its time.
        self.judge_offer(from, &offer).await?;
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotSource::Folder(folder),
        };
        let installed = self
            .raft
            .install_full_snapshot(offer.vote.into(), snapshot)
            .await
            .map_err(io::Error::other)?;
        Ok((&installed.vote).into())
    }

    /// What is offered, if it can be: the consensus engine ends where it cannot.
    async fn judge_offer(&self, from: NodeId, offer: &Offer) -> io::Result<SnapshotMeta> {
        self.admit(from, offer.vote, true)
            .map_err(io::Error::other)?;
        let last = LogId::from(offer.last);
        let membership = decode_membership(&offer.membership)?;
        if last.leader_id > Vote::from(offer.vote).leader_id {
            return Err(io::Error::other("it is of a later leader than its sender"));
        }
        if *membership.log_id() > Some(last) {
            return Err(io::Error::other("its members are of a later entry than it"));
        }
        let committed = self
            .raft
            .with_raft_state(|state| state.local_committed().copied());
        let committed = committed.await.map_err(io::Error::other)?;
        match committed.filter(|committed| last > *committed && last.index <= committed.index) {
            None => Ok(SnapshotMeta {
                last_log_id: Some(last),
                last_membership: membership,
            }),
            Some(committed) => Err(io::Error::other(format!(
                "it ends in {last}, and {committed} is committed here"
            ))),
        }
    }

    async fn take_file(
        &self,
        incoming: &Incoming,
        file: u32,
        info: &FileInfo,
        offset: u64,
        stream: &mut Duplex,
    ) -> io::Result<()> {
        let part = incoming.part(info);
        let path = part.clone();
        let mut writer =
            run_blocking(move || OpenOptions::new().create(true).append(true).open(path)).await??;
        let mut left = info.len.saturating_sub(offset);
        while left > 0 {
            let item = tokio::time::timeout(PATIENCE, stream.incoming.recv())
                .await
                .map_err(|_| io::Error::other("the sender says nothing"))?
                .ok_or_else(|| io::Error::other("the connection broke"))?;
            let bytes = match read_chunk(item) {
                Some((of, bytes))
                    if of == file && bytes.len() as u64 <= left && !bytes.is_empty() =>
                {
                    bytes
                }
                _ => return Err(io::Error::other("a chunk out of turn")),
            };
            left -= bytes.len() as u64;
            self.reserve.check(|| false).map_err(io::Error::other)?;
            writer = run_blocking(move || {
                writer.write_all(&bytes)?;
                Ok::<File, io::Error>(writer)
            })
            .await??;
        }
        let (info, whole) = (info.clone(), incoming.whole(info));
        run_blocking(move || {
            writer.sync_all()?;
            drop(writer);
            finish(&part, &whole, &info)
        })
        .await?
    }
}

/// Compares what arrived with what was offered.
fn finish(part: &Path, whole: &Path, info: &FileInfo) -> io::Result<()> {
    if digest(part)? != (info.len, info.digest) {
        // What is wrong is not kept, or it would be wrong for ever.
        fs::remove_file(part)?;
        return Err(io::Error::other(format!(
            "{} did not arrive as it was sent",
            info.name
        )));
    }
    fs::rename(part, whole)
}

/// Names are those of RocksDB's files: no folders, nothing hidden.
fn check_names(files: &[FileInfo]) -> io::Result<()> {
    let plain = |name: &str| {
        !name.is_empty()
            && name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !name.starts_with('.')
    };
    let mut names = std::collections::BTreeSet::new();
    let all_new = files
        .iter()
        .all(|file| plain(&file.name) && names.insert(&file.name));
    if all_new && files.len() <= FILES_MAX {
        Ok(())
    } else {
        Err(io::Error::other("these are no files of a snapshot"))
    }
}

impl Incoming {
    fn whole(&self, info: &FileInfo) -> PathBuf {
        self.folder.join(hex(&info.digest))
    }

    fn part(&self, info: &FileInfo) -> PathBuf {
        self.folder.join(format!("{}.part", hex(&info.digest)))
    }

    /// Makes the folder, throws away what no file of this offer needs, and says what is missing.
    fn begin(&self, current: &Path) -> io::Result<Vec<Missing>> {
        fs::create_dir_all(&self.folder)?;
        let wanted: BTreeMap<String, &FileInfo> = (self.files.iter())
            .map(|info| (hex(&info.digest), info))
            .collect();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !wanted.contains_key(name.trim_end_matches(".part")) {
                fs::remove_file(entry.path())?;
            }
        }
        let mut missing: Vec<Missing> = Vec::new();
        let mut asked = std::collections::BTreeSet::new();
        for (file, info) in (0..).zip(&self.files) {
            // Two files of the same content are sent once.
            if !asked.insert(info.digest)
                || self.whole(info).exists()
                || self.reuse(current, info)?
            {
                continue;
            }
            let part = fs::metadata(self.part(info)).map_or(0, |part| part.len());
            let offset = if part <= info.len { part } else { 0 };
            if offset == 0 && part > 0 {
                fs::remove_file(self.part(info))?;
            }
            missing.push(Missing { file, offset });
        }
        Ok(missing)
    }

    /// Takes a file of the state that is to be replaced, if it is the same: tables do not change once they are written.
    fn reuse(&self, current: &Path, info: &FileInfo) -> io::Result<bool> {
        let there = current.join(&info.name);
        let same_len = fs::metadata(&there).is_ok_and(|there| there.len() == info.len);
        let is_table = info.name.ends_with(".sst") || info.name.ends_with(".blob");
        if !is_table || !same_len {
            return Ok(false);
        }
        match self.link_if_same(&there, info) {
            // A compaction has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            linked => linked,
        }
    }

    fn link_if_same(&self, there: &Path, info: &FileInfo) -> io::Result<bool> {
        let same = digest(there)?.1 == info.digest;
        if same {
            fs::hard_link(there, self.whole(info))?;
        }
        Ok(same)
    }

    /// Gives the files their names, in a folder of their own.
    fn assemble(&self, folder: PathBuf) -> io::Result<PathBuf> {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        for info in &self.files {
            fs::hard_link(self.whole(info), folder.join(&info.name))?;
        }
        sync_dir(&folder)?;
        fs::remove_dir_all(&self.folder)?;
        Ok(folder)
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
