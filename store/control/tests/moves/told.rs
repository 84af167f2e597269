//! What a mover is told on its way: to rest, to go slower or faster, to leave the account where it is, or to stop for good. The account
//! is written, read and delivered to meanwhile; nothing is lost or doubled, and whatever was said, it is served.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::FutureExt;
use mailrook_control::{AccountMover, KEPT_FOR, Pace};
use mailrook_mailbox::{Answer, MoveStage, MoveStep, Query, ShardCommand, ShardReply};
use mailrook_meta::{
    AccountMove, FeatureLevels, LEVEL_FORGOTTEN_MOVES, MetaAnswer, MetaCommand, MetaQuery,
    MetaReply, MoveState, NewNode,
};
use mailrook_store_api::{Call, Directory, Mailstore, StoreError};
use mailrook_store_client::{Client, Shards};
use mailrook_types::{AccountId, ShardId, Timestamp};
use tokio::{
    sync::Notify,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    accounts::{Ledger, add_account, ask_for, inbox, shard_of},
    rig::{Cluster, PATIENCE},
};

/// Longer than a mover takes to hear what it was told, on a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// Whether it is this step.
type At = fn(&MoveStep) -> bool;

/// A mover's way to the groups. It is held up once, before a step of the account's move.
struct Gate {
    client: Client,
    at: At,
    passed: AtomicBool,
    reached: Notify,
    go_on: Notify,
    /// The directory takes it for said that the account is on the other shard, and forgets it: as one that is recovered from a copy of
    /// before.
    forgets: bool,
}

impl Shards for Gate {
    fn shard_command(&self, shard: ShardId, command: ShardCommand) -> Call<'_, ShardReply> {
        async move {
            if let ShardCommand::Move(of) = &command
                && (self.at)(&of.step)
                && !self.passed.swap(true, Ordering::SeqCst)
            {
                self.reached.notify_one();
                self.go_on.notified().await;
            }
            self.client.shard_command(shard, command).await
        }
        .boxed()
    }

    fn shard_query(&self, shard: ShardId, query: Query) -> Call<'_, Answer> {
        Shards::shard_query(&self.client, shard, query)
    }

    fn log_time(&self, group: ShardId) -> Call<'_, Timestamp> {
        Shards::log_time(&self.client, group)
    }
}

impl Directory for Gate {
    fn command(&self, command: MetaCommand) -> Call<'_, MetaReply> {
        match command {
            MetaCommand::FlipMove { id, .. } if self.forgets => async move {
                let as_if = AccountMove {
                    state: MoveState::Moved,
                    ..of_id(&self.client, id).await
                };
                Ok(MetaReply::AccountMove(Box::new(as_if)))
            }
            .boxed(),
            command => Directory::command(&self.client, command),
        }
    }

    fn query(&self, query: MetaQuery) -> Call<'_, MetaAnswer> {
        Directory::query(&self.client, query)
    }
}

