//! Numbers and users in sentences.

/// `1 file`, `2 files`, `2 entries`; `one` is the singular.
#[must_use]
pub fn count(number: impl TryInto<u64>, one: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {}", plural(number, one))
}

/// The word alone: `file` for 1, else `files`.
#[must_use]
pub fn plural(number: u64, one: &str) -> String {
    match (number, one.strip_suffix('y')) {
        (1, _) => one.to_owned(),
        (_, Some(stem)) => format!("{stem}ies"),
        (_, None) => format!("{one}s"),
    }
}

/// `never`, `once`, `twice`, `3 times`.
#[must_use]
pub fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// A user: `root`, or `uid 1000`. Whose number that is may have to be asked for over the network, so
/// the daemon never does.
#[must_use]
pub fn user(uid: u32) -> String {
    if uid == 0 { "root".to_owned() } else { format!("uid {uid}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_from_many() {
        assert_eq!([0, 1, 2].map(|n| count(n, "file")), ["0 files", "1 file", "2 files"]);
        assert_eq!([1, 3].map(|n| count(n, "entry")), ["1 entry", "3 entries"]);
        assert_eq!([0, 1, 2, 3].map(times), ["never", "once", "twice", "3 times"]);
        assert_eq!([0, 1000].map(user), ["root", "uid 1000"]);
    }
}
