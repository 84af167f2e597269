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

/// A client of a compressed connection.
struct Packed {
    wire: Wire,
    packer: Compress,
    unpacker: Decompress,
    /// Packed bytes.
    received: usize,
}

impl Packed {
    fn new(wire: Wire) -> Packed {
        Packed {
            wire,
            packer: Compress::new(Compression::default(), false),
            unpacker: Decompress::new(false),
            received: 0,
        }
    }

    /// What is answered to a command whose tag is two characters, its tagged line at least begun.
    async fn run(&mut self, command: &str) -> String {
        let mut packed = Vec::with_capacity(1000);
        let line = format!("{command}\r\n");
        self.packer
            .compress_vec(line.as_bytes(), &mut packed, FlushCompress::Sync)
            .unwrap();
        self.wire.send(&packed).await;
        let tagged = format!("\r\n{} ", &command[..2]);
        // As if a line had ended before.
        let mut read = b"\r\n".to_vec();
        while !String::from_utf8_lossy(&read).contains(&tagged) {
            let mut piece = vec![0; 100_000];
            let reading = self.wire.stream.read(&mut piece);
            let len = tokio::time::timeout(Duration::from_secs(20), reading).await;
            let len = len.expect("the answer never ends").unwrap();
            assert!(len > 0, "the server closes");
            self.received += len;
            read.reserve(2_000_000);
            self.unpacker
                .decompress_vec(&piece[..len], &mut read, FlushDecompress::Sync)
                .unwrap();
        }
        String::from_utf8(read).unwrap()
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
    let mut client = Packed::new(client);
    let mut text = client.run("a2 FETCH 1 BODY.PEEK[]").await;
    text += &client.run("a3 COMPRESS DEFLATE").await;
    text += &client.run("a4 CAPABILITY").await;
    let received = client.received;
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

#[tokio::test]
async fn a_compressed_answer_arrives_to_its_end() {
    let rig = Rig::new().await;
    let mail = |len: usize| format!("Subject: x\n\n{}", "0123456789abcd\r\n".repeat(len / 16));
    rig.add_mail(&[&mail(100_000)]).await;
    let lens: Vec<usize> = (16_000..68_000).step_by(4_000).collect();
    for len in &lens {
        rig.add_mail(&[&mail(*len)]).await;
    }
    let mut client = rig.selected().await;
    client.play("C: a1 COMPRESS DEFLATE\nS: a1 OK ...").await;
    let mut client = Packed::new(client);
    for number in 2..lens.len() + 2 {
        let fetch = format!("a2 FETCH 1,{number} BODY.PEEK[]");
        let text = client.run(&fetch).await;
        assert_eq!(text.matches("BODY[]").count(), 2, "{number}");
    }
}
