//! What a listener does while nothing that could serve its clients is there yet.

use std::{convert::Infallible, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    Listener, Refusal,
    serve::{ACCEPT_REST_MAX, is_of_one_connection},
};

/// A line fits into the empty send buffer of a new connection. Whoever cannot be sent it is not waited for.
const SEND_MAX: Duration = Duration::from_millis(100);

/// Tells each client that it is not served yet, in its protocol's words, and closes. `refusal` is none where TLS comes
/// first: a client that hears nothing tries again just as well, and a handshake would cost as much as a session.
///
/// One client after the other, and nothing is kept of any: no number of them uses memory up. It ends by being dropped;
/// the listener is as good as new then.
pub async fn turn_away(
    listener: &Listener,
    name: &'static str,
    refusal: Option<fn(Refusal) -> &'static str>,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                if let Some(refusal) = refusal {
                    let words = refusal(Refusal::NotYet).as_bytes();
                    // The connection is closed next, whether or not this was sent.
                    let _ = timeout(SEND_MAX, stream.write_all(words)).await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(listener = name, %error, "cannot accept connections, resting");
                sleep(ACCEPT_REST_MAX).await;
            }
        }
    }
}
