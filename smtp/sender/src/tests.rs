//! The runner against the store's twin and a courier that does as it is told.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use mailrook_store_api::{
    NewMail, PreparedMessage, Queue,
    memory::MemoryCluster,
    shard::{Claimed, ListedJob, NewJob, QueueSummary},
};
use mailrook_types::{ClientId, Domain, ShardId, Timestamp};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use crate::{
    Attempt, Courier, Errand, Outcome, Runner, SenderSettings, Told, Unreachable, Way,
    testing::{envelope, recipient, settings},
};

const SHARD: ShardId = ShardId(1);

/// What a destination does.
#[derive(Clone)]
enum Manner {
    Takes,
    Refuses,
    Defers,
    /// Waits for a permit before the last look at the lease.
    Waits(Arc<Semaphore>),
    Unreachable,
    Broken,
}

#[derive(Default)]
struct World {
    manners: Mutex<HashMap<String, Manner>>,
    /// What was taken: the recipient and the bytes.
    taken: Mutex<Vec<(String, Vec<u8>)>>,
    /// Loses touch with the store once it has taken something.
    cut_off_when_taken: Mutex<Option<MemoryCluster>>,
    opened: AtomicUsize,
    lost: AtomicUsize,
}

impl World {
    fn is(&self, name: &str, manner: Manner) {
        self.manners.lock().insert(name.to_owned(), manner);
    }

    fn taken(&self) -> Vec<String> {
        self.taken.lock().iter().map(|(to, _)| to.clone()).collect()
    }
}

struct Carrier(Arc<World>);

struct Road(Arc<World>, Manner);

impl Courier for Carrier {
    fn open<'a>(
        &'a self,
        destination: &'a Domain,
    ) -> BoxFuture<'a, Result<Box<dyn Way>, Unreachable>> {
        async move {
            self.0.opened.fetch_add(1, Ordering::Relaxed);
            let manner = self.0.manners.lock().get(destination.as_str()).cloned();
            match manner.unwrap_or(Manner::Takes) {
                Manner::Unreachable => Err(Unreachable::Now(Told::here("4.4.1", "no answer"))),
                manner => Ok(Box::new(Road(Arc::clone(&self.0), manner)) as Box<dyn Way>),
            }
        }
        .boxed()
    }
}

impl Way for Road {
    fn send<'a>(&'a mut self, errand: &'a Errand) -> BoxFuture<'a, Attempt> {
        async move {
            let recipients = errand.job.recipients.len();
            let told = || Told::by("mx.remote.test", "5.1.1", "550 5.1.1 no such user");
            let body = errand
                .body
                .head(usize::MAX)
                .await
                .expect("the body is there");
            match &self.1 {
                Manner::Refuses => return Attempt::all(recipients, &Outcome::Refused(told())),
                Manner::Defers => return Attempt::all(recipients, &Outcome::Deferred(told())),
                Manner::Broken => panic!("a courier with a fault of its own"),
                Manner::Waits(gate) => gate.acquire().await.expect("open").forget(),
                Manner::Takes | Manner::Unreachable => {}
            }
            if errand.lease.look().await.is_err() {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                return Attempt::all(recipients, &Outcome::NotTried);
            }
            for (_, to) in &errand.job.recipients {
                self.0
                    .taken
                    .lock()
                    .push((to.address.to_string(), body.clone()));
            }
            if let Some(store) = &*self.0.cut_off_when_taken.lock() {
                store.set_reachable(false);
            }
            let told = Told::by("mx.remote.test", "2.0.0", "250 2.0.0 taken");
            let delivered = Outcome::Delivered {
                told,
                reports: false,
                is_final: false,
            };
            Attempt::all(recipients, &delivered)
        }
        .boxed()
    }

    fn is_open(&self) -> bool {
        true
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }
}

struct Rig {
    store: MemoryCluster,
    world: Arc<World>,
}

impl Rig {
    fn new() -> Rig {
        Rig {
            store: MemoryCluster::new(),
            world: Arc::default(),
        }
    }

    fn runner(&self, client: u64) -> (Runner, MemoryCluster) {
        self.runner_with(client, settings())
    }

    fn runner_with(&self, client: u64, settings: SenderSettings) -> (Runner, MemoryCluster) {
        let store = self.store.another_process();
        let courier = Arc::new(Carrier(Arc::clone(&self.world)));
        let runner = Runner::start(Arc::new(store.clone()), courier, ClientId(client), settings);
        (runner, store)
    }

