//! What supervisord says of programs, told by text: the real listener, by pipes and under a real supervisord, with a gateway of texts that can be
//! bad in many ways.

mod ends;
mod flood;
mod full;
mod gateway;
mod pair;
mod piped;
mod smpp;
mod storm;
mod supervised;
mod tls;

use std::path::Path;

use gateway::Gateway;

/// The configuration of a listener that tells one person by a gateway; the paces are short.
fn configure(folder: &Path, gateway: &Gateway, more: &str) {
    configure_paces(folder, gateway, [300, 400], more);
}

/// The same with how long it gathers, and how long it waits for the gateway, in milliseconds.
fn configure_paces(folder: &Path, gateway: &Gateway, [group_ms, timeout_ms]: [u32; 2], more: &str) {
    let at = |name: &str| folder.join(name).display().to_string();
    let rules = concat!(
        "host = \"test-1\"\nalways = [\"Kari\"]\n[[person]]\nname = \"Kari\"\nnumber = \"+4740000001\"\n",
        "[[pattern]]\nname = \"disk\"\nregex = \"No space left\"\nseverity = \"critical\"\n"
    );
    std::fs::write(at("alerts.toml"), rules).unwrap();
    let call = format!(
        "url = \"http://127.0.0.1:{}/send\"\nbody = '{{\"to\": \"${{number}}\", \"text\": \"${{text}}\", \"id\": \"${{key}}\"}}'\n\
         [headers]\nContent-Type = \"application/json\"\n[taken]\nstatus = [200]\npointer = \"/taken\"\nequals = [true]\n[never]\nstatus = [400]\n",
        gateway.port
    );
    std::fs::write(at("sms-http.toml"), call).unwrap();
    let config = format!(
        "[sms]\nprovider = \"http\"\nhttp_file = {:?}\ntimeout_ms = {timeout_ms}\n[listener]\ndir = {:?}\nrules_file = {:?}\ngroup_ms = {group_ms}\nrepeat_s = 0\n\
         steady_s = 0\nmessages_per_hour_max = 100\n{more}",
        at("sms-http.toml"),
        at("listener"),
        at("alerts.toml")
    );
    std::fs::write(at("roger.toml"), config).unwrap();
}

/// How many changes a text tells; `None` for the second text of a message.
fn changes_in(text: &str) -> Option<usize> {
    let (head, _) = text.split_once(": ")?;
    match head.split_once(", ") {
        Some((_, count)) => Some(count.strip_suffix(" changes")?.parse().unwrap()),
        None => Some(1),
    }
}
