//! The checker of `scripts/chaos` sees what is planted, each breach by its name, and accuses nobody else.

#[path = "../chaos/audit.rs"]
mod audit;
#[path = "../chaos/check.rs"]
mod check;
#[path = "../chaos/radio.rs"]
#[allow(dead_code, reason = "here radios only have logs")]
mod radio;

use std::collections::BTreeMap;

use audit::Audit;
use check::{Archive, BREACHES, DISORDERED, FOREIGN, Findings, LOST, REFUSED, REPEATED, UNREAD, UNRECEIPTED};
use radio::{Log, Promise, Refused, Text};
use roger::model::{Durability, GroupId, Place, Reason, TopicId, UserId};
use roger::topic::frame::Entry;

const ALICE: UserId = UserId(7);
const BOB: UserId = UserId(8);

fn topic() -> TopicId {
    TopicId::group(GroupId(5))
}

/// A run: what SQL has, and the logs of alice, who said it all, and of bob.
struct Run {
    archive: Archive,
    alice: Log,
    bob: Log,
    /// Whether a fault can take something from Redis.
    may_be_lost: bool,
}

fn entry(seq: u64, word: u64) -> Entry {
    let body = radio::text(ALICE, word).into();
    Entry { topic: topic().packed(), epoch: 1, seq, sender: ALICE.0, client_seq: word, body, ..Entry::default() }
}

fn heard(seq: u64, word: u64) -> Text {
    Text { topic: topic(), place: Place::new(1, seq), sender: ALICE, word }
}

impl Run {
    /// Four words that everybody heard, all promised.
    fn good() -> Self {
        let listener = || Log { heard: (1..=4).map(|number| heard(number, number)).collect(), ..Log::default() };
        let promise = Promise { topic: topic(), behind: 0, upto: 4, durability: Durability::Replica };
        let alice = Log { said: BTreeMap::from([(topic(), 4)]), promises: vec![promise], ..listener() };
        Self {
            archive: Archive::from([(topic(), (1..=4).map(|number| entry(number, number)).collect())]),
            alice,
            bob: listener(),
            may_be_lost: true,
        }
    }

    /// The same, in which the last word was promised less and is not in SQL.
    fn with_an_unknown() -> Self {
        let mut run = Self::good();
        run.alice.promises[0].durability = Durability::Fsync;
        run.stored().pop();
        [&mut run.alice, &mut run.bob].into_iter().for_each(|log| log.heard.truncate(3));
        run
    }

    fn judge(self) -> Findings {
        check::judge(&[(ALICE, vec![topic()], self.alice), (BOB, vec![topic()], self.bob)], &self.archive, self.may_be_lost)
    }

    fn stored(&mut self) -> &mut Vec<Entry> {
        self.archive.get_mut(&topic()).unwrap()
    }
}

/// The breaches of a good run in which something was changed.
fn breaches(change: impl FnOnce(&mut Run)) -> Vec<(&'static str, usize)> {
    let mut run = Run::good();
    change(&mut run);
    run.judge().breaches.into_iter().map(|(what, breaches)| (what, breaches.len())).collect()
}

#[test]
fn a_good_run_has_no_breach_and_its_numbers_add_up() {
    let findings = Run::good().judge();
    assert!(findings.breaches.is_empty(), "{findings:?}");
    assert_eq!((findings.said, findings.stored, findings.heard, findings.promised, findings.unpromised), (4, 4, 8, 4, 0));
}

#[test]
fn each_planted_breach_is_found_by_its_name() {
    assert_eq!(breaches(|run| run.bob.heard.retain(|text| text.word != 2)), [(LOST, 1)], "never heard");
    assert_eq!(breaches(|run| run.bob.heard.truncate(3)), [(LOST, 1)], "the last one was never heard");
    assert_eq!(breaches(|run| run.bob.counts.holes = 1), [(LOST, 1)], "a hole that nobody told of");
    assert_eq!(breaches(|run| run.bob.heard.swap(1, 2)), [(DISORDERED, 2)], "in another order, by place and by word");
    let again = |run: &mut Run| {
        run.stored().push(entry(5, 4));
        [&mut run.alice, &mut run.bob].into_iter().for_each(|log| log.heard.push(heard(5, 4)));
    };
    let found: BTreeMap<_, _> = breaches(again).into_iter().collect();
    assert_eq!(found[REPEATED], 3, "twice in SQL, and heard twice by both: {found:?}");
    assert_eq!(breaches(|run| run.bob.heard[2].word = 9), [(FOREIGN, 1), (LOST, 1)], "another text than SQL has");
    assert_eq!(breaches(|run| run.stored()[2].sender = BOB.0)[0].0, FOREIGN, "the words of one from another");
    let lost = |run: &mut Run| {
        run.stored().pop();
        [&mut run.alice, &mut run.bob].into_iter().for_each(|log| log.heard.truncate(3));
    };
    assert_eq!(breaches(lost), [(LOST, 1)], "promised, and not in SQL");
    let told = |behind| roger::client::Gap { topic: topic(), from: Place::new(1, behind), to: Place::new(1, 9), not_member: false };
    assert_eq!(breaches(|run| run.bob.gaps.push(told(2))), [(LOST, 1)], "told of a gap in which something is");
    assert_eq!(breaches(|run| run.bob.gaps.push(told(4))), [], "told of a gap in which nothing is");
    assert_eq!(breaches(|run| run.bob.closed.push("why".to_owned())), [(LOST, 1)], "ended for good");
}

