//! Login, logout and groups; and where sessions get their tokens from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::transport::Channel;

use super::error::Error;
use super::link;
use crate::model::{InstallationId, UserId, UserKind};
use crate::proto::v1;
use crate::proto::v1::talk_cloud_client::TalkCloudClient;

/// The directory of a fleet. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Directory {
    client: TalkCloudClient<Channel>,
    address: String,
    app: App,
}

/// What logs in, as the directory is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum App {
    /// An installed app. One that is too old is refused with [`Error::UpgradeRequired`].
    Device {
        /// The package whose releases it is updated by, as `org.example.radio`: 1 to 200 characters.
        package: String,
        /// At least 1.
        version_code: u64,
    },
    /// A page in a browser.
    Web,
    /// A program that is updated by other ways.
    #[default]
    Tool,
}

impl From<&App> for v1::App {
    fn from(app: &App) -> Self {
        match app {
            App::Device { package, version_code } => {
                Self { kind: v1::AppKind::Device.into(), package: package.clone(), version_code: *version_code }
            }
            App::Web => Self { kind: v1::AppKind::Web.into(), ..Self::default() },
            App::Tool => Self { kind: v1::AppKind::Tool.into(), ..Self::default() },
        }
    }
}

/// The release that an app has to install before it may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The package.
    pub package: String,
    /// Above that of the app.
    pub version_code: u64,
    /// What people call the version.
    pub version_name: String,
    /// Where it is to be had; resumable.
    pub url: String,
    /// Its length.
    pub bytes: u64,
    /// Of the file.
    pub sha256: Vec<u8>,
    /// Ed25519 by the release key, whose public half the app holds.
    pub signature: Vec<u8>,
}

/// What a login gives. Holds secrets: never logged.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Login {
    /// The access token.
    pub token: String,
    /// When it runs out, UTC ms.
    pub token_expires_ms: u64,
    /// Good for one further login.
    pub resume_token: String,
    /// When it runs out, UTC ms.
    pub resume_expires_ms: u64,
    /// Who logged in.
    pub user: UserId,
    /// What people call them.
    pub nickname: String,
    /// Whether a newer login takes the session over.
    pub kind: UserKind,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Directory {
    /// A client of the directory at `http://HOST:PORT`, a tool; connects when first used.
    ///
    /// # Errors
    /// [`Error::Address`] when that is no address.
    pub fn new(address: &str) -> Result<Self, Error> {
        let channel = link::endpoint(address)?.connect_lazy();
        Ok(Self { client: TalkCloudClient::new(channel), address: address.to_owned(), app: App::default() })
    }

    /// The same, logging `app` in.
    pub fn with_app(self, app: App) -> Self {
        Self { app, ..self }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(link::CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(Error::refused(operation, status)),
            Err(_) => Err(Error::TimedOut { address: self.address.clone(), after_ms: link::CALL_TIMEOUT.as_millis() as u64 }),
        }
    }

    /// Trades a name and password for tokens.
    ///
    /// # Errors
    /// [`Error::UpgradeRequired`] when the app is too old.
    pub async fn login(&self, name: &str, password: &str, installation: InstallationId) -> Result<Login, Error> {
        let (name, password) = (name.to_owned(), password.to_owned());
        self.log_in(v1::LoginRequest { name, password, installation_id: installation.0, ..v1::LoginRequest::default() }).await
    }

    /// Trades a resume token for new tokens; it is void afterwards.
    ///
    /// # Errors
    /// [`Error::UpgradeRequired`] when the app is too old: the token is as good after the upgrade.
    pub async fn resume(&self, name: &str, resume_token: &str, installation: InstallationId) -> Result<Login, Error> {
        let (name, resume_token) = (name.to_owned(), resume_token.to_owned());
        self.log_in(v1::LoginRequest { name, resume_token, installation_id: installation.0, ..v1::LoginRequest::default() }).await
    }

    async fn log_in(&self, request: v1::LoginRequest) -> Result<Login, Error> {
        let mut client = self.client.clone();
        let request = v1::LoginRequest { app: Some((&self.app).into()), ..request };
        let answer = self.call("log in", client.login(request)).await?;
        if let Some(v1::Upgrade { package, version_code, version_name, url, bytes, sha256, signature }) = answer.upgrade {
            let (sha256, signature) = (sha256.to_vec(), signature.to_vec());
            let upgrade = Upgrade { package, version_code, version_name, url, bytes, sha256, signature };
            return Err(Error::UpgradeRequired { upgrade: Box::new(upgrade) });
        }
        Ok(Login {
            // A kind this version does not know counts as the one with the fewest sessions.
            kind: Option::from(answer.kind()).unwrap_or(UserKind::Device),
            token: answer.token,
            token_expires_ms: answer.token_expires_ms,
            resume_token: answer.resume_token,
            resume_expires_ms: answer.resume_expires_ms,
            user: UserId(answer.user_id),
            nickname: answer.nickname,
        })
    }

    /// Ends the login.
    pub async fn logout(&self, token: &str, resume_token: &str) -> Result<(), Error> {
        let mut client = self.client.clone();
        let request = v1::LogoutRequest { token: token.to_owned(), resume_token: resume_token.to_owned() };
        self.call("log out", client.logout(request)).await.map(drop)
    }

    /// All groups of the caller, by rising id.
    pub async fn groups(&self, token: &str) -> Result<Vec<v1::Group>, Error> {
        let mut groups: Vec<v1::Group> = Vec::new();
        loop {
            let mut client = self.client.clone();
            let after_group_id = groups.last().map_or(0, |group| group.group_id);
            let request = v1::GetGroupListRequest { token: token.to_owned(), after_group_id, limit: 0 };
            let answer = self.call("list groups", client.get_group_list(request)).await?;
            let more = answer.more && !answer.groups.is_empty();
            groups.extend(answer.groups);
            if !more {
                return Ok(groups);
            }
        }
    }
}

