//! Questions to supervisord over its socket: XML-RPC, as its documentation has it (supervisord.org/api.html), as far as it is needed here.

use std::path::PathBuf;
use std::time::Duration;

use quick_xml::Reader;
use quick_xml::escape::{escape, unescape};
use quick_xml::events::Event;
use serde_json::{Map, Value};

/// How long an answer may take: supervisord answers between two looks at its programs.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How deep values may stand in each other.
const DEPTH_MAX: usize = 16;

/// A question that was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// supervisord is not there, or answers no HTTP.
    #[error("supervisord does not answer {method}")]
    Away {
        /// What was asked.
        method: &'static str,
        /// Why.
        source: reqwest::Error,
    },
    /// It says no.
    #[error("supervisord refuses {method}: {fault}")]
    Fault {
        /// What was asked.
        method: &'static str,
        /// Why, as it says.
        fault: String,
    },
    /// It answered what is no XML-RPC.
    #[error("supervisord answers {method} with what cannot be read")]
    Answer {
        /// What was asked.
        method: &'static str,
    },
}

/// What supervisord knows of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// As `roger:edge-0`, or `delivery` where group and process have one name.
    pub(super) program: String,
    /// As `FATAL`.
    pub(super) state: String,
    /// How it ended last; 0 also when it did not, -1 by a signal.
    pub(super) exit_status: i64,
    /// Why it could not be started; empty when it could.
    pub(super) spawn_error: String,
}

/// Asks one supervisord.
#[derive(Clone, Debug)]
pub(super) struct Supervisord {
    client: reqwest::Client,
    url: String,
}

impl Supervisord {
    /// The one that started this program: it says where it listens in `SUPERVISOR_SERVER_URL`. `None` when there is none to be asked.
    pub(super) fn of_environment() -> Option<Self> {
        let url = std::env::var("SUPERVISOR_SERVER_URL").ok()?;
        Self::at(&PathBuf::from(url.strip_prefix("unix://")?))
    }

    /// The one that listens on a socket.
    pub(super) fn at(socket: &std::path::Path) -> Option<Self> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).unix_socket(socket).pool_max_idle_per_host(0);
        Some(Self { client: client.build().ok()?, url: "http://supervisord/RPC2".to_owned() })
    }

    /// All processes.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn processes(&self) -> Result<Vec<Process>, Error> {
        let answer = self.call("supervisor.getAllProcessInfo", &[]).await?;
        Ok(answer.as_array().into_iter().flatten().map(process).collect())
    }

    /// One process.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn process(&self, program: &str) -> Result<Process, Error> {
        Ok(process(&self.call("supervisor.getProcessInfo", &[program.into()]).await?))
    }

    /// Starts a process, and does not wait until it runs.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn start(&self, program: &str) -> Result<(), Error> {
        self.call("supervisor.startProcess", &[program.into(), false.into()]).await.map(drop)
    }

    /// Sends a process SIGKILL, which ends one that is stopped too.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn kill(&self, program: &str) -> Result<(), Error> {
        self.call("supervisor.signalProcess", &[program.into(), "KILL".into()]).await.map(drop)
    }

    /// The end of what a process printed on its standard output.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn printed(&self, program: &str) -> Result<String, Error> {
        let answer = self.call("supervisor.tailProcessStdoutLog", &[program.into(), 0.into(), 4096.into()]).await?;
        Ok(answer.get(0).and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// The end of the log of supervisord itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn log(&self) -> Result<String, Error> {
        let answer = self.call("supervisor.readLog", &[(-16_384).into(), 0.into()]).await?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    async fn call(&self, method: &'static str, arguments: &[Value]) -> Result<Value, Error> {
        let away = |source: reqwest::Error| Error::Away { method, source };
        let request = self.client.post(&self.url).header("Content-Type", "text/xml").body(question(method, arguments));
        let mut response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(away)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::Answer { method });
            }
        }
        match answer(&String::from_utf8_lossy(&bytes)) {
            Some(Ok(value)) => Ok(value),
            Some(Err(fault)) => {
                let text = fault.get("faultString").and_then(Value::as_str).unwrap_or("no reason");
                Err(Error::Fault { method, fault: text.to_owned() })
            }
            None => Err(Error::Answer { method }),
        }
    }
}

fn process(value: &Value) -> Process {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (group, name) = (text("group"), text("name"));
    let program = if group == name { name } else { format!("{group}:{name}") };
    let exit_status = value.get("exitstatus").and_then(Value::as_i64).unwrap_or(0);
    Process { program, state: text("statename"), exit_status, spawn_error: text("spawnerr") }
}

