//! Which of the servers that answered is the primary.

use std::fmt;

use super::Look;

/// Why none is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// None answered.
    Silence,
    /// One does not answer, and nobody said that the other has the highest epoch.
    OneSilent,
    /// Those that answered are of an older epoch than is known.
    Old { known: u64 },
    /// None is named by its own row.
    NoneNamed,
    /// Neither has tables, and not exactly one of them takes writes.
    Fresh,
    /// Both have the same server id.
    SameId,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str("no server answers"),
            Self::OneSilent => f.write_str("one server does not answer, and Redis does not say whether the other is the primary"),
            Self::Old { known } => write!(f, "the primary of epoch {known} does not answer, and the other server is an older one"),
            Self::NoneNamed => {
                f.write_str("no server is named as the primary by its own table sql_primary: `roger sql status` looks closer")
            }
            Self::Fresh => {
                f.write_str("both databases are empty: SET GLOBAL read_only = 1 on the one that is to be the standby, and only there")
            }
            Self::SameId => f.write_str("both servers have the same server_id: give each its own in its configuration"),
        }
    }
}

/// The place of the primary among the answers. `known` is the highest epoch seen anywhere, `heard` whether Redis has said one.
pub(super) fn choose(answers: &[Option<Look>], known: u64, heard: bool) -> Result<usize, Doubt> {
    let pair = answers.len() > 1;
    let answered: Vec<(usize, Look)> = answers.iter().enumerate().filter_map(|(at, look)| look.map(|look| (at, look))).collect();
    if answered.is_empty() {
        return Err(Doubt::Silence);
    }
    if pair && answered.len() < answers.len() && !heard {
        return Err(Doubt::OneSilent);
    }
    let highest: Vec<(usize, Look)> = answered.into_iter().filter(|(_, look)| look.epoch() >= known).collect();
    if highest.is_empty() {
        return Err(Doubt::Old { known });
    }
    let (fits, doubt): (fn(&Look) -> bool, Doubt) = match (pair, known) {
        (false, _) => (|_| true, Doubt::Silence),
        (true, 0) => (|look| !look.read_only, Doubt::Fresh),
        (true, _) => (|look| look.row.is_some_and(|(_, server)| server == look.server), Doubt::NoneNamed),
    };
    match *highest.iter().filter(|(_, look)| fits(look)).map(|(at, _)| *at).collect::<Vec<_>>() {
        [at] => Ok(at),
        [] => Err(doubt),
        _ if known == 0 => Err(Doubt::Fresh),
        _ => Err(Doubt::SameId),
    }
}

/// A server, for people.
pub(super) fn describe(look: &Look) -> String {
    let writes = if look.read_only { "is read-only" } else { "takes writes" };
    match look.row {
        None => format!("{writes}, without tables"),
        Some((epoch, server)) if server == look.server => format!("{writes}, primary of epoch {epoch}"),
        Some((epoch, server)) => format!("{writes}, follows server {server} in epoch {epoch}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(server: i64, read_only: bool, row: Option<(u64, i64)>) -> Option<Look> {
        Some(Look { read_only, server, row })
    }

    #[test]
    fn only_the_named_server_of_the_highest_epoch_is_used() {
        let (primary, standby) = (look(1, false, Some((3, 1))), look(2, true, Some((3, 1))));
        let check = |answers: &[Option<Look>], known, heard, expected| {
            assert_eq!(choose(answers, known, heard), expected, "{answers:?} {known} {heard}");
        };
        check(&[primary, standby], 3, false, Ok(0));
        check(&[standby, primary], 3, false, Ok(1));
        // A standby that was restarted and takes writes.
        check(&[look(2, false, Some((3, 1))), primary], 3, false, Ok(1));
        // An old primary that came back and takes writes.
        check(&[look(1, false, Some((2, 1))), look(2, false, Some((3, 2)))], 3, false, Ok(1));
        // It is alone.
        check(&[look(1, false, Some((2, 1))), None], 2, false, Err(Doubt::OneSilent));
        check(&[look(1, false, Some((2, 1))), None], 3, true, Err(Doubt::Old { known: 3 }));
        check(&[primary, None], 3, true, Ok(0));
        check(&[None, standby], 3, true, Err(Doubt::NoneNamed));
        check(&[None, None], 3, true, Err(Doubt::Silence));
        // Without tables the one that takes writes.
        check(&[look(1, true, None), look(2, false, None)], 0, false, Ok(1));
        check(&[look(1, false, None), look(2, false, None)], 0, false, Err(Doubt::Fresh));
        check(&[look(1, false, Some((1, 1))), look(1, true, Some((1, 1)))], 1, false, Err(Doubt::SameId));
        // One server alone may have any id, as after a dump was read in.
        check(&[look(7, true, Some((1, 1)))], 1, false, Ok(0));
        check(&[look(7, false, Some((1, 7)))], 2, true, Err(Doubt::Old { known: 2 }));
    }
}
