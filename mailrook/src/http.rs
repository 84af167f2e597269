//! Health and metrics over HTTP: `/livez`, `/readyz`, `/metrics`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use mailrook_net::{Connection, Refusal};

/// A probe sends its few header lines at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the probes ask.
pub trait Health: Send + Sync + 'static {
    /// Why the process does not take its work now; empty when it does.
    fn not_ready_because(&self) -> Vec<String>;
    /// All figures, in Prometheus's text format.
    fn metrics(&self) -> String;
}

/// What a client is told that is one too many.
pub fn refusal(_: Refusal) -> &'static str {
    "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
}

/// Answers the requests of one connection.
pub async fn session(connection: Connection, health: Arc<dyn Health>) {
    let Connection {
        stream,
        admission,
        mut shutdown,
        ..
    } = connection;
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &*health);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.requested() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a probe's connection ended");
    }
    drop(admission);
}

fn respond(method: &Method, path: &str, health: &dyn Health) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let (status, kind, body) = match path {
        _ if method != Method::GET && method != Method::HEAD => (
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET and HEAD are known here\n".to_owned(),
        ),
        "/livez" => (StatusCode::OK, TEXT, "live\n".to_owned()),
        "/readyz" => match health.not_ready_because() {
            reasons if reasons.is_empty() => (StatusCode::OK, TEXT, "ready\n".to_owned()),
            reasons => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("not ready: {}\n", reasons.join(", ")),
            ),
        },
        // https://prometheus.io/docs/instrumenting/exposition_formats/
        "/metrics" => (
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            health.metrics(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /livez, /readyz and /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Waiting(bool);

    impl Health for Waiting {
        fn not_ready_because(&self) -> Vec<String> {
            if self.0 {
                vec!["shard 3 has no leader".to_owned()]
            } else {
                Vec::new()
            }
        }

        fn metrics(&self) -> String {
            "mailrook_up 1\n".to_owned()
        }
    }

    #[test]
    fn answers_probes() {
        let status = |method: Method, path: &str, waits: bool| {
            respond(&method, path, &Waiting(waits)).status().as_u16()
        };
        assert_eq!(status(Method::GET, "/livez", true), 200);
        assert_eq!(status(Method::GET, "/readyz", false), 200);
        assert_eq!(status(Method::HEAD, "/readyz", true), 503);
        assert_eq!(status(Method::GET, "/metrics", true), 200);
        assert_eq!(status(Method::GET, "/", false), 404);
        assert_eq!(status(Method::POST, "/livez", false), 405);
    }
}
