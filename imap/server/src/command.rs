//! One command, one file.

pub(crate) mod append;
pub(crate) mod authenticate;
pub(crate) mod capability;
mod close;
mod compress;
mod copy;
mod enable;
mod expunge;
mod fetch;
mod id;
pub(crate) mod idle;
mod list;
mod mailbox;
mod namespace;
mod noop;
mod quota;
pub(crate) mod search;
mod select;
mod starttls;
mod status;
mod store;

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
        } => {
            Box::pin(authenticate::authenticate(
                session,
                &mechanism,
                initial_response,
            ))
            .await
        }
        Command::Login { user, password } => authenticate::login(session, &user, &password).await,
        Command::Enable(names) => enable::run(session, &names),
        Command::Id(_) => id::run(session),
        Command::CompressDeflate => compress::run(session, tag).await,
        Command::Select(select) => Box::pin(select::run(session, &select)).await,
        Command::Create {
            mailbox,
            special_uses,
        } => mailbox::create(session, &mailbox, &special_uses).await,
        Command::Delete { mailbox } => mailbox::delete(session, &mailbox).await,
        Command::Rename { from, to } => mailbox::rename(session, &from, &to).await,
        Command::Subscribe { mailbox } => mailbox::subscribe(session, &mailbox, true).await,
        Command::Unsubscribe { mailbox } => mailbox::subscribe(session, &mailbox, false).await,
        Command::List(list) => Box::pin(list::list(session, &list)).await,
        Command::Lsub { reference, pattern } => {
            Box::pin(list::lsub(session, &reference, &pattern)).await
        }
        Command::Namespace => namespace::run(session),
        Command::Status { mailbox, items } => status::run(session, &mailbox, &items).await,
        Command::Idle => idle::run(session).await,
        Command::GetQuota { root } => quota::get(session, &root).await,
        Command::GetQuotaRoot { mailbox } => quota::get_root(session, &mailbox).await,
        Command::SetQuota { .. } => quota::set(session),
        Command::Close => close::close(session).await,
        Command::Unselect => close::unselect(session),
        Command::Expunge { uids } => expunge::run(session, uids.as_ref()).await,
        Command::Search(search) => Box::pin(search::run(session, tag, &search)).await,
        Command::Fetch(fetch) => Box::pin(fetch::run(session, &fetch)).await,
        Command::Store(store) => Box::pin(store::run(session, &store)).await,
        Command::Copy(copy) => copy::run(session, &copy, false).await,
        Command::Move(transfer) => copy::run(session, &transfer, true).await,
    }
}
