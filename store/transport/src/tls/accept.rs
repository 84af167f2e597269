//! The acceptor's beginning of a connection: TLS, then a hello, or a request to join.
//!
//! Until it has shown a certificate and a hello that is admitted, a connection costs one of few places for a short time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::server::TlsStream;

use super::{
    connection::Connection,
    dial::write_frame,
    frame::{Decoder, Frame, Kind},
    hello::{HELLO_BYTES_MAX, Hello},
    join,
    places::{Place, Places, Source},
    served::Served,
    tcp,
    tls_network::Shared,
};
use crate::{Handlers, ITEM_BYTES_MAX, Rejection, certificate::certified_node};

/// How long a connection may take to say who it is.
const UNKNOWN_FOR_MAX: Duration = Duration::from_secs(5);

/// Connections of nodes, in all. Each node has one for each class.
const CONNECTIONS_MAX: usize = 1024;

/// A pause when the process has no more file descriptors, for example.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How long the other side may take to read why it is rejected.
const FAREWELL: Duration = Duration::from_secs(1);

/// Accepts until the network is shut down.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, handlers: Handlers) {
    let places = Arc::new(Places::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopped() => return,
        };
        let (tcp, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a node's connection");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let source = Source::of(from.ip(), shared.is_node_address(from.ip()));
        let Some(place) = places.admit(source) else {
            tracing::debug!(%from, "too many connections that have not said who they are");
            continue;
        };
        let (shared, handlers) = (Arc::clone(&shared), handlers.clone());
        tokio::spawn(async move {
            let greeted = tokio::select! {
                greeted = welcome(&shared, &handlers, tcp, from, place) => greeted,
                () = shared.stopped() => return,
            };
            if let Err(cause) = greeted {
                tracing::debug!(%from, %cause, "connection refused");
            }
        });
    }
}

/// Deals with one connection, up to its admission or its end.
async fn welcome(
    shared: &Arc<Shared>,
    handlers: &Handlers,
    tcp: TcpStream,
    from: SocketAddr,
    place: Place,
) -> Result<(), String> {
    let too_slow = |_| "it takes too long to say who it is".to_owned();
    let first = timeout(UNKNOWN_FOR_MAX, first_frame(shared, tcp))
        .await
        .map_err(too_slow)?;
    let (mut tls, decoder, frame) = first?;
    let judged = match (frame.kind, certificate_of(&tls)) {
        (Kind::Join, None) => return join::answer(shared, tls, from, frame.body).await,
        (Kind::Hello, Some(certificate)) => judge(shared, &certificate, frame),
        (Kind::Hello, None) => Err("it shows no certificate: it may join, and nothing else".into()),
        (Kind::Join, Some(_)) => Err("it is a member already, and asks to join".into()),
        _ => Err("it broke the protocol: no hello".into()),
    };
    let theirs = match judged {
        Ok(theirs) => theirs,
        Err(rejection) => {
            reject(&mut tls, &rejection).await;
            return Err(rejection.words);
        }
    };
    drop(place);
    shared.came_from(theirs.node, from.ip());
    start(shared, handlers, tls, decoder, theirs).await
}

async fn first_frame(
    shared: &Shared,
    tcp: TcpStream,
) -> Result<(TlsStream<TcpStream>, Decoder, Frame), String> {
    tcp::prepare(&tcp).map_err(|error| error.to_string())?;
    let acceptor = shared.tls().acceptor.clone();
    let mut tls = acceptor
        .accept(tcp)
        .await
        .map_err(|error| format!("TLS: {error}"))?;
    let mut decoder = Decoder::new(HELLO_BYTES_MAX.max(join::JOIN_BYTES_MAX));
    match decoder.read(&mut tls).await {
        Ok(frame) => Ok((tls, decoder, frame)),
        Err(error) => {
            let cause = error.to_string();
            reject(&mut tls, &cause.as_str().into()).await;
            Err(cause)
        }
    }
}

/// The TLS library has verified it.
fn certificate_of(tls: &TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    let certificates = tls.get_ref().1.peer_certificates()?;
    Some(certificates.first()?.clone().into_owned())
}

fn judge(
    shared: &Shared,
    certificate: &CertificateDer<'_>,
    frame: Frame,
) -> Result<Hello, Rejection> {
    let certified = certified_node(certificate);
    let (cluster, node) = certified.ok_or("its certificate names no node of a cluster")?;
    let theirs = Hello::decode(frame.body).map_err(|error| error.to_string())?;
    let ours = shared.hello(theirs.class);
    theirs
        .agree(&ours, node)
        .map_err(|error| error.to_string())?;
    if cluster != ours.cluster {
        return Err(format!("its certificate is of cluster {cluster:032x}").into());
    }
    if node == shared.node {
        return Err(format!("this is {node} itself: is there a copy of it?").into());
    }
    // First whether it is who it says: who is refused for that must hear it.
    shared.introduce.admit(node, theirs.introduction.clone())?;
    shared.introduce.admit_level(node, theirs.feature_level)?;
    Ok(theirs)
}

/// Answers the hello, and starts the connection in place of an earlier one.
async fn start(
    shared: &Arc<Shared>,
    handlers: &Handlers,
    mut tls: TlsStream<TcpStream>,
    mut decoder: Decoder,
    theirs: Hello,
) -> Result<(), String> {
    let (node, class) = (theirs.node, theirs.class);
    if shared.incoming.lock().len() >= CONNECTIONS_MAX {
        let cause = "too many nodes are connected";
        reject(&mut tls, &cause.into()).await;
        return Err(cause.into());
    }
    let hello = Frame::new(Kind::Hello, 0, shared.hello(class).encode());
    let greeted = timeout(UNKNOWN_FOR_MAX, write_frame(&mut tls, &hello)).await;
    let greeted = greeted.map_err(|_| "it does not read".to_owned())?;
    greeted.map_err(|error| error.to_string())?;
    decoder.set_body_max(ITEM_BYTES_MAX);
    let served = Served::new(
        Arc::clone(handlers.of(class)),
        Arc::clone(&shared.introduce),
    );
    let (connection, queue) = Connection::new(theirs, certificate_of(&tls), Some(served));
    shared.add_incoming(node, class, &connection);
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        Arc::clone(&connection).drive(tls, decoder, queue).await;
        shared.remove_incoming(node, class, &connection);
    });
    Ok(())
}

/// Says why, and waits a moment until it is read: what is closed with unread bytes is reset.
pub(crate) async fn reject(tls: &mut TlsStream<TcpStream>, rejection: &Rejection) {
    let farewell = async {
        write_frame(tls, &Frame::reject(rejection)).await?;
        tls.shutdown().await?;
        let mut rest = [0; 4096];
        while tls.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // It is closed either way.
    let _ = timeout(FAREWELL, farewell).await;
}
