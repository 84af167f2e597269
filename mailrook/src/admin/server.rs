//! The server's side of the admin API.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request as HttpRequest, State, rejection::JsonRejection},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mailrook_net::{Shutdown, remove_stale_socket};
use rustix::fs::Mode;
use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener, UnixSocket},
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

use super::{
    desk::Desk,
    handle::{Failure, deadline},
    protocol::{ErrorBody, Reply, Request},
};
use crate::config::Address;

/// An alias with 500 targets of 320 bytes has 160 KB.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How long requests under way may go on when the server stops.
const DRAIN: Duration = Duration::from_secs(5);
/// `sun_path` of unix(7) has 108 bytes, the last one zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why the admin commands have no door.
#[derive(Debug, Error)]
pub enum AdminError {
    /// A socket or the token cannot be made.
    #[error("cannot open the admin socket {place}: {error}")]
    Open {
        /// Where.
        place: String,
        /// Why.
        error: io::Error,
    },
    /// A socket's path is bounded by the kernel.
    #[error(
        "the admin socket's path has {0} bytes, and the kernel takes {max} at most; set a shorter one: socket = \"…\" in [admin]",
        max = SOCKET_PATH_BYTES_MAX
    )]
    PathTooLong(usize),
}

/// A socket that nobody but this process's user can ever connect to, whatever the folder's mode: the kernel makes its file with
/// the mode that the socket has when it is bound.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// Admin commands that wait to be taken.
const BACKLOG: u32 = 64;

/// Open sockets for admin commands.
pub struct AdminDoor {
    path: PathBuf,
    unix: UnixListener,
    tcp: Vec<TcpListener>,
    token: Arc<str>,
}

impl AdminDoor {
    /// Opens the socket, readable by this process's user alone, and what is asked for on loopback.
    pub fn open(path: &Path, listen: &[Address]) -> Result<AdminDoor, AdminError> {
        let len = path.as_os_str().len();
        if len > SOCKET_PATH_BYTES_MAX {
            return Err(AdminError::PathTooLong(len));
        }
        let at_fault = |place: String| move |error| AdminError::Open { place, error };
        let here = path.display().to_string();
        remove_stale_socket(path).map_err(at_fault(here.clone()))?;
        let unix = bind_private(path).map_err(at_fault(here))?;
        let mut tcp = Vec::new();
        for address in listen {
            let Address::Tcp(socket) = address else {
                continue;
            };
            let open = || {
                let listener = std::net::TcpListener::bind(socket)?;
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            };
            tcp.push(open().map_err(at_fault(address.to_string()))?);
        }
        let token_path = path.with_file_name("admin.token");
        let token = if tcp.is_empty() {
            "".into()
        } else {
            make_token(&token_path)
                .map_err(at_fault(token_path.display().to_string()))?
                .into()
        };
        Ok(AdminDoor {
            path: path.to_owned(),
            unix,
            tcp,
            token,
        })
    }

    /// Where it listens on loopback.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Answers requests until shutdown.
    pub async fn serve(self, desk: Arc<Desk>, shutdown: Shutdown) {
        let AdminDoor {
            path,
            unix,
            tcp,
            token,
        } = self;
        let mut servers = JoinSet::new();
        let wait = |mut shutdown: Shutdown| async move { shutdown.requested().await };
        let stop = wait(shutdown.clone());
        let app = router(Arc::clone(&desk));
        servers.spawn(async move { axum::serve(unix, app).with_graceful_shutdown(stop).await });
        for listener in tcp {
            let guard = middleware::from_fn_with_state(Arc::clone(&token), check_token);
            let app = router(Arc::clone(&desk)).layer(guard);
            let stop = wait(shutdown.clone());
            servers.spawn(async move {
                axum::serve(listener, app)
                    .with_graceful_shutdown(stop)
                    .await
            });
        }
        let mut shutdown = shutdown;
        shutdown.requested().await;
        // A client that keeps its connection open must not hold up the end.
        if timeout(DRAIN, servers.join_all()).await.is_err() {
            warn!("admin requests did not end in time");
        }
        let _ = fs::remove_file(path);
    }
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/command", post(command))
        .route("/v1/status", get(status))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(desk)
}

async fn command(
    State(desk): State<Arc<Desk>>,
    request: Result<Json<Request>, JsonRejection>,
) -> Response {
    match request {
        Ok(Json(request)) => answer(desk, request).await,
        Err(rejection) => error(StatusCode::BAD_REQUEST, rejection.body_text()),
    }
}

async fn status(State(desk): State<Arc<Desk>>) -> Response {
    answer(desk, Request::Status).await
}

async fn answer(desk: Arc<Desk>, request: Request) -> Response {
    let name = request.name();
    let outcome = match deadline(&request) {
        None => desk.handle(request).await,
        Some(deadline) => timeout(deadline, desk.handle(request))
            .await
            .unwrap_or_else(|_| Err(Failure::Unavailable("no answer in time".to_owned()))),
    };
    // Never the request itself: it may hold a password.
    match &outcome {
        Ok(_) => info!(command = name, "admin command carried out"),
        Err(why) => info!(command = name, %why, "admin command failed"),
    }
    match outcome {
        Ok(reply) => Json::<Reply>(reply).into_response(),
        Err(failure) => {
            let status = match failure {
                Failure::Refused(_) => StatusCode::CONFLICT,
                Failure::Invalid(_) => StatusCode::BAD_REQUEST,
                Failure::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                Failure::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            };
            error(status, failure.to_string())
        }
    }
}

fn error(status: StatusCode, error: String) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}

/// A browser on this machine can reach a loopback port, and so can every user of it; the token they have not.
async fn check_token(State(token): State<Arc<str>>, request: HttpRequest, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let given = given
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if is_equal(given.as_bytes(), token.as_bytes()) {
        next.run(request).await
    } else {
        error(
            StatusCode::UNAUTHORIZED,
            "the token in admin.token is needed, as in \"Authorization: Bearer …\"".to_owned(),
        )
    }
}

/// In a time that tells nothing of where they differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |differing, (a, b)| differing | (a ^ b))
            == 0
}

/// A new token for each start, readable by this process's user alone.
fn make_token(path: &Path) -> io::Result<String> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    Ok(token)
}
