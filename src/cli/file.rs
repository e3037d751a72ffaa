//! `roger file`: files as a client, and what an operator may want to know of them.

use std::path::PathBuf;

use serde_json::json;

use super::args;
use super::context::Context;
use super::error::Error;
use super::http::Gateway;
use super::output::table;
use super::when::utc;
use crate::gateway::{Swept, sweep_once};
use crate::model::UserId;
use crate::store::StoredFile;

pub(super) async fn file(context: &Context, command: args::Files) -> Result<(), Error> {
    match command {
        args::Files::Put { file, topic, log: _, door, who } => {
            let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
                return Err(Error::Usage(format!("{} has no name that could be sent", file.display())));
            };
            let gateway = Gateway::open(context, &door, &who).await?;
            let query: Vec<(&str, &str)> = match &topic {
                Some(topic) => vec![("name", name), ("purpose", "attachment"), ("topic", topic)],
                None => vec![("name", name), ("purpose", "log")],
            };
            let stored = gateway.upload(&["files"], &query, &file).await?;
            context.out.answer(&stored, |stored| stored["id"].as_str().unwrap_or_default().to_owned());
        }
        args::Files::Get { id, out, door, who } => {
            let out = out.unwrap_or_else(|| PathBuf::from(&id));
            let bytes = Gateway::open(context, &door, &who).await?.download(&["files", &id], &out).await?;
            context.out.answer(&json!({ "file": out, "bytes": bytes }), |_| format!("{} has {bytes} bytes.", out.display()));
        }
        args::Files::List { user, limit } => {
            let files = context.store()?.files(user.map(UserId), limit).await?;
            context.out.answer(&files, |files| {
                let row = |file: &StoredFile| {
                    let StoredFile { id, uploader, topic, name, media_type, bytes, created_ms, .. } = file;
                    let topic = topic.map_or("log".to_owned(), |topic| topic.to_string());
                    [id.to_string(), uploader.to_string(), topic, name.clone(), media_type.clone(), bytes.to_string(), utc(*created_ms)]
                };
                table(&["ID", "BY", "FOR", "NAME", "TYPE", "BYTES", "UPLOADED"], files.iter().map(row))
            });
        }
        args::Files::Sweep => {
            let store = context.store()?;
            store.migrate().await?;
            let swept = sweep_once(&context.config, &store, context.clock.now_ms()).await?;
            context.out.answer(&swept, |Swept { files, objects, failed }| {
                format!("{files} files and {objects} objects are gone; {failed} objects could not be removed.")
            });
        }
    }
    Ok(())
}
