//! Prints commands as a client would, for the tests that read them back.

use mailrook_types::{FlagUpdate, Flags, Keyword};

use crate::{
    command::{
        AppendMessage, Command, Fetch, FetchItem, List, Partial, Search, SearchKey, Select,
        StatusItem, Store, Transfer,
    },
    utf7,
    writer::{push_part, push_section},
};

/// The command's text without tag and line end; literals are announced as non-synchronising.
pub(super) fn print(command: &Command) -> String {
    let name = command.name();
    let arguments = match command {
        Command::Login { user, password } => {
            format!(
                " {} {}",
                string(user),
                string(&String::from_utf8_lossy(password.as_bytes()))
            )
        }
        Command::Create {
            mailbox,
            special_uses,
        } if !special_uses.is_empty() => {
            let uses: Vec<&str> = special_uses.iter().map(|u| u.attribute()).collect();
            format!(" {} (USE ({}))", mailbox_name(mailbox), uses.join(" "))
        }
        Command::Create { mailbox, .. }
        | Command::Delete { mailbox }
        | Command::Subscribe { mailbox }
        | Command::GetQuotaRoot { mailbox } => format!(" {}", mailbox_name(mailbox)),
        Command::Rename { from, to } => format!(" {} {}", mailbox_name(from), mailbox_name(to)),
        Command::Status { mailbox, items } => {
            format!(" {} {}", mailbox_name(mailbox), status(items))
        }
        Command::Select(select) => print_select(select),
        Command::List(list) => print_list(list),
        Command::Search(search) => print_search(search),
        Command::Fetch(fetch) => print_fetch(fetch),
        Command::Store(store) => print_store(store),
        Command::Copy(t) | Command::Move(t) => print_transfer(t),
        Command::Expunge { uids: Some(uids) } => format!(" {uids}"),
        _ => String::new(),
    };
    format!("{name}{arguments}")
}

pub(super) fn print_append_message(message: &AppendMessage) -> String {
    let tilde = if message.binary { "~" } else { "" };
    let plus = if message.synchronising { "" } else { "+" };
    format!(
        " {} {tilde}{{{}{plus}}}",
        flags(&message.flags),
        message.size
    )
}

fn string(text: &str) -> String {
    if text.contains(['\r', '\n', '"', '\\']) {
        return format!("{{{}+}}\r\n{text}", text.len());
    }
    format!("\"{text}\"")
}

fn mailbox_name(name: &str) -> String {
    let mut wire = Vec::new();
    utf7::encode(name, &mut wire);
    string(std::str::from_utf8(&wire).expect("modified UTF-7 is ASCII"))
}

fn status(items: &[StatusItem]) -> String {
    let name = |item: &StatusItem| {
        StatusItem::ALL
            .iter()
            .find(|(known, _)| known == item)
            .expect("known")
            .1
    };
    format!("({})", items.iter().map(name).collect::<Vec<_>>().join(" "))
}

fn flags(flags: &Flags) -> String {
    let mut names: Vec<&str> = flags.system.names().collect();
    names.extend(flags.keywords.iter().map(Keyword::as_str));
    format!("({})", names.join(" "))
}

fn print_select(select: &Select) -> String {
    let mut parameters = Vec::new();
    if select.condstore {
        parameters.push("CONDSTORE".to_owned());
    }
    if let Some(qresync) = &select.qresync {
        let mut text = format!("QRESYNC ({} {}", qresync.uid_validity, qresync.mod_seq);
        if let Some(known) = &qresync.known_uids {
            text += &format!(" {known}");
        }
        if let Some((sequence, uids)) = &qresync.match_data {
            text += &format!(" ({sequence} {uids})");
        }
        parameters.push(text + ")");
    }
    let name = mailbox_name(&select.mailbox);
    if parameters.is_empty() {
        format!(" {name}")
    } else {
        format!(" {name} ({})", parameters.join(" "))
    }
}

