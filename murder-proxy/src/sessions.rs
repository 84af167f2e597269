//! Sessions that run in this process, against the store's traits.

use std::sync::Arc;

use mailrook_imap_server::{Client, SessionContext, serve_imap, serve_pop3};

use crate::{ClientSession, ClientSessions, SessionFuture};

/// The sessions of this node's users: `imap/server`.
#[derive(Clone, Debug)]
pub struct LocalSessions(Arc<SessionContext>);

impl LocalSessions {
    /// Sessions over what they share.
    pub fn new(context: Arc<SessionContext>) -> Arc<LocalSessions> {
        Arc::new(LocalSessions(context))
    }
}

impl ClientSessions for LocalSessions {
    fn run(&self, session: ClientSession) -> SessionFuture {
        let ClientSession {
            protocol,
            connection,
            starttls,
            plaintext_login,
            registration,
        } = session;
        let client = Client {
            connection,
            starttls,
            plaintext_login,
            registration,
        };
        let context = Arc::clone(&self.0);
        if protocol.is_imap() {
            Box::pin(serve_imap(client, context))
        } else {
            Box::pin(serve_pop3(client, context))
        }
    }
}

#[cfg(test)]
mod tests;
