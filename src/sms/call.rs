//! How texts are sent over HTTP, as `config/sms-http.toml` documents: the file, and its places filled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use regex::Regex;
use serde::Deserialize;

use super::{Error, Text};
use crate::config::{BadSecret, Secret};

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    cleartext: bool,
    ca: Option<PathBuf>,
    #[serde(default)]
    secrets: BTreeMap<String, RawSecret>,
    #[serde(default)]
    taken: RawTaken,
    #[serde(default)]
    never: RawNever,
}

fn post() -> String {
    "POST".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecret {
    file: Option<PathBuf>,
    env: Option<String>,
}

impl RawSecret {
    /// The secret itself, of the kind that `make` makes. `path` and `key` are where it is named.
    pub(super) fn read(
        &self,
        path: &Path,
        key: &str,
        environment: impl Fn(&str) -> Option<String>,
        make: impl Fn(&str) -> Result<Secret, &'static str>,
    ) -> Result<Secret, Error> {
        let refuse = |rule: &str| Error::CallValue { path: path.to_owned(), key: key.to_owned(), rule: rule.to_owned() };
        match (&self.file, &self.env) {
            (Some(file), None) => Secret::read_as(file, make).map_err(|error| match error {
                BadSecret::File { path, source } => Error::CallFile { path, source },
                BadSecret::Rule { rule, .. } => refuse(&format!("in a file whose secret is {rule}")),
            }),
            (None, Some(variable)) => {
                let text = environment(variable).ok_or_else(|| refuse("in an environment variable that is set"))?;
                make(&text).map_err(refuse)
            }
            _ => Err(refuse("{ file = PATH } or { env = NAME }")),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTaken {
    #[serde(default)]
    status: Vec<u16>,
    regex: Option<String>,
    pointer: Option<String>,
    #[serde(default)]
    equals: Vec<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNever {
    #[serde(default)]
    status: Vec<u16>,
    regex: Option<String>,
}

/// A call with places that are filled for each text.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: reqwest::Method,
    pub(super) host: String,
    /// The only authorities whose certificates count; without them, those that the machine trusts.
    pub(super) authorities: Option<Vec<reqwest::Certificate>>,
    url: Template,
    headers: Vec<(String, Template)>,
    body: Template,
    secrets: BTreeMap<String, Secret>,
    status: Vec<u16>,
    taken: Option<Regex>,
    pointer: Option<(String, Vec<serde_json::Value>)>,
    never_status: Vec<u16>,
    never: Option<Regex>,
}

/// A call for one text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Taken,
    Later,
    Never,
}

impl Call {
    /// Reads and judges the file.
    pub(super) fn read(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::CallFile { path: path.to_owned(), source })?;
        let raw: Raw = toml::from_str(&text).map_err(|source| Error::CallSyntax { path: path.to_owned(), source: Box::new(source) })?;
        let refuse = |key: &str, rule: &str| Error::CallValue { path: path.to_owned(), key: key.to_owned(), rule: rule.to_owned() };
        let mut secrets = BTreeMap::new();
        for (name, place) in &raw.secrets {
            let secret = place.read(path, &format!("secrets.{name}"), &environment, Secret::new)?;
            secrets.insert(name.clone(), secret);
        }
        let template = |key: &str, text: &str, escape: Escape| {
            Template::parse(text, escape, |name| secrets.contains_key(name)).map_err(|rule| refuse(key, &rule))
        };
        let content_type = raw.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map_or("", |(_, value)| value);
        let escape = if content_type.contains("json") {
            Escape::Json
        } else if content_type.contains("form-urlencoded") {
            Escape::Form
        } else {
            Escape::None
        };
        let url = template("url", &raw.url, Escape::Form)?;
        let host = reqwest::Url::parse(&raw.url).ok().filter(|url| url.password().is_none());
        let host = host.and_then(|url| Some((url.scheme().to_owned(), url.host_str()?.to_owned())));
        let Some((scheme, host)) = host else { return Err(refuse("url", "a URL with a host, and without a password")) };
        if scheme != "https" && !(scheme == "http" && (raw.cleartext || is_loopback(&host))) {
            return Err(refuse("url", "an https URL; http only on this machine, or with cleartext = true"));
        }
        let authorities = raw.ca.as_deref().map(|ca| {
            let rule = "a file with the certificates of authorities in PEM, and only with an https URL";
            let pem = std::fs::read(ca).map_err(|source| Error::CallFile { path: ca.to_owned(), source })?;
            let read = reqwest::Certificate::from_pem_bundle(&pem).ok().filter(|read| !read.is_empty() && scheme == "https");
            read.ok_or_else(|| refuse("ca", rule))
        });
        let pattern = |key: &str, text: Option<&str>| {
            text.map(Regex::new).transpose().map_err(|error| refuse(key, &format!("a regular expression: {error}")))
        };
        let headers =
            raw.headers.iter().map(|(name, value)| Ok((name.clone(), template(&format!("headers.{name}"), value, Escape::None)?)));
        let headers = headers.collect::<Result<Vec<_>, Error>>()?;
        if raw.taken.pointer.is_some() == raw.taken.equals.is_empty() {
            return Err(refuse("taken.equals", "given with taken.pointer, and only then"));
        }
        Ok(Self {
            method: raw.method.parse().map_err(|_| refuse("method", "a method of HTTP"))?,
            host,
            authorities: authorities.transpose()?,
            url,
            headers,
            body: template("body", &raw.body, escape)?,
            taken: pattern("taken.regex", raw.taken.regex.as_deref())?,
            pointer: raw.taken.pointer.map(|pointer| (pointer, raw.taken.equals)),
            never: pattern("never.regex", raw.never.regex.as_deref())?,
            secrets,
            status: raw.taken.status,
            never_status: raw.never.status,
        })
    }

    pub(super) fn filled(&self, text: &Text) -> Filled {
        let fill = |template: &Template| template.fill(text, &self.secrets);
        Filled {
            url: fill(&self.url),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            body: fill(&self.body),
        }
    }

    pub(super) fn judge(&self, status: u16, answer: &str) -> Answer {
        let taken_status = if self.status.is_empty() { (200..300).contains(&status) } else { self.status.contains(&status) };
        let said = self.taken.as_ref().is_none_or(|pattern| pattern.is_match(answer))
            && self.pointer.as_ref().is_none_or(|(pointer, values)| {
                let json: Option<serde_json::Value> = serde_json::from_str(answer).ok();
                json.as_ref().and_then(|json| json.pointer(pointer)).is_some_and(|value| values.contains(value))
            });
        if taken_status && said {
            Answer::Taken
        } else if self.never_status.contains(&status) || self.never.as_ref().is_some_and(|pattern| pattern.is_match(answer)) {
            Answer::Never
        } else {
            Answer::Later
        }
    }

    /// An answer as an error shows it.
    pub(super) fn shown(&self, answer: &str, text: &Text) -> String {
        let mut shown = answer.to_owned();
        for hidden in self.secrets.values().map(Secret::reveal).chain([text.number.as_str(), text.number.trim_start_matches('+')]) {
            shown = shown.replace(hidden, "***");
        }
        shown.chars().take(120).collect()
    }
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// How what is filled in is written, so that it cannot end the place it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    Form,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Plain(String),
    Number,
    Digits,
    Text,
    Key,
    Secret(String),
    /// `user:password` in Base64, both secrets.
    Basic(String, String),
}

#[derive(Debug)]
struct Template {
    pieces: Vec<Piece>,
    escape: Escape,
}

impl Template {
    /// Places are `${…}`; the error follows "must be".
    fn parse(text: &str, escape: Escape, is_secret: impl Fn(&str) -> bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            let (name, after) = behind.split_once('}').ok_or("a text in which each ${ is ended by }")?;
            pieces.push(Piece::Plain(before.to_owned()));
            let secret = |name: &str| {
                let known = is_secret(name).then(|| name.to_owned());
                known.ok_or_else(|| format!("a text whose secrets stand in [secrets], and {name} does not"))
            };
            pieces.push(match name {
                "number" => Piece::Number,
                "digits" => Piece::Digits,
                "text" => Piece::Text,
                "key" => Piece::Key,
                _ => match (name.strip_prefix("secret."), name.strip_prefix("basic.").and_then(|pair| pair.split_once(':'))) {
                    (Some(name), _) => Piece::Secret(secret(name)?),
                    (_, Some((user, password))) => Piece::Basic(secret(user)?, secret(password)?),
                    _ => {
                        return Err(format!(
                            "a text with the places ${{number}}, ${{digits}}, ${{text}}, ${{key}}, ${{secret.NAME}} and ${{basic.USER:PASSWORD}}; ${{{name}}} is none"
                        ));
                    }
                },
            });
            rest = after;
        }
        pieces.push(Piece::Plain(rest.to_owned()));
        Ok(Self { pieces, escape })
    }

    fn fill(&self, text: &Text, secrets: &BTreeMap<String, Secret>) -> String {
        let secret = |name: &str| secrets.get(name).map(Secret::reveal).unwrap_or_default();
        let mut filled = String::new();
        for piece in &self.pieces {
            let value = match piece {
                Piece::Plain(plain) => {
                    filled.push_str(plain);
                    continue;
                }
                Piece::Number => text.number.clone(),
                Piece::Digits => text.number.trim_start_matches('+').to_owned(),
                Piece::Text => text.text.clone(),
                Piece::Key => text.key.clone(),
                Piece::Secret(name) => secret(name).to_owned(),
                Piece::Basic(user, password) => {
                    base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", secret(user), secret(password)))
                }
            };
            match self.escape {
                Escape::None => filled.push_str(&value),
                Escape::Form => filled.extend(form_urlencoded::byte_serialize(value.as_bytes()).map(|part| part.replace('+', "%20"))),
                Escape::Json => {
                    let quoted = serde_json::Value::from(value).to_string();
                    filled.push_str(&quoted[1..quoted.len() - 1]);
                }
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Result<Call, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sms-http.toml");
        std::fs::write(&path, file).unwrap();
        let environment = |name: &str| (name == "SID").then(|| "AC12345678".to_owned());
        Call::read(&path, environment).map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
    }

    fn text() -> Text {
        Text { key: "k1".to_owned(), number: "+4712345678".to_owned(), text: "\"a\" & b\nå ${key}".to_owned() }
    }

    #[test]
    fn what_is_filled_in_cannot_leave_its_place() {
        let secrets = "[secrets]\nsid = { env = \"SID\" }\n";
        let form = read(&format!(
            "url = \"https://api.example/${{secret.sid}}/send?to=${{number}}\"\nbody = \"To=${{digits}}&Body=${{text}}\"\n[headers]\nContent-Type = \"application/x-www-form-urlencoded\"\nAuthorization = \"Basic ${{basic.sid:sid}}\"\n{secrets}"
        ));
        let filled = form.unwrap().filled(&text());
        assert_eq!(filled.url, "https://api.example/AC12345678/send?to=%2B4712345678");
        assert_eq!(filled.body, "To=4712345678&Body=%22a%22%20%26%20b%0A%C3%A5%20%24%7Bkey%7D");
        assert_eq!(filled.headers[0], ("Authorization".to_owned(), "Basic QUMxMjM0NTY3ODpBQzEyMzQ1Njc4".to_owned()));
        let json = "url = \"https://a.example/\"\nbody = '{\"to\": \"${number}\", \"text\": \"${text}\"}'\n[headers]\ncontent-type = \"application/json\"";
        let filled = read(json).unwrap().filled(&text());
        let value: serde_json::Value = serde_json::from_str(&filled.body).unwrap();
        assert_eq!((value["to"].as_str(), value["text"].as_str()), (Some("+4712345678"), Some(text().text.as_str())));
    }

    #[test]
    fn answers_are_judged_by_status_pattern_and_pointer() {
        let file = "url = \"https://a.example/\"\n[taken]\nstatus = [200, 202]\nregex = \"OK\"\npointer = \"/r/code\"\nequals = [\"OK\", 0]\n[never]\nstatus = [400]\nregex = \"bad number\"";
        let call = read(file).unwrap();
        let check = |status, answer: &str, expected| assert_eq!(call.judge(status, answer), expected, "{status} {answer}");
        check(200, r#"{"r": {"code": "OK"}}"#, Answer::Taken);
        check(202, r#"{"r": {"code": 0, "text": "OK"}}"#, Answer::Taken);
        check(201, r#"{"r": {"code": "OK"}}"#, Answer::Later);
        check(200, r#"{"r": {"code": "LIMIT"}}"#, Answer::Later);
        check(200, "OK, but no JSON", Answer::Later);
        check(500, "bad number", Answer::Never);
        check(400, "", Answer::Never);
        check(401, "", Answer::Later);
        assert_eq!(read("url = \"https://a.example/\"").unwrap().judge(204, ""), Answer::Taken);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let check = |file: &str, expected: &str| assert_eq!(read(file).unwrap_err(), expected);
        check(
            "url = \"http://a.example/\"",
            "DIR/sms-http.toml: url must be an https URL; http only on this machine, or with cleartext = true",
        );
        assert!(read("url = \"http://a.example/\"\ncleartext = true").is_ok());
        assert!(read("url = \"http://127.0.0.1:9/\"").is_ok());
        check(
            "url = \"https://a.example/\"\nbody = \"${secret.x}\"",
            "DIR/sms-http.toml: body must be a text whose secrets stand in [secrets], and x does not",
        );
        check("url = \"https://a.example/\"\nbody = \"${text\"", "DIR/sms-http.toml: body must be a text in which each ${ is ended by }");
        check(
            "url = \"https://a.example/\"\n[secrets]\nx = { env = \"NOT_SET\" }",
            "DIR/sms-http.toml: secrets.x must be in an environment variable that is set",
        );
        check("url = \"https://a.example/\"\nca = \"/no/such/ca\"", "cannot read /no/such/ca, which says how texts are sent");
        let ca = "DIR/sms-http.toml: ca must be a file with the certificates of authorities in PEM, and only with an https URL";
        check("url = \"https://a.example/\"\nca = \"/dev/null\"", ca);
        check("url = \"https://a.example/\"\nurls = 1", "DIR/sms-http.toml does not say how texts are sent");
        check(
            "url = \"https://a.example/\"\n[taken]\npointer = \"/a\"",
            "DIR/sms-http.toml: taken.equals must be given with taken.pointer, and only then",
        );
        assert!(
            read("url = \"https://a.example/\"\n[taken]\nregex = \"(\"").unwrap_err().contains("taken.regex must be a regular expression")
        );
    }

    #[test]
    fn an_answer_is_shown_without_secrets_and_numbers() {
        let call = read("url = \"https://a.example/\"\n[secrets]\nsid = { env = \"SID\" }").unwrap();
        let shown = call.shown("user AC12345678 may not text +4712345678 or 4712345678", &text());
        assert_eq!(shown, "user *** may not text *** or ***");
    }
}
