//! The log's files, as they lie on the disk.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::batch::{Batch, Format};
use crate::{
    OpenError,
    data_dir::{self, damaged, sync_dir},
    log::{QUEUES, Queue},
};

/// How much is read in the search for a valid batch behind a tear. Only content made for the purpose costs more;
/// then the tear cannot be told from damage, and is refused.
const SEARCH_BYTES_MAX: usize = 1 << 30;

/// What was found in files that can be opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FilesReport {
    /// Entries in this file are not what was written. That matters if they are still needed: every entry that is
    /// must then be read.
    pub(crate) damaged_entries: Option<PathBuf>,
    /// How much of an unfinished write lies at the end.
    pub(crate) torn_bytes: usize,
}

/// Checks every file of the log in `dir`, before it is opened.
pub(crate) fn check_files(dir: &Path) -> Result<FilesReport, OpenError> {
    let mut report = FilesReport::default();
    for queue in QUEUES {
        let mut files = numbered_files(dir, queue)?;
        drop_stubs(dir, &mut files)?;
        for (next, (number, path)) in files.iter().enumerate().map(|(at, file)| (at + 1, file)) {
            let is_last = next == files.len();
            check_file(path, *number, queue, is_last, &mut report)?;
        }
    }
    Ok(report)
}

/// The queue's files in order; an error if one is missing in between.
fn numbered_files(dir: &Path, queue: Queue) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| data_dir::io("reading", dir, source))? {
        let path = entry
            .map_err(|source| data_dir::io("reading", dir, source))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(number) = name
            .strip_suffix(queue.suffix)
            .and_then(|stem| stem.parse().ok())
        {
            files.push((number, path));
        }
    }
    files.sort();
    for pair in files.windows(2) {
        if pair[0].0 + 1 != pair[1].0 {
            let what = format!("files are missing between {} and this one", pair[0].0);
            return Err(damaged(&pair[1].1, what));
        }
    }
    Ok(files)
}

/// Removes files at the end that were made and never begun: a header found no room, and the log went on in the file before,
/// which therefore is the last one. A header is synced before anything is written behind it.
fn drop_stubs(dir: &Path, files: &mut Vec<(u64, PathBuf)>) -> Result<(), OpenError> {
    let mut dropped = false;
    while let [.., _before, (number, path)] = &files[..] {
        if is_begun(path, *number).map_err(|source| data_dir::io("reading", path, source))? {
            break;
        }
        tracing::warn!(path = %path.display(), "a file of the log that was never begun is removed");
        fs::remove_file(path).map_err(|source| data_dir::io("removing", path, source))?;
        files.pop();
        dropped = true;
    }
    if dropped {
        sync_dir(dir).map_err(|source| data_dir::io("syncing", dir, source))?;
    }
    Ok(())
}

/// Whether the file has a header, or something else than zeros behind its place.
fn is_begun(path: &Path, number: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let header_len = Format::newest(number).first_batch;
    let mut header = Vec::with_capacity(header_len);
    file.by_ref()
        .take(header_len as u64)
        .read_to_end(&mut header)?;
    if Format::of(&header, number).is_some() {
        return Ok(true);
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content.iter().any(|byte| *byte != 0))
}

fn check_file(
    path: &Path,
    number: u64,
    queue: Queue,
    is_last: bool,
    report: &mut FilesReport,
) -> Result<(), OpenError> {
    let file = fs::read(path).map_err(|source| data_dir::io("reading", path, source))?;
    let mut valid_to = 0;
    let mut suspect = None;
    let header = Format::of(&file, number);
    let format = header.unwrap_or(Format::newest(number));
    if header.is_some() {
        valid_to = format.first_batch;
        while let Some(batch) =
            Batch::at(&file, valid_to).filter(|batch| batch.footer_is_valid(&file, format))
        {
            // Of the last batch alone the entries may be torn.
            if let Some(before) = suspect.take() {
                mark(report, path, before);
            }
            if !batch.entries_are_valid(&file) {
                suspect = Some(valid_to);
            }
            valid_to = batch.end;
        }
    }
    match suspect {
        Some(start) if is_last => valid_to = start,
        Some(start) => mark(report, path, start),
        None => {}
    }
    if valid_to == file.len() {
        return Ok(());
    }
    if !is_last {
        return Err(damaged(
            path,
            format!("at offset {valid_to} it is not what was written"),
        ));
    }
    check_tear(path, &file, format, queue, valid_to).map(|torn| report.torn_bytes += torn)
}

fn mark(report: &mut FilesReport, path: &Path, offset: usize) {
    tracing::warn!(path = %path.display(), offset, "entries of the log are damaged here; looking whether they are still needed");
    report
        .damaged_entries
        .get_or_insert_with(|| path.to_owned());
}

/// Whether what stands behind `valid_to` is one unfinished write; gives its length.
fn check_tear(
    path: &Path,
    file: &[u8],
    format: Format,
    queue: Queue,
    valid_to: usize,
) -> Result<usize, OpenError> {
    let rest = &file[valid_to..];
    // Space is allocated ahead, as zeros.
    let torn = rest
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if torn as u64 > queue.unsynced_bytes_max {
        let what = format!(
            "at offset {valid_to} begins a tear of {torn} bytes, more than one write leaves behind"
        );
        return Err(damaged(path, what));
    }
    // Several rewrites may be unsynced at once, and reach the disk in any order.
    if queue != QUEUES[0] {
        return Ok(torn);
    }
    // A batch inside a torn one's body would be found too. Bodies are compressed, so that nobody chooses their bytes
    // freely, and what is at stake is a refusal to start.
    let mut search_bytes = SEARCH_BYTES_MAX;
    for start in valid_to + 1..valid_to + torn {
        let Some(batch) = Batch::at(file, start) else {
            continue;
        };
        let Some(left) = search_bytes.checked_sub(batch.footer_bytes()) else {
            return Err(damaged(
                path,
                format!("at offset {valid_to} begins a tear that cannot be told from damage"),
            ));
        };
        search_bytes = left;
        if batch.footer_is_valid(file, format) {
            let what = format!(
                "at offset {valid_to} it is not what was written, and valid entries follow at {start}"
            );
            return Err(damaged(path, what));
        }
    }
    Ok(torn)
}
