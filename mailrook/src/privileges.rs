//! Ports below 1024 need root to be opened, and nothing else here does: once they are open the process becomes an
//! ordinary user for good.

use std::{ffi::CString, fs, io, os::unix::fs::DirBuilderExt, path::Path};

use nix::unistd::{Gid, Uid, User, initgroups, setresgid, setresuid};

/// Whom to become.
#[derive(Clone, Debug)]
pub struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Whether this process is root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

impl Identity {
    /// The user of that name. `None` where nothing is to be done: the process is an ordinary user already.
    pub fn find(name: Option<&str>) -> Result<Option<Identity>, String> {
        match name {
            _ if !is_root() => Ok(None),
            None => Err("started as root without `user` in the configuration; \
                         name an ordinary user there, as in user = \"mailrook\" (adduser --system --group mailrook), \
                         and it is taken on once the ports are open"
                .to_owned()),
            Some(name) => match User::from_name(name) {
                Ok(Some(user)) if user.uid.is_root() => Err(format!("the user {name:?} is root itself")),
                Ok(Some(user)) => Ok(Some(Identity { name: name.to_owned(), uid: user.uid, gid: user.gid })),
                Ok(None) => Err(format!("there is no user {name:?}: adduser --system --group {name}")),
                Err(error) => Err(format!("the user {name:?} cannot be looked up: {error}")),
            },
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it a file that root made; of a symbolic link, the link.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
    }

    /// Becomes that user, in all threads, and makes sure that there is no way back.
    pub fn assume(&self) -> Result<(), String> {
        let failed = |error: nix::Error| format!("cannot become the user {:?}: {error}", self.name);
        let name = CString::new(self.name.as_bytes())
            .map_err(|_| format!("{:?} is no user name", self.name))?;
        initgroups(&name, self.gid).map_err(failed)?;
        setresgid(self.gid, self.gid, self.gid).map_err(failed)?;
        setresuid(self.uid, self.uid, self.uid).map_err(failed)?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err("the kernel let the process become root again".to_owned());
        }
        Ok(())
    }
}

/// Makes the data directory, closed to others, and gives it to whom the process becomes. One that is there is left as
/// it is.
pub fn make_data_dir(path: &Path, owner: Option<&Identity>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)?;
    if let Some(owner) = owner {
        owner.give(path)?;
    }
    Ok(())
}
