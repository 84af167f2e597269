//! What SIGHUP and `mailrook reload` do: certificates and settings are read again, all or nothing, and no session is
//! dropped. What cannot change while the server runs is named.

use mailrook_smtp_server::Settings;
use serde_json::Value;
use tracing::info;

use super::host::Running;
use crate::{
    config::{Config, Smtp},
    tls,
};

/// Live, as long as such messages fit the memory that there is.
const MESSAGE_SIZE_MAX: &str = "smtp.message_size_max";

/// Settings that a running server can change. A test holds them against the example's "(restart)" remarks.
const LIVE: [&str; 6] = [
    "tls.certificate",
    MESSAGE_SIZE_MAX,
    "smtp.recipients_max",
    "smtp.messages_per_connection_max",
    "smtp.bare_newlines",
    "log.level",
];

impl Running {
    /// Reads everything again. Says what was read or changed, and which changes need a restart.
    ///
    /// # Errors
    /// When something is wrong; then nothing has changed.
    pub fn reload(&self) -> Result<(Vec<String>, Vec<String>), String> {
        let new = Config::load(&self.config_path).map_err(|error| error.to_string())?;
        let certificates = match &self.tls {
            Some(_) if !new.tls.certificate.is_empty() => {
                Some(tls::load(&new).map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        let mut config = self.config.write();
        let (mut live, mut needs_restart) = differences(&config, &new);

        let merged = in_force(&config, &new, certificates.is_some());
        // It waits for the memory that it needs.
        let waits = merged.smtp.message_size_max != new.smtp.message_size_max;
        needs_restart.extend(live.extract_if(.., |name| waits && name == MESSAGE_SIZE_MAX));
        needs_restart.sort();

        let mut reloaded = Vec::new();
        if let (Some(tls), Some(certificates)) = (&self.tls, certificates) {
            tls.replace(certificates)
                .map_err(|error| error.to_string())?;
            reloaded.push("certificates".to_owned());
        } else if live.iter().any(|name| name == "tls.certificate") {
            // From none to some, or back: the listeners do not know TLS, or cannot do without.
            needs_restart.push("tls.certificate".to_owned());
        }
        self.log.set_level(merged.log.level)?;
        if live.iter().any(|name| name.starts_with("smtp.")) {
            self.acceptors.change_smtp(&merged);
        }
        reloaded.extend(live.into_iter().filter(|name| name != "tls.certificate"));
        *config = merged;
        info!(?reloaded, ?needs_restart, "reloaded");
        Ok((reloaded, needs_restart))
    }
}

/// What holds after a reload: the new settings of [`LIVE`], and of the others the old ones, until the restart. Those are
/// named again by the next reload.
fn in_force(old: &Config, new: &Config, certificates: bool) -> Config {
    let mut merged = old.clone();
    if certificates {
        merged.tls = new.tls.clone();
    }
    merged.log.level = new.log.level;
    // All of them by name: a new one is decided on here.
    let Smtp {
        message_size_max,
        recipients_max,
        messages_per_connection_max,
        bare_newlines,
        memory_max: _,
    } = new.smtp;
    let fits = Settings::memory_min(message_size_max.0) <= old.smtp.memory_max.0;
    merged.smtp = Smtp {
        message_size_max: match fits {
            true => message_size_max,
            false => old.smtp.message_size_max,
        },
        recipients_max,
        messages_per_connection_max,
        bare_newlines,
        memory_max: old.smtp.memory_max,
    };
    merged
}

/// The names of settings that differ: those that can change now, and those that cannot.
fn differences(old: &Config, new: &Config) -> (Vec<String>, Vec<String>) {
    // What a node is called concerns others alone.
    let alone = old.cluster.listen.is_empty() && new.cluster.listen.is_empty();
    let (old, new) = (flat(old), flat(new));
    let names = old.iter().chain(&new).map(|(name, _)| name.clone());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    let value = |list: &[(String, Value)], name: &str| {
        list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    };
    names.retain(|name| value(&old, name) != value(&new, name));
    names.retain(|name| !(alone && name.starts_with("cluster.")));
    names
        .into_iter()
        .partition(|name| LIVE.contains(&name.as_str()))
}

/// `smtp.recipients_max` and its value, and so on.
fn flat(config: &Config) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    if let Ok(Value::Object(top)) = serde_json::to_value(config) {
        for (name, value) in top {
            match value {
                Value::Object(table) => {
                    all.extend(
                        table
                            .into_iter()
                            .map(|(key, value)| (format!("{name}.{key}"), value)),
                    );
                }
                value => all.push((name, value)),
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::EXAMPLE;

    fn config(text: &str) -> Config {
        let least = "hostname = \"m.test\"\n[[tls.certificate]]\nchain = \"a\"\nkey = \"b\"\n";
        Config::parse(&format!("{least}{text}"), Path::new("/etc/x.toml")).unwrap()
    }

    #[test]
    fn says_what_differs() {
        let old = config("");
        assert_eq!(differences(&old, &old), (Vec::new(), Vec::new()));
        let new =
            config("[listen]\npop3 = []\n[smtp]\nrecipients_max = 500\n[log]\nlevel = \"debug\"\n");
        let (live, restart) = differences(&old, &new);
        assert_eq!(live, ["log.level", "smtp.recipients_max"]);
        assert_eq!(restart, ["listen.pop3"]);
    }

    /// What is said to need a restart stays as it was, and all else is as the file says.
    #[test]
    fn only_what_is_live_comes_into_force() {
        let old = config("");
        let mut new = config(
            "[listen]\npop3 = []\n[smtp]\nmessage_size_max = \"1MB\"\nrecipients_max = 500\n\
             messages_per_connection_max = 5\nbare_newlines = \"normalise\"\nmemory_max = \"64MB\"\n[log]\nlevel = \"debug\"\n",
        );
        new.hostname = mailrook_types::Domain::parse("other.test").unwrap();
        new.tls.certificate.clear();
        let (mut live, mut restart) = differences(&old, &new);
        assert_eq!(restart, ["hostname", "listen.pop3", "smtp.memory_max"]);
        let mut all = LIVE;
        all.sort_unstable();
        assert_eq!(live, all);

        let merged = in_force(&old, &new, true);
        assert_eq!(differences(&old, &merged), (live.clone(), Vec::new()));
        assert_eq!(differences(&merged, &new), (Vec::new(), restart.clone()));

        // Certificates that the listeners cannot do with, or without, wait as well.
        let merged = in_force(&old, &new, false);
        live.retain(|name| name != "tls.certificate");
        restart.push("tls.certificate".to_owned());
        assert_eq!(differences(&old, &merged), (live, Vec::new()));
        let (tls, others) = differences(&merged, &new);
        assert_eq!([others, tls].concat(), restart);
    }

    /// Both change in the file, but the memory only after a restart: until then the larger messages would not fit it.
    #[test]
    fn larger_messages_wait_for_larger_memory() {
        let old = config("[smtp]\nmemory_max = \"64MB\"\n");
        let new = config("[smtp]\nmessage_size_max = \"100MB\"\nmemory_max = \"1GB\"\n");
        let merged = in_force(&old, &new, true);
        assert_eq!(merged, old);
        let restarted = config("[smtp]\nmemory_max = \"1GB\"\n");
        let larger = in_force(&restarted, &new, true).smtp.message_size_max;
        assert_eq!(larger, new.smtp.message_size_max);
    }

    /// Each key of the example either is in the list of what can change, or is marked "(restart)", by itself or by its table.
    #[test]
    fn the_example_says_what_needs_a_restart() {
        let (mut table, mut table_restarts) = (String::new(), false);
        let mut comment = String::new();
        let (mut seen, mut after_key) = (0, false);
        for line in EXAMPLE.lines() {
            if let Some(name) = line.trim_start_matches('#').strip_prefix('[') {
                table = name.trim_matches(|c| c == '[' || c == ']').to_owned();
                table_restarts = comment.contains("(restart)");
                comment.clear();
            } else if line.starts_with("# ") {
                // Keys that follow one another share what is said before them.
                if std::mem::take(&mut after_key) {
                    comment.clear();
                }
                comment += line;
            } else if let Some((name, _)) = line
                .strip_prefix('#')
                .and_then(|line| line.split_once(" = "))
            {
                let full = match table.as_str() {
                    "" => name.to_owned(),
                    "tls.certificate" => continue,
                    table => format!("{table}.{name}"),
                };
                let restarts = table_restarts || comment.contains("(restart)");
                assert_ne!(LIVE.contains(&full.as_str()), restarts, "{full}: {comment}");
                seen += 1;
                after_key = true;
            } else {
                comment.clear();
            }
        }
        assert!(seen > 30, "{seen}");
    }
}
