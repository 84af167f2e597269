//! Who answers admin requests: at first one that only says how the start goes on, then an [`Admin`].

use std::sync::{Arc, OnceLock};

use super::{
    handle::{Admin, DONE, Failure, Outcome},
    protocol::{Reply, Request, Status},
};

/// What an admin can ask of a process whose store is not open yet.
pub trait Starting: Send + Sync + 'static {
    /// How it fares: not ready, and why.
    fn status(&self) -> Status;
    /// Asks it to stop.
    fn stop(&self);
}

/// Answers requests from the start of the process on.
pub struct Desk {
    starting: Arc<dyn Starting>,
    admin: OnceLock<Admin>,
}

impl Desk {
    /// Of a process that starts.
    pub fn new(starting: Arc<dyn Starting>) -> Arc<Desk> {
        Arc::new(Desk {
            starting,
            admin: OnceLock::new(),
        })
    }

    /// From now on everything can be asked.
    pub fn open(&self, admin: Admin) {
        // It is called once.
        let _ = self.admin.set(admin);
    }

    /// Carries out one request.
    pub async fn handle(&self, request: Request) -> Outcome {
        match (self.admin.get(), request) {
            (Some(admin), request) => admin.handle(request).await,
            (None, Request::Status) => Ok(Reply::Status(Box::new(self.starting.status()))),
            (None, Request::Stop) => {
                self.starting.stop();
                Ok(DONE)
            }
            (None, _) => {
                let why = self.starting.status().not_ready_because.join(", ");
                Err(Failure::Unavailable(format!("not ready: {why}")))
            }
        }
    }
}