fn question(method: &str, arguments: &[Value]) -> String {
    let mut xml = format!("<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>");
    for argument in arguments {
        let value = match argument {
            Value::Bool(switch) => format!("<boolean>{}</boolean>", u8::from(*switch)),
            Value::Number(number) => format!("<int>{number}</int>"),
            other => format!("<string>{}</string>", escape(other.as_str().unwrap_or_default())),
        };
        xml.push_str(&format!("<param><value>{value}</value></param>"));
    }
    xml + "</params></methodCall>"
}

/// The value of an answer, or that of a fault; `None` when it is neither.
fn answer(xml: &str) -> Option<Result<Value, Value>> {
    let mut reader = Reader::from_str(xml);
    let mut fault = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) if tag.name().as_ref() == b"fault" => fault = true,
            Event::Start(tag) if tag.name().as_ref() == b"value" => {
                let value = value(&mut reader, 0)?;
                return Some(if fault { Err(value) } else { Ok(value) });
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// What stands behind `<value>`, up to and including its end.
fn value(reader: &mut Reader<&[u8]>, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    let (mut text, mut kind, mut found) = (String::new(), String::new(), None);
    let (mut list, mut members, mut name) = (Vec::new(), Map::new(), String::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(tag) => match tag.name().as_ref() {
                b"value" => {
                    let inner = value(reader, depth + 1)?;
                    if kind == "array" { list.push(inner) } else { drop(members.insert(std::mem::take(&mut name), inner)) }
                }
                b"name" => text.clear(),
                b"member" | b"data" => {}
                other => {
                    kind = String::from_utf8_lossy(other).into_owned();
                    text.clear();
                }
            },
            Event::Text(part) => text.push_str(&part.decode().ok()?),
            Event::CData(part) => text.push_str(&part.decode().ok()?),
            Event::GeneralRef(part) => text.push_str(&unescape(&format!("&{};", part.decode().ok()?)).ok()?),
            Event::End(tag) => match tag.name().as_ref() {
                b"name" => name = std::mem::take(&mut text),
                b"value" => return found.or(Some(Value::from(text))),
                b"array" => found = Some(Value::from(std::mem::take(&mut list))),
                b"struct" => found = Some(Value::from(std::mem::take(&mut members))),
                b"int" | b"i4" => found = Some(text.trim().parse::<i64>().ok()?.into()),
                b"boolean" => found = Some((text.trim() == "1").into()),
                b"string" => found = Some(std::mem::take(&mut text).into()),
                _ => {}
            },
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_of_supervisord_are_read() {
        let check = |xml: &str, expected: Option<Result<Value, Value>>| assert_eq!(answer(xml), expected, "{xml}");
        let ok = |inner: &str| {
            format!("<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{inner}\n</param>\n</params>\n</methodResponse>")
        };
        check(&ok("<value><string>a &lt;b&gt; &amp; &#233;\n c</string></value>"), Some(Ok(json!("a <b> & é\n c"))));
        check(&ok("<value>plain</value>"), Some(Ok(json!("plain"))));
        check(
            &ok(
                "<value><array><data>\n<value><string>log</string></value>\n<value><int>-3</int></value>\n<value><boolean>1</boolean></value></data></array></value>",
            ),
            Some(Ok(json!(["log", -3, true]))),
        );
        let member = "<value><struct>\n<member>\n<name>statename</name>\n<value><string>FATAL</string></value>\n</member>\n<member><name>pid</name><value><i4>0</i4></value></member></struct></value>";
        check(&ok(member), Some(Ok(json!({"statename": "FATAL", "pid": 0}))));
        check(
            "<methodResponse><fault><value><struct><member><name>faultString</name><value><string>BAD_NAME: x</string></value></member></struct></value></fault></methodResponse>",
            Some(Err(json!({"faultString": "BAD_NAME: x"}))),
        );
        check("not xml", None);
        check("<methodResponse><params><param><value><string>cut", None);
        check(&ok(&"<value><array><data>".repeat(50)), None);
        assert_eq!(
            question("m", &["a<b".into(), false.into(), 7.into()]),
            "<?xml version=\"1.0\"?><methodCall><methodName>m</methodName><params><param><value><string>a&lt;b</string></value></param><param><value><boolean>0</boolean></value></param><param><value><int>7</int></value></param></params></methodCall>"
        );
    }
}
