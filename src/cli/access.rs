//! `roger sessions --account` and `roger sessions revoke`: by what an account is used, and its end.

use serde::Serialize;

use super::context::{Context, user_of};
use super::error::Error;
use super::operate::confirmed;
use super::output::{note, table};
use super::when::utc;
use crate::model::{InstallationId, UserId};
use crate::session::{self, Live, Wanted};
use crate::store::{LoginRecord, ResumeToken, Revocations, Revoked, Store};
use crate::worker::chain;

/// How many logins are listed.
const LOGINS: u32 = 50;

#[derive(Serialize)]
struct Answer {
    name: String,
    user_id: UserId,
    /// Connected now.
    sessions: Vec<Live>,
    /// What may come back without a password.
    resume_tokens: Vec<Token>,
    /// Newest first.
    logins: Vec<Login>,
}

#[derive(Serialize)]
struct Token {
    installation: String,
    expires_ms: u64,
}

#[derive(Serialize)]
struct Login {
    time_ms: u64,
    installation: String,
    outcome: String,
    peer: String,
    app: String,
}

impl From<ResumeToken> for Token {
    fn from(token: ResumeToken) -> Self {
        Self { installation: hex(token.installation), expires_ms: token.expires_ms }
    }
}

impl From<LoginRecord> for Login {
    fn from(record: LoginRecord) -> Self {
        let LoginRecord { user: _, installation, time_ms, outcome, peer, app } = record;
        Self { time_ms, installation: hex(installation), outcome, peer, app }
    }
}

fn hex(installation: InstallationId) -> String {
    format!("{:x}", installation.0)
}

/// Sessions, tokens and logins of an account; at most `limit` of the first.
pub(super) async fn of_account(context: &Context, name: &str, limit: usize) -> Result<(), Error> {
    let store = context.store()?;
    let user = user_of(&store, name).await?;
    let access = store.access(user, context.clock.now_ms(), LOGINS).await?;
    let wanted = Wanted { user: Some(user), edge: None, limit };
    let sessions = session::list(&context.redis()?, context.shards(), &wanted).await?.sessions;
    let resume_tokens = access.resume_tokens.into_iter().map(Token::from).collect();
    let logins = access.logins.into_iter().map(Login::from).collect();
    context.out.answer(&Answer { name: name.to_owned(), user_id: user, sessions, resume_tokens, logins }, text);
    Ok(())
}

fn text(answer: &Answer) -> String {
    let row = |Live { presence, .. }: &Live| [hex(presence.installation), presence.edge_name.clone(), utc(presence.since_ms)];
    let sessions = table(&["INSTALLATION", "EDGE", "SINCE"], answer.sessions.iter().map(row));
    let row = |token: &Token| [token.installation.clone(), utc(token.expires_ms)];
    let tokens = table(&["INSTALLATION", "MAY COME BACK UNTIL"], answer.resume_tokens.iter().map(row));
    let row =
        |login: &Login| [utc(login.time_ms), login.installation.clone(), login.outcome.clone(), login.peer.clone(), login.app.clone()];
    let logins = table(&["LOGIN", "INSTALLATION", "OUTCOME", "FROM", "APP"], answer.logins.iter().map(row));
    format!("{} is user {}.\n\n{sessions}\n\n{tokens}\n\n{logins}", answer.name, answer.user_id)
}

/// Ends sessions and calls tokens back. Without Redis it is noted in SQL, and a running directory does the rest.
pub(super) async fn revoke(context: &Context, name: &str, installation: Option<InstallationId>, yes: bool) -> Result<(), Error> {
    let of = installation.map_or_else(|| "all its sessions".to_owned(), |one| format!("its installation {}", hex(one)));
    confirmed(yes, &format!("{name} would have to log in again in {of}"))?;
    let store = context.store()?;
    let user = user_of(&store, name).await?;
    store.revoke(user, installation.map_or(Revoked::AllBut(None), Revoked::Installation)).await?;
    let closed = match close(context, &store, user).await {
        Ok(closed) => closed,
        Err(error) => {
            note(&format!("roger: a running directory ends what is open within seconds of reaching Redis: {}", chain(&error)));
            0
        }
    };
    let answer = serde_json::json!({ "name": name, "user_id": user, "closed": closed });
    context.out.answer(&answer, |_| format!("{name} has to log in again; {closed} sessions were open."));
    Ok(())
}

async fn close(context: &Context, store: &Store, user: UserId) -> Result<u32, Error> {
    let Revocations { user, void_ms } = store.revocations_of(user).await?;
    let lifetime = context.config.auth.token_lifetime;
    Ok(session::revoke(&context.redis()?, context.shards(), lifetime, &[(user, void_ms)]).await?)
}
