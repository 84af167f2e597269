//! The unit file is as closed as it says.

use std::{path::Path, process::Command};

/// What the unit may expose at most, from 0 to 10.
const EXPOSURE_MAX: f64 = 2.5;

#[test]
fn the_unit_exposes_little() {
    // From where cargo runs a test.
    let unit = Path::new("dist/mailrook.service");
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(unit)
        .output();
    let Ok(analysed) = analysed else {
        eprintln!("systemd-analyze is not installed: not looked at");
        return;
    };
    let text = String::from_utf8_lossy(&analysed.stdout);
    let complaints = String::from_utf8_lossy(&analysed.stderr);
    assert!(!complaints.contains("Failed to parse"), "{complaints}");
    let exposure = text
        .lines()
        .find_map(|line| line.split_once("exposure level for mailrook.service: "));
    let exposure: f64 = exposure
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or(10.0);
    assert!(exposure <= EXPOSURE_MAX, "exposure {exposure}\n{text}");
}
