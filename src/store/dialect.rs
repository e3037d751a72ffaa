//! The few words in which SQLite and MariaDB differ.

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    MySql,
}

impl Dialect {
    /// The beginning of an insert that leaves rows alone whose key exists. MariaDB's form turns other errors into warnings as well, so
    /// it is only for values that were checked to fit.
    pub(super) fn insert_ignore(self) -> &'static str {
        match self {
            Self::Sqlite => "INSERT OR IGNORE INTO",
            Self::MySql => "INSERT IGNORE INTO",
        }
    }

    /// The end of an insert that changes rows whose key exists. In `set`, `new.x` is the value offered for column x and plain `x` the
    /// stored one. MariaDB assigns from left to right and sees what it has assigned, SQLite does not: a column must be read before it
    /// is assigned.
    pub(super) fn on_conflict(self, key: &str, set: &str) -> String {
        match self {
            Self::Sqlite => format!(" ON CONFLICT ({key}) DO UPDATE SET {}", set.replace("new.", "excluded.")),
            Self::MySql => {
                let mut words = String::from(" ON DUPLICATE KEY UPDATE ");
                let mut parts = set.split("new.");
                words.push_str(parts.next().unwrap_or_default());
                for part in parts {
                    let end = part.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(part.len());
                    let (column, rest) = part.split_at(end);
                    words.push_str(&format!("VALUES({column}){rest}"));
                }
                words
            }
        }
    }
}

/// Assignments that move the pair (`high`, `low`) forward and never back, ordered by `high`, then `low`.
pub(super) fn set_later(high: &str, low: &str) -> String {
    format!(
        "{low} = CASE WHEN new.{high} > {high} OR (new.{high} = {high} AND new.{low} > {low}) THEN new.{low} ELSE {low} END, {}",
        set_greater(high)
    )
}

/// An assignment that never lowers a column.
pub(super) fn set_greater(column: &str) -> String {
    format!("{column} = CASE WHEN new.{column} > {column} THEN new.{column} ELSE {column} END")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upsert_reads_in_both_dialects() {
        let set = "b = CASE WHEN new.b > b THEN new.b ELSE b END";
        assert_eq!(
            Dialect::Sqlite.on_conflict("a", set),
            " ON CONFLICT (a) DO UPDATE SET b = CASE WHEN excluded.b > b THEN excluded.b ELSE b END"
        );
        assert_eq!(Dialect::MySql.on_conflict("a", set), " ON DUPLICATE KEY UPDATE b = CASE WHEN VALUES(b) > b THEN VALUES(b) ELSE b END");
    }
}
