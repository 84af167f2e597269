//! Jobs and connections: mail for one destination shares its connections, one message after the other.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use mailrook_store_api::{
    JobReport, NewMail, PreparedMessage,
    shard::{ClaimId, NewJob, Origin, QueuedEnvelope, QueuedRecipient},
};
use mailrook_types::{Domain, ReversePath, Timestamp};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use crate::{
    Attempt, Errand, Outcome, SenderSettings, Unreachable, Way,
    dsn::{self, Returned, Writer},
    keeper::Finished,
    metrics::add,
    runner::Shared,
    settings::IDLE,
    settle::{Notice, settle},
};

/// A job in hand. However it is dropped, its keeper hears of it.
pub(crate) struct Work {
    errand: Errand,
    claim: ClaimId,
    finished: mpsc::UnboundedSender<Finished>,
    report: Option<JobReport>,
}

impl Work {
    pub(crate) fn new(
        errand: Errand,
        claim: ClaimId,
        finished: mpsc::UnboundedSender<Finished>,
    ) -> Work {
        Work {
            errand,
            claim,
            finished,
            report: None,
        }
    }

    /// Settles the job, and writes to its sender if there is something to say.
    async fn finish(mut self, shared: &Shared, attempt: &Attempt, rest: Option<Timestamp>) {
        shared.metrics.count(&attempt.outcomes);
        let (job, now) = (&self.errand.job, Timestamp::now());
        let Some(settled) = settle(&shared.settings, job, self.claim, attempt, now, rest) else {
            return;
        };
        let failed = settled.report.failed.len();
        tracing::info!(
            id = job.envelope.log_id,
            destination = %job.destination,
            delivered = settled.report.delivered.len(),
            failed,
            deferred = settled.report.deferred.len(),
            "sent"
        );
        if failed > 0 && settled.notice.is_none() {
            tracing::info!(
                id = job.envelope.log_id,
                failed,
                "failed, and nobody is to be told"
            );
        }
        let notice = match settled.notice {
            Some(notice) => write_notice(&shared.settings, &self.errand, &notice, now).await,
            None => None,
        };
        if notice.is_some() {
            add(&shared.metrics.notices);
        }
        self.report = Some(JobReport {
            report: settled.report,
            notice,
        });
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // A keeper that is gone belongs to a runner that is gone.
        let _ = self.finished.send(Finished {
            claim: self.claim,
            report: self.report.take(),
        });
    }
}

/// Writes a report as mail to its sender.
async fn write_notice(
    settings: &SenderSettings,
    errand: &Errand,
    notice: &Notice,
    now: Timestamp,
) -> Option<NewMail> {
    let whole = dsn::returned_whole(notice, &errand.job);
    let prefix = errand.body.prefix().len();
    let limit = whole.map_or(dsn::HEADER_LEN_MAX, |size| size as usize + prefix);
    let head = match errand.body.head(limit).await {
        Ok(head) => Some(head),
        Err(error) => {
            tracing::warn!(%error, id = errand.job.envelope.log_id, "a report goes without the message");
            None
        }
    };
    let returned = head.as_deref().map(|head| match whole {
        Some(_) => Returned::Whole(head),
        None => Returned::Header(dsn::header_of(head)),
    });
    let writer = Writer {
        hostname: &settings.hostname,
        job: &errand.job,
        notice,
        now,
        returned,
    };
    let (octets, needs) = writer.write();
    let message = match PreparedMessage::new(&octets) {
        Ok(message) => Arc::new(message),
        Err(error) => {
            tracing::error!(%error, id = errand.job.envelope.log_id, "a report cannot be queued");
            return None;
        }
    };
    let envelope = QueuedEnvelope {
        reverse_path: ReversePath::Null,
        prefix: Vec::new(),
        envid: None,
        return_full: None,
        needs,
        account: None,
        origin: Origin::Notice,
        log_id: format!("{}-r", errand.job.envelope.log_id),
        received: now,
        expires: now.saturating_add(settings.notice_lifetime),
    };
    let job = NewJob {
        destination: notice.to.domain.clone(),
        recipients: vec![QueuedRecipient {
            address: notice.to.clone(),
            original: None,
            notify: None,
            last: None,
        }],
        due: None,
    };
    Some(NewMail {
        envelope,
        message,
        jobs: vec![job],
    })
}

/// Mail for one destination.
#[derive(Default)]
struct Place {
    waiting: VecDeque<Work>,
    /// Connections, those that are being made included.
    connections: usize,
    /// Of these, such as are being made.
    connecting: usize,
    /// Of these, such as wait for work.
    idle: usize,
    /// One more was refused: those that there are have to do, as long as there are any.
    has_enough: bool,
    more: Arc<Notify>,
}

/// Brings jobs of one destination together.
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    places: Mutex<HashMap<Domain, Place>>,
    connections: Arc<Semaphore>,
}

impl Dispatcher {
    pub(crate) fn new(shared: Arc<Shared>) -> Dispatcher {
        let connections = Arc::new(Semaphore::new(shared.settings.connections));
        Dispatcher {
            shared,
            places: Mutex::default(),
            connections,
        }
    }

    /// Takes a job.
    pub(crate) fn accept(self: &Arc<Self>, work: Work) {
        let destination = work.errand.job.destination.clone();
        {
            let mut places = self.places.lock();
            let place = places.entry(destination.clone()).or_default();
            place.waiting.push_back(work);
            place.more.notify_one();
        }
        self.connect(&destination);
    }

