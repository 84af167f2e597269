//! `mailrook dev`: a throwaway server with certificates, a domain and accounts, on this machine alone.

mod accounts;
mod banner;
mod cluster;

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use mailrook_cluster::Plant;
use mailrook_control::{FEATURE_LEVELS, feature_levels_up_to};
use mailrook_store_api::meta::FeatureLevels;
use serde::Serialize;

use crate::{
    cli::{CliError, Output},
    config::{Config, LogFormat, LogLevel},
    http::Health,
    logging, process, serve,
    server::{SERVICES, Server, Start},
    tls::DevCertificates,
};
use accounts::Account;

/// The domain of a throwaway server (RFC 6761 §6.2: never anybody's).
const DOMAIN: &str = "example.test";
/// More would need minutes to be made.
const ACCOUNTS_MAX: u32 = 10_000;
/// Elections take a second or two; a busy machine gets more.
const READY_MAX: Duration = Duration::from_secs(60);
/// How often free ports are looked for anew when another program was faster.
const PORT_ATTEMPTS: u32 = 5;
/// Names a planted fault, for tests that must be able to fail.
const PLANT_VARIABLE: &str = "MAILROOK_PLANT";
/// Has a node pretend to be of an older version, for tests of mixed clusters.
const LEVEL_VARIABLE: &str = "MAILROOK_FEATURE_LEVEL_MAX";

/// Arguments of `mailrook dev`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mailrook dev\n  mailrook dev --base-port 10000 --data ./mail --accounts 10\n  mailrook dev --plaintext --json\n  mailrook dev --nodes 3\n  mailrook dev --nodes 3 --fronts 1\n\nIt listens on 127.0.0.1, runs in the foreground until SIGTERM or SIGINT, and says what to try once it is ready.\nWith --data, a second start finds the mail of the first, with the same accounts and passwords."
)]
pub struct DevArgs {
    /// How many nodes, each a process of its own if there are several
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub nodes: u32,
    /// How many more without copies, that serve clients alone
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub fronts: u32,
    /// The first of nine ports, or of ten for each of several nodes; without it, free ones are found, and a cluster that
    /// is started again keeps those it had
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(u16).range(1..=65_526))]
    pub base_port: Option<u16>,
    /// Keep everything here; without it, in a temporary directory that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How many accounts, user1 to userK
    #[arg(long, default_value_t = 3, value_name = "K", value_parser = clap::value_parser!(u32).range(0..=i64::from(ACCOUNTS_MAX)))]
    pub accounts: u32,
    /// Take passwords without TLS, from this machine
    #[arg(long)]
    pub plaintext: bool,
}

/// The line of JSON.
#[derive(Debug, Serialize)]
struct Ready {
    nodes: Vec<NodeInfo>,
    domain: String,
    ca: PathBuf,
    config: Vec<PathBuf>,
    accounts: Vec<Account>,
}

#[derive(Debug, Serialize)]
struct NodeInfo {
    id: u64,
    pid: u32,
    /// Zero for what is not served.
    ports: BTreeMap<&'static str, u16>,
}

/// Where a throwaway server keeps everything.
struct Place {
    folder: PathBuf,
    /// Removed with this value.
    temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn make(data: Option<&Path>) -> Result<Place, CliError> {
        let at_fault = |error| CliError::Refused(format!("cannot make a data directory: {error}"));
        let Some(data) = data else {
            let temporary = tempfile::Builder::new()
                .prefix("mailrook-dev-")
                .tempdir()
                .map_err(at_fault)?;
            return Ok(Place {
                folder: temporary.path().to_owned(),
                temporary: Some(temporary),
            });
        };
        crate::privileges::make_data_dir(data, None).map_err(at_fault)?;
        let folder = fs::canonicalize(data).map_err(at_fault)?;
        Ok(Place {
            folder,
            temporary: None,
        })
    }
}

