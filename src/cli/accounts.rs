//! The commands that change accounts; what they mean for the shards is relayed by a running directory.

use super::args;
use super::context::Context;
use super::error::Error;
use super::operate::confirmed;
use super::output::ask_password;
use crate::directory::{AccountSpec, seed};
use crate::model::UserKind;

pub(super) async fn apply(context: &Context, args: args::Apply) -> Result<(), Error> {
    let file = seed::SeedFile::read(&args.seed)?;
    let summary = seed::apply(&context.registry().await?, &file).await?;
    context.out.answer(&summary, |summary| format!("{}: {summary}.", args.seed.display()));
    Ok(())
}

fn password(prompt: &str) -> Result<String, Error> {
    ask_password(prompt).map_err(|source| Error::File { path: "stdin".into(), source })
}

pub(super) async fn account(context: &Context, command: args::Account) -> Result<(), Error> {
    match command {
        args::Account::Add { name, nickname, kind, tenant, password_stdin } => {
            let password = if password_stdin { Some(password("")?) } else { None };
            let kind = match kind {
                args::Kind::Device => UserKind::Device,
                args::Kind::Dispatcher => UserKind::Dispatcher,
            };
            let nickname = nickname.unwrap_or_else(|| name.clone());
            let spec = AccountSpec { name: name.clone(), nickname, kind, tenant, password };
            let user = context.registry().await?.add_account(&spec).await?;
            context.out.answer(&serde_json::json!({ "name": name, "user_id": user }), |_| format!("{name} is user {user}."));
        }
        args::Account::Password { name } => {
            let password = password(&format!("New password of {name}: "))?;
            context.registry().await?.set_password(&name, &password).await?;
            context.out.answer(&serde_json::json!({ "name": name }), |_| format!("{name} has a new password and has to log in."));
        }
        args::Account::Disable { name, yes } => {
            confirmed(yes, &format!("{name} could not log in any more"))?;
            context.registry().await?.set_disabled(&name, true).await?;
            context.out.answer(&serde_json::json!({ "name": name, "disabled": true }), |_| format!("{name} cannot log in any more."));
        }
        args::Account::Enable { name } => {
            context.registry().await?.set_disabled(&name, false).await?;
            context.out.answer(&serde_json::json!({ "name": name, "disabled": false }), |_| format!("{name} can log in."));
        }
    }
    Ok(())
}
