//! Which node an account uses. The only place where that stands.

use super::conn::values;
use super::{Error, Store};
use crate::model::UserId;

impl Store {
    /// The node of an account; `None` for the default one, and for an account that is not there.
    pub async fn node_of(&self, user: UserId) -> Result<Option<String>, Error> {
        self.read(format!("node of account {user}"), move |conn| {
            Box::pin(async move {
                let row: Option<(String,)> = conn.first("SELECT node FROM account_node WHERE account = ?", values![user.0]).await?;
                Ok(row.map(|(node,)| node))
            })
        })
        .await
    }

    /// As [`Store::node_of`], by login name.
    pub async fn node_of_name(&self, name: &str) -> Result<Option<String>, Error> {
        let name = name.to_owned();
        self.read("node of an account by name".to_owned(), move |conn| {
            Box::pin(async move {
                let sql = "SELECT n.node FROM account a JOIN account_node n ON n.account = a.id WHERE a.name = ?";
                let row: Option<(String,)> = conn.first(sql, values![name.as_str()]).await?;
                Ok(row.map(|(node,)| node))
            })
        })
        .await
    }
}
