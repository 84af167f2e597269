//! One command, one file.

pub(crate) mod append;
mod authenticate;
pub(crate) mod capability;
mod compress;
mod enable;
mod id;
mod namespace;
mod noop;
mod search;
mod starttls;

use mailrook_imap_proto::{
    command::{Command, Tag},
    response::Status,
};

use crate::{
    outcome::{Outcome, Reply},
    session::Session,
};

/// Carries out one command; its untagged responses are printed, its tagged one is what it comes to.
pub(crate) async fn run(session: &mut Session, tag: &Tag, command: Command) -> Outcome {
    match command {
        Command::Capability => capability::run(session),
        Command::Noop | Command::Check => noop::run(session).await,
        Command::Logout => {
            session.untagged(Status::Bye, None, "logging out");
            Ok(Reply::ok("LOGOUT completed"))
        }
        Command::StartTls => starttls::run(session, tag).await,
        Command::Authenticate {
            mechanism,
            initial_response,
        } => authenticate::authenticate(session, &mechanism, initial_response).await,
        Command::Login { user, password } => authenticate::login(session, &user, &password).await,
        Command::Enable(names) => enable::run(session, &names),
        Command::Id(_) => id::run(session),
        Command::CompressDeflate => compress::run(session, tag).await,
        Command::Namespace => namespace::run(session),
        Command::Search(search) => search::run(session, tag, &search).await,
        _ => Err(Reply::no("not there yet").into()),
    }
}
