//! A private MariaDB.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::super::error::Error;
use super::spawn::{Folder, free_port, start, until};

/// Where Debian puts a program of the package mariadb-server, unless it is found by its name.
fn program(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { PathBuf::from(name) }
}

/// A private MariaDB; it ends with this process, and its folder with its value.
pub(super) struct MariaDb {
    pub(super) url: String,
    pub(super) child: Child,
    _folder: Folder,
}

impl MariaDb {
    pub(super) async fn start(within: Duration) -> Result<Self, Error> {
        let folder = Folder::new()?;
        let failed = |source| Error::File { path: folder.0.clone(), source };
        let data = format!("--datadir={}", folder.0.join("data").display());
        // It refuses to run as root unless told to.
        let as_root = (fs::metadata("/proc/self").map_err(failed)?.uid() == 0).then(|| "--user=root".to_owned());
        let install = program("mariadb-install-db");
        let mut command = Command::new(&install);
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data]).args(as_root.as_slice());
        let output = command.output().await.map_err(|source| Error::Program { program: install.display().to_string(), source })?;
        if !output.status.success() {
            let last = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
            return Err(Error::Usage(format!("mariadb-install-db (package mariadb-server) failed: {last}")));
        }
        let accounts = "CREATE USER roger@'127.0.0.1' IDENTIFIED BY 'roger';\nGRANT ALL ON roger.* TO roger@'127.0.0.1';\n\
                        CREATE DATABASE roger CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n";
        fs::write(folder.0.join("accounts.sql"), accounts).map_err(failed)?;
        let port = free_port()?;
        let mut args = vec!["--no-defaults".to_owned(), data, format!("--port={port}"), "--bind-address=127.0.0.1".to_owned()];
        args.extend(as_root);
        args.push(format!("--socket={}", folder.0.join("socket").display()));
        args.push(format!("--init-file={}", folder.0.join("accounts.sql").display()));
        args.extend(["--skip-name-resolve", "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"].map(str::to_owned));
        let child = start(&program("mariadbd"), &args, &folder.0.join("mariadb.log"))?;
        let reached = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        until(within, "the start of a private mariadbd (package mariadb-server)", reached).await?;
        Ok(Self { url: format!("mysql://roger:roger@127.0.0.1:{port}/roger"), child, _folder: folder })
    }
}
