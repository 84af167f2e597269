//! Every seed passes its target; `MAILROOK_FUZZ_SEEDS=DIR` also writes them to `DIR/TARGET/`, where libFuzzer looks.

use std::{fs, path::Path};

use mailrook_fuzz::{TARGETS, driver};

#[test]
fn seeds_pass() {
    for target in &TARGETS {
        driver::run(target, 1, 0);
    }
}

#[test]
fn seeds_are_written() {
    let Ok(directory) = std::env::var("MAILROOK_FUZZ_SEEDS") else {
        return;
    };
    // A test runs in its crate's directory; the caller names one of the workspace.
    let workspace = Path::new("..");
    for target in &TARGETS {
        let directory = workspace.join(&directory).join(target.name);
        fs::create_dir_all(&directory).expect("a directory that can be made");
        for (index, seed) in (target.seeds)().iter().enumerate() {
            let file = directory.join(format!("seed-{index}"));
            fs::write(file, seed).expect("a file that can be written");
        }
    }
}
