//! Who a thread believes to be: its ids by the kernel's rules, kept where the kernel keeps them from fork to fork.
//!
//! A thread's number in our table stands in its timer slack, which children inherit, which exec keeps, and which
//! nobody else has a use for in a build: so no fork has to be watched, and no id can outlive its process.
//!
//! Man: credentials(7), setresuid(2), prctl(2) under `PR_SET_TIMERSLACK`.

use std::collections::HashMap;
use std::io;

use crate::users::Owner;

/// The timer slack of every process, in nanoseconds; the number in our table is added to it.
pub(super) const BASE_SLACK: u64 = 50_000;

/// What an argument is that changes nothing.
const KEEP: u32 = u32::MAX;

/// The ids of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    /// The one that files are made with.
    pub(super) files: u32,
}

impl Ids {
    /// All of them one.
    fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, files: id }
    }

    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    /// setuid(2).
    fn set(self, id: u32, privileged: bool) -> Result<Self, i32> {
        match id {
            KEEP => Err(libc::EINVAL),
            _ if privileged => Ok(Self::all(id)),
            _ if id == self.real || id == self.saved => Ok(Self { effective: id, files: id, ..self }),
            _ => Err(libc::EPERM),
        }
    }

    /// setreuid(2).
    fn set_two(self, real: u32, effective: u32, privileged: bool) -> Result<Self, i32> {
        let may_real = real == KEEP || real == self.real || real == self.effective;
        let may_effective = effective == KEEP || self.has(effective);
        if !(privileged || may_real && may_effective) {
            return Err(libc::EPERM);
        }
        let mut new = self;
        if real != KEEP {
            new.real = real;
        }
        if effective != KEEP {
            new.effective = effective;
        }
        if real != KEEP || effective != KEEP && effective != self.real {
            new.saved = new.effective;
        }
        new.files = new.effective;
        Ok(new)
    }

    /// setresuid(2).
    fn set_three(self, ids: [u32; 3], privileged: bool) -> Result<Self, i32> {
        if !privileged && !ids.iter().all(|id| *id == KEEP || self.has(*id)) {
            return Err(libc::EPERM);
        }
        let or = |id: u32, old: u32| if id == KEEP { old } else { id };
        let effective = or(ids[1], self.effective);
        Ok(Self { real: or(ids[0], self.real), effective, saved: or(ids[2], self.saved), files: effective })
    }

    /// setfsuid(2): never fails.
    fn set_files(self, id: u32, privileged: bool) -> Self {
        if privileged || self.has(id) || id == self.files { Self { files: id, ..self } } else { self }
    }
}

/// Who a thread believes to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Credentials {
    pub(super) user: Ids,
    pub(super) group: Ids,
    pub(super) groups: Vec<u32>,
}

impl Credentials {
    /// Whether it may do what root may.
    pub(super) fn is_privileged(&self) -> bool {
        self.user.effective == 0
    }

    /// Who owns what it makes.
    pub(super) fn owner(&self) -> Owner {
        Owner { uid: self.user.files, gid: self.group.files }
    }

    /// Whether it is a member of a group.
    pub(super) fn is_member(&self, group: u32) -> bool {
        self.group.files == group || self.groups.contains(&group)
    }

    /// What a call that sets ids makes of it, and what the call answers.
    pub(super) fn changed(&self, call: libc::c_long, arguments: &[u64; 6]) -> Result<(Self, u32), i32> {
        #[expect(clippy::cast_possible_truncation, reason = "the kernel looks at the low half only")]
        let id = |at: usize| arguments[at] as u32;
        let may = self.is_privileged();
        let (mut user, mut group) = (self.user, self.group);
        let mut answer = 0;
        match call {
            libc::SYS_setuid => user = user.set(id(0), may)?,
            libc::SYS_setgid => group = group.set(id(0), may)?,
            libc::SYS_setreuid => user = user.set_two(id(0), id(1), may)?,
            libc::SYS_setregid => group = group.set_two(id(0), id(1), may)?,
            libc::SYS_setresuid => user = user.set_three([id(0), id(1), id(2)], may)?,
            libc::SYS_setresgid => group = group.set_three([id(0), id(1), id(2)], may)?,
            libc::SYS_setfsuid => {
                answer = user.files;
                user = user.set_files(id(0), may);
            }
            libc::SYS_setfsgid => {
                answer = group.files;
                group = group.set_files(id(0), may);
            }
            _ => return Err(libc::ENOSYS),
        }
        Ok((Self { user, group, groups: self.groups.clone() }, answer))
    }

