//! Where the consensus engine runs: on tokio, with random numbers and an order of wake-ups that a simulation
//! can determine.

mod watch;

use std::{future::Future, io, sync::LazyLock, time::Duration};

use openraft::{AsyncRuntime, Instant, OptionalSend, impls::TokioRuntime};

use crate::simulation::{self, Chance, run_blocking};
use watch::OrderedWatch;

/// Groups look at their heartbeats and elections together, at multiples of this: a node of 64 idle groups wakes a few
/// times a second for all of them and not for each, and what they have to say goes out together. It is as often as the
/// consensus engine looks (`Config::tick_interval`).
const TOGETHER_EVERY: Duration = Duration::from_millis(300);

/// Below this a moment is meant as it is said.
const TOGETHER_FROM: Duration = Duration::from_millis(100);

/// What the multiples count from.
static EPOCH: LazyLock<Moment> = LazyLock::new(Moment::now);

type Moment = <TokioRuntime as AsyncRuntime>::Instant;

/// A moment that is not near, moved to the multiple behind it.
fn together(deadline: Moment) -> Moment {
    let now = Moment::now();
    if simulation::is_on() || deadline < now + TOGETHER_FROM {
        return deadline;
    }
    let every = TOGETHER_EVERY.as_micros();
    let since = (deadline - *EPOCH).as_micros();
    // Less than a multiple.
    let missing = (every - since % every) % every;
    deadline + Duration::from_micros(u64::try_from(missing).unwrap_or(0))
}

/// tokio's runtime, but for what it draws at random, and for when groups look at the time.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = Chance<<TokioRuntime as AsyncRuntime>::ThreadLocalRng>;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = OrderedWatch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    #[inline]
    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    #[inline]
    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    #[inline]
    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep_until(together(deadline))
    }

    #[inline]
    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    #[inline]
    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Chance {
            inner: TokioRuntime::thread_rng(),
        }
    }

    fn new(threads: usize) -> Runtime {
        Runtime(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(run: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        run_blocking(run)
    }
}
