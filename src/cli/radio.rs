//! The commands of a client: login, logout, send, listen, groups.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::args;
use super::context::Context;
use super::error::Error;
use super::heard::{entry_line, entry_text, floor_text};
use super::output::{ask_password, note, table};
use super::recordings::Recordings;
use super::state::{Kept, State};
use crate::client::{Acknowledge, Body, Directory, Event, Options, ResumeTokens, Session, Tokens as _};
use crate::model::{GroupId, Reason, TopicId, TopicKind};
use crate::proto::v1;
use tokio::sync::mpsc::Receiver;

/// How often what was acknowledged is saved while entries come.
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// How long the event of a receipt may take once the session has it.
const TELLING_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) async fn login(context: &Context, args: args::Login) -> Result<(), Error> {
    let state = State::of(&args.name)?;
    let prompt = format!("Password of {}: ", args.name);
    let stdin = |source| Error::File { path: "stdin".into(), source };
    let password = match args.password {
        Some(password) => password,
        None => ask_password(if args.password_stdin { "" } else { &prompt }).map_err(stdin)?,
    };
    let installation = state.installation()?;
    let address = context.directory(&args.doors);
    let login = Directory::new(&address)?.login(&args.name, &password, installation).await?;
    let user = login.user;
    state.save(&Kept { name: args.name.clone(), directory: address, installation, login })?;
    // The installation is kept from now on, whatever becomes of the tokens.
    state.save_memory(&state.memory(installation)?)?;
    let answer = serde_json::json!({ "name": args.name, "user_id": user, "installation_id": installation });
    context.out.answer(&answer, |_| format!("{} is logged in as user {user}.", args.name));
    Ok(())
}

pub(super) async fn logout(context: &Context, args: args::As) -> Result<(), Error> {
    let state = State::chosen(args.account.as_deref())?;
    let kept = state.load()?;
    Directory::new(&kept.directory)?.logout(&kept.login.token, &kept.login.resume_token).await?;
    state.forget()?;
    context.out.answer(&serde_json::json!({ "name": kept.name }), |_| format!("{} is logged out.", kept.name));
    Ok(())
}

/// The tokens of a login, which are saved whenever they are renewed.
pub(super) fn tokens(state: &State, kept: &Kept) -> Result<Arc<ResumeTokens>, Error> {
    let directory = Directory::new(&kept.directory)?;
    let (state, known) = (state.clone(), kept.clone());
    Ok(ResumeTokens::new(directory, &kept.name, kept.installation, kept.login.clone(), move |login| {
        let kept = Kept { login: login.clone(), ..known.clone() };
        if let Err(error) = state.save(&kept) {
            note(&format!("roger: the new tokens are not kept, so the next command has to log in: {error}"));
        }
    }))
}

async fn list_groups(state: &State, kept: &Kept) -> Result<Vec<v1::Group>, Error> {
    let (directory, tokens) = (Directory::new(&kept.directory)?, tokens(state, kept)?);
    let token = tokens.token(None).await?;
    match directory.groups(&token).await {
        Err(error) if matches!(error.reason(), Some(Reason::TokenExpired | Reason::TokenRevoked)) => {
            let renewed = tokens.token(Some(&token)).await?;
            Ok(directory.groups(&renewed).await?)
        }
        answer => Ok(answer?),
    }
}

#[derive(Serialize)]
struct GroupLine {
    group_id: u64,
    name: String,
    version: u64,
    members: Vec<MemberLine>,
}

#[derive(Serialize)]
struct MemberLine {
    user_id: u64,
    name: String,
    nickname: String,
}

