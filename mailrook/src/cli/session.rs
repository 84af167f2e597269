//! `mailrook session …`

use clap::Subcommand;
use mailrook_types::{Address, Domain, ShardId};

use super::{
    CliError, Context, misfit,
    output::{human_bytes, shard_name, table},
};
use crate::admin::{
    lasting,
    protocol::{
        Reply, Request, SessionDetail, SessionInfo, SessionPage, SessionProtocol, SessionStall,
        SessionsEnded, UnreachedNode,
    },
};

/// Sessions of mail clients and of those who send mail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List who is connected, node by node, the oldest first
    #[command(
        after_help = "Examples:\n  mailrook session list\n  mailrook session list --user alice@example.org\n  mailrook session list --node mail1 --protocol imap --json\n\nBehind the node's name the id is the one in its log. A node that does not answer is named on standard error."
    )]
    List {
        /// Of this user only
        #[arg(long, value_parser = Address::parse, value_name = "ADDRESS", conflicts_with = "domain")]
        user: Option<Address>,
        /// Of users of this domain only
        #[arg(long, value_parser = Domain::parse)]
        domain: Option<Domain>,
        /// Connected to this node only
        #[arg(long)]
        node: Option<String>,
        /// That speak this only
        #[arg(long, value_enum)]
        protocol: Option<SessionProtocol>,
    },
    /// Show a session, and how it was held up by fail-overs and moves
    #[command(
        after_help = "Example:\n  mailrook session show mail1-5kx0c2m9rt\n\nThe id as `mailrook session list` shows it; as it is in a log, all nodes are asked."
    )]
    Show {
        /// Which
        id: String,
    },
    /// End a session, or all of a user's: each is told why, and may log in again
    #[command(
        after_help = "Examples:\n  mailrook session kill mail1-5kx0c2m9rt\n  mailrook session kill --user alice@example.org --reason \"your password was changed\"\n\nA command under way is finished first; after five seconds the connection is dropped. To keep somebody out, say\n`mailrook account disable` before. If a node is not reached, at which sessions may go on, the command ends with 3."
    )]
    Kill {
        /// Which
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        id: Option<String>,
        /// All of this user
        #[arg(long, value_parser = Address::parse, value_name = "ADDRESS")]
        user: Option<Address>,
        /// What the client is told
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Runs the command.
pub fn run(command: Command, context: &Context) -> Result<(), CliError> {
    match command {
        Command::List {
            user,
            domain,
            node,
            protocol,
        } => list(context, |after| Request::SessionList {
            user: user.clone(),
            domain: domain.clone(),
            node: node.clone(),
            protocol,
            after,
        }),
        Command::Show { id } => show(id, context),
        Command::Kill { id, user, reason } => {
            kill(&Request::SessionKill { id, user, reason }, context)
        }
    }
}

fn list(context: &Context, request: impl Fn(Option<String>) -> Request) -> Result<(), CliError> {
    let all = context.ask_all(|client| async move {
        let mut all = SessionPage::default();
        loop {
            match client.call(&request(all.next.take())).await? {
                Reply::Sessions(page) => {
                    all.sessions.extend(page.sessions);
                    all.unreached.extend(page.unreached);
                    all.next = page.next;
                    if all.next.is_none() {
                        return Ok(all);
                    }
                }
                other => return Err(misfit(&other)),
            }
        }
    })?;
    context.output.print(&all, || {
        let rows: Vec<_> = all.sessions.iter().map(row).collect();
        let heads = [
            "ID", "USER", "SERVICE", "CLIENT", "TLS", "SINCE", "DOES", "SHARD", "LEADER", "RESUMED",
        ];
        table(&heads, &rows, "Nobody is connected.")
    });
    if let Some(text) = missing(&all.unreached, "not heard of:") {
        context.output.warn(&text);
    }
    Ok(())
}

fn row(session: &SessionInfo) -> Vec<String> {
    let shard = session.shard.map(|shard| shard_name(ShardId(shard)));
    vec![
        session.id.clone(),
        session.user.clone().unwrap_or("-".to_owned()),
        session.service.clone(),
        session.peer.clone(),
        if session.tls { "yes" } else { "no" }.to_owned(),
        session.since.clone(),
        session.doing(),
        shard.unwrap_or("-".to_owned()),
        session.leader.clone().unwrap_or("-".to_owned()),
        session.resumed.to_string(),
    ]
}

/// Whose sessions are missing; nothing if nobody's are.
fn missing(unreached: &[UnreachedNode], what: &str) -> Option<String> {
    if unreached.is_empty() {
        return None;
    }
    let lines = unreached
        .iter()
        .map(|node| format!("\n  {}: {}", node.node, node.why));
    Some(format!("{what}{}", lines.collect::<String>()))
}

fn show(id: String, context: &Context) -> Result<(), CliError> {
    let detail = match context.ask(&Request::SessionShow { id })? {
        Reply::Session(detail) => detail,
        other => return Err(misfit(&other)),
    };
    context.output.print(&detail, || text(&detail));
    Ok(())
}

fn text(detail: &SessionDetail) -> String {
    let session = &detail.session;
    let shard = match (session.shard, &session.leader) {
        (Some(shard), Some(leader)) => format!("{}, led by {leader}", shard_name(ShardId(shard))),
        (Some(shard), None) => format!("{}, no leader is known", shard_name(ShardId(shard))),
        (None, _) => "-".to_owned(),
    };
    let resumed = format!(
        "{} commands, {} calls sent again",
        session.resumed, session.replayed
    );
    let lines = [
        ("Session", session.id.clone()),
        ("User", session.user.clone().unwrap_or("-".to_owned())),
        ("Service", session.service.clone()),
        ("Client", session.peer.clone()),
        ("TLS", if session.tls { "yes" } else { "no" }.to_owned()),
        ("Since", session.since.clone()),
        ("Does", session.doing()),
        ("Shard", shard),
        (
            "Traffic",
            format!(
                "{} received, {} sent",
                human_bytes(session.received_bytes),
                human_bytes(session.sent_bytes)
            ),
        ),
        ("Resumed", resumed),
    ];
    let lines = lines
        .iter()
        .map(|(name, value)| format!("{name:<9}{value}\n"));
    let rows: Vec<_> = detail.stalls.iter().map(stall).collect();
    let heads = [
        "AT", "COMMAND", "CAUSE", "SHARD", "BEFORE", "AFTER", "HELD UP", "REPLAYS", "OUTCOME",
    ];
    format!(
        "{}\n{}",
        lines.collect::<String>(),
        table(&heads, &rows, "Nothing has held it up.")
    )
}

fn stall(stall: &SessionStall) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or("-".to_owned());
    vec![
        stall.at.clone(),
        or_none(&stall.command),
        stall.cause.clone(),
        shard_name(ShardId(stall.shard)),
        or_none(&stall.leader_before),
        or_none(&stall.leader_after),
        lasting(stall.stalled_ms),
        stall.replays.to_string(),
        stall.outcome.clone(),
    ]
}

