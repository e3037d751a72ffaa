//! Slots of a cluster: of which slot a key is, which key a command is about, and who has which slot by what the servers say.

use redis::{Arg, Cmd};

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of what stands in its first braces, where something does.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let braces = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let tag = &key[open + 1..];
        tag.iter().position(|byte| *byte == b'}').filter(|close| *close > 0).map(|close| &tag[..close])
    });
    crc16::State::<crc16::XMODEM>::calculate(braces.unwrap_or(key)) % SLOTS
}

/// The first key of a command, whose slot is that of all its keys; `None` when it is about none.
pub(super) fn key_of(command: &Cmd) -> Option<&[u8]> {
    let mut arguments = command.args_iter().map(|argument| match argument {
        Arg::Simple(bytes) => bytes,
        // The cursor of a SCAN.
        _ => b"0",
    });
    let name = arguments.next()?.to_ascii_uppercase();
    match name.as_slice() {
        b"INFO" | b"CONFIG" | b"TIME" | b"SCAN" | b"WAIT" | b"SCRIPT" | b"CLIENT" | b"FLUSHALL" | b"CLUSTER" | b"PING" => None,
        // Name, script, number of keys, keys.
        b"EVAL" | b"EVALSHA" => arguments.nth(2),
        b"XREAD" | b"XREADGROUP" => arguments.skip_while(|argument| !argument.eq_ignore_ascii_case(b"STREAMS")).nth(1),
        // Name, what of it, key.
        b"XGROUP" | b"XINFO" | b"MEMORY" | b"OBJECT" => arguments.nth(1),
        _ => arguments.next(),
    }
}

/// A primary of a cluster, as one of its servers sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Master {
    /// `host:port`.
    pub(super) address: String,
    /// Of its configuration: of two that claim a slot the one of the higher epoch has it.
    pub(super) epoch: u64,
    /// What it claims, both ends included.
    pub(super) slots: Vec<(u16, u16)>,
}

/// Reads an answer to `CLUSTER NODES` of the server that was asked at `asked`: the primaries in it.
pub(super) fn read_nodes(asked: &str, text: &str) -> Vec<Master> {
    // <id> <ip:port@cport[,hostname]> <flags> <primary> <ping> <pong> <epoch> <link> <slot> …
    let master = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (address, flags) = (fields.next()?, fields.next()?);
        let flags: Vec<&str> = flags.split(',').collect();
        if !flags.contains(&"master") || flags.contains(&"noaddr") || flags.contains(&"handshake") {
            return None;
        }
        let address = address.split('@').next()?;
        // A server that nobody met yet does not know where it is.
        let address = if address.starts_with(':') && flags.contains(&"myself") { asked } else { address };
        let epoch = fields.nth(3)?.parse().ok()?;
        let range = |text: &str| {
            let (from, to) = text.split_once('-').unwrap_or((text, text));
            Some((from.parse().ok()?, to.parse().ok()?))
        };
        // Behind the state of the link. Slots under way are named in brackets, and are still the claim of who gives them.
        let slots = fields.skip(1).filter(|text| !text.starts_with('[')).filter_map(range).collect();
        Some(Master { address: address.to_owned(), epoch, slots })
    };
    text.lines().filter_map(master).collect()
}

/// Who has which slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// The primaries with their epochs, by address.
    pub(super) masters: Vec<(String, u64)>,
    /// By slot an index into `masters`; none when nobody claims it.
    owners: Vec<Option<u16>>,
}

impl SlotMap {
    /// What the servers say together. A server that was cut off believes in what was long ago: the highest epoch has a slot.
    pub(super) fn merge(answers: &[Vec<Master>]) -> Self {
        let mut map = Self { masters: Vec::new(), owners: vec![None; usize::from(SLOTS)] };
        for master in answers.iter().flatten().filter(|master| !master.slots.is_empty()) {
            match map.masters.iter_mut().find(|(address, _)| *address == master.address) {
                Some((_, epoch)) => *epoch = master.epoch.max(*epoch),
                None => map.masters.push((master.address.clone(), master.epoch)),
            }
        }
        map.masters.sort_unstable();
        let mut epochs = vec![0_u64; usize::from(SLOTS)];
        for master in answers.iter().flatten() {
            let Some(index) = map.masters.iter().position(|(address, _)| *address == master.address) else { continue };
            // What is said of it by somebody who does not know its newest configuration claims nothing.
            if map.masters[index].1 != master.epoch {
                continue;
            }
            for slot in master.slots.iter().flat_map(|(from, to)| *from..=*to).map(usize::from) {
                if let Some(epoch) = epochs.get_mut(slot)
                    && (map.owners[slot].is_none() || *epoch < master.epoch)
                {
                    *epoch = master.epoch;
                    map.owners[slot] = Some(index as u16);
                }
            }
        }
        map
    }

