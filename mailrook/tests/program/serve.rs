//! `mailrook serve`: gives root up, takes no port twice, and never starts half.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{HeldPorts, mailrook, outcome, wait};

/// A configuration without TLS, and its port.
fn write_config(folder: &Path, more: &str) -> (std::path::PathBuf, HeldPorts) {
    let held = HeldPorts::take(1);
    let port = held.base;
    let text = format!(
        "hostname = \"m.test\"\ndata_dir = \"data\"\n{more}\n[listen]\nsmtp = [\"127.0.0.1:{port}\"]\nsubmission = []\n\
         submissions = []\nimap = []\nimaps = []\npop3 = []\npop3s = []\nhttp = []\n[store]\nshards = 2\ndisk_reserve = \"0B\"\n"
    );
    let file = folder.join("m.toml");
    fs::write(&file, text).unwrap();
    (file, held)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn serve(config: &Path) -> Command {
    let mut command = mailrook(&["serve", "--config"]);
    command.arg(config);
    command
}

fn wait_until_it_answers(child: &mut Child, config: &Path) {
    let begin = Instant::now();
    loop {
        let (code, _, said) = outcome(
            &mailrook(&["session", "list", "--config"])
                .arg(config)
                .output()
                .unwrap(),
        );
        if code == 0 {
            return;
        }
        if let Some(status) = child.try_wait().unwrap() {
            let mut log = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut log)
                .unwrap();
            panic!("it ended with {status}\n{log}");
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn root_is_given_up() {
    if !is_root() {
        eprintln!("not root: there is nothing to give up");
        return;
    }
    // `nobody` must be able to reach it.
    let folder = tempfile::Builder::new()
        .prefix("mailrook-test-")
        .tempdir()
        .unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let (config, _port) = write_config(folder.path(), "");
    let (code, _, said) = outcome(&serve(&config).output().unwrap());
    assert!(
        code == 1 && said.contains("started as root without `user`"),
        "{said}"
    );
    let (config, _port) = write_config(folder.path(), "user = \"no-such-user\"");
    let (code, _, said) = outcome(&serve(&config).output().unwrap());
    assert!(code == 1 && said.contains("there is no user"), "{said}");
    assert!(
        !folder.path().join("data").exists(),
        "it began before it was sure"
    );

    let (config, _port) = write_config(folder.path(), "user = \"nobody\"");
    let mut child = serve(&config).stderr(Stdio::piped()).spawn().unwrap();
    wait_until_it_answers(&mut child, &config);
    for thread in fs::read_dir(format!("/proc/{}/task", child.id())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let ids: Vec<&str> = status
            .lines()
            .filter(|l| l.starts_with("Uid:") || l.starts_with("Gid:"))
            .collect();
        assert!(
            ids.iter().all(|line| !line.split('\t').any(|id| id == "0")),
            "{ids:?}"
        );
    }
    let data = fs::metadata(folder.path().join("data")).unwrap();
    assert_eq!((data.uid(), data.mode() & 0o777), (65534, 0o700));
    let (code, _, _) = outcome(
        &mailrook(&["domain", "add", "a.test", "--config"])
            .arg(&config)
            .output()
            .unwrap(),
    );
    assert_eq!(code, 0);
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert_eq!(wait(&mut child), Some(0));
}

/// Whoever delivers over it is in the server's group, and the server's umask is somebody else's choice.
#[test]
fn a_unix_socket_belongs_to_the_user_that_root_becomes() {
    if !is_root() {
        eprintln!("not root: the socket belongs to this user anyway");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let (config, _port) = write_config(folder.path(), "user = \"nobody\"");
    let socket = folder.path().join("lmtp.sock");
    let lmtp = format!("[listen]\nlmtp = [\"unix:{}\"]\n", socket.display());
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("[listen]\n", &lmtp)).unwrap();

    let plain = serve(&config);
    let mut child = Command::new("sh")
        .args(["-c", r#"umask 077; exec "$0" "$@""#])
        .arg(plain.get_program())
        .args(plain.get_args())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until_it_answers(&mut child, &config);
    let found = fs::symlink_metadata(&socket).unwrap();
    let data = fs::metadata(folder.path().join("data")).unwrap();
    assert_ne!((found.uid(), found.gid()), (0, 0));
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o777),
        (data.uid(), data.gid(), 0o660)
    );
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert_eq!(wait(&mut child), Some(0));
}

/// As systemd does it: told when it is ready, and when it stops.
#[test]
fn systemd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let user = if is_root() { "user = \"nobody\"" } else { "" };
    let (config, _port) = write_config(folder.path(), user);
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let log = folder.path().join("log");
    let told = || {
        let mut buffer = [0; 100];
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let len = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{error}\n{}", said()));
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let mut child = serve(&config)
        .env("NOTIFY_SOCKET", &path)
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    assert_eq!(told(), "READY=1");
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(told(), "READY=1");
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(wait(&mut child), Some(0));
}

/// A socket that systemd opened is used as it is.
#[test]
fn sockets_come_from_systemd() {
    let Ok(found) = Command::new("systemd-socket-activate")
        .arg("--version")
        .output()
    else {
        eprintln!("systemd-socket-activate is not installed: not looked at");
        return;
    };
    assert!(found.status.success());
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let user = if is_root() { "user = \"nobody\"" } else { "" };
    let (config, held) = write_config(folder.path(), user);
    let port = held.base;
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace(&format!("\"127.0.0.1:{port}\""), "\"systemd:mx\""),
    )
    .unwrap();
    let mut child = Command::new("systemd-socket-activate")
        .args([
            &format!("--listen=127.0.0.1:{port}"),
            "--fdname=mx",
            env!("CARGO_BIN_EXE_mailrook"),
        ])
        .args(["serve", "--config"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The first connection starts it, and waits in the socket meanwhile.
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut session, greeting) = crate::harness::Session::open(port);
    assert!(greeting.starts_with("220 m.test"), "{greeting}");
    assert!(session.ask("NOOP").starts_with("250 "));
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert_eq!(wait(&mut child), Some(0));
}

#[test]
fn a_port_in_use_is_said_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let user = if is_root() { "user = \"nobody\"" } else { "" };
    let (config, held) = write_config(folder.path(), user);
    let port = held.base;
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (code, _, said) = outcome(&serve(&config).output().unwrap());
    assert_eq!(code, 1);
    assert!(
        said.contains(&format!("listen.smtp: cannot listen on 127.0.0.1:{port}")),
        "{said}"
    );
    assert!(said.contains("another program listens there"), "{said}");
    assert!(!folder.path().join("data").exists());
}
