//! IDLE (RFC 9051 §6.3.13): the client hears of changes as they happen.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    notify::Expunges,
    outcome::{Failure, Outcome, Reply},
    session::{Line, Session},
};

/// A word now and then keeps address translators from forgetting the connection, and finds clients that are gone. Half of
/// the shortest timeout that is common (RFC 5382 §5 asks for two hours; many have five minutes).
const STILL_HERE_EVERY: Duration = Duration::from_secs(150);

pub(crate) async fn run(session: &mut Session) -> Outcome {
    session.account()?;
    tell(session).await?;
    session.writer().continuation("idling");
    session.framer.expect_done();
    let mut still_here = Instant::now() + STILL_HERE_EVERY;
    loop {
        match session.take_line()? {
            Some(Line::Done) => return Ok(Reply::ok("IDLE completed")),
            Some(Line::Bad(error)) => return Err(Reply::bad(error.to_string()).into()),
            Some(Line::AuthResponse(_)) => return Err(Failure::Bye("internal error")),
            None => {}
        }
        session.wire.flush().await?;
        match wait(session, still_here).await? {
            Woken::Input => {}
            Woken::Change => tell(session).await?,
            Woken::Silence => {
                session
                    .wire
                    .output()
                    .extend_from_slice(b"* OK still here\r\n");
                still_here = Instant::now() + STILL_HERE_EVERY;
            }
        }
    }
}

async fn tell(session: &mut Session) -> Result<(), Failure> {
    let told = Box::pin(session.tell(Expunges::Told)).await;
    // IDLE itself may go on for days.
    session.client.registration.tell_story();
    match told {
        // IDLE goes on: the watch is opened again, and what was missed is told then.
        Err(Failure::Store(error)) => {
            tracing::debug!(%error, "cannot tell of changes now");
            Ok(())
        }
        told => told,
    }
}

/// What ended a wait.
enum Woken {
    Input,
    Change,
    Silence,
}

async fn wait(session: &mut Session, still_here: Instant) -> Result<Woken, Failure> {
    let selected = session.selected.as_deref_mut();
    let changed = async {
        match selected {
            Some(selected) => selected.changed().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        farewell = session.client.leave.requested() => Err(Failure::Leave(farewell)),
        read = session.wire.fill() => match read? {
            true => Ok(Woken::Input),
            false => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        },
        () = changed => Ok(Woken::Change),
        () = tokio::time::sleep_until(still_here) => Ok(Woken::Silence),
    }
}
