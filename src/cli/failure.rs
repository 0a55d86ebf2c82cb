//! Why a command did not do what was asked, and what to do about it.

use thiserror::Error;

use super::remote::Remote;
use super::screen::Screen;
use crate::names::ctl;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The daemon does not run, or the bus cannot be had.
    #[error("{why}")]
    Unreachable {
        /// The cause.
        why: String,
        /// What to do.
        advice: String,
    },
    /// There is no such thing; and what is near to it.
    #[error("there is no {what}")]
    NoSuch {
        /// What was asked for.
        what: String,
        /// What may have been meant.
        near: Vec<String>,
    },
    /// The caller may not.
    #[error("not authorised: {why}")]
    Denied {
        /// The cause.
        why: String,
        /// What to do.
        advice: String,
    },
    /// It was refused, or did not come about.
    #[error("{0}")]
    Refused(String),
    /// The daemon's answer makes no sense to this version, and whose versions these are.
    #[error("{0}")]
    Unreadable(String),
    /// Standard output is closed: whoever read it has seen enough.
    #[error("standard output is closed")]
    Closed,
}

impl Failure {
    /// Why standard output could not be written.
    #[must_use]
    pub fn writing(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Refused(format!("write standard output: {error}")),
        }
    }

    /// The daemon does not run on this machine, or on another one.
    #[must_use]
    pub fn not_running(host: Option<&Remote>) -> Failure {
        match host {
            None => Failure::Unreachable {
                why: "vfiod does not run".to_owned(),
                advice: "see why: systemctl status vfiod; journalctl -u vfiod. Start it: systemctl start vfiod".into(),
            },
            Some(host) => Failure::Unreachable {
                why: format!("vfiod does not run on {host}"),
                advice: format!("see why there: systemctl -H {host} status vfiod"),
            },
        }
    }

    /// The caller may not, on this machine or on another one.
    #[must_use]
    pub fn denied(why: String, host: Option<&Remote>) -> Failure {
        let advice = match host {
            None => "as root it is allowed: sudo vfiodctl …".to_owned(),
            Some(host) => format!("as root it is allowed: vfiodctl -H {} …", host.as_root()),
        };
        Failure::Denied { why, advice }
    }

    /// The exit status that stands for it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Failure::Usage(_) => ctl::USAGE,
            Failure::Unreachable { .. } => ctl::UNREACHABLE,
            Failure::NoSuch { .. } => ctl::NO_SUCH,
            Failure::Denied { .. } => ctl::DENIED,
            Failure::Refused(_) | Failure::Unreadable(_) => ctl::NOT_READY,
            Failure::Closed => ctl::OK,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Failure::Usage(_) => Some("see: vfiodctl --help".to_owned()),
            Failure::Unreachable { advice, .. } | Failure::Denied { advice, .. } => Some(advice.clone()),
            Failure::NoSuch { what, near } if near.is_empty() && what.starts_with("hold ") => {
                Some("see what is held: vfiodctl status".to_owned())
            }
            Failure::NoSuch { near, .. } if near.is_empty() => {
                Some("see what there is: vfiodctl list --all".to_owned())
            }
            Failure::NoSuch { near, .. } => Some(format!("did you mean {}?", near.join(" or "))),
            Failure::Unreadable(_) => Some("have both of one version: vfiodctl --version".to_owned()),
            Failure::Refused(_) | Failure::Closed => None,
        }
    }

    /// The lines for standard error; nothing in them drives a terminal.
    #[must_use]
    pub fn lines(&self, screen: &Screen) -> String {
        let mut lines = String::new();
        for (n, line) in self.to_string().trim_end().lines().enumerate() {
            let lead = if n == 0 { "vfiodctl: " } else { "" };
            lines += &format!("{lead}{}\n", screen.plain(line));
        }
        if let Some(advice) = self.advice() {
            lines += &format!("  {}\n", screen.plain(&advice));
        }
        lines
    }
}
