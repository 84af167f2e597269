//! Which accounts go to other shards, so that the shards are about as full, as populous and as busy as each other.
//!
//! Each shard is judged by the worst of three shares: of the bytes, of the accounts, of the load, each as a multiple of what a shard
//! has on average. The worst shard gives to the one that is best off, what relieves it most for what the move costs. What a shard
//! has must be well above the average before it gives, and then it gives until it is close to it: a cluster that was evened out
//! can sway a little without being taken up again.

use std::collections::{BTreeMap, BTreeSet};

use mailrook_types::{AccountId, ShardId};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Bytes of mail.
    Size,
    /// How many accounts.
    Accounts,
    /// What they ask for.
    Load,
}

impl Measure {
    const ALL: [Measure; 3] = [Measure::Size, Measure::Accounts, Measure::Load];

    /// How much a share counts. The disk that is full stops its node. Accounts cost little by being there, and a shard may have twice
    /// as many as others. Load is another by the hour, and a quarter more than others is nothing to move mail for.
    fn weight(self) -> f64 {
        match self {
            Measure::Size => 1.0,
            Measure::Accounts => 0.5,
            Measure::Load => 0.8,
        }
    }

    /// Below so much of it on average a shard has next to nothing, and it says nothing of how even the shards are: ten accounts'
    /// [`ACCOUNT_BYTES`], one account, a request a second.
    fn little(self) -> u64 {
        match self {
            Measure::Size => 10 * ACCOUNT_BYTES,
            Measure::Accounts => 1,
            Measure::Load => 3_600,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Measure::Size => "mail",
            Measure::Accounts => "accounts",
            Measure::Load => "load",
        }
    }
}

/// A move costs something however little the account holds: its mailboxes, its records, a pause. As much as ten messages of
/// ordinary size.
const ACCOUNT_BYTES: u64 = 100_000;

/// A shard gives once it is so many times as crowded as the average.
const CROWDED: f64 = 1.10;

/// Until it is no more than so many times as crowded.
const EVEN: f64 = 1.05;

/// A shard of which no more than this part of what is too much can go has it from one account, and keeps its others.
const WORTH_PART: f64 = 0.1;

/// A move must lower the worse of both shards by at least this part of what the account weighs.
const GAIN_PART: f64 = 0.5;

/// The heaviest account of a shard stays if it is a fair share by itself: wherever it went, that would be the worst shard next, and those beside
/// it can make room.
const FAIR_SHARE: f64 = 1.0;

/// How often a plan is looked over for what its own moves make possible, which the next plan would find. The second look finds
/// something in clusters of few and unequal accounts, later ones hardly anything.
const LOOKS_MAX: usize = 8;

/// An account, as it is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Which.
    pub account: AccountId,
    /// Where it is.
    pub shard: ShardId,
    /// What it holds.
    pub bytes: u64,
    /// Requests an hour; 0 of all where it is not known.
    pub load: u64,
}

impl AccountView {
    fn amounts(&self) -> Amounts {
        Amounts([self.bytes, 1, self.load])
    }
}

/// An account that is to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// Which.
    pub account: AccountId,
    /// Where it is.
    pub from: ShardId,
    /// Where it is to be.
    pub to: ShardId,
    /// What its shard has too much of.
    pub measure: Measure,
    /// The same for people.
    pub reason: String,
}

/// Bytes, accounts, load.
#[derive(Clone, Copy, Debug, Default)]
struct Amounts([u64; 3]);

impl Amounts {
    fn of(&self, measure: Measure) -> u64 {
        self.0[measure as usize]
    }

    fn plus(mut self, other: Amounts) -> Amounts {
        for (sum, one) in self.0.iter_mut().zip(other.0) {
            *sum += one;
        }
        self
    }

    fn minus(mut self, other: Amounts) -> Amounts {
        for (sum, one) in self.0.iter_mut().zip(other.0) {
            *sum -= one;
        }
        self
    }
}

/// The shards, and who may move.
struct Board {
    sums: BTreeMap<ShardId, Amounts>,
    movable: BTreeMap<ShardId, Vec<AccountView>>,
    all: Amounts,
}

