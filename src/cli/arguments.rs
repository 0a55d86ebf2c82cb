//! The command line, as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};

/// See and steer PCI passthrough: what is ready, what is not and why, what vfiod does about it
///
/// Without a command, `vfiodctl` answers whether passthrough is ready, and if not, what to do.
///
/// A DEVICE is an address (0000:01:00.0, 01:00.0), libvirt's name of it (pci_0000_01_00_0), an
/// entry of the configuration (gpu0), or one virtual function of an entry (nics/2).
#[derive(Debug, Clone, Parser)]
#[command(name = "vfiodctl", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do; status by default.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What holds for every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Print JSON (vfiod-json(7)) instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Look at the tree of a machine saved below this directory, instead of at this machine
    #[arg(long, global = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, conflicts_with = "host")]
    pub root: Option<PathBuf>,
    /// Ask the vfiod of another machine, over ssh
    #[arg(short = 'H', long, global = true, value_name = "[USER@]HOST[:PORT]", value_hint = ValueHint::Hostname)]
    pub host: Option<String>,
    /// When to use colours; by default on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum)]
    pub color: Option<When>,
    /// No colours, like --color=never
    #[arg(long, global = true, conflicts_with = "color")]
    pub no_color: bool,
    /// Plain ASCII, no symbols
    #[arg(long, global = true)]
    pub ascii: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Also into a file or pipe.
    Always,
    /// Nowhere.
    Never,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Tell whether passthrough is ready, and if not, what to do
    Status,
    /// List the devices that are declared or on a VFIO driver
    List {
        /// All PCI functions of this machine
        #[arg(short, long)]
        all: bool,
    },
    /// List the IOMMU groups: whose they are, their members, and what keeps them from a virtual machine
    ///
    /// The states are: ready, a virtual machine can have what is on a VFIO driver in it; host, the host has it and at most one endpoint is in
    /// it, which can be taken by itself; shared, the host has it and several endpoints are in it, which a virtual machine can only have
    /// together; unbound, no endpoint in it has a driver; blocked, a member is in the way, or the check has found a blocker, whose code is in
    /// the last column; unknown, it could not be told.
    Groups {
        /// Those of these devices alone
        #[arg(value_name = "DEVICE")]
        devices: Vec<String>,
    },
    /// Show everything about one device
    Show {
        /// The device, or an entry with its devices
        #[arg(value_name = "DEVICE")]
        device: String,
        /// Print libvirt's <hostdev> elements for all endpoints of its group
        #[arg(long)]
        libvirt: bool,
    },
    /// Tell what stands between devices and virtual machines; ends with 1 where what is declared is blocked
    Check {
        /// Devices, declared or not, and entries; all by default
        #[arg(value_name = "DEVICE")]
        devices: Vec<String>,
    },
    /// Tell what vfiod would do now, and what it holds back and why; writes nothing
    Plan,
    /// Repair now what is not as declared, without waiting for a back-off or an open breaker
    Repair {
        /// Devices and entries; all that is declared by default
        #[arg(value_name = "DEVICE")]
        devices: Vec<String>,
    },
    /// Give a device back to its former driver, until it is adopted again
    Release {
        /// The device or entry
        #[arg(value_name = "DEVICE")]
        device: String,
    },
    /// Take a released device again
    Adopt {
        /// The device or entry
        #[arg(value_name = "DEVICE")]
        device: String,
    },
    /// Load required kernel modules now
    Load {
        /// Their names; all that are required by default
        #[arg(value_name = "MODULE")]
        modules: Vec<String>,
    },
    /// Keep vfiod from writing to something, for a time or while a command runs
    #[command(group(ArgGroup::new("until").required(true).args(["duration", "command"])))]
    Hold {
        /// A device, an entry, module:NAME, or all
        #[arg(value_name = "TARGET")]
        target: String,
        /// Why, for those who wonder
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Who, for those who wonder; the user by default
        #[arg(long, value_name = "TEXT")]
        who: Option<String>,
        /// For how long, such as 30min or 2h; it outlives restarts and reboots
        #[arg(long = "for", value_name = "DURATION", value_parser = whole_seconds)]
        duration: Option<Duration>,
        /// Hold while this command runs, and end with its exit status
        #[arg(last = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// End a hold, or all holds on a target
    Unhold {
        /// Its number, as status and hold show it; or what is held: a device, an entry, module:NAME, or all
        #[arg(value_name = "HOLD")]
        hold: String,
    },
    /// Forget failures, and close breakers that repeated losses have opened
    ResetFailed {
        /// A device, an entry or module:NAME; all by default
        #[arg(value_name = "TARGET")]
        target: Option<String>,
    },
    /// Have the configuration read again
    Reload,
    /// Wait until devices are ready, or assigned to a virtual machine
    Wait {
        /// Devices and entries; by default all that is declared, but for what has been released
        #[arg(value_name = "DEVICE")]
        devices: Vec<String>,
        /// Give up after this time, such as 90s
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
    },
    /// Tell what was lost and brought back: when, what, how long, by whom
    History {
        /// So many of the latest lines, at most 1000; 50 by default
        #[arg(short = 'n', long = "lines", value_name = "COUNT", default_value_t = 50, hide_default_value = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
    },
    /// Follow what happens, a line each, until interrupted
    Monitor,
    /// Save what a bug report about this machine needs, as a tar file; nothing secret is in it
    Snapshot {
        /// The file; - is standard output
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Replace the file if it is there
        #[arg(short, long)]
        force: bool,
    },
    /// Check, show or write the configuration
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Config {
        /// What to do with it.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// List words for shell completions, one a line
    #[command(hide = true)]
    Complete {
        /// Of which kind.
        #[arg(value_enum)]
        kind: Words,
    },
    /// Take one closer look: the question on standard input (started by vfiodctl itself)
    #[command(hide = true)]
    Look,
    /// Read files that may block: their paths on standard input (started by vfiodctl itself)
    #[command(hide = true)]
    Texts,
    /// Read what a check needs to know (started by vfiodctl itself)
    #[command(hide = true)]
    Survey,
}

/// What to do with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigVerb {
    /// Tell every mistake, with file and line
    Check {
        /// This file alone, instead of /etc/vfiod/vfiod.toml and the drop-ins
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Print the whole configuration in force: the files merged, and the defaults
    Show {
        /// Of this file alone, instead of /etc/vfiod/vfiod.toml and the drop-ins
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Print a configuration for what is on VFIO today, and what driverctl and modprobe.d have set
    Generate,
}

/// Words for completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Words {
    /// Addresses and entries.
    Devices,
    /// Addresses, entries, modules and `all`.
    Targets,
    /// Required modules.
    Modules,
    /// Numbers of holds, and what they are on.
    Holds,
}

/// A duration for a hold: the bus knows seconds, and 0 of them would mean something else.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if duration.as_secs() == 0 { Err("at least one second".to_owned()) } else { Ok(duration) }
}
