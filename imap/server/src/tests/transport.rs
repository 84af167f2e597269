//! What lies under the commands: TLS, DEFLATE, slow clients, the end.

use std::{sync::Arc, time::Duration};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use mailrook_sasl::{ChannelBindings, Client as SaslClient, Mechanism};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::rig::{Door, Io, PASSWORD, Rig, USER, Wire};

pub(crate) async fn tls(rig: &Rig, stream: Box<dyn Io>) -> TlsStream<Box<dyn Io>> {
    let mut roots = RootCertStore::empty();
    roots.add(rig.certificate.clone().into()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("imap.example.test").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

fn tls_door() -> Door {
    Door {
        plaintext_login: false,
        starttls: true,
        ..Door::default()
    }
}

#[tokio::test]
async fn starttls_forgets_what_came_before_it() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(tls_door());
    // The second command is injected in the clear: it must be neither obeyed nor answered.
    wire.play(
        r"S: * OK ...
                C- a1 STARTTLS\r\na2 LOGOUT\r\n
                S: a1 OK ...",
    )
    .await;
    let mut wire = Wire::over(Box::new(tls(&rig, wire.stream).await), wire.session);
    wire.play(
        "C: a3 CAPABILITY
         S: * CAPABILITY ... AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN
         S: a3 OK ...
         C: a4 STARTTLS
         S: a4 BAD ...
         C: a5 LOGIN user1@example.test secret
         S: a5 OK ...",
    )
    .await;
}

#[tokio::test]
async fn scram_binds_to_the_channel() {
    let rig = Rig::new().await;
    let mut wire = rig.connect(tls_door());
    wire.play("S: * OK ...\nC: a1 STARTTLS\nS: a1 OK ...").await;
    let stream = tls(&rig, wire.stream).await;
    let exporter = stream
        .get_ref()
        .1
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
        .unwrap();
    let bindings = ChannelBindings {
        tls_exporter: Some(exporter),
        tls_server_end_point: None,
    };
    let mut wire = Wire::over(Box::new(stream), wire.session);
    scram(&mut wire, Mechanism::ScramSha256Plus, bindings).await;
    let mut plain = rig.connect(Door::default());
    plain.play("S: * OK ...").await;
    scram(
        &mut plain,
        Mechanism::ScramSha256,
        ChannelBindings::default(),
    )
    .await;
}

async fn scram(wire: &mut Wire, mechanism: Mechanism, bindings: ChannelBindings) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut client = SaslClient::new(mechanism, USER, PASSWORD, &bindings);
    let first = client.initial().unwrap();
    let line = format!("a2 AUTHENTICATE {mechanism} {}\r\n", STANDARD.encode(first));
    wire.send(line.as_bytes()).await;
    loop {
        let line = wire.line().await.unwrap();
        let Some(challenge) = line.strip_prefix("+ ") else {
            assert!(line.starts_with("a2 OK"), "{line}");
            return;
        };
        let response = client
            .respond(&STANDARD.decode(challenge).unwrap())
            .unwrap();
        let line = format!("{}\r\n", STANDARD.encode(response));
        wire.send(line.as_bytes()).await;
    }
}

#[tokio::test]
async fn compresses_both_ways() {
    let rig = Rig::new().await;
    rig.add_mail(&[&format!(
        "Subject: x\n\n{}",
        "all the same\r\n".repeat(50_000)
    )])
    .await;
    let mut client = rig.selected().await;
    client.play("C: a1 COMPRESS DEFLATE\nS: a1 OK ...").await;
    let mut packer = Compress::new(Compression::default(), false);
    let mut unpacker = Decompress::new(false);
    let (mut received, mut read) = (0, Vec::new());
    for command in [
        "a2 FETCH 1 BODY.PEEK[]\r\n",
        "a3 COMPRESS DEFLATE\r\n",
        "a4 CAPABILITY\r\n",
    ] {
        let mut packed = Vec::with_capacity(1000);
        packer
            .compress_vec(command.as_bytes(), &mut packed, FlushCompress::Sync)
            .unwrap();
        client.send(&packed).await;
        let start = read.len();
        let tag = &command[..3];
        while !String::from_utf8_lossy(&read[start..]).contains(&format!("\r\n{tag}"))
            && !read[start..].starts_with(tag.as_bytes())
        {
            let mut piece = vec![0; 100_000];
            let len = client.stream.read(&mut piece).await.unwrap();
            assert!(len > 0, "the server closes");
            received += len;
            read.reserve(2_000_000);
            unpacker
                .decompress_vec(&piece[..len], &mut read, FlushDecompress::Sync)
                .unwrap();
        }
    }
    let text = String::from_utf8(read).unwrap();
    assert!(text.contains("BODY[] {700014}"));
    assert!(text.contains("a3 NO [COMPRESSIONACTIVE]"));
    assert!(!text.contains(" COMPRESS=DEFLATE"));
    assert!(
        received < 50_000,
        "{received} bytes for 700,000 that are all the same"
    );
}

#[tokio::test]
async fn who_stops_reading_is_given_up() {
    let rig = Rig::with(|settings| settings.write_timeout = Duration::from_millis(200)).await;
    rig.add_mail(&[&format!(
        "Subject: x\n\n{}",
        "0123456789\r\n".repeat(100_000)
    )])
    .await;
    let mut client = rig.selected().await;
    let many = "a1 FETCH 1 BODY.PEEK[]\r\n".repeat(100);
    client.send(many.as_bytes()).await;
    tokio::time::timeout(Duration::from_secs(10), &mut client.session)
        .await
        .expect("the session waits for ever")
        .unwrap();
}

#[tokio::test]
async fn a_stopping_server_says_so() {
    let rig = Rig::new().await;
    let mut idle = rig.selected().await;
    idle.play("C: a1 IDLE\nS: + idling").await;
    let mut waiting = rig.logged_in().await;
    rig.trigger.shut_down();
    idle.play("S: * BYE ...\nEND").await;
    waiting.play("S: * BYE ...\nEND").await;
}

#[tokio::test]
async fn silence_ends_a_session() {
    let rig = Rig::with(|settings| settings.login_timeout = Duration::from_millis(100)).await;
    let mut client = rig.connect(Door::default());
    client.play("S: * OK ...\nS: * BYE ...\nEND").await;
}

#[tokio::test]
async fn guessing_ends_a_session() {
    let rig = Rig::with(|settings| settings.failed_login_delay = Duration::from_millis(10)).await;
    let mut client = rig.connect(Door::default());
    client.play("S: * OK ...").await;
    for guess in 1..10 {
        let script = format!(
            "C: a{guess} LOGIN user1@example.test {guess}
             S: a{guess} NO [AUTHENTICATIONFAILED] ..."
        );
        client.play(&script).await;
    }
    client
        .play("C: b LOGIN user1@example.test x\nS: * BYE ...\nEND")
        .await;
}

#[tokio::test]
async fn broken_deflate_ends_the_session() {
    let rig = Rig::new().await;
    let mut client = rig.logged_in().await;
    client.play("C: a1 COMPRESS DEFLATE\nS: a1 OK ...").await;
    let _ = client.stream.write_all(&[0xff; 1000]).await;
    tokio::time::timeout(Duration::from_secs(10), &mut client.session)
        .await
        .expect("the session goes on")
        .unwrap();
}
