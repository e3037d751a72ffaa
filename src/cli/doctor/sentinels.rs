//! What the doctor says of sentinels: whether they name the same primary, and enough of them live for a failover.

use super::{Checks, Verdict};
use crate::broker::{PrimaryLook, SentinelLook};

/// Says nothing where there are none, and nothing where none answers: that is told of the Redis.
pub(super) fn judge(checks: &mut Checks, sentinels: &[SentinelLook]) {
    let said: Vec<&PrimaryLook> = sentinels.iter().filter_map(|sentinel| sentinel.primary.as_ref().ok()).collect();
    let agreeing = |named: &PrimaryLook| said.iter().filter(|other| **other == named).count();
    let Some(most) = said.iter().copied().max_by_key(|named| (agreeing(named), named.epoch)) else { return };
    let (mut seen, mut fix) = (Vec::new(), "");
    for SentinelLook { name, primary } in sentinels {
        match primary {
            Ok(named) if named == most => {}
            Ok(PrimaryLook { address, epoch }) => {
                seen.push(format!("{name} names {address} in epoch {epoch}, most name {} in {}", most.address, most.epoch));
                fix = "when this lasts longer than a failover, SENTINEL REMOVE and MONITOR at that one: see docs/redis.md";
            }
            Err(why) => seen.push(format!("{name}: {why}")),
        }
    }
    if fix.is_empty() {
        fix = "start it: more than half have to live for a failover";
    }
    let verdict = match (said.len() * 2 > sentinels.len(), seen.is_empty()) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Warn,
        (true, true) => Verdict::Ok,
    };
    seen.insert(0, format!("{} of {} name {} in epoch {}", agreeing(most), sentinels.len(), most.address, most.epoch));
    checks.add("redis.sentinels", verdict, seen.join("; "), fix);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_silent_or_names_another_is_told_and_too_few_are_a_failure() {
        let names = |address: &str, epoch| Ok(PrimaryLook { address: address.to_owned(), epoch });
        let check = |said: [Result<PrimaryLook, String>; 3], expected: Option<(Verdict, &str)>| {
            let name = |number: usize| format!("s{number}");
            let looks: Vec<_> = (1..).zip(said).map(|(number, primary)| SentinelLook { name: name(number), primary }).collect();
            let mut checks = Checks::default();
            judge(&mut checks, &looks);
            let found: Vec<_> = checks.0.iter().map(|check| (check.verdict, check.reason.as_str())).collect();
            assert_eq!(found, Vec::from_iter(expected));
        };
        let silent = || Err("refused".to_owned());
        check([names("a", 5), names("a", 5), names("a", 5)], Some((Verdict::Ok, "3 of 3 name a in epoch 5")));
        check([names("a", 5), silent(), names("a", 5)], Some((Verdict::Warn, "2 of 3 name a in epoch 5; s2: refused")));
        let split = "2 of 3 name a in epoch 5; s3 names b in epoch 5, most name a in 5";
        check([names("a", 5), names("a", 5), names("b", 5)], Some((Verdict::Warn, split)));
        check([silent(), silent(), names("a", 5)], Some((Verdict::Fail, "1 of 3 name a in epoch 5; s1: refused; s2: refused")));
        check([silent(), silent(), silent()], None);
    }
}