fn kill(request: &Request, context: &Context) -> Result<(), CliError> {
    let ended = match context.ask(request)? {
        Reply::Ended(ended) => ended,
        other => return Err(misfit(&other)),
    };
    context.output.print(&ended, || told(&ended));
    undone(&ended).map_or(Ok(()), |text| Err(CliError::Unreachable(text)))
}

/// Where sessions may go on that were to end.
fn undone(ended: &SessionsEnded) -> Option<String> {
    let nodes: Vec<_> = ended.unreached.iter().map(|node| &*node.node).collect();
    let nodes = nodes.join(", ");
    let what = format!("sessions at {nodes} may go on; not reached:");
    missing(&ended.unreached, &what)
}

fn told(ended: &SessionsEnded) -> String {
    match (ended.ended, ended.ids.as_slice()) {
        (0, _) if ended.unreached.is_empty() => "There is no such session.".to_owned(),
        (0, _) => "The nodes that were reached have no such session.".to_owned(),
        (1, [id]) => format!("{id} was told to end."),
        (count, ids) => format!("{count} sessions were told to end:\n  {}", ids.join("\n  ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> SessionInfo {
        SessionInfo {
            id: "mail1-5kx0c2m9rt".to_owned(),
            node: "mail1".to_owned(),
            service: "imaps".to_owned(),
            peer: "192.0.2.7:52144".to_owned(),
            tls: true,
            user: Some("alice@example.org".to_owned()),
            since: "2026-03-01T08:00:00Z".to_owned(),
            mailbox: Some("INBOX".to_owned()),
            command: Some("IDLE".to_owned()),
            lasting_ms: 312_000,
            shard: Some(3),
            leader: Some("mail2".to_owned()),
            received_bytes: 4_100,
            sent_bytes: 1_200_000,
            resumed: 1,
            replayed: 2,
            ended: None,
        }
    }

    #[test]
    fn a_session_is_shown_with_its_story() {
        let detail = SessionDetail {
            session: session(),
            stalls: vec![SessionStall {
                at: "2026-03-01T09:12:03Z".to_owned(),
                command: Some("UID FETCH".to_owned()),
                cause: "fail-over".to_owned(),
                shard: 3,
                leader_before: Some("mail3".to_owned()),
                leader_after: Some("mail2".to_owned()),
                stalled_ms: 143,
                replays: 2,
                outcome: "done".to_owned(),
            }],
        };
        let text = text(&detail);
        for part in [
            "Session  mail1-5kx0c2m9rt\n",
            "Does     INBOX: IDLE for 5m\n",
            "Shard    3, led by mail2\n",
            "Traffic  4.1 KB received, 1.2 MB sent\n",
            "UID FETCH  fail-over",
            "143ms",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let quiet = SessionDetail {
            stalls: Vec::new(),
            ..detail
        };
        assert!(super::text(&quiet).ends_with("Nothing has held it up."));
    }

    #[test]
    fn who_does_not_answer_is_named() {
        let unreached = [UnreachedNode {
            node: "mail3".to_owned(),
            why: "nothing is heard of it".to_owned(),
        }];
        let said = missing(&unreached, "not heard of:");
        let text = "not heard of:\n  mail3: nothing is heard of it";
        assert_eq!(said.as_deref(), Some(text));
        assert_eq!(missing(&[], "not heard of:"), None);
        let ended = |ids: &[&str], unreached: &[UnreachedNode]| SessionsEnded {
            ended: ids.len() as u64,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            unreached: unreached.to_vec(),
        };
        let one = ended(&["mail1-5kx0c2m9rt"], &unreached);
        assert_eq!(told(&one), "mail1-5kx0c2m9rt was told to end.");
        assert_eq!(told(&ended(&[], &[])), "There is no such session.");
        assert!(told(&ended(&[], &unreached)).starts_with("The nodes that were reached"));
        assert_eq!(undone(&ended(&[], &[])), None);
        let text = undone(&one).unwrap();
        assert!(text.starts_with("sessions at mail3 may go on"), "{text}");
    }
}