/// What a token provider answers, some time.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<String, Error>> + Send + 'a>>;

/// Where a session gets its access token from.
pub trait Tokens: Send + Sync {
    /// A token; with `expired` a newer one than that.
    fn token<'a>(&'a self, expired: Option<&'a str>) -> TokenFuture<'a>;
}

/// A token that cannot be renewed: the session ends when it has run out.
#[derive(Clone)]
pub struct StaticToken(pub String);

impl Tokens for StaticToken {
    fn token<'a>(&'a self, expired: Option<&'a str>) -> TokenFuture<'a> {
        let answer = match expired {
            None => Ok(self.0.clone()),
            Some(_) => Err(Error::Closed { reason: Some(crate::model::Reason::TokenExpired) }),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// Tokens renewed with the resume token of the last login.
pub struct ResumeTokens {
    directory: Directory,
    name: String,
    installation: InstallationId,
    login: Mutex<Login>,
    renewed: Box<dyn Fn(&Login) + Send + Sync>,
}

impl ResumeTokens {
    /// Continues from `login`. `renewed` is called with every new login before it is used, for an app that keeps it: the resume token before
    /// it is void.
    pub fn new(
        directory: Directory,
        name: &str,
        installation: InstallationId,
        login: Login,
        renewed: impl Fn(&Login) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { directory, name: name.to_owned(), installation, login: Mutex::new(login), renewed: Box::new(renewed) })
    }

    fn current(&self) -> Login {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tokens for ResumeTokens {
    fn token<'a>(&'a self, expired: Option<&'a str>) -> TokenFuture<'a> {
        Box::pin(async move {
            let current = self.current();
            if expired.is_none_or(|expired| expired != current.token) {
                return Ok(current.token);
            }
            let login = self.directory.resume(&self.name, &current.resume_token, self.installation).await?;
            (self.renewed)(&login);
            *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login.clone();
            Ok(login.token)
        })
    }
}
