//! Who is told of alerts when nobody acknowledges them: a chain for each account that has one, which holds for accounts below that have none.

use std::collections::BTreeMap;

use serde_json::json;

use super::conn::{Conn, values};
use super::directory::{Noted, check_manages, note};
use super::{Error, Store};
use crate::alert::{Chain, Desk};
use crate::model::{UserId, UserKind};

/// The most steps, and the most telephones, of a chain.
const STEPS_MAX: usize = 16;
const NUMBERS_MAX: usize = 8;
/// How long somebody may have, and how long may lie between two texts, in milliseconds.
const WAIT_MS: std::ops::RangeInclusive<u64> = 1_000..=3_600_000;
const TEXT_EVERY_MS: std::ops::RangeInclusive<u64> = 10_000..=3_600_000;
/// How deep the tree of accounts is looked at.
const DEPTH_MAX: usize = 8;

impl Store {
    /// Gives an account a chain, or takes it away.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] unless the author manages the account, which is no device, and all accounts of the steps; [`Error::Invalid`] for a chain
    /// that breaks a rule.
    pub async fn put_escalation(&self, account: UserId, chain: Option<Chain>) -> Result<(), Error> {
        let operation = format!("escalation of account {account}");
        if let Some(chain) = &chain {
            check(&operation, chain)?;
        }
        self.write(operation, move |conn| {
            Box::pin(async move {
                let steps = chain.iter().flat_map(|chain| &chain.steps).map(|step| step.account);
                let involved: Vec<UserId> = steps.chain([account]).collect();
                check_manages(conn, &involved).await?;
                check_no_device(conn, &involved).await?;
                let before = own(conn, account).await?;
                match &chain {
                    Some(chain) => {
                        let bytes = serde_json::to_vec(chain).map_err(|source| conn.unreadable("escalation.chain", source))?;
                        let set = conn.dialect().on_conflict("account", "chain = new.chain");
                        let sql = format!("INSERT INTO escalation (account, chain) VALUES (?, ?){set}");
                        conn.execute(sqlx::AssertSqlSafe(sql), values![account.0, bytes.as_slice()]).await?;
                    }
                    None => {
                        conn.execute("DELETE FROM escalation WHERE account = ?", values![account.0]).await?;
                    }
                }
                let subject = format!("account:{account}");
                note(conn, Noted { what: "escalation.changed", subject, before: json!(before), after: json!(chain) }).await
            })
        })
        .await
    }

    /// The chain of an account: its own, and the one that holds for it. [`Error::NotPermitted`] unless the author manages the account.
    pub async fn escalation(&self, account: UserId) -> Result<(Option<Chain>, Option<Chain>), Error> {
        self.read(format!("escalation of account {account}"), move |conn| {
            Box::pin(async move {
                check_manages(conn, &[account]).await?;
                // A radio manages itself, and has no business with the telephones of its dispatchers.
                check_no_device(conn, &[account]).await?;
                let own = own(conn, account).await?;
                let mut at = account;
                for _ in 0..DEPTH_MAX {
                    if let Some(chain) = self::own(conn, at).await? {
                        return Ok((own, Some(chain)));
                    }
                    let parent: Option<(i64,)> = conn.first("SELECT parent FROM account WHERE id = ?", values![at.0]).await?;
                    at = parent.map(|(parent,)| UserId(parent.cast_unsigned())).unwrap_or_default();
                }
                Ok((own, None))
            })
        })
        .await
    }

    /// Of every account that may manage devices: the chain that holds for it, and the accounts above.
    pub async fn alert_desks(&self) -> Result<BTreeMap<UserId, Desk>, Error> {
        self.read("how alerts are escalated".to_owned(), |conn| {
            Box::pin(async move {
                let sql = "SELECT id, parent, nickname FROM account WHERE kind > ? AND deleted_ms = 0";
                let rows: Vec<(i64, i64, String)> = conn.all(sql, values![UserKind::Device as u32]).await?;
                let user = |id: i64| UserId(id.cast_unsigned());
                let names: BTreeMap<UserId, String> = rows.iter().map(|(id, _, name)| (user(*id), name.clone())).collect();
                let parents: BTreeMap<UserId, UserId> = rows.iter().map(|(id, parent, _)| (user(*id), user(*parent))).collect();
                let mut chains = BTreeMap::new();
                let rows: Vec<(i64, Vec<u8>)> = conn.all("SELECT account, chain FROM escalation", &[]).await?;
                for (account, chain) in rows {
                    let mut chain = read(conn, &chain)?;
                    for step in &mut chain.steps {
                        step.name = names.get(&step.account).cloned().unwrap_or_default();
                    }
                    chains.insert(user(account), chain);
                }
                let desk = |account: UserId| {
                    let ups = std::iter::successors(Some(account), |at| parents.get(at).copied().filter(|up| up.0 != 0));
                    let ups: Vec<UserId> = ups.take(DEPTH_MAX).collect();
                    Desk { chain: ups.iter().find_map(|up| chains.get(up).cloned()), above: ups[1..].to_vec() }
                };
                Ok(parents.keys().map(|account| (*account, desk(*account))).collect())
            })
        })
        .await
    }
}

async fn own(conn: &mut Conn, account: UserId) -> Result<Option<Chain>, Error> {
    let row: Option<(Vec<u8>,)> = conn.first("SELECT chain FROM escalation WHERE account = ?", values![account.0]).await?;
    row.map(|(chain,)| read(conn, &chain)).transpose()
}

fn read(conn: &Conn, chain: &[u8]) -> Result<Chain, Error> {
    serde_json::from_slice(chain).map_err(|source| conn.unreadable("escalation.chain", source))
}

async fn check_no_device(conn: &mut Conn, accounts: &[UserId]) -> Result<(), Error> {
    for account in accounts {
        let (kind,): (i64,) = conn.one("SELECT kind FROM account WHERE id = ?", values![account.0]).await?;
        if kind == UserKind::Device as i64 {
            let rule = "names dispatchers and accounts above them, not devices";
            return Err(Error::Invalid { operation: conn.operation.clone(), field: "escalation.steps", rule });
        }
    }
    Ok(())
}

fn check(operation: &str, chain: &Chain) -> Result<(), Error> {
    let invalid = |field, rule| Err(Error::Invalid { operation: operation.to_owned(), field, rule });
    if !WAIT_MS.contains(&chain.first_wait_ms) {
        return invalid("escalation.first_wait_ms", "is 1,000 to 3,600,000");
    }
    if chain.steps.len() > STEPS_MAX {
        return invalid("escalation.steps", "are at most 16");
    }
    if chain.steps.iter().any(|step| !WAIT_MS.contains(&step.wait_ms)) {
        return invalid("escalation.steps.wait_ms", "is 1,000 to 3,600,000");
    }
    let is_number = |number: &String| {
        let digits = number.strip_prefix('+').unwrap_or_default();
        (7..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    if chain.numbers.len() > NUMBERS_MAX || !chain.numbers.iter().all(is_number) {
        return invalid("escalation.numbers", "are at most 8, each + and 7 to 15 digits");
    }
    if !TEXT_EVERY_MS.contains(&chain.text_every_ms) {
        return invalid("escalation.text_every_ms", "is 10,000 to 3,600,000");
    }
    Ok(())
}
