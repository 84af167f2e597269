//! What an idle connection costs this process: `idle_memory [CONNECTIONS]`, plain and with TLS.
//!
//! Clients are in a second process (this program, called with an address), so that the figure is the server's alone.
//! Connections come from several loopback addresses, as one has only 28,000 ports.
//!
//! Measured 2026-11 (x86-64, glibc, 10,000 connections): plain 2.1 KiB, TLS 7.4 KiB, of which rustls's read buffer is 4.

#![allow(clippy::print_stdout, reason = "a program that prints a measurement")]

use std::{env, error::Error, fs, process::Stdio, sync::Arc, time::Duration};

use mailrook_net::{
    Bind, CertificatePem, Certificates, Connection, Limiter, Limits, Listener, ServeSettings,
    ShutdownTrigger, TlsAcceptor, TlsSettings, serve,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    process::Command,
    time::sleep,
};
use tokio_rustls::TlsConnector;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [address, count, ca] => clients(address, count.parse()?, ca).await,
        [count] => servers(count).await,
        _ => servers("5000").await,
    }
}

async fn servers(count: &str) -> Result<(), Failure> {
    let made = rcgen::generate_simple_self_signed(vec!["mail.example.test".to_owned()])?;
    let pem = CertificatePem {
        chain: made.cert.pem().into(),
        key: made.signing_key.serialize_pem().into(),
    };
    let ca = tempfile::NamedTempFile::new()?;
    fs::write(ca.path(), &pem.chain)?;
    let tls = TlsAcceptor::new(Certificates::from_pem(&[pem])?, TlsSettings::default())?;
    for (name, implicit_tls) in [("plain", None), ("tls", Some(tls))] {
        let limiter = Limiter::new(Limits {
            connections_max: 100_000,
            pending_max: 100_000,
            ..Limits::default()
        });
        let settings = ServeSettings {
            name,
            implicit_tls: implicit_tls.clone(),
            proxies: vec![],
            limiter: Arc::clone(&limiter),
            refusal: |_| "",
            drain_timeout: Duration::from_secs(1),
        };
        let listener = Listener::bind(&Bind::Tcp("127.0.0.1:0".parse()?))?;
        let address = listener
            .local_addr()
            .ok_or("a TCP listener has an address")?
            .to_string();
        let (trigger, shutdown) = ShutdownTrigger::new();
        let serving = tokio::spawn(serve(listener, settings, shutdown, session));
        let before_kib = resident_kib()?;
        let ca_argument = if implicit_tls.is_some() {
            ca.path().display().to_string()
        } else {
            "-".to_owned()
        };
        let mut clients = Command::new(env::current_exe()?)
            .args([&address, count, &ca_argument])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut output = BufReader::new(clients.stdout.take().ok_or("the output is a pipe")?);
        output.read_line(&mut String::new()).await?;
        sleep(Duration::from_secs(1)).await;
        let connections = limiter.counts().total;
        let cost_kib = resident_kib()?.saturating_sub(before_kib) as f64 / connections as f64;
        println!("{name}: {connections} connections, {cost_kib:.1} KiB each");
        clients.kill().await?;
        trigger.shut_down();
        serving.await?;
    }
    Ok(())
}

/// As a session in IDLE: it has said and read something, and waits without a buffer.
async fn session(mut connection: Connection) {
    loop {
        if connection.stream.wait_readable().await.is_err() {
            return;
        }
        let mut buffer = vec![0; 16_384];
        let Ok(len @ 1..) = connection.stream.read(&mut buffer).await else {
            return;
        };
        connection.admission.logged_in();
        if connection.stream.write_all(&buffer[..len]).await.is_err()
            || connection.stream.flush().await.is_err()
        {
            return;
        }
    }
}

async fn clients(address: &str, count: usize, ca: &str) -> Result<(), Failure> {
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::with_capacity(count);
    let connector = if ca == "-" {
        None
    } else {
        Some(connector(&fs::read(ca)?)?)
    };
    for n in 0..count {
        let socket = TcpSocket::new_v4()?;
        socket.bind(format!("127.0.0.{}:0", 1 + n / 20_000).parse()?)?;
        let mut tcp: TcpStream = socket.connect(address.parse()?).await?;
        match &connector {
            None => {
                exchange(&mut tcp).await?;
                held.push(Box::new(tcp));
            }
            Some(connector) => {
                let mut tls = connector
                    .connect(ServerName::try_from("mail.example.test")?, tcp)
                    .await?;
                exchange(&mut tls).await?;
                held.push(Box::new(tls));
            }
        }
    }
    println!("ready");
    sleep(Duration::from_secs(3_600)).await;
    drop(held);
    Ok(())
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> Result<(), Failure> {
    let line = [b'x'; 1_000];
    stream.write_all(&line).await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; 1_000]).await?;
    Ok(())
}

fn connector(ca: &[u8]) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca)?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn resident_kib() -> Result<usize, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