pub(super) async fn groups(context: &Context, args: args::As) -> Result<(), Error> {
    let state = State::chosen(args.account.as_deref())?;
    let kept = state.load()?;
    let member = |member: v1::Member| MemberLine { user_id: member.user_id, name: member.name, nickname: member.nickname };
    let groups: Vec<GroupLine> = list_groups(&state, &kept)
        .await?
        .into_iter()
        .map(|group| GroupLine {
            group_id: group.group_id,
            name: group.name,
            version: group.version,
            members: group.members.into_iter().map(member).collect(),
        })
        .collect();
    context.out.answer(&groups, |groups| {
        let members = |group: &GroupLine| {
            let name = |member: &MemberLine| format!("{} ({})", member.name, member.user_id);
            group.members.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        table(&["ID", "GROUP", "MEMBERS"], groups.iter().map(|group| [group.group_id.to_string(), group.name.clone(), members(group)]))
    });
    Ok(())
}

pub(super) async fn open(
    context: &Context,
    state: &State,
    who: &args::As,
    acknowledge: Acknowledge,
) -> Result<(Session, Receiver<Event>), Error> {
    let kept = state.load()?;
    let tokens = tokens(state, &kept)?;
    open_with(context, state, who, acknowledge, tokens)
}

fn open_with(
    context: &Context,
    state: &State,
    who: &args::As,
    acknowledge: Acknowledge,
    tokens: Arc<ResumeTokens>,
) -> Result<(Session, Receiver<Event>), Error> {
    let options = Options::new(context.edges(&who.doors), tokens, state.memory(state.load()?.installation)?);
    Ok(Session::open(Options { acknowledge, ..options })?)
}

async fn recipient(state: &State, args: &args::Send) -> Result<TopicId, Error> {
    if let Some(user) = args.user {
        return TopicId::checked(TopicKind::Inbox, user).ok_or_else(|| Error::Usage(format!("{user} cannot be the id of a user")));
    }
    find_group(state, args.group.as_deref().unwrap_or_default()).await.map(TopicId::group)
}

/// The group of the account that has this name, or else this id.
pub(super) async fn find_group(state: &State, wanted: &str) -> Result<GroupId, Error> {
    let kept = state.load()?;
    let groups = list_groups(state, &kept).await?;
    let found =
        groups.iter().find(|group| group.name == wanted).or_else(|| groups.iter().find(|group| group.group_id.to_string() == wanted));
    let found = found.ok_or_else(|| Error::NoSuchGroup { name: wanted.to_owned(), account: kept.name.clone() })?;
    Ok(GroupId(found.group_id))
}

pub(super) async fn room(context: &Context, args: args::Room) -> Result<(), Error> {
    let state = State::chosen(args.who.account.as_deref())?;
    let _alone = state.lock()?;
    let group = if args.group == "none" { GroupId(0) } else { find_group(&state, &args.group).await? };
    // Entries are left to `listen`: nothing is acknowledged here.
    let (session, mut events) = open(context, &state, &args.who, Acknowledge::Explicit).await?;
    let entered = tokio::select! {
        entered = session.enter(group) => entered,
        // What comes is read all the while, or the session would wait for its reader.
        () = async { while events.recv().await.is_some() {} } => Err(crate::client::Error::Closed { reason: None }),
    };
    state.save_memory(&session.close().await)?;
    entered?;
    let said =
        |_: &serde_json::Value| if group.0 == 0 { "In no room now.".to_owned() } else { format!("In the room of {} now.", args.group) };
    context.out.answer(&serde_json::json!({ "group_id": group }), said);
    Ok(())
}

pub(super) async fn send(context: &Context, args: args::Send) -> Result<(), Error> {
    let state = State::chosen(args.who.account.as_deref())?;
    let _alone = state.lock()?;
    let topic = recipient(&state, &args).await?;
    // Entries are left to `listen`: nothing is acknowledged here.
    let (session, mut events) = open(context, &state, &args.who, Acknowledge::Explicit).await?;
    let sending = async {
        let send = async {
            match &args.text {
                Some(text) => {
                    session.send(topic, text.clone()).await?;
                }
                None => {
                    for line in std::io::stdin().lock().lines() {
                        let line = line.map_err(|source| Error::File { path: "stdin".into(), source })?;
                        if !line.is_empty() {
                            session.send(topic, line).await?;
                            state.save_memory(&session.memory())?;
                        }
                    }
                }
            }
            state.save_memory(&session.memory())?;
            Ok::<_, Error>(session.flush().await?)
        };
        let mut durability = None;
        let told = async {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Receipt(receipt) => durability = Some(receipt.durability),
                    Event::Refusal(refusal) => return Some((refusal.reason, refusal.text)),
                    Event::Closed { reason, text } => return Some((reason, text)),
                    _ => {}
                }
            }
            None
        };
        let refused = tokio::select! {
            biased;
            refused = told => refused,
            done = send => { done?; None }
        };
        match refused {
            Some((Some(reason), _)) => Err(Error::Client(crate::client::Error::Unsendable { reason })),
            Some((None, text)) => Err(Error::Usage(format!("refused: {text}"))),
            None => {
                // The last receipt ends the waiting a moment before it is told.
                while durability.is_none()
                    && let Ok(Some(event)) = tokio::time::timeout(TELLING_TIMEOUT, events.recv()).await
                {
                    if let Event::Receipt(receipt) = event {
                        durability = Some(receipt.durability);
                    }
                }
                Ok(durability)
            }
        }
    };
    let done = tokio::time::timeout(args.within, sending).await;
    let counts = session.counts();
    let unreceipted = session.unreceipted();
    state.save_memory(&session.close().await)?;
    match done {
        Err(_) => {
            note(&format!("roger: {unreceipted} messages have no receipt yet; they are kept and go out with the next `roger send`."));
            Err(Error::Late { what: "a receipt".to_owned(), seconds: args.within.as_secs() })
        }
        Ok(Err(error)) => Err(error),
        Ok(Ok(durability)) => {
            let answer = serde_json::json!({ "topic": topic, "receipted": counts.receipted, "durability": durability });
            let safety = durability.map(|durability| format!(" ({durability:?})").to_lowercase()).unwrap_or_default();
            context.out.answer(&answer, |_| match counts.receipted {
                1 => format!("Roger: stored{safety}."),
                many => format!("Roger: {many} messages stored{safety}."),
            });
            Ok(())
        }
    }
}

