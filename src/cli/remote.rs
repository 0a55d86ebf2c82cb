//! Another machine, named the way systemctl takes it: `[USER@]HOST[:PORT]`.

use std::fmt;

use super::failure::Failure;

/// Another machine, and as whom it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    user: Option<String>,
    /// Without brackets.
    host: String,
    port: Option<u16>,
}

impl Remote {
    /// Reads it; an IPv6 address stands in brackets where a port follows it.
    ///
    /// # Errors
    /// It is not of that form. Containers, which systemctl takes too, are not reached.
    pub fn read(text: &str) -> Result<Remote, Failure> {
        let wrong = |why: &str| Failure::Usage(format!("--host {text}: {why}"));
        if text.contains('/') {
            return Err(wrong("a container of a machine cannot be asked; VFIO is the machine's own"));
        }
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, text),
        };
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(|| wrong("`:` comes after `]`"))?)),
            None => match place.split_once(':') {
                // More colons without brackets are an IPv6 address.
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (place, None),
            },
        };
        let number = |port: &str| port.parse().ok().filter(|port| *port != 0);
        let port = port.map(|port| number(port).ok_or_else(|| wrong("a port is a number from 1 to 65535")));
        if host.is_empty() || user.as_deref() == Some("") {
            return Err(wrong("expected [USER@]HOST[:PORT]"));
        }
        Ok(Remote { user, host: host.to_owned(), port: port.transpose()? })
    }

    /// The same machine as root.
    #[must_use]
    pub fn as_root(&self) -> Remote {
        Remote { user: Some("root".to_owned()), ..self.clone() }
    }

    /// What ssh is given, for the bus of that machine.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-xT".to_owned()];
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        arguments.extend(["--".to_owned(), format!("{user}{}", self.host), "systemd-stdio-bridge".to_owned()]);
        arguments
    }
}

/// As it was given, or would be.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_as_systemctl_takes_it() {
        let asked = |text: &str| Remote::read(text).unwrap().arguments().join(" ");
        assert_eq!(asked("other"), "-xT -- other systemd-stdio-bridge");
        assert_eq!(asked("root@other:2222"), "-xT -p 2222 -- root@other systemd-stdio-bridge");
        assert_eq!(asked("me@[fe80::1%eth0]:22"), "-xT -p 22 -- me@fe80::1%eth0 systemd-stdio-bridge");
        assert_eq!(asked("[::1]"), "-xT -- ::1 systemd-stdio-bridge");
        assert_eq!(asked("2001:db8::1"), "-xT -- 2001:db8::1 systemd-stdio-bridge");
        assert_eq!(asked("-oProxyCommand=x"), "-xT -- -oProxyCommand=x systemd-stdio-bridge");
        assert_eq!(Remote::read("me@[::1]:22").unwrap().as_root().to_string(), "root@[::1]:22");
    }

    #[test]
    fn what_names_no_machine_is_a_wrong_command_line() {
        let refused = |text: &str| Remote::read(text).unwrap_err().to_string();
        assert!(refused("root@other/guest").contains("a container of a machine cannot be asked"));
        for text in ["", "@other", "root@", "other:ssh", "other:0", "other:70000", "[::1]22", ":22"] {
            assert!(refused(text).starts_with(&format!("--host {text}: ")), "{text}");
        }
    }
}
