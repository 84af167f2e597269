//! Plays acts, and notes what came of them.

use std::sync::Arc;

use crate::{
    acts::{Act, Command},
    cluster::Cluster,
    dice::Chance,
    front::Front,
    generate::Generator,
    pop3::errand,
    session::{Exchange, Session},
    weather::Weather,
};

/// IMAP sessions on the one account.
pub const SESSIONS: usize = 3;
/// Acts of a seed.
const ACTS: usize = 40;

/// Where acts come from.
pub enum Script {
    /// They are made as they are played, by what the clients know then.
    Made(Generator),
    /// They were played before.
    Given(Vec<Act>),
}

/// What came of an act.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub exchange: Exchange,
    /// What the client believed to be in its mailbox before, as far as it knew.
    pub known: Vec<Option<u32>>,
    /// All that is in the account afterwards.
    pub state: String,
}

/// A whole play.
pub struct Played {
    pub weather: Weather,
    pub acts: Vec<Act>,
    pub outcomes: Vec<Outcome>,
    /// Calls that were struck.
    pub faults: usize,
}

/// Plays one seed.
pub async fn play(seed: u64, weather: Weather, script: Script) -> Result<Played, String> {
    let cluster = Cluster::new(Chance::of(seed, 2));
    let front = Front::new(Arc::clone(&cluster), Chance::of(seed, 3).percent(50)).await;
    for number in 0..4 {
        let text = format!("Subject: {number}\r\n\r\nbody {number}\r\n");
        front.deliver(&text).await;
    }
    cluster.set_weather(weather);
    let played = play_at(&front, weather, script).await;
    cluster.set_weather(Weather::Quiet);
    cluster.end();
    played
}

async fn play_at(front: &Front, weather: Weather, mut script: Script) -> Result<Played, String> {
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::open(front).await?);
    }
    let (mut acts, mut outcomes) = (Vec::new(), Vec::new());
    for number in 0..ACTS {
        let act = match &mut script {
            Script::Made(generator) => generator.next(&sessions),
            Script::Given(given) => given[number].clone(),
        };
        let said = |what: String| format!("act {number}, {act:?}: {what}");
        let outcome = play_one(front, &mut sessions, &act).await.map_err(said)?;
        acts.push(act);
        outcomes.push(outcome);
    }
    // Whatever happened, in the end everybody knows what is true.
    for session in &mut sessions {
        if session.is_idle() {
            session.idle_end().await?;
        }
        session.sync(front).await?;
    }
    let faults = front.cluster.faults();
    Ok(Played {
        weather,
        acts,
        outcomes,
        faults,
    })
}

async fn play_one(front: &Front, sessions: &mut [Session], act: &Act) -> Result<Outcome, String> {
    let mut known = Vec::new();
    let exchange = match act {
        Act::Command { session, command } => {
            let session = &mut sessions[*session];
            let Command { synced, .. } = command;
            if *synced {
                session.sync(front).await?;
            }
            known = session
                .view
                .messages
                .iter()
                .map(|known| known.uid)
                .collect();
            session.carry_out(command).await?
        }
        Act::IdleBegin { session } => sessions[*session].idle_begin().await?,
        Act::IdleEnd { session } => sessions[*session].idle_end().await?,
        Act::Deliver { text } => {
            front.deliver(text).await;
            let lines = Vec::new();
            Exchange {
                lines,
                again: false,
            }
        }
        Act::Pop3 { take, remove } => errand(front, take, remove).await?,
    };
    Ok(Outcome {
        exchange,
        known,
        state: front.cluster.state_of(front.account),
    })
}
