//! The admin commands' side of the admin API.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, StatusCode, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{net::UnixStream, time::timeout};

use super::{
    handle::deadline,
    protocol::{ErrorBody, Reply, Request},
};

/// A page of accounts has about 250 KB; a page of aliases with 500 targets each is the largest.
const REPLY_BYTES_MAX: usize = 256 << 20;
/// Beyond the server's own deadline only a server that hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Speaks to a running server.
pub struct Client {
    socket: PathBuf,
}

/// Why a request was not carried out.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody is there, or not for us.
    #[error("cannot reach the server at {socket}: {why}")]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        why: String,
    },
    /// The server cannot do it now.
    #[error("{0}")]
    Unavailable(String),
    /// The server does not do it.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// A client of the server with that socket.
    pub fn new(socket: &Path) -> Client {
        Client {
            socket: socket.to_owned(),
        }
    }

    /// Sends a request and waits for the reply.
    pub async fn call(&self, request: &Request) -> Result<Reply, ClientError> {
        let Some(deadline) = deadline(request) else {
            return self.exchange(request).await;
        };
        match timeout(deadline + PATIENCE, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(self.unreachable("it does not answer".to_owned())),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Reply, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.no_connection(&error))?;
        let broken = |error: &dyn std::fmt::Display| self.unreachable(error.to_string());
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
        tokio::spawn(connection);
        let body = serde_json::to_vec(request).map_err(|error| broken(&error))?;
        let http = hyper::Request::builder()
            .method(Method::POST)
            .uri("/v1/command")
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        let response = sender
            .send_request(http)
            .await
            .map_err(|error| broken(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), REPLY_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| broken(&error))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                ClientError::Refused(format!(
                    "the server's reply cannot be read ({error}); is it of another version?"
                ))
            });
        }
        let said = serde_json::from_slice::<ErrorBody>(&body);
        let said = said.map_or_else(
            |_| format!("the server answered {status}"),
            |body| body.error,
        );
        Err(match status {
            StatusCode::SERVICE_UNAVAILABLE => ClientError::Unavailable(said),
            _ => ClientError::Refused(said),
        })
    }

    fn no_connection(&self, error: &io::Error) -> ClientError {
        self.unreachable(match error.kind() {
            io::ErrorKind::NotFound => "there is no such socket; is the server running?".to_owned(),
            io::ErrorKind::ConnectionRefused => "the server is not running".to_owned(),
            io::ErrorKind::PermissionDenied => {
                "permission denied; run this as root or as the server's user".to_owned()
            }
            _ => error.to_string(),
        })
    }

    fn unreachable(&self, why: String) -> ClientError {
        ClientError::Unreachable {
            socket: self.socket.clone(),
            why,
        }
    }
}
