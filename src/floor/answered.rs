//! The last word on requests that are over.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::effect::Answer;
use super::input::Participant;
use crate::model::FloorRequestId;

/// How many requests of an installation are remembered: nobody's presses make those of others forgotten.
const EACH_MAX: usize = 4;
/// How many are remembered in all.
const ALL_MAX: usize = 64;

/// The last requests that are over, the oldest first; at a bound the oldest is forgotten.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Answered(VecDeque<Last>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Last {
    who: Participant,
    request: FloorRequestId,
    answer: Answer,
}

impl Answered {
    pub(super) fn find(&self, who: Participant, request: FloorRequestId) -> Option<Answer> {
        self.0.iter().find(|last| (last.who, last.request) == (who, request)).map(|last| last.answer)
    }

    /// The first word that is the last one stands.
    pub(super) fn remember(&mut self, who: Participant, request: FloorRequestId, answer: Answer) {
        if self.find(who, request).is_some() {
            return;
        }
        if self.0.iter().filter(|last| last.who == who).count() >= EACH_MAX
            && let Some(oldest) = self.0.iter().position(|last| last.who == who)
        {
            self.0.remove(oldest);
        }
        if self.0.len() >= ALL_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Last { who, request, answer });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::Ending;
    use crate::model::{InstallationId, UserId};

    #[test]
    fn the_oldest_is_forgotten_and_nobody_pushes_out_those_of_others() {
        let who = |user| Participant { user: UserId(user), installation: InstallationId(1) };
        let answer = Answer::Denied { ending: Ending::Over };
        let mut answered = Answered::default();
        let known = |answered: &Answered, user, request| answered.find(who(user), FloorRequestId(request)).is_some();
        answered.remember(who(1), FloorRequestId(1), answer);
        (1..=100).for_each(|request| answered.remember(who(2), FloorRequestId(request), answer));
        assert!(known(&answered, 1, 1) && known(&answered, 2, 97) && !known(&answered, 2, 96));
        (3..=100).for_each(|user| answered.remember(who(user), FloorRequestId(1), answer));
        assert!(!known(&answered, 1, 1) && known(&answered, 37, 1) && !known(&answered, 36, 1));
        // What was said stays said.
        answered.remember(who(100), FloorRequestId(1), Answer::Denied { ending: Ending::QueueFull });
        assert_eq!(answered.find(who(100), FloorRequestId(1)), Some(answer));
    }
}
