//! The nodes of a deployment and their addresses, from a file that is read again when it changes.
//!
//! A file that is broken at the start keeps the gateway from starting. One that becomes broken later is warned of once, and the last good
//! one stays; `roger_nodes_file_good` is 0 meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::shutdown::Shutdown;
use crate::store::NODE_CHARACTERS_MAX;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The largest file.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// A file of nodes that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not such a file.
    #[error("{}:{line}: {rule}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is broken there.
        rule: String,
    },
}

/// A node: where its programs are, as clients reach them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    edge: Vec<String>,
    directory: String,
    gateway: String,
    janus: String,
}

/// All nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NodeSet {
    nodes: BTreeMap<String, Node>,
    default: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileOfNodes {
    default: Spanned<String>,
    node: Vec<NodeInFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeInFile {
    name: Spanned<String>,
    edge: Spanned<Vec<Spanned<String>>>,
    directory: Spanned<String>,
    gateway: Spanned<String>,
    janus: Spanned<String>,
}

impl NodeSet {
    fn parse(text: &str, path: &Path) -> Result<Self, NodesError> {
        let broken = |at: usize, rule: String| {
            let line = text[..at.min(text.len())].matches('\n').count() + 1;
            NodesError::Content { path: path.to_owned(), line, rule }
        };
        let file: FileOfNodes =
            toml::from_str(text).map_err(|error| broken(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let mut nodes = BTreeMap::new();
        for NodeInFile { name, edge, directory, gateway, janus } in file.node {
            if edge.get_ref().is_empty() {
                return Err(broken(edge.span().start, "edge must name at least one URL".to_owned()));
            }
            let urls = edge.get_ref().iter().map(|url| (url, HTTP)).chain([(&directory, HTTP), (&gateway, HTTP), (&janus, JANUS)]);
            for (url, schemes) in urls {
                if !is_url(url.get_ref(), schemes) {
                    let rule = format!("{:?} must be a URL that begins with {}", url.get_ref(), schemes.join(" or "));
                    return Err(broken(url.span().start, rule));
                }
            }
            let at = name.span().start;
            let name = name.into_inner();
            let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.';
            if !(1..=NODE_CHARACTERS_MAX).contains(&name.len()) || !name.bytes().all(known) {
                return Err(broken(at, format!("name {name:?} must be 1 to {NODE_CHARACTERS_MAX} letters, digits, hyphens, dots")));
            }
            let node = Node {
                name: name.clone(),
                edge: edge.into_inner().into_iter().map(Spanned::into_inner).collect(),
                directory: directory.into_inner(),
                gateway: gateway.into_inner(),
                janus: janus.into_inner(),
            };
            if nodes.insert(name.clone(), node).is_some() {
                return Err(broken(at, format!("there is another node {name:?}")));
            }
        }
        if !nodes.contains_key(file.default.get_ref()) {
            return Err(broken(file.default.span().start, format!("default {:?} is none of the nodes", file.default.get_ref())));
        }
        Ok(Self { nodes, default: file.default.into_inner() })
    }

    fn read(path: &Path) -> Result<Self, NodesError> {
        let failed = |source| NodesError::File { path: path.to_owned(), source };
        let bytes = fs::metadata(path).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            let rule = format!("has {bytes} bytes: at most {FILE_BYTES_MAX}");
            return Err(NodesError::Content { path: path.to_owned(), line: 1, rule });
        }
        Self::parse(&fs::read_to_string(path).map_err(failed)?, path)
    }
}

const HTTP: &[&str] = &["https://", "http://"];
const JANUS: &[&str] = &["wss://", "ws://", "https://", "http://"];

fn is_url(text: &str, schemes: &[&str]) -> bool {
    let host = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
    host.is_some_and(|host| !host.is_empty() && !host.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// What tells that a file is another one than before.
type Mark = Option<(SystemTime, u64)>;

fn mark_of(path: &Path) -> Mark {
    fs::metadata(path).ok().and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())))
}

/// The nodes as they stand.
#[derive(Debug)]
pub(super) struct Nodes {
    path: Option<PathBuf>,
    set: RwLock<Option<Arc<NodeSet>>>,
}

impl Nodes {
    /// Of a file, which must be good; none without one.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, NodesError> {
        let set = path.map(NodeSet::read).transpose()?.map(Arc::new);
        Ok(Self { path: path.map(Path::to_owned), set: RwLock::new(set) })
    }

    fn current(&self) -> Option<Arc<NodeSet>> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node of a name, or else the default one: a node that is taken out of the file takes nobody with it. `None` without a file.
    pub(super) fn find(&self, name: Option<&str>) -> Option<Node> {
        let set = self.current()?;
        name.and_then(|name| set.nodes.get(name)).or_else(|| set.nodes.get(&set.default)).cloned()
    }

    /// Whether there is a node of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.current().is_some_and(|set| set.nodes.contains_key(name))
    }

    /// Looks at the file until `shutdown`.
    pub(super) async fn watch(&self, shutdown: &Shutdown) {
        let Some(path) = self.path.clone() else { return };
        let good = metrics::gauge!("roger_nodes_file_good");
        good.set(1.0);
        // Read once more than needed rather than to miss a change since the start.
        let mut seen = None;
        let mut said = String::new();
        while !shutdown.is_cancelled() {
            let mark = mark_of(&path);
            if mark.is_none() || mark != seen {
                match NodeSet::read(&path) {
                    Ok(set) => {
                        let set = Arc::new(set);
                        let changed = self.current().as_ref() != Some(&set);
                        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Some(set);
                        good.set(1.0);
                        if changed || !said.is_empty() {
                            tracing::info!(file = %path.display(), "nodes read");
                        }
                        said.clear();
                    }
                    Err(error) => {
                        good.set(0.0);
                        let text = error.to_string();
                        if text != said {
                            tracing::warn!(error = &error as &dyn std::error::Error, "the last good file of nodes stays");
                        }
                        said = text;
                    }
                }
                seen = mark;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"default = "north"
[[node]]
name = "north"
edge = ["https://edge.north.example.org"]
directory = "https://directory.north.example.org"
gateway = "https://gateway.north.example.org"
janus = "wss://janus.north.example.org"
"#;

    #[test]
    fn a_broken_file_is_named_with_line_and_rule() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from));
            let error = NodeSet::parse(&GOOD.replace(from, to), Path::new("nodes.toml")).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
        };
        assert!(NodeSet::parse(GOOD, Path::new("nodes.toml")).is_ok());
        check("default = \"north\"", "default = \"south\"", "nodes.toml:1: default \"south\" is none of the nodes");
        check("[\"https://edge.north.example.org\"]", "[]", "nodes.toml:4: edge must name at least one URL");
        check("https://directory", "ftp://directory", "nodes.toml:5: \"ftp://directory.north.example.org\" must be a URL");
        check("name = \"north\"", "name = \"the north\"", "nodes.toml:3: name \"the north\" must be");
        check("janus = ", "junus = ", "nodes.toml:7: unknown field `junus`");
        check("gateway = \"", "gateway = ", "nodes.toml:6: ");
        let twice = format!("{GOOD}{}", GOOD.split_once('\n').unwrap().1);
        let error = NodeSet::parse(&twice, Path::new("nodes.toml")).unwrap_err();
        assert_eq!(error.to_string(), "nodes.toml:9: there is another node \"north\"");
    }
}
