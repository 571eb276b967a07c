//! Who may work: slots and memory, given out in order. It holds no threads and measures nothing.

use std::collections::BTreeMap;

/// What there is, or what somebody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Steps' room: each takes one or more.
    pub slots: usize,
    /// Bytes of memory; the largest number where nobody counts them.
    pub memory_bytes: u64,
}

impl Room {
    /// No more than there is: what is too large for that has it for itself.
    fn within(self, all: Self) -> Self {
        Self { slots: self.slots.clamp(1, all.slots), memory_bytes: self.memory_bytes.min(all.memory_bytes) }
    }

    fn holds(self, need: Self) -> bool {
        need.slots <= self.slots && need.memory_bytes <= self.memory_bytes
    }

    fn without(self, need: Self) -> Self {
        Self {
            slots: self.slots.saturating_sub(need.slots),
            memory_bytes: self.memory_bytes.saturating_sub(need.memory_bytes),
        }
    }
}

/// Gives out room in the order of `K`, and never more than there is.
///
/// What is next in order and does not fit keeps its turn until it does: nothing passes it that would take from what it waits for.
#[derive(Debug)]
pub struct Permits<K> {
    all: Room,
    free: Room,
    waiting: BTreeMap<K, Room>,
    held: BTreeMap<K, Room>,
    /// Who has been next and did not fit.
    head: Option<K>,
}

impl<K: Ord + Copy> Permits<K> {
    /// Makes one with nobody in it; there is at least one slot.
    pub fn new(all: Room) -> Self {
        let all = Room { slots: all.slots.max(1), ..all };
        Self { all, free: all, waiting: BTreeMap::new(), held: BTreeMap::new(), head: None }
    }

    /// Puts somebody in the queue.
    pub fn ask(&mut self, who: K, need: Room) {
        self.waiting.insert(who, need.within(self.all));
    }

    /// Lets the next one go, if one can.
    pub fn grant(&mut self) -> Option<K> {
        let head = self.head.or_else(|| self.waiting.keys().next().copied())?;
        let need = self.waiting[&head];
        if self.free.holds(need) {
            self.head = None;
            return Some(self.take(head));
        }
        self.head = Some(head);
        let beside = self.free.without(need);
        let passes = |need: &Room| need.slots <= beside.slots && need.memory_bytes <= beside.memory_bytes;
        let next = self.waiting.iter().find(|(who, need)| **who != head && passes(need)).map(|(who, _)| *who);
        next.map(|who| self.take(who))
    }

    /// Says that somebody is done.
    pub fn give_back(&mut self, who: K) {
        let held = self.held.remove(&who).expect("only what was granted is given back");
        self.free.slots += held.slots;
        self.free.memory_bytes += held.memory_bytes;
    }

    fn take(&mut self, who: K) -> K {
        let need = self.waiting.remove(&who).expect("only those who wait are granted");
        self.free = self.free.without(need);
        self.held.insert(who, need);
        who
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn room(slots: usize, memory_bytes: u64) -> Room {
        Room { slots, memory_bytes }
    }

    fn granted(permits: &mut Permits<u32>) -> Vec<u32> {
        std::iter::from_fn(|| permits.grant()).collect()
    }

    #[test]
    fn a_large_one_is_not_passed_by_small_ones_that_take_its_place() {
        let mut permits = Permits::new(room(4, 100));
        permits.ask(1, room(1, 60));
        permits.ask(2, room(1, 80));
        permits.ask(3, room(1, 10));
        permits.ask(4, room(1, 0));
        assert_eq!(granted(&mut permits), [1, 4], "what needs no memory passes");
        // Who comes later does not take the turn of the one that waits already.
        permits.ask(0, room(1, 10));
        assert_eq!(permits.grant(), None);
        permits.give_back(1);
        assert_eq!(granted(&mut permits), [2, 0, 3]);
    }

    #[test]
    fn what_is_too_large_runs_alone() {
        let mut permits = Permits::new(room(2, 100));
        permits.ask(1, room(9, 1000));
        permits.ask(2, room(1, 0));
        assert_eq!(granted(&mut permits), [1]);
        permits.give_back(1);
        assert_eq!(granted(&mut permits), [2]);
    }

    proptest! {
        #[test]
        fn room_is_never_exceeded_and_everybody_has_a_turn(
            (slots, memory) in (1_usize..6, 0_u64..50),
            needs in prop::collection::vec((0_usize..8, 0_u64..60, 0_u8..4), 1..40),
            picks in prop::collection::vec(0_usize..100, 200),
        ) {
            let mut permits = Permits::new(room(slots, memory));
            let mut arriving = needs.iter().enumerate().map(|(at, need)| (at, *need)).collect::<Vec<_>>();
            arriving.sort_by_key(|(at, (.., when))| (*when, *at));
            let mut arriving = arriving.into_iter().peekable();
            let (mut working, mut done) = (BTreeMap::new(), Vec::new());
            let mut picks = picks.into_iter().cycle();
            loop {
                let some = 1 + picks.next().unwrap_or_default() % 4;
                for (at, (slots, memory_bytes, _)) in arriving.by_ref().take(some) {
                    permits.ask(at, room(slots, memory_bytes));
                }
                while let Some(at) = permits.grant() {
                    working.insert(at, room(needs[at].0, needs[at].1).within(permits.all));
                }
                let used: usize = working.values().map(|need| need.slots).sum();
                let used_bytes: u64 = working.values().map(|need| need.memory_bytes).sum();
                prop_assert!(used <= slots && used_bytes <= memory);
                // What waited when nobody works would wait for ever.
                prop_assert!(!working.is_empty() || permits.waiting.is_empty());
                if working.is_empty() && arriving.peek().is_none() {
                    break;
                }
                let pick = picks.next().unwrap_or_default();
                if let Some(at) = working.keys().nth(pick % working.len().max(1)).copied() {
                    working.remove(&at);
                    permits.give_back(at);
                    done.push(at);
                }
            }
            done.sort_unstable();
            prop_assert_eq!(done, (0..needs.len()).collect::<Vec<_>>());
        }

        #[test]
        fn who_is_next_waits_for_those_at_work_and_no_others(
            stream in prop::collection::vec((1_usize..3, 0_u64..30), 1..60),
            big in (1_usize..5, 0_u64..101),
        ) {
            let mut permits = Permits::new(room(4, 100));
            permits.ask(1, room(3, 90));
            prop_assert_eq!(permits.grant(), Some(1));
            permits.ask(2, room(big.0, big.1));
            let before = permits.grant();
            for (at, (slots, bytes)) in (100..).zip(stream) {
                permits.ask(at, room(slots, bytes));
                while permits.grant().is_some() {}
            }
            permits.give_back(1);
            prop_assert_eq!(before.or_else(|| permits.grant()), Some(2));
        }
    }
}
