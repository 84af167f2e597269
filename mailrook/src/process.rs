//! What the process asks of its surroundings: file descriptors, and to be watched by systemd.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt,
        unix::ffi::OsStrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What 20,000 connections of each service, and the files of 64 groups, can need.
const DESCRIPTORS_WANTED: u64 = 262_144;

/// Raises the bound on open files as far as permitted, and says what it is.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS_WANTED);
    if limit.current.is_none_or(|current| current >= wanted) {
        return limit.current.unwrap_or(u64::MAX);
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    ) {
        Ok(()) => wanted,
        Err(_) => limit.current.unwrap_or(0),
    }
}

/// Asks another process to end, as SIGTERM does. It may have ended already.
pub fn terminate(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // An error means that it is gone.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Ends this process, as SIGTERM does, when its standard input ends.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        // An error is an end, too.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        terminate(std::process::id());
    });
}

/// Tells systemd, if it started this process, what it is doing (sd_notify(3)): `READY=1`, `STOPPING=1`.
pub fn notify_systemd(state: &str) {
    // Whether systemd hears it is its own matter.
    let _ = send(state);
}

fn send(state: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// `MONOTONIC_USEC` for `RELOADING=1`: microseconds of the system's monotonic clock.
pub fn monotonic_us() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// Memory in use, from the kernel's table.
pub fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Open files.
pub fn descriptors() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}
