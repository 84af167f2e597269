//! One simulation: a cluster is made, clients and faults come over it, then nothing is wrong any more, and in the end the
//! invariants are looked at.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mailrook_cluster::{GroupRole, GroupStatus, Plant};
use mailrook_control::FEATURE_LEVELS;
use mailrook_meta::MetaCommand;
use mailrook_store_api::PreparedMessage;
use mailrook_transport::Handlers;
use mailrook_types::{AccountId, NodeId, ShardId};
use parking_lot::Mutex;

use crate::{
    boot::Nobody,
    chance::Chance,
    copies::{Content, contents},
    faults::Faults,
    front::{self, Load, Retry},
    invariants,
    ledger::Ledger,
    watch::Watch,
    world::{FRONT, World},
};

/// How long the cluster may take to be made.
const MADE_MAX_MS: u64 = 60_000;

/// How long things go wrong.
const FAULTS_MS: u64 = 30_000;

/// How long the cluster may take afterwards until all is well: elections, a controller's steps, snapshots.
const RECOVERED_MAX_MS: u64 = 90_000;

/// How often the copies are looked at.
const LOOK_EVERY_MS: u64 = 40;

/// A heart beat and more: followers know then what is committed.
const SETTLE_MS: u64 = 2000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub plant: Option<Plant>,
    pub retry: Retry,
}

/// What happened, for the invariants.
pub struct Evidence {
    pub ledger: Ledger,
    pub watch: Watch,
    pub incidents: Vec<String>,
    /// The copies of each group at the end.
    pub copies: BTreeMap<ShardId, Vec<(NodeId, Content)>>,
    /// Whether it all came to rest.
    pub recovered: Result<(), String>,
    pub trace: String,
    pub messages: u64,
    pub simulated_ms: u64,
}

/// Simulates, and says which invariant does not hold.
pub fn run(scenario: Scenario) -> Result<Evidence, String> {
    let evidence = Run::new(scenario).run()?;
    invariants::check(&evidence)?;
    Ok(evidence)
}

struct Run {
    world: World,
    scenario: Scenario,
    ledger: Arc<Mutex<Ledger>>,
    watch: Watch,
    next_look_ms: u64,
}

impl Run {
    fn new(scenario: Scenario) -> Run {
        // Three have nowhere to move copies to, four have, and five have several places.
        let nodes = [3, 4, 3, 5][(scenario.seed % 4) as usize];
        let shards = [1, 2][(scenario.seed / 4 % 2) as usize];
        Run {
            world: World::new(scenario.seed, (nodes, shards), scenario.plant),
            scenario,
            ledger: Arc::default(),
            watch: Watch::default(),
            next_look_ms: 0,
        }
    }

    fn step(&mut self) {
        self.world.step();
        if self.world.shared.now_ms() >= self.next_look_ms {
            self.next_look_ms += LOOK_EVERY_MS;
            self.watch.look(&self.world);
        }
    }

    /// Steps until it is so, for at most so long.
    fn until(&mut self, max_ms: u64, mut done: impl FnMut(&mut Run) -> bool) -> bool {
        let end = self.world.shared.now_ms() + max_ms;
        while self.world.shared.now_ms() < end {
            if done(self) {
                return true;
            }
            if !self.world.shared.incidents.lock().is_empty() {
                return false;
            }
            self.step();
        }
        false
    }

    fn run(mut self) -> Result<Evidence, String> {
        let accounts = self.make()?;
        let stop = Arc::new(AtomicBool::new(false));
        self.load(&accounts, &stop);
        self.go_wrong();
        let recovered = self.recover(&accounts, &stop);
        let (trace, messages) = self.world.shared.net.trace();
        let incidents = self.world.shared.incidents.lock().clone();
        let copies = contents(&self.world);
        Ok(Evidence {
            ledger: std::mem::take(&mut self.ledger.lock()),
            watch: self.watch,
            incidents,
            copies,
            recovered,
            trace,
            messages,
            simulated_ms: self.world.shared.now_ms(),
        })
    }

