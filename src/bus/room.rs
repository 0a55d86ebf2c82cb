//! Room for the calls of users who are not trusted: so many in all, and so many for each of them.

#![allow(
    clippy::disallowed_types,
    reason = "errands are tasks of their own, and count together; the keeper is not here"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::refused::Refused;
use crate::model::words;

/// How many calls of all those users may be under way. Each may wait for polkit, and the system bus
/// lets one connection wait for 128 answers.
const MANY: usize = 96;

/// How many of one user, on however many connections: nobody may take the others' room.
const EACH: usize = 16;

/// The room, shared by all who ask for a place in it.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// Places taken, by user.
    taken: Arc<Mutex<BTreeMap<u32, usize>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Room,
    uid: u32,
}

impl Room {
    /// A place for a call of this user.
    ///
    /// # Errors
    /// There is none left, for that user or for anybody.
    pub fn enter(&self, uid: u32) -> Result<Place, Refused> {
        let mut taken = self.taken();
        let own = taken.get(&uid).copied().unwrap_or_default();
        if own >= EACH {
            let text = format!("{EACH} calls of {} are under way; try again later", words::user(uid));
            return Err(Refused::own("LimitsExceeded", text));
        }
        if taken.values().sum::<usize>() >= MANY {
            return Err(Refused::own("LimitsExceeded", "too many calls of all users are under way; try again later"));
        }
        taken.insert(uid, own + 1);
        Ok(Place { room: self.clone(), uid })
    }

    /// Held for no longer than it takes to count.
    fn taken(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        match taken.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_the_others_and_all_of_them_for_nobody() {
        let room = Room::default();
        let mut places = Vec::new();
        for uid in 1..=6 {
            for _ in 0..16 {
                places.push(room.enter(uid).unwrap());
            }
            let refused = room.enter(uid).unwrap_err();
            assert_eq!(refused.text, format!("16 calls of uid {uid} are under way; try again later"));
        }
        assert!(room.enter(7).unwrap_err().text.starts_with("too many calls of all users"));
        drop(places.pop());
        let place = room.enter(7).unwrap();
        assert!(room.enter(6).is_err());
        drop((place, places));
        assert!(room.taken().is_empty());
    }
}