    /// Gives back what waits for a connection.
    pub(crate) fn give_back(&self) {
        let waiting: Vec<Work> = {
            let mut places = self.places.lock();
            places
                .values_mut()
                .flat_map(|place| place.waiting.drain(..))
                .collect()
        };
        drop(waiting);
    }

    /// Opens a connection if there is more work than those that there are can take at once, and room for it.
    fn connect(self: &Arc<Self>, destination: &Domain) {
        let mut places = self.places.lock();
        let Some(place) = places.get_mut(destination) else {
            return;
        };
        let wanted = place.waiting.len() > place.idle + place.connecting;
        let enough = place.has_enough && place.connections > 0;
        if !wanted
            || enough
            || place.connections >= self.shared.settings.connections_per_destination
        {
            return;
        }
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            return;
        };
        place.connections += 1;
        place.connecting += 1;
        drop(places);
        let connection = Connection {
            dispatcher: Arc::clone(self),
            destination: destination.clone(),
            permit: Some(permit),
        };
        tokio::spawn(connection.run());
    }

    /// A connection's room is free: whoever waits without any gets it.
    fn connect_waiting(self: &Arc<Self>) {
        let next = {
            let places = self.places.lock();
            let mut waiting = places.iter().filter(|(_, place)| !place.waiting.is_empty());
            // Those without a connection first.
            let none = waiting.clone().find(|(_, place)| place.connections == 0);
            none.or_else(|| waiting.next())
                .map(|(destination, _)| destination.clone())
        };
        if let Some(destination) = next {
            self.connect(&destination);
        }
    }

    fn next(&self, destination: &Domain) -> Option<Work> {
        self.places.lock().get_mut(destination)?.waiting.pop_front()
    }

    /// The next job of a destination; `None` if none comes for a while, or the runner stops.
    async fn wait_for(&self, destination: &Domain) -> Option<Work> {
        if *self.shared.stopping.borrow() {
            return None;
        }
        if let Some(work) = self.next(destination) {
            return Some(work);
        }
        let more = {
            let mut places = self.places.lock();
            let place = places.get_mut(destination)?;
            place.idle += 1;
            Arc::clone(&place.more)
        };
        let wait = timeout(IDLE, async {
            loop {
                if let Some(work) = self.next(destination) {
                    return work;
                }
                more.notified().await;
            }
        });
        let work = tokio::select! {
            work = wait => work.ok(),
            () = self.shared.stopped() => None,
        };
        if let Some(place) = self.places.lock().get_mut(destination) {
            place.idle -= 1;
        }
        work
    }
}

/// A connection to a destination, from before it is made.
struct Connection {
    dispatcher: Arc<Dispatcher>,
    destination: Domain,
    permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    async fn run(self) {
        let shared = Arc::clone(&self.dispatcher.shared);
        let opened = {
            let _connecting = Connecting(&self);
            shared.courier.open(&self.destination).await
        };
        match opened {
            Ok(way) => self.serve(&shared, way).await,
            Err(unreachable) => self.give_up(&shared, &unreachable).await,
        }
    }

    async fn serve(&self, shared: &Shared, mut way: Box<dyn Way>) {
        while way.is_open() {
            let Some(work) = self.dispatcher.wait_for(&self.destination).await else {
                break;
            };
            if work.errand.lease.is_lost() {
                continue;
            }
            let attempt = way.send(&work.errand).await;
            work.finish(shared, &attempt, None).await;
        }
        way.close().await;
    }

    /// Puts off what waits for the destination, unless another connection to it lives.
    async fn give_up(&self, shared: &Shared, unreachable: &Unreachable) {
        add(&shared.metrics.unreachable);
        let (outcome, rest) = match unreachable {
            Unreachable::Now(told) => {
                let rest = Timestamp::now().saturating_add(shared.settings.destination_rest);
                (Outcome::Deferred(told.clone()), Some(rest))
            }
            Unreachable::Ever(told) => (Outcome::Refused(told.clone()), None),
        };
        let waiting = {
            let mut places = self.dispatcher.places.lock();
            match places.get_mut(&self.destination) {
                // Only this one and such as are still being made: they would fare no better.
                Some(place) if place.connections == place.connecting + 1 => {
                    std::mem::take(&mut place.waiting)
                }
                Some(place) => {
                    place.has_enough = true;
                    VecDeque::new()
                }
                None => VecDeque::new(),
            }
        };
        for work in waiting {
            let attempt = Attempt::all(work.errand.job.recipients.len(), &outcome);
            work.finish(shared, &attempt, rest).await;
        }
    }
}

/// Counts a connection that is being made.
struct Connecting<'a>(&'a Connection);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        let Connection {
            dispatcher,
            destination,
            ..
        } = self.0;
        if let Some(place) = dispatcher.places.lock().get_mut(destination) {
            place.connecting -= 1;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        {
            let mut places = self.dispatcher.places.lock();
            if let Some(place) = places.get_mut(&self.destination) {
                place.connections -= 1;
                place.has_enough &= place.connections > 0;
                if place.connections == 0 && place.waiting.is_empty() {
                    places.remove(&self.destination);
                }
            }
        }
        drop(self.permit.take());
        if !*self.dispatcher.shared.stopping.borrow() {
            self.dispatcher.connect_waiting();
        }
    }
}