async fn of_id(client: &Client, id: u64) -> AccountMove {
    let query = MetaQuery::AccountMoves {
        pending: false,
        after: id - 1,
        limit: 1,
    };
    match Directory::query(client, query).await {
        Ok(MetaAnswer::AccountMoves(mut moves)) => moves.pop().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// An account in use, of which a move was asked for.
struct Scene {
    cluster: Cluster,
    client: Client,
    account: AccountId,
    home: ShardId,
    ledger: Arc<Ledger>,
    users: JoinSet<()>,
    pace: Arc<Pace>,
}

type Carried = JoinHandle<Result<AccountMove, StoreError>>;

impl Scene {
    async fn begin() -> Scene {
        let cluster = Cluster::new(1).await;
        let client = cluster.client(cluster.ids()[0]);
        let account = add_account(&client).await.id;
        let home = shard_of(&client, account).await;
        let ledger = Ledger::new(account);
        let mut users = JoinSet::new();
        let (writes, writer) = (Arc::clone(&ledger), client.clone());
        users.spawn(async move { writes.write_on(writer).await });
        let (delivers, deliverer) = (Arc::clone(&ledger), client.clone());
        users.spawn(async move { delivers.deliver_on(deliverer).await });
        let (reads, reader) = (Arc::clone(&ledger), client.clone());
        users.spawn(async move { reads.read_on(reader).await });
        let scene = Scene {
            cluster,
            client,
            account,
            home,
            ledger,
            users,
            pace: Arc::default(),
        };
        scene.goes_on().await;
        ask_for(&scene.client, account).await;
        scene
    }

    /// The users get on: the account is served.
    async fn goes_on(&self) {
        let before = self.ledger.there.lock().len();
        let begun = Instant::now();
        while self.ledger.there.lock().len() < before + 4 {
            assert!(begun.elapsed() < PATIENCE, "the account is not served");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let took = begun.elapsed();
        assert!(took < SOON, "the account was not served for {took:?}");
    }

    fn gate(&self, at: At, forgets: bool) -> (AccountMover, Arc<Gate>) {
        let gate = Arc::new(Gate {
            client: self.client.clone(),
            at,
            passed: AtomicBool::new(false),
            reached: Notify::new(),
            go_on: Notify::new(),
            forgets,
        });
        let mover = AccountMover {
            directory: Arc::clone(&gate) as _,
            shards: Arc::clone(&gate) as _,
            kept_for: KEPT_FOR,
            pace: Arc::clone(&self.pace),
        };
        (mover, gate)
    }

    async fn due(&self) -> Vec<AccountMove> {
        let (mover, _) = self.gate(|_| false, false);
        let none = BTreeSet::new();
        mover.due(&none, &none, 9).await.unwrap()
    }

    /// A mover that has come to a step, and is held up there.
    async fn held_at(&self, at: At) -> (Arc<Gate>, Carried) {
        self.held(at, false).await
    }

    async fn held(&self, at: At, forgets: bool) -> (Arc<Gate>, Carried) {
        let (mover, gate) = self.gate(at, forgets);
        let of = self.due().await.remove(0);
        let carried = tokio::spawn(async move { mover.carry_on(&of).await });
        timeout(PATIENCE, gate.reached.notified()).await.unwrap();
        (gate, carried)
    }

    /// One that nothing holds up.
    async fn carry_on(&self) -> AccountMove {
        let (mover, _) = self.gate(|_| false, false);
        let of = self.due().await.remove(0);
        mover.carry_on(&of).await.unwrap()
    }

    async fn last(&self) -> AccountMove {
        match Directory::query(&self.client, MetaQuery::MoveOf(self.account)).await {
            Ok(MetaAnswer::MoveOf { last, .. }) => *last.unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn say(&self, command: MetaCommand) -> MetaReply {
        Directory::command(&self.client, command).await.unwrap()
    }

    async fn done(&self, command: MetaCommand) {
        let said = self.say(command).await;
        assert!(!matches!(said, MetaReply::Refused(_)), "{said:?}");
    }

    async fn pause(&self, paused: bool) {
        let id = self.last().await.id;
        self.done(MetaCommand::PauseMove { id, paused }).await;
    }

    /// The directory's node says what it knows, as its controller does.
    async fn raise_level(&self) {
        let (lowest, to) = (1, LEVEL_FORGOTTEN_MOVES);
        let node = NewNode {
            id: self.cluster.ids()[0],
            name: "mail1".to_owned(),
            address: "mail1.example.test:7700".to_owned(),
            zone: String::new(),
            levels: FeatureLevels {
                lowest,
                highest: to,
            },
        };
        self.done(MetaCommand::AnnounceNode(node)).await;
        self.done(MetaCommand::RaiseFeatureLevel { to }).await;
    }

    async fn cancel(&self) -> MetaReply {
        let (id, cause) = (self.last().await.id, "it was cancelled".to_owned());
        self.say(MetaCommand::AbandonMove { id, cause }).await
    }

    async fn stage(&self, shard: ShardId) -> MoveStage {
        let account = self.account;
        let query = Query::MoveStanding { account };
        match Shards::shard_query(&self.client, shard, query).await {
            Ok(Answer::MoveStanding(Some(standing))) => standing.stage,
            other => panic!("{other:?}"),
        }
    }

    fn target(&self) -> ShardId {
        ShardId(3 - self.home.0)
    }

    /// The account is served on that shard, and all is there that its users were told is.
    async fn end_on(mut self, shard: ShardId) {
        self.goes_on().await;
        assert_eq!(shard_of(&self.client, self.account).await, shard);
        self.rest().await;
        self.verify().await;
    }
}

async fn soon(carried: Carried) -> AccountMove {
    let ended = timeout(SOON, carried).await;
    ended.expect("the mover does not end").unwrap().unwrap()
}

fn installs(step: &MoveStep) -> bool {
    matches!(step, MoveStep::Install(_))
}

fn fences(step: &MoveStep) -> bool {
    matches!(step, MoveStep::Fence)
}

/// The account is fenced then.
fn completes(step: &MoveStep) -> bool {
    matches!(step, MoveStep::Complete { .. })
}

fn opens(step: &MoveStep) -> bool {
    matches!(step, MoveStep::Open)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_paused_while_it_is_copied_rests_until_it_is_resumed() {
    let scene = Scene::begin().await;
    let (gate, carried) = scene.held_at(installs).await;
    scene.pause(true).await;
    gate.go_on.notify_one();
    let rests = soon(carried).await;
    assert_eq!(
        (&rests.state, rests.note.fencing),
        (&MoveState::Copying, false)
    );
    assert_eq!(scene.due().await, []);
    scene.goes_on().await;
    scene.pause(false).await;
    assert_eq!(scene.carry_on().await.state, MoveState::Moved);
    let target = scene.target();
    scene.end_on(target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_moves_rest_in_the_middle_and_go_on() {
    let scene = Scene::begin().await;
    let (gate, carried) = scene.held_at(installs).await;
    scene.pace.set_paused(true);
    gate.go_on.notify_one();
    scene.goes_on().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!carried.is_finished());
    assert_eq!(scene.last().await.state, MoveState::Copying);
    assert_eq!(shard_of(&scene.client, scene.account).await, scene.home);
    scene.pace.set_paused(false);
    assert_eq!(soon(carried).await.state, MoveState::Moved);
    let target = scene.target();
    scene.end_on(target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_leaves_no_account_fenced() {
    let scene = Scene::begin().await;
    // Its mover dies in the fence, and all is to rest: it is served again all the same.
    let (_gate, carried) = scene.held_at(completes).await;
    assert!(matches!(
        scene.stage(scene.home).await,
        MoveStage::Fenced(_)
    ));
    scene.pause(true).await;
    scene.pace.set_paused(true);
    carried.abort();
    let stays = scene.carry_on().await;
    assert!(matches!(stays.state, MoveState::Failed(_)), "{stays:?}");
    scene.goes_on().await;
    // One that died just before the fence rests, and is not copied over and over.
    scene.pace.set_paused(false);
    ask_for(&scene.client, scene.account).await;
    let (_gate, carried) = scene.held_at(fences).await;
    scene.pause(true).await;
    carried.abort();
    assert!(scene.last().await.note.fencing);
    let rests = scene.carry_on().await;
    assert_eq!(
        (&rests.state, rests.note.fencing),
        (&MoveState::Copying, false)
    );
    assert_eq!(scene.due().await, []);
    scene.goes_on().await;
    // One that lives goes on to its end.
    scene.pause(false).await;
    let (gate, carried) = scene.held_at(completes).await;
    scene.pause(true).await;
    scene.pace.set_paused(true);
    gate.go_on.notify_one();
    assert_eq!(soon(carried).await.state, MoveState::Moved);
    let target = scene.target();
    scene.end_on(target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_rate_holds_at_once_and_a_slow_move_hears_what_it_is_told() {
    let scene = Scene::begin().await;
    scene.pace.set_rate(Some(1));
    let (mover, _gate) = scene.gate(|_| false, false);
    let of = scene.due().await.remove(0);
    let carried = tokio::spawn(async move { mover.carry_on(&of).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!carried.is_finished());
    scene.goes_on().await;
    scene.pace.set_rate(None);
    assert_eq!(soon(carried).await.state, MoveState::Moved);
    // What waits for hours, as little may be copied, is cancelled, or rests, at once.
    scene.pace.set_rate(Some(1));
    for cancels in [false, true] {
        ask_for(&scene.client, scene.account).await;
        while scene.due().await[0].state == MoveState::Moved {
            // What the first one left goes first.
            scene.carry_on().await;
        }
        let (gate, carried) = scene.held_at(installs).await;
        gate.go_on.notify_one();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if cancels {
            scene.cancel().await;
        } else {
            scene.pause(true).await;
        }
        let told = soon(carried).await;
        assert_eq!(told.paused, !cancels);
        if !cancels {
            scene.pause(false).await;
        }
    }
    let stays = scene.carry_on().await;
    assert!(matches!(stays.state, MoveState::Failed(_)), "{stays:?}");
    let there = scene.target();
    scene.end_on(there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_is_cancelled_until_the_account_has_arrived() {
    let scene = Scene::begin().await;
    // While it is copied, just before the fence, and in it.
    let steps: [(At, bool); 3] = [(installs, false), (fences, true), (completes, true)];
    for (at, is_last) in steps {
        let (gate, carried) = scene.held_at(at).await;
        let said = scene.cancel().await;
        assert!(matches!(said, MetaReply::AccountMove(_)), "{said:?}");
        gate.go_on.notify_one();
        let mut told = soon(carried).await;
        if !is_last {
            assert!(matches!(told.state, MoveState::Abandoned(_)), "{told:?}");
            told = scene.carry_on().await;
        }
        // From the fence on nobody has to come for the account to be served.
        let cancelled = MoveState::Failed("it was cancelled".to_owned());
        assert_eq!(told.state, cancelled);
        scene.goes_on().await;
        assert_eq!(shard_of(&scene.client, scene.account).await, scene.home);
        ask_for(&scene.client, scene.account).await;
    }
    // It has arrived, and is not open yet.
    let (gate, carried) = scene.held_at(opens).await;
    let said = scene.cancel().await;
    assert!(matches!(said, MetaReply::Refused(_)), "{said:?}");
    gate.go_on.notify_one();
    assert_eq!(soon(carried).await.state, MoveState::Moved);
    let said = scene.cancel().await;
    assert!(matches!(said, MetaReply::Refused(_)), "{said:?}");
    let target = scene.target();
    scene.end_on(target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn movers_of_a_controller_that_is_deposed_stop_at_once() {
    let mut scene = Scene::begin().await;
    // It waits for a shard that does not answer.
    let (_gate, carried) = scene.held_at(installs).await;
    scene.pace.stop();
    let stopped = timeout(Duration::from_secs(1), carried).await;
    let stopped = stopped.expect("it does not stop").unwrap().unwrap();
    assert_eq!((stopped.state, stopped.turn), (MoveState::Copying, 1));
    scene.goes_on().await;
    // The next controller's mover.
    scene.pace = Arc::default();
    let (gate, carried) = scene.held_at(completes).await;
    // In the fence it is shortest to go on.
    scene.pace.stop();
    gate.go_on.notify_one();
    let moved = soon(carried).await;
    assert_eq!((moved.state, moved.turn), (MoveState::Moved, 2));
    let target = scene.target();
    scene.end_on(target).await;
}

impl Scene {
    /// The directory was recovered from a copy that lacks what was decided of the move.
    async fn recover_directory(&self) {
        self.raise_level().await;
        self.done(MetaCommand::SkipIds { by: 1_000 }).await;
        let last = self.last().await;
        assert_eq!((last.doubtful, last.state), (true, MoveState::Copying));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_not_opened_late_where_it_is_not() {
    let scene = Scene::begin().await;
    let (gate, carried) = scene.held(opens, true).await;
    scene.recover_directory().await;
    let stays = scene.carry_on().await;
    assert!(matches!(stays.state, MoveState::Failed(_)), "{stays:?}");
    scene.goes_on().await;
    // The mover of before comes only now.
    gate.go_on.notify_one();
    let _late = timeout(SOON, carried).await.unwrap();
    assert_eq!(scene.stage(scene.home).await, MoveStage::Here);
    assert_eq!(scene.stage(scene.target()).await, MoveStage::Gone);
    let home = scene.home;
    scene.end_on(home).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_was_opened_before_the_directory_forgot_it_is_found() {
    let scene = Scene::begin().await;
    let (gate, carried) = scene.held(opens, true).await;
    scene.recover_directory().await;
    // Whatever is said of it meanwhile.
    scene.cancel().await;
    gate.go_on.notify_one();
    let _late = timeout(SOON, carried).await.unwrap();
    assert_eq!(scene.stage(scene.target()).await, MoveStage::Here);
    let found = scene.carry_on().await;
    assert_eq!(found.state, MoveState::Moved);
    let target = scene.target();
    scene.end_on(target).await;
}

impl Scene {
    /// Nobody uses the account any more.
    async fn rest(&mut self) {
        self.ledger.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.users.join_next().await {
            ended.unwrap();
        }
    }

    /// Somebody waits in vain for the account, which the directory takes for being where it is not.
    async fn wait_in_vain(&self, impatient: &Client) {
        let store: &dyn Mailstore = impatient;
        let waited = store.status(self.account, inbox()).await;
        assert!(
            matches!(waited, Err(StoreError::Unavailable(_))),
            "{waited:?}"
        );
    }

    async fn verify(self) {
        self.ledger.verify(&self.client).await;
        for shard in [1, 2] {
            self.cluster.verify(ShardId(shard)).await;
        }
        self.cluster.end().await;
    }
}

/// The directory was recovered from a copy of before the whole move: it says that the account is where it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_found_by_a_directory_that_has_forgotten_its_move() {
    let mut scene = Scene::begin().await;
    let moved = scene.carry_on().await;
    assert_eq!(moved.state, MoveState::Moved);
    scene.goes_on().await;
    scene.rest().await;
    // As it is after that: the entry is of before, and what is left where the account was stays.
    let (id, turn) = (moved.id, moved.turn);
    scene.done(MetaCommand::EndMove { id, turn }).await;
    scene.raise_level().await;
    ask_for(&scene.client, scene.account).await;
    let id = scene.last().await.id;
    for command in [
        MetaCommand::TakeMove { id, turn_before: 0 },
        MetaCommand::FlipMove {
            id,
            turn: 1,
            found_open: false,
        },
        MetaCommand::EndMove { id, turn: 1 },
    ] {
        scene.done(command).await;
    }
    assert_eq!(shard_of(&scene.client, scene.account).await, scene.home);
    assert_eq!(scene.due().await, []);
    scene.wait_in_vain(&scene.cluster.impatient()).await;
    let found = scene.carry_on().await;
    assert_eq!((&found.state, found.note.messages), (&MoveState::Moved, 0));
    assert_eq!(shard_of(&scene.client, scene.account).await, scene.target());
    scene.ledger.verify(&scene.client).await;
    // It moves again, and what was left behind goes first.
    ask_for(&scene.client, scene.account).await;
    assert_eq!(scene.carry_on().await.state, MoveState::Done);
    assert_eq!(scene.carry_on().await.state, MoveState::Moved);
    assert_eq!(shard_of(&scene.client, scene.account).await, scene.home);
    scene.verify().await;
}

/// It does not know the move that was about to take the account away, either.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_forgotten_move_has_fenced_is_served_again() {
    let mut scene = Scene::begin().await;
    scene.rest().await;
    scene.raise_level().await;
    let impatient = scene.cluster.impatient();
    // Before and after the other shard has all of it.
    for at in [completes, opens] {
        let (gate, carried) = scene.held(at, true).await;
        let id = scene.last().await.id;
        scene.cancel().await;
        let turn = scene.last().await.turn;
        scene.done(MetaCommand::EndMove { id, turn }).await;
        assert_eq!(scene.due().await, []);
        scene.wait_in_vain(&impatient).await;
        let stays = scene.carry_on().await;
        assert!(matches!(stays.state, MoveState::Failed(_)), "{stays:?}");
        assert_eq!(scene.stage(scene.home).await, MoveStage::Here);
        scene.ledger.verify(&scene.client).await;
        // Its mover of before comes late.
        gate.go_on.notify_one();
        let _late = timeout(SOON, carried).await.unwrap();
        assert_eq!(scene.stage(scene.target()).await, MoveStage::Gone);
        ask_for(&scene.client, scene.account).await;
    }
    assert_eq!(scene.carry_on().await.state, MoveState::Moved);
    scene.verify().await;
}
