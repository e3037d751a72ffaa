//! The commands that change accounts; what they mean for the shards is relayed by a running directory.

use super::args;
use super::context::Context;
use super::error::Error;
use super::operate::confirmed;
use super::output::ask_password;
use super::tree;
use crate::directory::{AccountSpec, seed};

/// The tenant of those who operate the deployment.
const ROOT_TENANT: &str = "root";

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
        args::Account::Add { name, nickname, kind, tenant, parent, password_stdin } => {
            let tenant = match (kind, tenant) {
                (args::Kind::Root, None) => ROOT_TENANT.to_owned(),
                (args::Kind::Root, Some(tenant)) if tenant != ROOT_TENANT => {
                    return Err(Error::Usage(format!("a root belongs to the tenant {ROOT_TENANT:?}: leave --tenant out")));
                }
                (_, None) if parent.is_none() => return Err(Error::Usage("say --tenant or --parent: where does it belong?".to_owned())),
                (_, tenant) => tenant.unwrap_or_default(),
            };
            let password = if password_stdin { Some(password("")?) } else { None };
            let nickname = nickname.unwrap_or_else(|| name.clone());
            let spec = AccountSpec { name: name.clone(), nickname, kind: kind.into(), tenant, password };
            let registry = context.registry().await?;
            let user = match &parent {
                Some(parent) => registry.add_account_below(parent, &spec).await?,
                None => registry.add_account(&spec).await?,
            };
            context.out.answer(&serde_json::json!({ "name": name, "user_id": user }), |_| format!("{name} is user {user}."));
        }
        args::Account::Tree { name } => tree::tree(context, name).await?,
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
