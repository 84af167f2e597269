//! What the programs of two nodes ask each other beyond the cluster's own affairs: who is connected, say. It goes the way that
//! controllers go, as bytes that mean nothing here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use mailrook_transport::{CallError, Class, Network};
use mailrook_types::NodeId;
use thiserror::Error;
use tokio::time::Instant;

use crate::wire::{self, Ask};

/// Answers the programs of other nodes.
pub trait Fellow: Send + Sync + 'static {
    /// Answers a request; the error's text goes to who asked.
    fn answer(&self, request: Bytes) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Why another node's program gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// Its program does not know the question.
    #[error("its program is older and does not know this question")]
    Older,
    /// It knows the question, and does not answer it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached, or not in time.
    #[error("{0}")]
    Away(String),
}

/// Asks the program of another node.
///
/// # Errors
/// It does not answer in time, or not at all.
pub async fn ask_fellow(
    network: &Arc<dyn Network>,
    node: NodeId,
    request: Vec<u8>,
    within: Duration,
) -> Result<Vec<u8>, NoAnswer> {
    let ask = wire::write(&Ask::Fellow(request));
    let deadline = Instant::now() + within;
    let reply = match network.call(node, Class::Control, ask, deadline).await {
        Ok(reply) => reply,
        Err(CallError::Refused { cause, .. }) if wire::is_unknown(&cause) => {
            return Err(NoAnswer::Older);
        }
        Err(CallError::Refused { cause, .. } | CallError::Unreachable { cause, .. }) => {
            return Err(NoAnswer::Away(cause));
        }
        Err(CallError::Lost { cause, .. }) => {
            return Err(NoAnswer::Away(format!("no answer: {cause}")));
        }
    };
    let answer: Result<Vec<u8>, String> = wire::read(&reply).map_err(NoAnswer::Refused)?;
    answer.map_err(NoAnswer::Refused)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use mailrook_transport::{Duplex, Handler, Handlers, MemoryHub};

    use super::*;

    /// A node with this word for every request.
    struct Says(fn(&[u8]) -> Result<Bytes, String>);

    impl Handler for Says {
        fn call(&self, _from: NodeId, request: Bytes) -> BoxFuture<'static, Result<Bytes, String>> {
            let said = (self.0)(&request);
            async { said }.boxed()
        }

        fn open(&self, _from: NodeId, _request: Bytes, _stream: Duplex) -> BoxFuture<'static, ()> {
            async {}.boxed()
        }
    }

    fn start(hub: &MemoryHub, id: u64, says: fn(&[u8]) -> Result<Bytes, String>) {
        let handler: Arc<dyn Handler> = Arc::new(Says(says));
        let handlers = Handlers {
            consensus: Arc::clone(&handler),
            store: Arc::clone(&handler),
            control: Arc::clone(&handler),
            bulk: handler,
        };
        // A node is known to the hub by its network.
        let _ = hub.network(NodeId(id));
        hub.start(NodeId(id), handlers);
    }

    /// [`Ask`] as it was before there were fellows.
    #[derive(Debug, serde::Deserialize)]
    enum Before {
        #[allow(dead_code)]
        Report,
    }

    #[tokio::test]
    async fn an_older_program_is_called_that() {
        let hub = MemoryHub::default();
        start(&hub, 1, |_| Ok(Bytes::new()));
        start(&hub, 2, |request| {
            wire::read::<Before>(request).map(|_| Bytes::new())
        });
        start(&hub, 3, |request| match wire::read(request)? {
            Ask::Fellow(asked) => Ok(wire::write(&Ok::<Vec<u8>, String>(asked))),
            other => Err(format!("{other:?}")),
        });
        start(&hub, 4, |_| Err("it is just starting".to_owned()));
        start(&hub, 5, |_| {
            Ok(wire::write(&Err::<Vec<u8>, String>("no".to_owned())))
        });
        let network: Arc<dyn Network> = Arc::new(hub.network(NodeId(1)));
        let ask = async |node| {
            let asked = ask_fellow(&network, NodeId(node), vec![7], Duration::from_secs(5));
            asked.await
        };
        assert_eq!(ask(2).await, Err(NoAnswer::Older));
        assert_eq!(ask(3).await, Ok(vec![7]));
        let starting = NoAnswer::Away("it is just starting".to_owned());
        assert_eq!(ask(4).await, Err(starting));
        assert_eq!(ask(5).await, Err(NoAnswer::Refused("no".to_owned())));
        assert!(matches!(ask(6).await, Err(NoAnswer::Away(_))));
    }
}