/// Says which accounts are to move, at most `moves_max`, in the order in which they are best moved; none of them twice. The worst shard is never
/// worse after any of these moves than before it. Accounts on other shards than `shards` are left where they are.
pub fn accounts_to_move(
    shards: &BTreeSet<ShardId>,
    accounts: &[AccountView],
    moves_max: usize,
) -> Vec<Relocation> {
    let mut then: BTreeMap<AccountId, AccountView> =
        accounts.iter().map(|one| (one.account, *one)).collect();
    let mut planned: Vec<Relocation> = Vec::new();
    for _ in 0..LOOKS_MAX {
        let now: Vec<AccountView> = then.values().copied().collect();
        let further = look(shards, &now, moves_max);
        for of in &further {
            if let Some(one) = then.get_mut(&of.account) {
                one.shard = of.to;
            }
        }
        let is_all = further.is_empty() || further.len() == moves_max;
        planned.extend(further);
        if is_all {
            break;
        }
    }
    let mut board = Board::new(shards, accounts);
    let mut planned = at_once(planned);
    let mut ordered = Vec::new();
    while ordered.len() < moves_max {
        let weighed = planned.iter().position(|of| board.bears(of, &then));
        let Some(at) = weighed else {
            break;
        };
        let of = planned.remove(at);
        board.shift(&then[&of.account], of.from, of.to);
        ordered.push(of);
    }
    ordered
}

/// Each account from where it is to where it comes to in the end, in the order in which they were planned first.
fn at_once(planned: Vec<Relocation>) -> Vec<Relocation> {
    let mut ends: BTreeMap<AccountId, ShardId> = BTreeMap::new();
    for of in &planned {
        ends.insert(of.account, of.to);
    }
    let firsts = planned.into_iter().filter_map(|mut of| {
        of.to = ends.remove(&of.account)?;
        Some(of)
    });
    firsts.filter(|of| of.from != of.to).collect()
}

/// One look at a cluster, in which no account moves twice.
fn look(shards: &BTreeSet<ShardId>, accounts: &[AccountView], moves_max: usize) -> Vec<Relocation> {
    let mut board = Board::new(shards, accounts);
    let mut planned: Vec<Relocation> = Vec::new();
    let (mut giving, mut settled) = (BTreeSet::new(), BTreeSet::new());
    while planned.len() < moves_max {
        let Some((from, crowding, measure)) = board.worst(&settled) else {
            break;
        };
        let is_new = !giving.contains(&from);
        let enough = if is_new { CROWDED } else { EVEN };
        if crowding <= enough || (is_new && !board.is_worth(from, crowding, measure)) {
            settled.insert(from);
            continue;
        }
        giving.insert(from);
        match board.best_move(from, crowding, measure) {
            Some((at, to)) => planned.push(board.carry_out(from, at, to, measure)),
            None => {
                settled.insert(from);
            }
        }
    }
    planned
}

/// How crowded the worst of these shards is, as a multiple of the average: what [`accounts_to_move`] lowers.
pub fn worst_crowding(shards: &BTreeSet<ShardId>, accounts: &[AccountView]) -> f64 {
    let board = Board::new(shards, accounts);
    let worst = board.worst(&BTreeSet::new());
    worst.map_or(0.0, |(_, crowding, _)| crowding)
}

impl Board {
    fn new(shards: &BTreeSet<ShardId>, accounts: &[AccountView]) -> Board {
        let mut board = Board {
            sums: shards.iter().map(|id| (*id, Amounts::default())).collect(),
            movable: BTreeMap::new(),
            all: Amounts::default(),
        };
        for account in accounts {
            let Some(sum) = board.sums.get_mut(&account.shard) else {
                continue;
            };
            *sum = sum.plus(account.amounts());
            board.all = board.all.plus(account.amounts());
            let movable = board.movable.entry(account.shard).or_default();
            movable.push(*account);
        }
        board
    }

    /// So much as a multiple of what a shard has on average, by its weight.
    fn share(&self, measure: Measure, amount: u64) -> f64 {
        let shards = self.sums.len().max(1) as f64;
        let average = (self.all.of(measure) as f64 / shards).max(measure.little() as f64);
        amount as f64 / average * measure.weight()
    }

    fn crowding(&self, amounts: &Amounts) -> (f64, Measure) {
        let shares = Measure::ALL.map(|of| (self.share(of, amounts.of(of)), of));
        let worse = |a: (f64, Measure), b: (f64, Measure)| if b.0 > a.0 { b } else { a };
        shares.into_iter().fold((0.0, Measure::Size), worse)
    }

