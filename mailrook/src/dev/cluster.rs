//! `mailrook dev --nodes N`: a throwaway cluster on this machine, each node a process of its own.
//!
//! The first node founds the cluster, the others join it as real ones do: with a token, over TLS. This process makes
//! the folders, starts the nodes and tells what becomes of them; it holds no mail.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use mailrook_cluster::Node;
use mailrook_control::{Papers, join};
use mailrook_transport::JoinToken;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::{
    DOMAIN, DevArgs, NodeInfo, PORT_ATTEMPTS, Place, Ready, accounts, banner, config_text,
    free_ports, levels,
};
use crate::{
    admin::{
        Client,
        protocol::{ClusterStatus, Reply, Request},
    },
    cli::{CliError, Output},
    config::{Address, Config, Role},
    privileges, process,
    server::{SERVICES, cluster_dir, member, store_dir},
    tls::DevCertificates,
};

/// Three make a cluster that survives any one of them; more than nine are a strain on one machine.
const NODES_MAX: u32 = 9;
/// How long a node may take to start, and the copies to be made.
const START_MAX: Duration = Duration::from_secs(120);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A node that ended is started again after so long: one sees what goes on without it, and it catches up.
const START_AGAIN_AFTER: Duration = Duration::from_secs(20);
/// How long a node may take to say who it is. One that cannot reach the directory tries that for two seconds first.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long nodes may take to end when asked to.
const STOP_MAX: Duration = Duration::from_secs(60);
/// A node's configuration, in its folder.
const CONFIG: &str = "mailrook.toml";
/// Ports of a node: its services and the one for other nodes.
const NODE_PORTS: usize = SERVICES.len() + 1;
/// How long the token between two starts holds.
const TOKEN_SECONDS: u64 = 600;

/// A node of the cluster.
struct Member {
    number: u32,
    config_path: PathBuf,
    config: Config,
    ports: Vec<u16>,
    child: Option<Child>,
}

/// Runs it to its end.
pub async fn run(arguments: &DevArgs, place: &Place, output: &Output) -> Result<(), CliError> {
    let (nodes, fronts) = (arguments.nodes, arguments.fronts);
    if nodes == 0 || nodes.saturating_add(fronts) > NODES_MAX {
        let text = format!(
            "--nodes {nodes} --fronts {fronts}: a throwaway cluster has 1 to {NODES_MAX} nodes, one of them with copies"
        );
        return Err(CliError::Usage(text));
    }
    let signal = |kind| signal(kind).map_err(|error| CliError::Refused(error.to_string()));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let level = if output.is_json() { "info" } else { "error" };
    let mut members = tokio::select! {
        started = start(arguments, place, level) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let ready = tokio::select! {
        ready = ready(arguments, place, &members) => ready,
        _ = terminate.recv() => return stopped(members).await,
        _ = interrupt.recv() => return stopped(members).await,
    };
    match ready {
        Ok(ready) => {
            let temporary = place.temporary.is_some();
            output.print(&ready, || {
                banner::cluster_text(&ready, &banner::program(), arguments.plaintext, temporary)
            });
            tokio::select! {
                () = look_after(&mut members, output) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stopped(members).await
        }
        Err(why) => {
            stop(members).await;
            Err(CliError::Refused(why))
        }
    }
}

async fn stopped(members: Vec<Member>) -> Result<(), CliError> {
    stop(members).await;
    Ok(())
}

async fn start(arguments: &DevArgs, place: &Place, level: &str) -> Result<Vec<Member>, CliError> {
    let folder = &place.folder;
    let names = ["localhost", DOMAIN, "mail.example.test"];
    let certificates = DevCertificates::obtain(folder, &names)
        .map_err(|error| CliError::Refused(format!("cannot make certificates: {error}")))?;
    let prepare = |number, ports| {
        let member = prepare(arguments, folder, &certificates, number, ports, level);
        member.map_err(CliError::Refused)
    };
    let mut members = Vec::new();
    for number in 1..=arguments.nodes + arguments.fronts {
        let ports = ports(arguments.base_port, folder, number).map_err(CliError::Refused)?;
        members.push(prepare(number, ports)?);
    }
    for at in 0..members.len() {
        let mut attempt = 0;
        while let Err(why) = start_one(&mut members, at).await {
            // Another program took a port between the look and the start.
            let replaced = match arguments.base_port {
                None if attempt < PORT_ATTEMPTS && has_ended(&mut members[at]) => {
                    with_taken_replaced(&members[at].ports)
                }
                _ => None,
            };
            let Some(ports) = replaced else {
                stop(members).await;
                return Err(CliError::Refused(why));
            };
            attempt += 1;
            members[at] = prepare(members[at].number, ports)?;
        }
    }
    Ok(members)
}

async fn start_one(members: &mut [Member], at: usize) -> Result<(), String> {
    begin(members, at).await?;
    members[at].child = Some(spawn(&members[at])?);
    until_answering(&mut members[at]).await
}

fn has_ended(member: &mut Member) -> bool {
    let child = member.child.as_mut();
    child.is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))))
}