    fn mail(&self, to: &[&str]) -> NewMail {
        let mut envelope = envelope();
        envelope.received = Timestamp::now();
        envelope.expires = Timestamp::now().saturating_add(Duration::from_secs(86_400));
        let job = |text: &&str| NewJob {
            destination: recipient(text).address.domain,
            recipients: vec![recipient(text)],
            due: None,
        };
        NewMail {
            envelope,
            message: Arc::new(PreparedMessage::new(b"Subject: x\r\n\r\ntext\r\n").unwrap()),
            jobs: to.iter().map(job).collect(),
        }
    }

    async fn queue(&self, to: &[&str]) {
        self.store.enqueue(self.mail(to), None, None).await.unwrap();
    }

    async fn summary(&self) -> QueueSummary {
        self.store.summary(SHARD).await.unwrap()
    }

    /// Waits until `holds`.
    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"));
    }

    async fn until_empty(&self) {
        self.until("the queue is empty", async || {
            self.summary().await.messages == 0
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_queued_is_sent_and_gone() {
    let rig = Rig::new();
    rig.queue(&["a@one.test", "b@two.test"]).await;
    let (_runner, _) = rig.runner(100);
    rig.until_empty().await;
    let mut taken = rig.world.taken.lock().clone();
    taken.sort();
    let text = b"Received: here\r\nSubject: x\r\n\r\ntext\r\n".to_vec();
    assert_eq!(
        taken,
        [
            ("a@one.test".to_owned(), text.clone()),
            ("b@two.test".to_owned(), text)
        ]
    );
}

#[tokio::test]
async fn what_is_queued_here_goes_at_once() {
    let rig = Rig::new();
    let (runner, _) = rig.runner(100);
    let handle = runner.handle();
    rig.until("the shard is known", async || {
        handle.take(SHARD, Claimed::default(), Instant::now())
    })
    .await;
    let (wish, asked) = (handle.wish(), Instant::now());
    let queued = rig.store.enqueue(rig.mail(&["a@one.test"]), None, wish);
    let claimed = queued.await.unwrap().claimed.unwrap();
    assert!(handle.take(SHARD, claimed, asked));
    rig.until_empty().await;
    assert_eq!(handle.in_hand(), 0);
}

#[tokio::test]
async fn a_failure_is_reported_to_the_sender_in_the_same_way() {
    let rig = Rig::new();
    rig.world.is("remote.test", Manner::Refuses);
    rig.queue(&["nobody@remote.test"]).await;
    let (_runner, _) = rig.runner(100);
    rig.until_empty().await;
    let taken = rig.world.taken.lock().clone();
    let [(to, report)] = &taken[..] else {
        panic!("one report: {taken:?}");
    };
    assert_eq!(to, "sender@example.test");
    let report = String::from_utf8(report.clone()).unwrap();
    for part in [
        "Final-Recipient: rfc822; nobody@remote.test",
        "550 5.1.1 no such user",
        "Subject: x\r\n\r\ntext\r\n",
    ] {
        assert!(report.contains(part), "{part:?} is not in {report}");
    }
}

#[tokio::test]
async fn a_report_that_fails_is_reported_to_nobody() {
    let rig = Rig::new();
    rig.world.is("remote.test", Manner::Refuses);
    rig.world.is("example.test", Manner::Refuses);
    rig.queue(&["nobody@remote.test"]).await;
    let (runner, _) = rig.runner(100);
    rig.until_empty().await;
    assert_eq!(rig.world.taken(), Vec::<String>::new());
    assert_eq!(runner.handle().metrics().notices.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn mail_for_one_destination_shares_connections() {
    let rig = Rig::new();
    for n in 0..200 {
        rig.queue(&[&format!("u{n}@one.test")]).await;
    }
    let settings = SenderSettings {
        connections_per_destination: 3,
        ..settings()
    };
    let (_runner, _) = rig.runner_with(100, settings);
    rig.until_empty().await;
    assert_eq!(rig.world.taken().len(), 200);
    let opened = rig.world.opened.load(Ordering::Relaxed);
    assert!(opened <= 3, "{opened} connections");
}

#[tokio::test]
async fn another_goes_on_when_one_dies() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    rig.world.is("one.test", Manner::Waits(Arc::clone(&gate)));
    let (dying, store) = rig.runner(100);
    rig.queue(&["a@one.test"]).await;
    rig.until("it is under way", async || dying.handle().in_hand() == 1)
        .await;
    let (_other, _) = rig.runner(200);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(
        rig.world.opened.load(Ordering::Relaxed),
        1,
        "it lives, and has it"
    );
    // Cut off from the store, but not from the remote.
    store.set_reachable(false);
    let died = Instant::now();
    rig.until("the other has it", async || {
        rig.world.opened.load(Ordering::Relaxed) == 2
    })
    .await;
    // Lease, poll and notice make four and a half seconds; the rest is for a machine that is busy.
    let took = died.elapsed();
    assert!(took <= Duration::from_secs(10), "taken over after {took:?}");
    // Both could send now; only the one with the lease does.
    gate.add_permits(2);
    rig.until_empty().await;
    rig.until("the first has looked", async || {
        rig.world.lost.load(Ordering::Relaxed) == 1
    })
    .await;
    assert_eq!(rig.world.taken(), ["a@one.test"]);
}

#[tokio::test]
async fn what_a_remote_took_is_reported_until_the_store_knows() {
    let rig = Rig::new();
    let gate = Arc::new(Semaphore::new(0));
    rig.world.is("one.test", Manner::Waits(Arc::clone(&gate)));
    let (runner, store) = rig.runner(100);
    rig.queue(&["a@one.test"]).await;
    rig.until("it is under way", async || runner.handle().in_hand() == 1)
        .await;
    // Out of reach from before the remote has it; the lease was seen alive.
    rig.world.cut_off_when_taken.lock().replace(store.clone());
    gate.add_permits(1);
    rig.until("it is taken", async || !rig.world.taken().is_empty())
        .await;
    sleep(Duration::from_millis(700)).await;
    store.set_reachable(true);
    rig.until_empty().await;
    assert_eq!(rig.world.taken(), ["a@one.test"]);
}

#[tokio::test]
async fn a_destination_out_of_reach_rests_with_all_its_mail() {
    let rig = Rig::new();
    rig.world.is("one.test", Manner::Unreachable);
    for n in 0..20 {
        rig.queue(&[&format!("u{n}@one.test")]).await;
    }
    rig.queue(&["a@two.test"]).await;
    let (runner, _) = rig.runner(100);
    rig.until("the other is served", async || {
        rig.world.taken() == ["a@two.test"]
    })
    .await;
    rig.until("it rests", async || {
        let summary = rig.summary().await;
        let rests = summary
            .destinations
            .iter()
            .all(|of| of.rests.is_some() && of.claimed == 0);
        rests && summary.jobs == 20 && runner.handle().in_hand() == 0
    })
    .await;
    let opened = rig.world.opened.load(Ordering::Relaxed);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        rig.world.opened.load(Ordering::Relaxed),
        opened,
        "it is left alone"
    );
    let (jobs, _) = rig.store.list(SHARD, None, None, 100).await.unwrap();
    let told = |job: &&ListedJob| job.recipients[0].last.as_deref() == Some("no answer (4.4.1)");
    let tried = jobs.iter().filter(told).count();
    assert_eq!(tried, jobs.iter().filter(|job| job.tries == 1).count());
    assert!(tried > 0);
}

#[tokio::test]
async fn a_courier_s_fault_costs_a_try_at_most() {
    let rig = Rig::new();
    rig.world.is("one.test", Manner::Broken);
    rig.queue(&["a@one.test"]).await;
    let (runner, _) = rig.runner(100);
    rig.until("it was tried", async || {
        rig.world.opened.load(Ordering::Relaxed) > 0
    })
    .await;
    rig.world.is("one.test", Manner::Takes);
    rig.until_empty().await;
    assert_eq!(runner.handle().in_hand(), 0);
}

#[tokio::test]
async fn a_runner_that_stops_gives_back_what_it_has() {
    let rig = Rig::new();
    rig.world.is("one.test", Manner::Defers);
    let gate = Arc::new(Semaphore::new(0));
    rig.world.is("two.test", Manner::Waits(Arc::clone(&gate)));
    let settings = SenderSettings {
        connections_per_destination: 1,
        ..settings()
    };
    let (runner, _) = rig.runner_with(100, settings);
    rig.queue(&["a@two.test"]).await;
    rig.queue(&["b@two.test"]).await;
    rig.until("both are in hand", async || runner.handle().in_hand() == 2)
        .await;
    let stopping = tokio::spawn(runner.stop(Duration::from_secs(10)));
    sleep(Duration::from_millis(100)).await;
    gate.add_permits(1);
    stopping.await.unwrap();
    // What was under way is done; what waited is free at once, its lease not waited for.
    let summary = rig.summary().await;
    assert_eq!((summary.jobs, summary.destinations[0].claimed), (1, 0));
}
