//! Users and groups by the names that an image gives them.

use serde::{Deserialize, Serialize};

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Owner {
    /// Root.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// A user as USER names one, with everything that a process of it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Number and primary group.
    pub owner: Owner,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory; `/` where the image has none for it.
    pub home: String,
}

/// A name that the image does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the image has no {kind} `{name}`")]
pub struct NoSuchName {
    /// `user` or `group`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
}

/// Resolves USER (`user[:group]`, names or numbers; empty for root) against the text of /etc/passwd and /etc/group.
///
/// A user without a group gets the passwd entry's group and the supplementary groups of its name; with one, only that.
///
/// # Errors
/// Fails where a name is in neither file, as BuildKit does when a RUN needs it.
pub fn resolve_user(user: &str, passwd: &str, group: &str) -> Result<User, NoSuchName> {
    let (name, group_name) = split(user);
    let name = if name.is_empty() { "0" } else { name };
    let entry = find_user(name, passwd);
    let uid = match (&entry, name.parse::<u32>()) {
        (Some(entry), _) => entry.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => return Err(NoSuchName { kind: "user", name: name.to_owned() }),
    };
    let home = entry.as_ref().map_or_else(|| "/".to_owned(), |entry| entry.home.to_owned());
    if let Some(group_name) = group_name {
        let gid = find_group(group_name, group)
            .ok_or_else(|| NoSuchName { kind: "group", name: group_name.to_owned() })?;
        return Ok(User { owner: Owner { uid, gid }, groups: Vec::new(), home });
    }
    let gid = entry.as_ref().map_or(0, |entry| entry.gid);
    let groups = entry.map_or_else(Vec::new, |entry| supplementary(entry.name, group));
    Ok(User { owner: Owner { uid, gid }, groups, home })
}

/// Resolves `--chown` (`user`, `user:group` or `:group`). `None` says that a name is unknown.
///
/// A name alone brings its primary group; a number alone is the group as well.
pub fn resolve_chown(chown: &str, passwd: &str, group: &str) -> Option<Owner> {
    let (name, group_name) = split(chown);
    let entry = find_user(name, passwd);
    let (uid, primary) = match (name.parse::<u32>(), entry) {
        _ if name.is_empty() => (0, 0),
        (Ok(number), _) => (number, number),
        (Err(_), Some(entry)) => (entry.uid, entry.gid),
        (Err(_), None) => return None,
    };
    let gid = match group_name {
        Some(name) => find_group(name, group)?,
        None => primary,
    };
    Some(Owner { uid, gid })
}

/// Whether `--chown` names a user or group that only the image can resolve.
pub fn needs_names(chown: &str) -> bool {
    let (user, group) = split(chown);
    [Some(user), group].into_iter().flatten().any(|part| !part.is_empty() && part.parse::<u32>().is_err())
}

fn split(user: &str) -> (&str, Option<&str>) {
    match user.split_once(':') {
        Some((name, "")) => (name, None),
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn find_user<'a>(wanted: &str, passwd: &'a str) -> Option<PasswdEntry<'a>> {
    let number = wanted.parse::<u32>().ok();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
        (name == wanted || number == Some(uid)).then_some(PasswdEntry { name, uid, gid, home })
    })
}

fn find_group(wanted: &str, group: &str) -> Option<u32> {
    let by_name = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == wanted).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    by_name.or_else(|| wanted.parse().ok())
}

fn supplementary(user: &str, group: &str) -> Vec<u32> {
    group
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields.next()?.split(',').any(|member| member == user).then_some(gid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:app,other\nwheel:x:10:other\n";

    #[test]
    fn users() {
        let user = |text| resolve_user(text, PASSWD, GROUP);
        let owner = |uid, gid| Owner { uid, gid };
        assert_eq!(user("").map(|u| (u.owner, u.home)), Ok((owner(0, 0), "/root".to_owned())));
        assert_eq!(user("app").map(|u| (u.owner, u.groups)), Ok((owner(1000, 1001), vec![50])));
        assert_eq!(user("1000").map(|u| u.owner), Ok(owner(1000, 1001)));
        assert_eq!(user("app:wheel").map(|u| (u.owner, u.groups)), Ok((owner(1000, 10), vec![])));
        assert_eq!(user("77").map(|u| (u.owner, u.home)), Ok((owner(77, 0), "/".to_owned())));
        assert_eq!(user("nobody").map_err(|e| e.name), Err("nobody".to_owned()));
        assert_eq!(user("app:none").map_err(|e| e.kind), Err("group"));
    }

    #[test]
    fn chowns() {
        let chown = |text| resolve_chown(text, PASSWD, GROUP).map(|o| (o.uid, o.gid));
        assert_eq!(chown("app"), Some((1000, 1001)));
        assert_eq!(chown("1000"), Some((1000, 1000)));
        assert_eq!(chown("app:staff"), Some((1000, 50)));
        assert_eq!(chown(":staff"), Some((0, 50)));
        assert_eq!(chown("5:6"), Some((5, 6)));
        assert_eq!(chown("nosuch"), None);
        assert!(needs_names("1:staff") && needs_names("app") && !needs_names("1:2"));
    }
}
