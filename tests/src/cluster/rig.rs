//! A cluster of several nodes, from the first `cluster init` to the last digest.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::certificate::ServerCertificate;
use super::member::{Member, MemberOptions, PORTS, name};
use super::network::Network;
use super::shim::Shim;
use super::space::Space;
use super::sweeper::Sweeper;
use super::view::View;
use crate::client::Imap;
use crate::harness::{Account, Ports, wait_until};

/// Keys, tables and elections of all nodes, on a machine that does other things too.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the copies may differ once all is whole.
const EQUAL_WITHIN: Duration = Duration::from_secs(20);
/// Accounts that are made at once: a password hash takes a core.
const ACCOUNTS_AT_ONCE: usize = 4;
const DOMAIN: &str = "example.test";
/// Every group's copies unless the cluster is smaller.
const COPIES: usize = 3;

/// How to make it.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many nodes at first.
    pub nodes: usize,
    /// How many accounts.
    pub accounts: usize,
    /// Disks of so many MiB, which can be filled up; without it the machine's own.
    pub disk_mebibytes: Option<u64>,
    /// How many shards.
    pub shards: u32,
    /// Environment variables of the nodes.
    pub environment: HashMap<String, String>,
    /// How many connections a node takes, if not as many as by itself.
    pub connections_max: Option<usize>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: 3,
            accounts: 30,
            disk_mebibytes: None,
            shards: 4,
            environment: HashMap::new(),
            connections_max: None,
        }
    }
}

/// A running cluster. All of it goes when it is dropped, and when the test process ends in whatever way.
pub struct Cluster {
    /// Nodes whose process the test started; one that was removed from the cluster keeps its place, stopped.
    members: Vec<Member>,
    removed: Vec<usize>,
    /// What lies between them.
    pub network: Network,
    accounts: Vec<Account>,
    options: ClusterOptions,
    shim: Shim,
    certificate: ServerCertificate,
    folder: PathBuf,
    sweeper: Sweeper,
}