/// Runs it to its end.
pub fn run(arguments: &DevArgs, output: &Output) -> Result<(), CliError> {
    let plant = planted().map_err(CliError::Usage)?;
    let levels = levels().map_err(CliError::Usage)?;
    let place = Place::make(arguments.data.as_deref())?;
    let (level, level_of_log) = if output.is_json() {
        ("info", LogLevel::Info)
    } else {
        ("warn", LogLevel::Warn)
    };
    let log = logging::start(level_of_log, LogFormat::Text).map_err(CliError::Refused)?;
    process::raise_descriptors();
    let runtime = serve::runtime().map_err(CliError::Refused)?;
    if arguments.nodes != 1 || arguments.fronts > 0 {
        return runtime.block_on(cluster::run(arguments, &place, output));
    }
    let result = runtime.block_on(async {
        let mut signals =
            serve::Signals::take().map_err(|error| CliError::Refused(error.to_string()))?;
        let starting = start(arguments, &place, level, (plant, levels), log);
        let (server, ready) = signals
            .or_started(starting)
            .await
            .map_err(CliError::Refused)?;
        output.print(&ready, || {
            banner::text(
                &ready,
                &banner::program(),
                arguments.plaintext,
                place.temporary.is_some(),
            )
        });
        signals.until_stopped(&server).await;
        server.stop().await;
        Ok(())
    });
    drop(runtime);
    result
}

async fn start(
    arguments: &DevArgs,
    place: &Place,
    level: &str,
    (plant, levels): (Option<Plant>, FeatureLevels),
    log: logging::LogHandle,
) -> Result<(Server, Ready), String> {
    let folder = &place.folder;
    let names = ["localhost", DOMAIN, "mail.example.test"];
    let certificates = DevCertificates::obtain(folder, &names)
        .map_err(|e| format!("cannot make certificates: {e}"))?;
    let config_path = folder.join("mailrook.toml");
    let mut attempt = 0;
    let server = loop {
        let ports = ports(arguments.base_port)?;
        let text = config_text(folder, &certificates, &ports, arguments.plaintext, level);
        fs::write(&config_path, text)
            .map_err(|error| format!("cannot write {}: {error}", config_path.display()))?;
        let config = Config::load(&config_path).map_err(|error| error.to_string())?;
        let (config_path, log) = (config_path.clone(), log.clone());
        match Server::start(Start {
            config,
            config_path,
            log,
            keep_root: true,
            plant,
            levels,
        })
        .await
        {
            Ok(server) => break server,
            // Another program took a port between the look and the start.
            Err(why)
                if why.contains("cannot listen")
                    && arguments.base_port.is_none()
                    && attempt < PORT_ATTEMPTS =>
            {
                attempt += 1;
            }
            Err(why) => return Err(why),
        }
    };
    let asker = accounts::Asker::Server(&server);
    let accounts = accounts::make(&asker, folder, DOMAIN, arguments.accounts).await?;
    wait_until_ready(&server).await?;
    let port = |service: &str| {
        let mut addresses = server.addresses().into_iter();
        let found = addresses.find(|(name, _)| *name == service);
        found
            .and_then(|(_, address)| address)
            .map_or(0, |address| address.port())
    };
    let ready = Ready {
        nodes: vec![NodeInfo {
            id: 1,
            pid: std::process::id(),
            ports: SERVICES
                .into_iter()
                .map(|service| (service, port(service)))
                .collect(),
        }],
        domain: DOMAIN.to_owned(),
        ca: certificates.ca,
        config: vec![config_path],
        accounts,
    };
    Ok((server, ready))
}

/// Nine ports in a row, or any nine that are free.
fn ports(base: Option<u16>) -> Result<Vec<u16>, String> {
    if let Some(base) = base {
        return Ok((base..).take(SERVICES.len()).collect());
    }
    free_ports(SERVICES.len())
}