/// The node's ports: of an earlier run those that it had, as the other nodes know where to reach it.
fn ports(base: Option<u16>, folder: &Path, number: u32) -> Result<Vec<u16>, String> {
    let kept = kept_ports(folder, number);
    let Some(base) = base else {
        return kept.map_or_else(|| free_ports(NODE_PORTS), Ok);
    };
    let first = u32::from(base) + (number - 1) * NODE_PORTS as u32;
    let port = |port| {
        u16::try_from(port)
            .map_err(|_| format!("--base-port {base}: {port} is no port; choose a lower one"))
    };
    let ports: Result<Vec<u16>, String> = (first..first + NODE_PORTS as u32).map(port).collect();
    let mut ports = ports?;
    if let (Some(own), Some(kept)) = (ports.last_mut(), kept.as_ref().and_then(|all| all.last())) {
        *own = *kept;
    }
    Ok(ports)
}

/// What the configuration of an earlier run says; none without one that can be read.
fn kept_ports(folder: &Path, number: u32) -> Option<Vec<u16>> {
    let config = Config::load(&own_folder(folder, number).join(CONFIG)).ok()?;
    let services = config.listen.services();
    let lists = (services.iter().map(|(_, list)| *list)).chain([&config.cluster.listen]);
    let ports = lists.map(|list| match list.first()? {
        Address::Tcp(address) => Some(address.port()),
        _ => None,
    });
    ports.collect()
}

/// The same ports with others for those that cannot be listened at; none if all can.
fn with_taken_replaced(ports: &[u16]) -> Option<Vec<u16>> {
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut replaced = false;
    let ports = ports.iter().map(|port| match is_free(*port) {
        true => Some(*port),
        false => {
            replaced = true;
            free_ports(1).ok()?.pop()
        }
    });
    let ports: Option<Vec<u16>> = ports.collect();
    ports.filter(|_| replaced)
}

fn own_folder(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("node{number}"))
}

/// Writes the node's configuration.
fn prepare(
    arguments: &DevArgs,
    folder: &Path,
    certificates: &DevCertificates,
    number: u32,
    ports: Vec<u16>,
    level: &str,
) -> Result<Member, String> {
    let own = own_folder(folder, number);
    privileges::make_data_dir(&own, None).map_err(|error| error.to_string())?;
    let roles = match number <= arguments.nodes {
        true => "",
        false => "roles = [\"front\", \"proxy\"]\n",
    };
    let services = config_text(&own, certificates, &ports, arguments.plaintext, level);
    let mut text = format!("{roles}{services}");
    let port = ports.last().copied().unwrap_or_default();
    text += &format!("\n[cluster]\nlisten = [\"127.0.0.1:{port}\"]\nname = \"node{number}\"\n");
    let config_path = own.join(CONFIG);
    fs::write(&config_path, text)
        .map_err(|error| format!("cannot write {}: {error}", config_path.display()))?;
    let config = Config::load(&config_path).map_err(|error| error.to_string())?;
    Ok(Member {
        number,
        config_path,
        config,
        ports,
        child: None,
    })
}