impl Cluster {
    /// Makes it and waits until every group has all its copies.
    pub fn start(options: ClusterOptions) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mailrook-cluster-")
            .tempdir()?
            .keep();
        let sweeper = Sweeper::new(&folder)?;
        // The nodes become an ordinary user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let mut cluster = Self {
            members: Vec::new(),
            removed: Vec::new(),
            network: Network::new(0)?,
            accounts: Vec::new(),
            shim: Shim::build(&folder)?,
            certificate: ServerCertificate::make(&folder)?,
            options,
            folder,
            sweeper,
        };
        for _ in 0..cluster.options.nodes {
            cluster.add_node()?;
        }
        cluster.make_accounts()?;
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    /// One node more joins; its number.
    pub fn add_node(&mut self) -> io::Result<usize> {
        let number = self.network.add_node()?;
        let folder = self.folder.join(name(number));
        fs::create_dir(&folder)?;
        let control = self.shim.control(&folder.join("control"))?;
        let options = MemberOptions {
            number,
            folder: &folder,
            disk_mebibytes: self.options.disk_mebibytes,
            shards: self.options.shards,
            environment: &self.options.environment,
            certificate: &self.certificate,
            connections_max: self.options.connections_max,
        };
        let space = Arc::clone(self.network.space(number));
        let member = Member::new(space, control, &options)?;
        if number == 0 {
            member.ask(&["cluster", "init"], "")?;
        } else {
            let token = self.anyone()?.ask(&["node", "token"], "")?;
            let token = token["token"].as_str().unwrap_or_default().to_owned();
            member.ask(&["node", "join", &token], "")?;
        }
        self.members.push(member);
        self.start_node(number)?;
        self.wait_until_ready(number)?;
        Ok(number)
    }

    fn make_accounts(&mut self) -> io::Result<()> {
        let first = &self.members[0];
        first.ask(&["domain", "add", DOMAIN], "")?;
        let account = |number| Account {
            user: format!("user{number}@{DOMAIN}"),
            password: format!("password of user {number}"),
        };
        self.accounts = (1..=self.options.accounts).map(account).collect();
        for some in self.accounts.chunks(ACCOUNTS_AT_ONCE) {
            let add = |account: &Account| {
                let words = ["account", "add", &account.user, "--password-stdin"];
                first.ask(&words, &account.password).map(drop)
            };
            thread::scope(|scope| {
                let adding: Vec<_> = some.iter().map(|a| scope.spawn(move || add(a))).collect();
                let mut ended = adding.into_iter().map(|adding| adding.join());
                ended.try_for_each(|ended| ended.unwrap_or_else(|e| std::panic::resume_unwind(e)))
            })?;
        }
        Ok(())
    }

    /// The logins.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Where every node listens, on its own loopback.
    pub fn ports(&self) -> Ports {
        PORTS
    }

    /// What clients with TLS are to trust.
    pub fn certificate(&self) -> &Path {
        &self.certificate.chain
    }

    /// The numbers of the nodes that belong to it, whether they run or not.
    pub fn numbers(&self) -> Vec<usize> {
        (0..self.members.len())
            .filter(|number| !self.removed.contains(number))
            .collect()
    }

    /// The namespaces of the nodes that belong to it: clients enter one and use its loopback.
    pub fn spaces(&self) -> Vec<Arc<Space>> {
        self.numbers()
            .into_iter()
            .map(|number| Arc::clone(self.members[number].space()))
            .collect()
    }

    /// A node.
    pub fn member(&self, number: usize) -> &Member {
        &self.members[number]
    }

    /// Any node that answers commands.
    pub fn anyone(&self) -> io::Result<&Member> {
        let mut members = self.numbers().into_iter().map(|n| &self.members[n]);
        members
            .find(|member| member.pid().is_some() && member.not_ready_because().is_none())
            .ok_or_else(|| io::Error::other(format!("no node is ready: {}", self.state())))
    }

    /// An IMAP client at a node.
    pub fn imap(&self, node: usize, account: usize) -> io::Result<Imap> {
        let Account { user, password } = &self.accounts[account];
        self.members[node]
            .space()
            .within(|| Imap::login(PORTS.imap, user, password))?
    }

    // --- faults of one node ---

    /// Starts a node that does not run.
    pub fn start_node(&mut self, number: usize) -> io::Result<()> {
        let pid = self.members[number].start()?;
        self.sweeper.lives(pid)
    }

    /// SIGKILL.
    pub fn kill9(&mut self, number: usize) -> io::Result<()> {
        let pid = self.members[number].kill9()?;
        pid.map_or(Ok(()), |pid| self.sweeper.ended(pid))
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self, number: usize) -> io::Result<()> {
        let pid = self.members[number].stop()?;
        pid.map_or(Ok(()), |pid| self.sweeper.ended(pid))
    }

    /// Drains and removes a node; it is stopped and no longer counts.
    pub fn remove_node(&mut self, number: usize) -> io::Result<()> {
        let (name, copies) = (name(number), self.copies());
        self.removed.push(number);
        let other = self.anyone()?;
        other.ask(&["node", "drain", &name], "")?;
        let empty = || {
            let view = self.view();
            view.is_ok_and(|v| v.is_empty_handed(&name) && v.missing(copies).is_none())
        };
        let what = format!("{name} to be drained");
        wait_until(READY_TIMEOUT, &what, empty)?;
        self.anyone()?.ask(&["node", "remove", &name], "")?;
        self.stop(number)
    }

    /// Ends every fault: all nodes run, hear each other, have fast disks with room and right clocks.
    pub fn heal(&mut self) -> io::Result<()> {
        self.network.heal()?;
        for number in self.numbers() {
            let member = &mut self.members[number];
            member.control.calm()?;
            if let Some(disk) = &member.disk {
                disk.empty()?;
            }
            member.signal(Signal::CONT)?;
            if !member.is_running() {
                self.kill9(number)?;
                self.start_node(number)?;
            }
        }
        Ok(())
    }

    /// Nodes whose process ended although nobody ended it.
    pub fn fallen(&mut self) -> Vec<usize> {
        let numbers = self.numbers().into_iter();
        numbers
            .filter(|n| self.members[*n].pid().is_some() && !self.members[*n].is_running())
            .collect()
    }

    // --- what it says of itself ---

    /// What the cluster looks like from a node that is ready.
    pub fn view(&self) -> io::Result<View> {
        View::of(&self.anyone()?.ask(&["status"], "")?)
    }

    /// How many copies each group should have.
    pub fn copies(&self) -> usize {
        COPIES.min(self.numbers().len())
    }

    /// The node that leads the shard of an account.
    pub fn leader_of(&self, account: usize) -> io::Result<usize> {
        self.leader_of_in(self.anyone()?, account)
    }

    /// The same, as this node says.
    pub fn leader_of_as_said_by(&self, node: usize, account: usize) -> io::Result<usize> {
        self.leader_of_in(&self.members[node], account)
    }

    fn leader_of_in(&self, asked: &Member, account: usize) -> io::Result<usize> {
        let shard = self.shard_of(asked, account)?;
        let view = View::of(&asked.ask(&["status"], "")?)?;
        self.leader_of_shard(&view, shard)
    }

    fn shard_of(&self, asked: &Member, account: usize) -> io::Result<u32> {
        let user = &self.accounts[account].user;
        let shown = asked.ask(&["account", "show", user], "")?;
        let shard = shown["account"]["shard"]
            .as_u64()
            .and_then(|s| u32::try_from(s).ok());
        shard.ok_or_else(|| io::Error::other(format!("no shard in {shown}")))
    }

    /// The shard of an account.
    pub fn shard_of_account(&self, account: usize) -> io::Result<u32> {
        self.shard_of(self.anyone()?, account)
    }

    /// The node that leads a shard, by what was said of the cluster.
    pub fn leader_of_shard(&self, view: &View, shard: u32) -> io::Result<usize> {
        let leader = view.leader_of(shard);
        self.numbers()
            .into_iter()
            .find(|number| leader == Some(&name(*number)))
            .ok_or_else(|| io::Error::other(format!("shard {shard} has no leader: {view:?}")))
    }

    /// Waits until a node is ready.
    pub fn wait_until_ready(&self, number: usize) -> io::Result<()> {
        let member = &self.members[number];
        let what = format!("{} to be ready", member.name());
        wait_until(READY_TIMEOUT, &what, || {
            member.not_ready_because().is_none()
        })
        .map_err(|e| io::Error::new(e.kind(), format!("{e}: {}", self.state())))
    }

    /// Waits until all nodes are ready and every group has its leader and its copies.
    pub fn wait_until_whole(&self) -> io::Result<()> {
        for number in self.numbers() {
            self.wait_until_ready(number)?;
        }
        let whole = || {
            self.view()
                .is_ok_and(|v| v.missing(self.copies()).is_none())
        };
        wait_until(READY_TIMEOUT, "every group to have its copies", whole)
            .map_err(|e| io::Error::new(e.kind(), format!("{e}: {}", self.state())))
    }

    /// Compares all copies' contents by digest; the error says which differ. Copies that are equal are so soon after
    /// the last write, but for what the cluster does for itself meanwhile.
    pub fn verify(&self) -> io::Result<()> {
        let mut said = Ok(());
        let equal = || {
            said = self
                .anyone()
                .and_then(|node| node.ask(&["cluster", "verify"], "").map(drop));
            said.is_ok()
        };
        match wait_until(EQUAL_WITHIN, "the copies to be equal", equal) {
            Ok(()) => Ok(()),
            Err(waited) => said.map_err(|e| io::Error::new(e.kind(), format!("{waited}: {e}"))),
        }
    }

    /// What takes the room on the nodes' disks.
    pub fn disks(&self) -> String {
        let of = |member: &Member| {
            let used = member.disk.as_ref().map(|disk| disk.used());
            let used = used.map(|used| used.unwrap_or_else(|e| e.to_string()));
            format!("{}: {}\n", member.name(), used.unwrap_or_default())
        };
        self.numbers()
            .into_iter()
            .map(|n| of(self.member(n)))
            .collect()
    }

    /// Everything that may explain a failure.
    pub fn state(&self) -> String {
        let of = |member: &Member| {
            let status = member.ask(&["status"], "").ok();
            let cluster = status.map(|s| s["cluster"].to_string());
            format!(
                "--- {}, pid {:?}, not ready because {:?}\nstatus: {}\n{}\n",
                member.name(),
                member.pid(),
                member.not_ready_because(),
                cluster.unwrap_or_default(),
                member.log_tail(30)
            )
        };
        let members: String = self.members.iter().map(of).collect();
        format!("{members}{}", self.disks())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            // The folder goes with the test; what the nodes said last must not.
            let logs = |m: &Member| format!("--- {}\n{}\n", m.name(), m.log_tail(30));
            let text: String = self.members.iter().map(logs).collect();
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
        }
        for number in 0..self.members.len() {
            let _ = self.kill9(number);
        }
    }
}