    /// The most crowded shard but for some; of several the first.
    fn worst(&self, but: &BTreeSet<ShardId>) -> Option<(ShardId, f64, Measure)> {
        let others = self.sums.iter().filter(|(shard, _)| !but.contains(shard));
        let judged = others.map(|(shard, sums)| {
            let (crowding, measure) = self.crowding(sums);
            (*shard, crowding, measure)
        });
        judged.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    }

    /// Whether enough of what is too much on a shard can go.
    fn is_worth(&self, shard: ShardId, crowding: f64, measure: Measure) -> bool {
        let held = self.movable.get(&shard).into_iter().flatten();
        let heaviest = held.map(|one| one.amounts().of(measure)).max();
        let rest = (self.sums[&shard].of(measure)).saturating_sub(heaviest.unwrap_or(0));
        self.share(measure, rest) >= (crowding - 1.0) * WORTH_PART
    }

    /// The account that relieves `from` most for what it costs, by its place there, and the shard that has most room for one.
    fn best_move(
        &self,
        from: ShardId,
        crowding: f64,
        measure: Measure,
    ) -> Option<(usize, ShardId)> {
        let others = self.sums.iter().filter(|(shard, _)| **shard != from);
        let mut targets: Vec<_> = others
            .map(|(shard, sums)| (self.crowding(sums).0, *shard, sums))
            .collect();
        targets.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let held = self.movable.get(&from)?;
        let heaviest =
            (held.iter()).max_by_key(|one| (one.amounts().of(measure), one.bytes, one.account));
        let stays = heaviest
            .filter(|one| self.share(measure, one.amounts().of(measure)) >= FAIR_SHARE)
            .map(|one| one.account);
        targets.into_iter().find_map(|(_, to, sums)| {
            let others = held.iter().enumerate();
            let others = others.filter(|(_, one)| Some(one.account) != stays);
            let judged = others.filter_map(|(at, one)| {
                let weighs = self.share(measure, one.amounts().of(measure));
                let (then, _) = self.crowding(&sums.plus(one.amounts()));
                let pays = weighs > 0.0 && then < crowding && then + weighs * GAIN_PART <= crowding;
                // What goes beyond what is too much is no relief.
                let relief = weighs.min(crowding - 1.0);
                let cost = (one.bytes + ACCOUNT_BYTES) as f64;
                pays.then_some((relief / cost, one.account, at))
            });
            let best = judged.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            best.map(|(_, _, at)| (at, to))
        })
    }

    /// Moves the account at place `at` of `from`. It does not move on from where it comes to.
    fn carry_out(&mut self, from: ShardId, at: usize, to: ShardId, measure: Measure) -> Relocation {
        let held = self.movable.entry(from).or_default();
        let one = held.swap_remove(at);
        let (has, is) = (self.sums[&from].of(measure), one.amounts().of(measure));
        let shards = self.sums.len() as f64;
        let times = has as f64 * shards / self.all.of(measure).max(1) as f64;
        let reason = match measure {
            Measure::Accounts => format!("{from} has {times:.1} times its share of accounts"),
            _ => format!(
                "{from} has {times:.1} times its share of {}, {:.0} % of that by this account",
                measure.word(),
                is as f64 * 100.0 / has.max(1) as f64,
            ),
        };
        self.shift(&one, from, to);
        Relocation {
            account: one.account,
            from,
            to,
            measure,
            reason,
        }
    }

    fn shift(&mut self, one: &AccountView, from: ShardId, to: ShardId) {
        for (shard, sums) in &mut self.sums {
            if *shard == from {
                *sums = sums.minus(one.amounts());
            } else if *shard == to {
                *sums = sums.plus(one.amounts());
            }
        }
    }

    /// Whether a move leaves the worst shard no worse.
    fn bears(&self, of: &Relocation, accounts: &BTreeMap<AccountId, AccountView>) -> bool {
        let worst = self.worst(&BTreeSet::new());
        let (Some((_, worst, _)), Some(one)) = (worst, accounts.get(&of.account)) else {
            return false;
        };
        let sums = self.sums.get(&of.to).copied().unwrap_or_default();
        self.crowding(&sums.plus(one.amounts())).0 <= worst
    }
}