fn chosen(options: &[(bool, &str)]) -> Vec<String> {
    options
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn print_list(list: &List) -> String {
    let patterns: Vec<String> = list
        .patterns
        .iter()
        .map(|pattern| mailbox_name(pattern))
        .collect();
    if !list.extended {
        return format!(" {} {}", mailbox_name(&list.reference), patterns[0]);
    }
    let select = chosen(&[
        (list.select.subscribed, "SUBSCRIBED"),
        (list.select.remote, "REMOTE"),
        (list.select.recursive_match, "RECURSIVEMATCH"),
        (list.select.special_use, "SPECIAL-USE"),
    ]);
    let mut returns = chosen(&[
        (list.returns.subscribed, "SUBSCRIBED"),
        (list.returns.children, "CHILDREN"),
        (list.returns.special_use, "SPECIAL-USE"),
    ]);
    if !list.returns.status.is_empty() {
        returns.push(format!("STATUS {}", status(&list.returns.status)));
    }
    let reference = mailbox_name(&list.reference);
    format!(
        " ({}) {reference} ({}) RETURN ({})",
        select.join(" "),
        patterns.join(" "),
        returns.join(" ")
    )
}

fn print_search(search: &Search) -> String {
    let mut text = String::new();
    if let Some(r) = search.returns {
        let options = chosen(&[
            (r.min, "MIN"),
            (r.max, "MAX"),
            (r.all, "ALL"),
            (r.count, "COUNT"),
            (r.save, "SAVE"),
        ]);
        text += &format!(" RETURN ({})", options.join(" "));
    }
    text + " " + &key(&search.key)
}

fn key(search_key: &SearchKey) -> String {
    use SearchKey::*;
    match search_key {
        All => "ALL".into(),
        And(keys) => format!("({})", keys.iter().map(key).collect::<Vec<_>>().join(" ")),
        Or(a, b) => format!("OR {} {}", key(a), key(b)),
        Not(inner) => format!("NOT {}", key(inner)),
        Sequence(set) => set.to_string(),
        Uid(set) => format!("UID {set}"),
        Flag(flag) => flag.names().map(|name| name[1..].to_uppercase()).collect(),
        NotFlag(flag) => flag
            .names()
            .map(|name| format!("UN{}", name[1..].to_uppercase()))
            .collect(),
        Keyword(keyword) => format!("KEYWORD {keyword}"),
        NotKeyword(keyword) => format!("UNKEYWORD {keyword}"),
        Recent => "RECENT".into(),
        New => "NEW".into(),
        Old => "OLD".into(),
        From(text) => format!("FROM {}", string(text)),
        To(text) => format!("TO {}", string(text)),
        Cc(text) => format!("CC {}", string(text)),
        Bcc(text) => format!("BCC {}", string(text)),
        Subject(text) => format!("SUBJECT {}", string(text)),
        Body(text) => format!("BODY {}", string(text)),
        Text(text) => format!("TEXT {}", string(text)),
        Header(field, text) => format!("HEADER {} {}", string(field), string(text)),
        Before(date) => format!("BEFORE {date}"),
        On(date) => format!("ON {date}"),
        Since(date) => format!("SINCE {date}"),
        SentBefore(date) => format!("SENTBEFORE {date}"),
        SentOn(date) => format!("SENTON \"{date}\""),
        SentSince(date) => format!("SENTSINCE {date}"),
        Larger(size) => format!("LARGER {size}"),
        Smaller(size) => format!("SMALLER {size}"),
        Older(seconds) => format!("OLDER {seconds}"),
        Younger(seconds) => format!("YOUNGER {seconds}"),
        ModSeq(mod_seq) => format!("MODSEQ {mod_seq}"),
        EmailId(id) => format!("EMAILID {id}"),
        ThreadId(id) => format!("THREADID {id}"),
    }
}

fn print_fetch(fetch: &Fetch) -> String {
    let items: Vec<String> = fetch.items.iter().map(item).collect();
    let mut modifiers = Vec::new();
    if let Some(mod_seq) = fetch.changed_since {
        modifiers.push(format!("CHANGEDSINCE {mod_seq}"));
    }
    modifiers.extend(fetch.vanished.then(|| "VANISHED".to_owned()));
    let modifiers = if modifiers.is_empty() {
        String::new()
    } else {
        format!(" ({})", modifiers.join(" "))
    };
    format!(" {} ({}){modifiers}", fetch.set, items.join(" "))
}

fn item(item: &FetchItem) -> String {
    let in_brackets = |print: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        print(&mut out);
        format!("[{}]", String::from_utf8(out).expect("sections are text"))
    };
    let partial = |partial: &Option<Partial>| {
        partial.map_or_else(String::new, |p| format!("<{}.{}>", p.start, p.length))
    };
    let dot_peek = |peek: &bool| if *peek { ".PEEK" } else { "" };
    match item {
        FetchItem::Flags => "FLAGS".into(),
        FetchItem::Uid => "UID".into(),
        FetchItem::ModSeq => "MODSEQ".into(),
        FetchItem::InternalDate => "INTERNALDATE".into(),
        FetchItem::Size => "RFC822.SIZE".into(),
        FetchItem::Envelope => "ENVELOPE".into(),
        FetchItem::Body => "BODY".into(),
        FetchItem::BodyStructure => "BODYSTRUCTURE".into(),
        FetchItem::EmailId => "EMAILID".into(),
        FetchItem::ThreadId => "THREADID".into(),
        FetchItem::Rfc822 => "RFC822".into(),
        FetchItem::Rfc822Header => "RFC822.HEADER".into(),
        FetchItem::Rfc822Text => "RFC822.TEXT".into(),
        FetchItem::Section {
            section,
            partial: p,
            peek,
        } => {
            format!(
                "BODY{}{}{}",
                dot_peek(peek),
                in_brackets(&|out| push_section(out, section)),
                partial(p)
            )
        }
        FetchItem::Binary {
            part,
            partial: p,
            peek,
        } => {
            format!(
                "BINARY{}{}{}",
                dot_peek(peek),
                in_brackets(&|out| push_part(out, part)),
                partial(p)
            )
        }
        FetchItem::BinarySize { part } => {
            format!("BINARY.SIZE{}", in_brackets(&|out| push_part(out, part)))
        }
    }
}

fn print_store(store: &Store) -> String {
    let since = store
        .unchanged_since
        .map_or_else(String::new, |m| format!(" (UNCHANGEDSINCE {m})"));
    let sign = match store.update {
        FlagUpdate::Replace => "",
        FlagUpdate::Add => "+",
        FlagUpdate::Remove => "-",
    };
    let silent = if store.silent { ".SILENT" } else { "" };
    format!(
        " {}{since} {sign}FLAGS{silent} {}",
        store.set,
        flags(&store.flags)
    )
}

fn print_transfer(transfer: &Transfer) -> String {
    format!(" {} {}", transfer.set, mailbox_name(&transfer.mailbox))
}