#[test]
fn what_had_any_receipt_is_lost_where_nothing_can_take_it_from_redis() {
    let findings = Run::with_an_unknown().judge();
    assert_eq!((findings.breaches.len(), findings.unpromised), (0, 1), "a fault may have taken it: {findings:?}");
    let safe = |change: fn(&mut Run)| {
        let mut run = Run { may_be_lost: false, ..Run::with_an_unknown() };
        change(&mut run);
        run.judge().breaches
    };
    let found = safe(|_| ());
    assert!(found.len() == 1 && found[LOST].len() == 1 && found[LOST][0].contains("word 4 to g:5"), "{found:?}");
    let found = safe(|run| run.alice.unreceipted = 1);
    assert_eq!(found.keys().collect::<Vec<_>>(), [&UNRECEIPTED], "it has no receipt, which is another thing");
    let found = safe(|run| run.bob.heard.push(heard(4, 4)));
    assert_eq!(found[LOST].len(), 2, "the word itself, and that bob heard it: {found:?}");
    assert!(Run { may_be_lost: false, ..Run::good() }.judge().breaches.is_empty());
}

#[test]
fn a_message_is_refused_for_its_number_or_without_cause() {
    let refused = |reason| Refused { topic: topic(), client_seq: 9, reason };
    let mut run = Run::good();
    run.alice.refused = vec![refused(Some(Reason::PredecessorMissing)), refused(Some(Reason::SequenceReused))];
    let findings = run.judge();
    assert!(findings.breaches.is_empty() && findings.refused == 2, "{findings:?}");
    let mut run = Run::good();
    run.alice.refused = vec![refused(Some(Reason::NotMember)), refused(None), refused(Some(Reason::PredecessorMissing))];
    let findings = run.judge();
    let told = &findings.breaches[REFUSED];
    assert!(told.len() == 2 && findings.refused == 3 && told[0].contains("message 9 to g:5: not_member"), "{findings:?}");
}

#[test]
fn an_audit_that_did_not_run_or_found_what_nothing_explains_is_a_breach() {
    let judge = |code, stdout: &str, stderr: &str, findings: &Findings| {
        Audit { code, stdout: stdout.to_owned(), stderr: stderr.to_owned() }.judge(findings)
    };
    let (good, unknown) = (Run::good().judge(), Run::with_an_unknown().judge());
    let sums = "3 topics, 4 messages, 2 marks: ";
    assert!(judge(0, &format!("{sums}nothing is lost, doubled or disordered."), "", &good).is_ok());
    let away = judge(69, "", "roger: SQL does not answer as it should\n", &unknown);
    assert!(away.is_err_and(|why| why.contains("did not run") && why.contains("SQL does not answer")));
    assert!(judge(1, &format!("{sums}1 findings."), "", &unknown).is_err(), "found something, and did not say what");
    let hole = "g:5: nothing between (1,3) and (2,5)\n";
    let found = |what: &str, findings: &Findings| judge(1, &format!("{what}{sums}1 findings."), "", findings).is_ok();
    assert!(found(hole, &unknown));
    assert!(!found(hole, &good), "nothing is unknown");
    assert!(!found("g:6: nothing between (1,3) and (2,5)\n", &unknown), "nothing is unknown there");
    assert!(!found(&format!("{hole}r:5: nothing between (1,3) and (2,5)\n"), &unknown), "nor in the room");
    assert!(!found("g:5: no head, the last entry is (1,3)\n", &unknown), "it explains no more than a hole");
}

#[test]
fn a_run_that_cannot_be_judged_is_a_breach() {
    assert!(Findings::unread("SQL is away".to_owned()).breaches.keys().all(|what| *what == UNREAD && BREACHES.contains(what)));
}

#[test]
fn what_was_not_promised_may_be_lost_and_said_again() {
    let mut run = Run::good();
    run.alice.promises[0].durability = Durability::Fsync;
    // The last word was heard at a place that is lost, and was said again under another number, at the next place of a new epoch.
    let again = Entry { epoch: 2, client_seq: 5, ..entry(4, 4) };
    run.stored()[3] = again;
    let text = Text { place: Place::new(2, 4), ..heard(4, 4) };
    [&mut run.alice, &mut run.bob].into_iter().for_each(|log| log.heard.push(text.clone()));
    let findings = run.judge();
    assert!(findings.breaches.is_empty(), "{findings:?}");
    assert_eq!(findings.again, 2);
}

#[test]
fn what_a_client_dropped_by_its_number_is_not_missing() {
    let mut run = Run::good();
    // Decided anew at another place, where it comes to nobody's ears.
    run.stored()[3].epoch = 2;
    assert!(run.judge().breaches.is_empty());
}
