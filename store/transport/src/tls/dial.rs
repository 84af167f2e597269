//! The dialer's beginning of a connection: TCP, TLS, the hellos.

use std::{sync::Arc, time::Duration};

use mailrook_types::NodeId;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{
    connection::Connection,
    frame::{Decoder, Frame, Kind},
    hello::{HELLO_BYTES_MAX, Hello},
    peer::Peer,
    tcp::{self, ConnectError},
    tls_network::Shared,
};
use crate::{Class, ITEM_BYTES_MAX, Rejection, node_name};

/// TLS and hellos, which take two round trips. A process that is stopped accepts connections and says nothing.
const GREETING_MAX: Duration = Duration::from_secs(2);

/// Makes a connection, and starts it.
pub(crate) async fn dial(
    shared: &Shared,
    peer: &Peer,
    class: Class,
) -> Result<Arc<Connection>, ConnectError> {
    let address = peer.address.borrow().clone();
    let tcp = tcp::connect(&address, |found| peer.looked_up(found)).await?;
    let greeted = timeout(GREETING_MAX, greet(shared, peer.node, class, tcp)).await;
    let greeted = greeted.map_err(|_| ConnectError::other("it accepts and does not answer"))?;
    let (tls, decoder, hello) = greeted.map_err(ConnectError::other)?;
    let (connection, queue) = Connection::new(hello, certificate_of(&tls), None);
    tokio::spawn(Arc::clone(&connection).drive(tls, decoder, queue));
    Ok(connection)
}

/// The TLS library has verified it.
fn certificate_of(tls: &TlsStream<TcpStream>) -> Option<CertificateDer<'static>> {
    let certificates = tls.get_ref().1.peer_certificates()?;
    Some(certificates.first()?.clone().into_owned())
}

async fn greet(
    shared: &Shared,
    to: NodeId,
    class: Class,
    tcp: TcpStream,
) -> Result<(TlsStream<TcpStream>, Decoder, Hello), String> {
    // The TLS library verifies that this is the name in the certificate.
    let name = ServerName::try_from(node_name(shared.cluster, to)).map_err(|e| e.to_string())?;
    let connector = shared.tls().connector.clone();
    let mut tls = connector
        .connect(name, tcp)
        .await
        .map_err(|error| format!("TLS: {error}"))?;
    let ours = shared.hello(class);
    let hello = Frame::new(Kind::Hello, 0, ours.encode());
    write_frame(&mut tls, &hello)
        .await
        .map_err(|error| error.to_string())?;
    let mut decoder = Decoder::new(HELLO_BYTES_MAX);
    let frame = decoder
        .read(&mut tls)
        .await
        .map_err(|error| error.to_string())?;
    let theirs = match frame.kind {
        Kind::Hello => Hello::decode(frame.body).map_err(|error| error.to_string())?,
        Kind::Reject => {
            let rejection = frame.rejection();
            shared.introduce.rejected(to, &rejection);
            return Err(format!("it says: {rejection}"));
        }
        _ => return Err("it broke the protocol: no hello".into()),
    };
    let judged = theirs.agree(&ours, to);
    let judged = judged.map_err(|error| Rejection::from(error.to_string()));
    let introduce = &shared.introduce;
    // First whether it is who it says: who is refused for that must hear it.
    let judged = judged.and_then(|_| introduce.admit(to, theirs.introduction.clone()));
    let judged = judged.and_then(|()| {
        let admitted = introduce.admit_level(to, theirs.feature_level);
        admitted.map_err(Rejection::from)
    });
    if let Err(rejection) = judged {
        // It is closed either way.
        let _ = write_frame(&mut tls, &Frame::reject(&rejection)).await;
        let _ = tls.shutdown().await;
        return Err(rejection.words);
    }
    decoder.set_body_max(ITEM_BYTES_MAX);
    Ok((tls, decoder, theirs))
}

/// Writes one frame at once, before there is an outbox.
pub(crate) async fn write_frame(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &Frame,
) -> std::io::Result<()> {
    let mut whole = Vec::with_capacity(frame.header().len() + frame.body.len());
    whole.extend_from_slice(&frame.header());
    whole.extend_from_slice(&frame.body);
    to.write_all(&whole).await?;
    to.flush().await
}