    /// The address of who has a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&str> {
        let index = (*self.owners.get(usize::from(slot))?)?;
        self.masters.get(usize::from(index)).map(|(address, _)| address.as_str())
    }

    /// Who has the most slots first, with how many those are.
    pub(super) fn shares(&self) -> Vec<(String, usize)> {
        let count = |index: usize| self.owners.iter().filter(|owner| **owner == Some(index as u16)).count();
        let mut shares: Vec<_> = self.masters.iter().enumerate().map(|(index, (address, _))| (address.clone(), count(index))).collect();
        shares.sort_by_key(|(_, slots)| std::cmp::Reverse(*slots));
        shares
    }

    /// How many slots nobody has.
    pub(super) fn without_owner(&self) -> usize {
        self.owners.iter().filter(|owner| owner.is_none()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_that_redis_computes() {
        // As CLUSTER KEYSLOT says.
        for (key, slot) in [("foo", 12_182), ("{foo}:bar", 12_182), ("{s0}:log", slot_of(b"s0")), ("123456789", 12_739)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        // Empty braces are a part of the name as any other.
        assert_ne!(slot_of(b"bar{}"), slot_of(b""));
    }

    #[test]
    fn a_command_names_its_key_where_it_has_one() {
        let key = |words: &str| {
            let mut words = words.split(' ');
            let mut command = redis::cmd(words.next().unwrap());
            words.for_each(|word| {
                command.arg(word);
            });
            key_of(&command).map(|key| String::from_utf8_lossy(key).into_owned())
        };
        for (words, expected) in [
            ("XADD a * 1 x", Some("a")),
            ("EVALSHA 0f 2 a b x", Some("a")),
            ("XREAD COUNT 1 BLOCK 5 STREAMS a b 0 0", Some("a")),
            ("XREADGROUP GROUP g c COUNT 1 STREAMS a >", Some("a")),
            ("XGROUP CREATE a g 0 MKSTREAM", Some("a")),
            ("MEMORY USAGE a SAMPLES 0", Some("a")),
            ("INFO server", None),
            ("CONFIG GET save", None),
            ("TIME", None),
        ] {
            assert_eq!(key(words).as_deref(), expected, "{words}");
        }
    }

    const NODES: &str = "\
07c37d 127.0.0.1:30004@31004,host4 slave e7d1ee 0 1426238317239 4 connected
67ed2d 127.0.0.1:30002@31002,host2 master - 0 1426238316232 2 connected 5461-10922 [5461->-e7d1ee]
292f8b 127.0.0.1:30003@31003,host3 master,fail - 0 1426238318243 3 connected 10923-16382 16383
e7d1ee :30001@31001 myself,master - 0 0 1 connected 0-5460
";

    #[test]
    fn what_a_server_says_of_the_others_is_read() {
        let master = |address: &str, epoch, slots: &[(u16, u16)]| Master { address: address.to_owned(), epoch, slots: slots.to_vec() };
        let expected = [
            master("127.0.0.1:30002", 2, &[(5461, 10922)]),
            master("127.0.0.1:30003", 3, &[(10923, 16382), (16383, 16383)]),
            master("10.0.0.9:30001", 1, &[(0, 5460)]),
        ];
        assert_eq!(read_nodes("10.0.0.9:30001", NODES), expected);
        let map = SlotMap::merge(&[expected.to_vec()]);
        assert_eq!(
            (map.owner(0), map.owner(5461), map.owner(16_383)),
            (Some("10.0.0.9:30001"), Some("127.0.0.1:30002"), Some("127.0.0.1:30003"))
        );
        assert_eq!(map.without_owner(), 0);
    }

    #[test]
    fn of_two_who_claim_a_slot_the_higher_epoch_has_it_whoever_is_asked_first() {
        let master = |address: &str, epoch, slots: &[(u16, u16)]| Master { address: address.to_owned(), epoch, slots: slots.to_vec() };
        // b was promoted over a, which is cut off; and c took slots 5 to 9 from b, as c says already and b does not.
        let cut_off = vec![master("a", 1, &[(0, 99)])];
        let newer = vec![master("b", 5, &[(0, 99)]), master("c", 3, &[])];
        let newest = vec![master("b", 5, &[(0, 4), (10, 99)]), master("c", 6, &[(5, 9)])];
        for answers in [[cut_off.clone(), newer.clone(), newest.clone()], [newest, newer, cut_off]] {
            let map = SlotMap::merge(&answers);
            assert_eq!([map.owner(0), map.owner(5), map.owner(99), map.owner(100)], [Some("b"), Some("c"), Some("b"), None]);
        }
    }
}