/// Ports that nobody listens at.
fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let find = || {
        let open = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        // All at once, so that they differ.
        let listeners = (0..count).map(open).collect::<std::io::Result<Vec<_>>>()?;
        listeners
            .iter()
            .map(|listener| Ok(listener.local_addr()?.port()))
            .collect::<std::io::Result<Vec<_>>>()
    };
    find().map_err(|error| format!("no free ports: {error}"))
}

fn config_text(
    folder: &Path,
    certificates: &DevCertificates,
    ports: &[u16],
    plaintext: bool,
    level: &str,
) -> String {
    let quoted = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
    let mut text = format!(
        "# Written by `mailrook dev` at each start.\nhostname = \"mail.example.test\"\ndata_dir = {}\n\n\
         [[tls.certificate]]\nchain = {}\nkey = {}\n\n[listen]\n",
        quoted(folder),
        quoted(&certificates.chain),
        quoted(&certificates.key),
    );
    for (service, port) in SERVICES.iter().zip(ports) {
        text += &format!("{service} = [\"127.0.0.1:{port}\"]\n");
    }
    // A throwaway server may stand in a small temporary file system.
    text += &format!(
        "\n[login]\nplaintext = {plaintext}\n\n[store]\ndisk_reserve = \"64MiB\"\n\n[log]\nlevel = \"{level}\"\n"
    );
    let socket = folder.join("admin.sock");
    if socket.as_os_str().len() > 100 {
        // The kernel's bound on socket paths: a folder deep down gets its socket in /tmp.
        let name = format!("mailrook-dev-{}.sock", std::process::id());
        text += &format!(
            "\n[admin]\nsocket = {}\n",
            quoted(&std::env::temp_dir().join(name))
        );
    }
    text
}

async fn wait_until_ready(server: &Server) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let reasons = server.running().not_ready_because();
        if reasons.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > READY_MAX {
            return Err(format!(
                "not ready after {READY_MAX:?}: {}",
                reasons.join(", ")
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The fault that a test wants planted.
pub fn planted() -> Result<Option<Plant>, String> {
    match std::env::var(PLANT_VARIABLE) {
        Err(_) => Ok(None),
        Ok(name) => match Plant::parse(&name) {
            Some(plant) => Ok(Some(plant)),
            None => Err(format!(
                "{PLANT_VARIABLE}={name}: there is no such fault to plant"
            )),
        },
    }
}

/// What this program knows, or is to pretend to know.
pub fn levels() -> Result<FeatureLevels, String> {
    let Ok(max) = std::env::var(LEVEL_VARIABLE) else {
        return Ok(FEATURE_LEVELS);
    };
    let at_fault = |why: String| format!("{LEVEL_VARIABLE}={max}: {why}");
    let number = max.parse().map_err(|_| at_fault("no number".to_owned()))?;
    feature_levels_up_to(number).map_err(at_fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_it_writes_is_right() {
        let folder = Path::new("/tmp/a \"quoted\" folder");
        let certificates = DevCertificates {
            ca: folder.join("ca.pem"),
            chain: folder.join("s.pem"),
            key: folder.join("s.key"),
        };
        for plaintext in [false, true] {
            let text = config_text(
                folder,
                &certificates,
                &ports(Some(10_000)).unwrap(),
                plaintext,
                "info",
            );
            let config = Config::parse(&text, &folder.join("mailrook.toml")).unwrap();
            assert_eq!(config.login.plaintext, plaintext);
            assert_eq!(config.data_dir, folder);
            assert_eq!(config.listen.http[0].to_string(), "127.0.0.1:10008");
            assert!(
                config
                    .listen
                    .services()
                    .iter()
                    .all(|(_, list)| list.iter().all(crate::config::Address::is_local))
            );
        }
        let free = ports(None).unwrap();
        let different: std::collections::BTreeSet<_> = free.iter().collect();
        assert_eq!(different.len(), 9);
    }
}
