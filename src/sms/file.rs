//! Texts into a file, a JSON object a line: for whoever has no provider yet, and for whatever reads it and carries them.

use std::io;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;

use super::{Error, Provider, Text};

/// Appends texts to a file.
#[derive(Debug)]
pub struct FileProvider {
    path: PathBuf,
}

impl FileProvider {
    /// Into this file, which is made when there is none.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    async fn append(&self, text: &Text) -> io::Result<()> {
        let mut line = serde_json::to_vec(text).map_err(io::Error::other)?;
        line.push(b'\n');
        let mut file = tokio::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).await?;
        // One write, so that lines of several programs do not mix.
        file.write_all(&line).await?;
        file.sync_data().await
    }
}

impl Provider for FileProvider {
    fn send<'a>(&'a self, text: &'a Text) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let failed = |source| Error::File { key: text.key.clone(), path: self.path.clone(), source };
            self.append(text).await.map_err(failed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_text_is_a_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts.jsonl");
        let provider = FileProvider::new(path.clone());
        let text = |number: &str| Text { key: format!("a1-{number}"), number: number.to_owned(), text: "SOS \"Früh\"\nat 1,2".to_owned() };
        for number in ["+471", "+472"] {
            provider.send(&text(number)).await.unwrap();
        }
        let lines = std::fs::read_to_string(path).unwrap();
        let read: Vec<Text> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [text("+471"), text("+472")]);
        let nowhere = FileProvider::new("/nowhere/texts.jsonl".into());
        assert!(matches!(nowhere.send(&text("+473")).await, Err(Error::File { .. })));
    }
}