    /// What a program with a setuid or setgid bit makes of it.
    pub(super) fn after_exec(&self, user: Option<u32>, group: Option<u32>) -> Self {
        let become_one = |ids: Ids, id: Option<u32>| {
            let effective = id.unwrap_or(ids.effective);
            Ids { real: ids.real, effective, saved: effective, files: effective }
        };
        Self {
            user: become_one(self.user, user),
            group: become_one(self.group, group),
            groups: self.groups.clone(),
        }
    }
}

/// Everybody that a thread has believed to be.
#[derive(Debug)]
pub(super) struct Table {
    all: Vec<Credentials>,
    numbers: HashMap<Credentials, u64>,
    /// Whether anybody makes files that are not root's.
    others: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        let root = Credentials::default();
        Self { numbers: HashMap::from([(root.clone(), 0)]), all: vec![root], others: false }
    }

    /// Whether anybody makes files that are not root's.
    pub(super) fn has_others(&self) -> bool {
        self.others
    }

    /// Who a thread believes to be: root, as long as it has not said otherwise.
    pub(super) fn of(&self, thread: i32) -> &Credentials {
        let number = std::fs::read_to_string(format!("{thread}/timerslack_ns"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok()?.checked_sub(BASE_SLACK))
            .and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.all.get(number)).unwrap_or(&self.all[0])
    }

    /// Lets a thread believe something else.
    pub(super) fn set(&mut self, thread: i32, credentials: Credentials) -> io::Result<()> {
        self.others |= credentials.owner() != Owner::ROOT;
        let all = &mut self.all;
        let number = *self.numbers.entry(credentials).or_insert_with_key(|credentials| {
            all.push(credentials.clone());
            all.len() as u64 - 1
        });
        std::fs::write(format!("{thread}/timerslack_ns"), (BASE_SLACK + number).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(credentials: &Credentials, call: libc::c_long, arguments: [u32; 3]) -> Result<Credentials, i32> {
        let [a, b, c] = arguments.map(u64::from);
        credentials.changed(call, &[a, b, c, 0, 0, 0]).map(|(credentials, _)| credentials)
    }

    #[test]
    fn root_becomes_anybody_and_nobody_becomes_root() {
        let root = Credentials::default();
        let user = after(&root, libc::SYS_setuid, [5, 0, 0]).unwrap();
        assert_eq!(user.user, Ids::all(5));
        assert_eq!(after(&user, libc::SYS_setuid, [0, 0, 0]), Err(libc::EPERM));
        assert_eq!(after(&user, libc::SYS_setgid, [7, 0, 0]), Err(libc::EPERM));
        assert_eq!(after(&user, libc::SYS_setresuid, [5, KEEP, 6]), Err(libc::EPERM));
        assert_eq!(after(&root, libc::SYS_setuid, [KEEP, 0, 0]), Err(libc::EINVAL));
    }

    #[test]
    fn who_kept_root_comes_back() {
        let root = Credentials::default();
        let away = after(&root, libc::SYS_setresuid, [KEEP, 5, KEEP]).unwrap();
        assert_eq!(away.user, Ids { real: 0, effective: 5, saved: 0, files: 5 });
        assert!(!away.is_privileged());
        assert_eq!(after(&away, libc::SYS_setuid, [0, 0, 0]).unwrap().user.effective, 0);
        let swapped = after(&root, libc::SYS_setreuid, [5, 6, 0]).unwrap();
        assert_eq!(swapped.user, Ids { real: 5, effective: 6, saved: 6, files: 6 });
        assert_eq!(after(&swapped, libc::SYS_setreuid, [6, 5, 0]).unwrap().user.real, 6);
    }

    #[test]
    fn a_setuid_program_gives_its_owners_rights() {
        let user = after(&Credentials::default(), libc::SYS_setuid, [5, 0, 0]).unwrap();
        let sudo = user.after_exec(Some(0), None);
        assert_eq!(sudo.user, Ids { real: 5, effective: 0, saved: 0, files: 0 });
        assert!(after(&sudo, libc::SYS_setuid, [0, 0, 0]).is_ok());
    }
}