/// Makes the node's data directory, unless an earlier run did.
async fn begin(members: &[Member], at: usize) -> Result<(), String> {
    let config = &members[at].config;
    let (store, folder) = (store_dir(config), cluster_dir(config));
    privileges::make_data_dir(&store, None).map_err(|error| error.to_string())?;
    let known = Node::identity(&store).map_err(|error| error.to_string())?;
    if known.is_some() {
        return Ok(());
    }
    if at == 0 {
        let shards = u32::try_from(config.store.shards).unwrap_or(u32::MAX);
        let (cluster, node) = Node::found(&store, shards).map_err(|error| error.to_string())?;
        let founded = Papers::at(&folder).found(cluster, node);
        return founded.map_err(|error| error.to_string());
    }
    let token = token(&members[0]).await?;
    let member = member(config, levels()?);
    let joined = join(&token, &member, &store, &folder).await;
    joined.map(drop).map_err(|error| error.to_string())
}

async fn token(first: &Member) -> Result<JoinToken, String> {
    let begun = Instant::now();
    loop {
        let request = Request::NodeToken {
            lifetime_seconds: TOKEN_SECONDS,
        };
        match client(first).call(&request).await {
            Ok(Reply::Token { token, .. }) => {
                return JoinToken::parse(token.reveal()).map_err(|error| error.to_string());
            }
            Ok(other) => return Err(format!("the answer does not fit: {other:?}")),
            // Its certificates are on their way into the directory.
            Err(_) if begun.elapsed() < START_MAX => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn client(member: &Member) -> Client {
    Client::new(&member.config.admin.socket)
}

fn spawn(member: &Member) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(program)
        .arg("--config")
        .arg(&member.config_path)
        .args(["serve", "--keep-root", "--end-with-stdin"])
        // It ends when this process does, however that ends.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // A terminal's Ctrl-C goes to this process, which ends them in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start node {}: {error}", member.number))
}

/// Waits until the node's admin socket answers. A node that waits for others to come does not, yet.
async fn until_answering(member: &mut Member) -> Result<(), String> {
    let begun = Instant::now();
    // Of a cluster that ran before, one node alone cannot answer: the next ones are started.
    let patience = if member.number == 1 && !is_first_start(member) {
        Duration::from_secs(2)
    } else {
        START_MAX
    };
    // It concerns no other node.
    let anything = Request::DomainList { after: None };
    while begun.elapsed() < patience {
        if client(member).call(&anything).await.is_ok() {
            return Ok(());
        }
        if let Some(Ok(Some(status))) = member.child.as_mut().map(Child::try_wait) {
            return Err(format!("node {} ended: {status}", member.number));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if patience < START_MAX {
        Ok(())
    } else {
        Err(format!("node {} does not answer", member.number))
    }
}

/// Whether the node has no peers yet.
fn is_first_start(member: &Member) -> bool {
    !cluster_dir(&member.config).join("nodes").exists()
}

/// Waits until all copies are there, and makes the accounts.
async fn ready(arguments: &DevArgs, place: &Place, members: &[Member]) -> Result<Ready, String> {
    let begun = Instant::now();
    loop {
        let status = cluster_status(members).await;
        let missing = match &status {
            Some(status) if is_whole(status, members) => break,
            Some(status) => status.under_replicated.join(", "),
            None => "the cluster's directory does not answer".to_owned(),
        };
        if begun.elapsed() > START_MAX {
            return Err(format!("not ready after {START_MAX:?}: {missing}"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let asker = accounts::Asker::Client(client(&members[0]));
    let accounts = accounts::make(&asker, &place.folder, DOMAIN, arguments.accounts).await?;
    let info = |member: &Member| NodeInfo {
        id: u64::from(member.number),
        pid: member.child.as_ref().and_then(Child::id).unwrap_or(0),
        ports: services(&member.ports),
    };
    Ok(Ready {
        nodes: members.iter().map(info).collect(),
        domain: DOMAIN.to_owned(),
        ca: place.folder.join("ca.pem"),
        config: (members.iter())
            .map(|member| member.config_path.clone())
            .collect(),
        accounts,
    })
}

fn services(ports: &[u16]) -> BTreeMap<&'static str, u16> {
    SERVICES.into_iter().zip(ports.iter().copied()).collect()
}

async fn cluster_status(members: &[Member]) -> Option<ClusterStatus> {
    match client(&members[0]).call(&Request::Status).await {
        Ok(Reply::Status(status)) => status.cluster,
        _ => None,
    }
}

fn is_whole(status: &ClusterStatus, members: &[Member]) -> bool {
    let with_store = members.iter().filter(|m| m.config.has_role(Role::Store));
    let nodes = with_store.count();
    let reachable = status.nodes.iter().filter(|node| node.reachable).count();
    let all_here = reachable == members.len();
    let all_led = status.groups.iter().all(|group| group.leader.is_some());
    let everywhere =
        (status.groups.iter()).all(|group| group.voters.len() + group.learners.len() == nodes);
    // Two nodes are fewer than there should be copies.
    all_here && all_led && (status.under_replicated.is_empty() || nodes == 2 && everywhere)
}

/// Says of nodes that they ended, and starts them again after a while, as a service manager would. Who asked for JSON starts
/// them itself; then it is over once none runs.
async fn look_after(members: &mut [Member], output: &Output) {
    let mut looked_at: Vec<Instant> = members.iter().map(|_| Instant::now()).collect();
    loop {
        let mut running = 0;
        for (member, looked_at) in members.iter_mut().zip(&mut looked_at) {
            match member.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => {
                    member.child = None;
                    *looked_at = Instant::now();
                    if !output.is_json() {
                        output.raw(&ended(member, status));
                    }
                }
                Some(_) => running += 1,
                None if output.is_json() => {
                    running += usize::from(process_of(member).await.is_some())
                }
                None => {
                    running += 1;
                    if looked_at.elapsed() >= START_AGAIN_AFTER {
                        *looked_at = Instant::now();
                        start_again(member, output).await;
                    }
                }
            }
        }
        if running == 0 {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn ended(member: &Member, status: ExitStatus) -> String {
    format!(
        "\nnode{} ended ({status}); the others go on. It is started again in {} seconds.\n",
        member.number,
        START_AGAIN_AFTER.as_secs()
    )
}

/// Starts a node that ended, unless somebody else has.
async fn start_again(member: &mut Member, output: &Output) {
    if process_of(member).await.is_some() {
        return;
    }
    match spawn(member) {
        Ok(child) => {
            let pid = child.id().unwrap_or(0);
            output.raw(&format!(
                "node{} is started again: process {pid}.\n",
                member.number
            ));
            member.child = Some(child);
        }
        Err(why) => output.raw(&format!("{why}\n")),
    }
}

/// The process that serves as a node, also one that somebody else started.
async fn process_of(member: &Member) -> Option<u32> {
    let client = client(member);
    let reply = tokio::time::timeout(ANSWER_MAX, client.call(&Request::Status));
    match reply.await {
        Ok(Ok(Reply::Status(status))) => Some(status.pid),
        _ => None,
    }
}

/// All at once: one after the other would have each hand over to the next.
async fn stop(mut members: Vec<Member>) {
    for member in &members {
        let pid = match &member.child {
            Some(child) => child.id(),
            None => process_of(member).await,
        };
        pid.into_iter().for_each(process::terminate);
    }
    let ended = async {
        for member in &mut members {
            match &mut member.child {
                // It is killed when dropped.
                Some(child) => drop(child.wait().await),
                None => {
                    while process_of(member).await.is_some() {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            }
        }
    };
    let _ = tokio::time::timeout(STOP_MAX, ended).await;
}