pub(super) async fn listen(context: &Context, args: args::Listen) -> Result<(), Error> {
    let state = State::chosen(args.who.account.as_deref())?;
    let _alone = state.lock()?;
    let tokens = tokens(&state, &state.load()?)?;
    let recordings = match &args.audio {
        Some(folder) => Some(Recordings::new(context, folder, &args.door, tokens.clone())?),
        None => None,
    };
    let (session, mut events) = open_with(context, &state, &args.who, Acknowledge::Explicit, tokens)?;
    let end = tokio::time::sleep(args.duration.unwrap_or(Duration::from_secs(u64::from(u32::MAX))));
    tokio::pin!(end);
    let mut save = tokio::time::interval(SAVE_INTERVAL);
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(|source| Error::File { path: "the handler of SIGINT".into(), source })?;
    let (mut left, mut unsaved) = (args.count.unwrap_or(u64::MAX), false);
    let mut ended = None;
    while left > 0 {
        tokio::select! {
            event = events.recv() => match event {
                None => break,
                Some(Event::Entry(entry)) => {
                    let (topic, place) = (entry.topic, entry.place);
                    let talk = match &entry.body {
                        Body::Talk(talk) => Some(talk.clone()),
                        _ => None,
                    };
                    context.out.answer(&entry_line(entry), entry_text);
                    if let Some((recordings, talk)) = recordings.as_ref().zip(talk) {
                        // Acknowledged once it is kept: who is interrupted before is told of it again.
                        tokio::select! {
                            () = recordings.keep(&talk) => {}
                            () = &mut end => break,
                            _ = interrupt.recv() => break,
                        }
                    }
                    session.acknowledge(topic, place);
                    (left, unsaved) = (left - 1, true);
                }
                Some(Event::Gap(gap)) => {
                    let why = if gap.not_member { "you were not a member there" } else { "they are no longer stored" };
                    note(&format!("roger: {} from behind {} to {} will not come: {why}", gap.topic, gap.from, gap.to));
                    session.acknowledge(gap.topic, gap.to);
                }
                Some(Event::Lost(lost)) => {
                    let crate::client::Lost { topic, first, last } = lost;
                    note(&format!("roger: the fleet lost what you said in {topic} from number {first} to {last}: say it again if it matters"));
                }
                Some(Event::Presence(presence)) => {
                    let crate::client::Presence { user, state, group, nickname, .. } = presence;
                    note(&format!("roger: {nickname} (user {user}) is {state:?} in g:{group}"));
                }
                Some(Event::Floor(event)) => note(&format!("roger: {}", floor_text(&event))),
                Some(Event::Connected { edge, .. }) => note(&format!("roger: connected to {edge}")),
                Some(Event::Disconnected { edge, reason }) => note(&format!("roger: {edge} is gone ({reason:?}), trying again")),
                Some(Event::Closed { reason, text }) => {
                    ended = Some((reason, text));
                    break;
                }
                Some(_) => {}
            },
            _ = save.tick(), if unsaved => {
                state.save_memory(&session.memory())?;
                unsaved = false;
            }
            () = &mut end => break,
            _ = interrupt.recv() => break,
        }
    }
    state.save_memory(&session.close().await)?;
    match ended {
        Some((reason, text)) => {
            note(&format!("roger: the fleet ended the session: {text}"));
            Err(Error::Client(crate::client::Error::Closed { reason }))
        }
        None => Ok(()),
    }
}