    /// Makes the cluster, and accounts.
    fn make(&mut self) -> Result<Vec<AccountId>, String> {
        let nobody = || Arc::new(Nobody) as Arc<dyn mailrook_transport::Handler>;
        let handlers = Handlers {
            consensus: nobody(),
            store: nobody(),
            control: nobody(),
            bulk: nobody(),
        };
        let shared = Arc::clone(&self.world.shared);
        shared
            .net
            .start(FRONT, handlers, None, self.world.front.handle());
        let ids = self.world.ids();
        let founder = self.world.founder().ok_or("no nodes")?;
        ids.iter().for_each(|id| self.world.start(*id));
        let accounts = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&accounts);
        let client = front::client(&shared, &[founder]);
        self.world.front.spawn(async move {
            front::join(&client, founder, &ids, 1_700_000_000_000).await;
            let to = FEATURE_LEVELS.highest;
            front::command(&client, MetaCommand::RaiseFeatureLevel { to }).await;
            front::command(&client, MetaCommand::SetHealAfter { ms: 60_000 }).await;
            *made.lock() = front::add_accounts(&client, 3).await;
        });
        let is_made = self.until(MADE_MAX_MS, |run| {
            !accounts.lock().is_empty() && run.is_whole()
        });
        let accounts = accounts.lock().clone();
        match is_made {
            true => Ok(accounts),
            false => Err(format!(
                "the cluster was not made: {} accounts, {:?}",
                accounts.len(),
                self.world.shared.incidents.lock(),
            )),
        }
    }

    /// The copies of each group.
    fn groups(&self) -> impl Iterator<Item = Vec<GroupStatus>> {
        (0..=self.world.shards).map(ShardId).map(|shard| {
            let copies = (self.world.ids().into_iter())
                .filter_map(|id| self.world.node(id)?.group(shard))
                .map(|group| group.status());
            copies.collect()
        })
    }

    /// Whether all copies of each group have applied as much.
    fn is_level(&self) -> bool {
        self.groups().all(|copies| {
            let mut applied = copies.iter().map(|status| status.applied_index);
            let first = applied.next();
            applied.all(|index| Some(index) == first)
        })
    }

    /// Whether every group has its copies, all of which run, and a leader.
    fn is_whole(&self) -> bool {
        self.groups().all(|copies| {
            let runs = |status: &GroupStatus| !matches!(status.role, GroupRole::Stopped { .. });
            let leads = |status: &&GroupStatus| {
                status.role == GroupRole::Leader
                    && status.voters.len() == copies.len()
                    && status.learners.is_empty()
                    && !status.changing
            };
            copies.len() == 3 && copies.iter().all(runs) && copies.iter().filter(leads).count() == 1
        })
    }

    fn load(&mut self, accounts: &[AccountId], stop: &Arc<AtomicBool>) {
        let message = PreparedMessage::new(b"Subject: hello\r\n\r\nhello\r\n");
        let message = Arc::new(message.expect("a message of two lines"));
        for number in 0..6 {
            let stop = Arc::clone(stop);
            let load = Load {
                client: front::client(&self.world.shared, &self.world.ids()),
                accounts: accounts.to_vec(),
                ledger: Arc::clone(&self.ledger),
                chance: Chance::of(self.scenario.seed, 200 + number),
                retry: self.scenario.retry,
                // Some mostly write, some mostly read.
                append_percent: [80, 20][(number % 2) as usize],
                message: Arc::clone(&message),
                goes_on: Arc::new(move || !stop.load(Ordering::Relaxed)),
            };
            self.world.front.spawn(load.run());
        }
    }

    fn go_wrong(&mut self) {
        let mut faults = Faults {
            chance: Chance::of(self.scenario.seed, 3),
            next_ms: self.world.shared.now_ms() + 500,
            heal_at_ms: None,
            operator: front::client(&self.world.shared, &self.world.ids()),
            draining: None,
        };
        self.until(FAULTS_MS, |run| {
            faults.step(&mut run.world);
            false
        });
        faults.end(&mut self.world);
    }

    /// Waits until the cluster is as it was, and clients are served.
    fn recover(&mut self, accounts: &[AccountId], stop: &AtomicBool) -> Result<(), String> {
        let whole = self.until(RECOVERED_MAX_MS, |run| {
            let all_run = run
                .world
                .members
                .values()
                .all(|member| member.node.lock().is_some());
            all_run && run.is_whole()
        });
        let before = self.ledger.lock().acknowledged_count();
        let served = whole
            && self.until(RECOVERED_MAX_MS, |run| {
                run.ledger.lock().acknowledged_count() > before + 10
            });
        stop.store(true, Ordering::Relaxed);
        if !served {
            return Err(self.describe(whole));
        }
        let read = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&read);
        let load = self.reader(accounts)?;
        self.world.front.spawn(async move {
            // Those under way end first.
            tokio::time::sleep(Duration::from_secs(6)).await;
            front::read_all(load).await;
            done.store(true, Ordering::Relaxed);
        });
        if !self.until(RECOVERED_MAX_MS, |_| read.load(Ordering::Relaxed)) {
            return Err("the mailboxes cannot be read".to_owned());
        }
        self.until(SETTLE_MS, |_| false);
        // The controller may have had something to do just now.
        match self.until(RECOVERED_MAX_MS, |run| run.is_level()) {
            true => Ok(()),
            false => Err(self.describe(whole)),
        }
    }

    fn reader(&self, accounts: &[AccountId]) -> Result<Load, String> {
        let message = PreparedMessage::new(b"\r\n").map_err(|error| format!("{error:?}"))?;
        Ok(Load {
            client: front::client(&self.world.shared, &self.world.ids()),
            accounts: accounts.to_vec(),
            ledger: Arc::clone(&self.ledger),
            chance: Chance::of(self.scenario.seed, 4),
            retry: Retry::Never,
            append_percent: 0,
            message: Arc::new(message),
            goes_on: Arc::new(|| true),
        })
    }

    fn describe(&self, whole: bool) -> String {
        let mut text = format!("at {} ms, whole: {whole}", self.world.shared.now_ms());
        for id in self.world.ids() {
            let Some(node) = self.world.node(id) else {
                text += &format!("\n{id} does not run");
                continue;
            };
            for status in node.groups().map(|group| group.status()) {
                text += &format!("\n{id}: {status:?}");
            }
        }
        text
    }
}
