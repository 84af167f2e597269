//! The certificate that all nodes show to mail clients, for `localhost`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// It is no CA's: a client that trusts it trusts nothing else.
const REQUEST: &str = "\
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
";

/// Both files, in PEM.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// What a client is to trust.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl ServerCertificate {
    /// Makes one in this folder.
    pub fn make(folder: &Path) -> io::Result<Self> {
        let made = Self {
            chain: folder.join("server.pem"),
            key: folder.join("server.key"),
        };
        let request = folder.join("request.cnf");
        fs::write(&request, REQUEST)?;
        let output = Command::new("openssl")
            .args(["req", "-x509", "-days", "2", "-nodes", "-newkey", "ec"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config"])
            .arg(&request)
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.chain)
            .output()?;
        if output.status.success() {
            // The nodes become an ordinary user, and may load it again.
            fs::set_permissions(&made.key, fs::Permissions::from_mode(0o644))?;
            return Ok(made);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("openssl: {}", said.trim())))
    }
}
