//! `roger release`: sign, upload, stage, halt and resume releases of the app.

use std::io::Read as _;
use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::args;
use super::context::Context;
use super::error::Error;
use super::http::Gateway;
use super::operate::confirmed;
use super::output::table;
use super::when::utc;
use crate::model::{Digest, ReleaseId};
use crate::store::{Release, ReleaseChange, Store};
use crate::token::ReleaseSigner;

pub(super) async fn release(context: &Context, command: args::Release) -> Result<(), Error> {
    match command {
        args::Release::Sign { file, key } => {
            let (sha256, signature) = sign(&file, &key)?;
            context.out.answer(&json!({ "sha256": sha256, "signature": signature }), |_| signature.clone());
        }
        args::Release::Upload(args) => upload(context, args).await?,
        args::Release::List { package, limit } => {
            let releases = context.store()?.releases(package.as_deref(), limit).await?;
            context.out.answer(&releases, |releases| {
                let row = |release: &Release| {
                    let Release { id, package, version_code, version_name, bytes, percent, halted, created_ms, .. } = release;
                    let state = if *halted { "halted".to_owned() } else { format!("{percent} %") };
                    let version = format!("{version_code} ({version_name})");
                    [id.to_string(), package.clone(), version, state, bytes.to_string(), utc(*created_ms)]
                };
                table(&["ID", "PACKAGE", "VERSION", "FOR", "BYTES", "UPLOADED"], releases.iter().map(row))
            });
        }
        args::Release::Stage { id, percent } => change(context, id, ReleaseChange::Stage(percent)).await?,
        args::Release::Halt { id, yes } => {
            confirmed(yes, &format!("release {id} would be for nobody, and the one before it current again"))?;
            change(context, id, ReleaseChange::Halt).await?;
        }
        args::Release::Resume { id } => change(context, id, ReleaseChange::Resume).await?,
    }
    Ok(())
}

fn sign(file: &Path, key: &Path) -> Result<(Digest, String), Error> {
    let failed = |source| Error::File { path: file.to_owned(), source };
    let mut hash = Sha256::new();
    let mut open = std::fs::File::open(file).map_err(failed)?;
    let mut part = vec![0; 1 << 16];
    loop {
        match open.read(&mut part).map_err(failed)? {
            0 => break,
            bytes => hash.update(&part[..bytes]),
        }
    }
    let digest = Digest(hash.finalize().into());
    Ok((digest, ReleaseSigner::load(key).map_err(Error::ReleaseKey)?.sign(digest)))
}

async fn upload(context: &Context, args: args::ReleaseUpload) -> Result<(), Error> {
    let args::ReleaseUpload { file, package, key, signature, door, who } = args;
    let signature = match (signature, key) {
        (Some(signature), _) => signature,
        (None, Some(key)) => sign(&file, &key)?.1,
        (None, None) => return Err(Error::Usage("--key or --signature is missing".to_owned())),
    };
    let gateway = Gateway::open(context, &door, &who).await?;
    let release = gateway.upload(&["releases", &package], &[("signature", &signature)], &file).await?;
    context.out.answer(&release, |release| {
        let (id, version_code) = (&release["id"], &release["version_code"]);
        format!("{package} {version_code} is release {id}, for nobody yet: `roger release stage {id} PERCENT`.")
    });
    Ok(())
}

async fn change(context: &Context, id: u64, change: ReleaseChange) -> Result<(), Error> {
    let store: Store = context.store()?;
    store.migrate().await?;
    let Some(before) = store.change_release(ReleaseId(id), change).await? else {
        return Err(Error::Usage(format!("there is no release {id}: `roger release list` lists them")));
    };
    let after = store.release(&before.package, before.version_code).await?.unwrap_or_else(|| before.clone());
    context.out.answer(&after, |after| match (after.halted, before == *after) {
        (_, true) => "It is so already.".to_owned(),
        (true, _) => format!("{} {} is for nobody any more.", after.package, after.version_code),
        (false, _) => format!("{} {} is for {} % of the installations.", after.package, after.version_code, after.percent),
    });
    Ok(())
}
