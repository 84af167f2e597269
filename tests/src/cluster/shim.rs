//! A disk that is slow to sync and a wall clock that is wrong, for one process: see `shim.c`.
//!
//! Its own few lines rather than libfaketime and libfiu: those read their file at every call or keep it for seconds, and
//! a server that asks for the time at every entry of its log must not be measured by that.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Built from the source beside this file, once for a rig.
pub struct Shim {
    library: PathBuf,
}

impl Shim {
    /// Compiles it into the folder.
    pub fn build(folder: &Path) -> io::Result<Self> {
        let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
        fs::write(&source, include_str!("shim.c"))?;
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .args([&library, &source])
            .arg("-ldl");
        let told = compiler.output().map_err(|e| {
            io::Error::new(e.kind(), format!("the fault tests need a C compiler: {e}"))
        })?;
        if !told.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&told.stderr).into_owned(),
            ));
        }
        Ok(Self { library })
    }

    /// What one process's disk and clock are set with.
    pub fn control(&self, file: &Path) -> io::Result<Control> {
        let control = Control {
            library: self.library.clone(),
            path: file.to_owned(),
            file: File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(file)?,
        };
        control.calm()?;
        Ok(control)
    }
}

/// The two figures of one process.
pub struct Control {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Control {
    /// Puts it under a command.
    pub fn load(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("MAILROOK_TEST_SHIM", &self.path);
    }

    /// Every sync takes this much longer.
    pub fn slow_disk(&self, by: Duration) -> io::Result<()> {
        self.set(0, i64::try_from(by.as_micros()).map_err(io::Error::other)?)
    }

    /// The wall clock shows so many seconds more, or less.
    pub fn clock_off_by(&self, seconds: i64) -> io::Result<()> {
        self.set(1, seconds)
    }

    /// Both as they should be.
    pub fn calm(&self) -> io::Result<()> {
        self.set(0, 0)?;
        self.set(1, 0)
    }

    fn set(&self, at: u64, value: i64) -> io::Result<()> {
        self.file.write_all_at(&value.to_ne_bytes(), at * 8)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn run(control: &Control, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        control.load(&mut command);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_wall_clock_jumps_and_syncs_are_slow() {
        let folder = tempfile::tempdir().unwrap();
        let shim = Shim::build(folder.path()).unwrap();
        let control = shim.control(&folder.path().join("control")).unwrap();
        let now = || {
            run(&control, "date", &["+%s"])
                .trim()
                .parse::<i64>()
                .unwrap()
        };
        let before = now();
        control.clock_off_by(-86_400).unwrap();
        assert!((before - 86_400 - now()).abs() < 60);

        let file = folder.path().join("f");
        fs::write(&file, "x").unwrap();
        let sync = || {
            let begin = Instant::now();
            run(&control, "sync", &["-d", file.to_str().unwrap()]);
            begin.elapsed()
        };
        control.slow_disk(Duration::from_millis(700)).unwrap();
        assert!(sync() >= Duration::from_millis(700));
        control.calm().unwrap();
        assert!((before - now()).abs() < 60);
        // A disk that is slow by itself may need half a second too, but seldom three times.
        assert!((0..3).any(|_| sync() < Duration::from_millis(700)));
    }
}
