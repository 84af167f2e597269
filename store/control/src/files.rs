//! Small files that are replaced as a whole, so that a crash leaves the old one or the new one.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The operating system refused something.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried, as in "reading".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

pub(crate) fn damaged(path: &Path, what: impl ToString) -> FileError {
    FileError::Damaged {
        path: path.to_owned(),
        what: what.to_string(),
    }
}

fn at(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> FileError {
    move |source| FileError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Makes a folder that only its owner reads.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(path).map_err(at("making", path))
}

/// The file's content; none if it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(at("reading", path)(source)),
    }
}

/// The same, as text.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, FileError> {
    let text = |bytes| String::from_utf8(bytes).map_err(|_| damaged(path, "it is no text"));
    read(path)?.map(text).transpose()
}

/// Replaces a file, which only its owner reads, and returns once that survives a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    mailrook_cluster::replace_file(path, bytes).map_err(at("writing", path))
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("removing", path)(error)),
        _ => Ok(()),
    }
}
