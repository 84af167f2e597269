//! Ends the nodes and removes their folder when the test process has ended, in whatever way.
//!
//! A shell that waits for the end of its input; on the way there it is told which process groups live.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = r#"
groups=" "
while read -r change group; do
    case $change in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
sleep 0.2
rm -rf -- "$1"
"#;

/// The shell.
pub struct Sweeper(Child);

impl Sweeper {
    /// One that will remove this folder.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "sweeper"]).arg(folder);
        // A group of its own: an interrupt from the keyboard must not end it before its work is done.
        shell
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Self(shell.spawn()?))
    }

    /// A process group lives.
    pub fn lives(&mut self, group: u32) -> io::Result<()> {
        self.tell('+', group)
    }

    /// It has ended, and its number may become another's.
    pub fn ended(&mut self, group: u32) -> io::Result<()> {
        self.tell('-', group)
    }

    fn tell(&mut self, change: char, group: u32) -> io::Result<()> {
        match &mut self.0.stdin {
            Some(shell) => writeln!(shell, "{change} {group}"),
            None => Ok(()),
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // The end of its input.
        self.0.stdin = None;
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sleeper() -> Child {
        let mut sleeper = Command::new("sleep");
        sleeper.arg("60").process_group(0).spawn().unwrap()
    }

    #[test]
    fn kills_what_lives_and_leaves_what_was_taken_back() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("it");
        fs::create_dir(&folder).unwrap();
        let mut sleepers = [sleeper(), sleeper(), sleeper()];
        let mut sweeper = Sweeper::new(&folder).unwrap();
        for sleeper in &sleepers {
            sweeper.lives(sleeper.id()).unwrap();
        }
        sweeper.ended(sleepers[1].id()).unwrap();
        drop(sweeper);
        assert!(!folder.exists());
        assert!(!sleepers[0].wait().unwrap().success());
        assert!(!sleepers[2].wait().unwrap().success());
        assert!(sleepers[1].try_wait().unwrap().is_none());
        sleepers[1].kill().unwrap();
        sleepers[1].wait().unwrap();
    }
}
