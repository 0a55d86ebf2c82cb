//! Every string that the outside world depends on: exit codes, paths, journal message ids.

/// The program's name: `SYSLOG_IDENTIFIER`, the unit, the directories.
pub const PROGRAM: &str = "vfiod";

/// What an actor is called in ps and in the journal.
pub const ACTOR: &str = "vfiod-act";

/// Names on the bus.
pub mod bus {
    /// The well-known name.
    pub const NAME: &str = "org.vfiod1";
    /// The ObjectManager's path.
    pub const ROOT: &str = "/org/vfiod1";
    /// The manager's path.
    pub const MANAGER: &str = "/org/vfiod1/manager";
    /// Before an error's name.
    pub const ERROR: &str = "org.vfiod1.Error";
}

/// Actions of polkit, see packaging/polkit.
pub mod action {
    /// Repairs, loads, looks and forgets failures.
    pub const REPAIR: &str = "org.vfiod1.repair";
    /// Gives devices back and takes them again.
    pub const RELEASE: &str = "org.vfiod1.release";
    /// Holds and inhibits.
    pub const HOLD: &str = "org.vfiod1.hold";
    /// Reads the configuration again.
    pub const RELOAD: &str = "org.vfiod1.reload";
}

/// Exit codes of `vfiodctl`.
pub mod ctl {
    /// All is well.
    pub const OK: u8 = 0;
    /// Something is not ready, or was refused.
    pub const NOT_READY: u8 = 1;
    /// The command line was wrong.
    pub const USAGE: u8 = 2;
    /// The daemon cannot be reached.
    pub const UNREACHABLE: u8 = 3;
    /// There is no such device, entry, module or hold.
    pub const NO_SUCH: u8 = 4;
    /// The caller is not authorised.
    pub const DENIED: u8 = 5;
}

/// Exit codes of `vfiod`, in the words of sysexits(3) where there is one.
pub mod exit {
    /// All is well.
    pub const OK: u8 = 0;
    /// Something failed at run time.
    pub const FAILURE: u8 = 1;
    /// The command line was wrong.
    pub const USAGE: u8 = 2;
    /// Another vfiod is running on this machine (`EX_TEMPFAIL`); the unit does not restart on it.
    pub const RUNNING: u8 = 75;
    /// The configuration is wrong (`EX_CONFIG`); the unit does not restart on it.
    pub const CONFIG: u8 = 78;
}

/// Directories and files of vfiod itself.
pub mod path {
    /// The main configuration file.
    pub const CONFIG: &str = "/etc/vfiod/vfiod.toml";
    /// Directories of drop-ins; for files of the same name the last one counts.
    pub const CONFIG_DROP_INS: [&str; 3] = ["/usr/lib/vfiod/conf.d", "/etc/vfiod/conf.d", "/run/vfiod/conf.d"];
    /// State that ends with the boot, when systemd names no `RuntimeDirectory`.
    pub const RUN: &str = "/run/vfiod";
    /// State that lasts, when systemd names no `StateDirectory`.
    pub const STATE: &str = "/var/lib/vfiod";
    /// vfiod's own instance of the kernel's trace.
    pub const TRACE: &str = "/sys/kernel/tracing/instances/vfiod";
}

/// One MESSAGE_ID for each kind of journal entry, explained in `systemd/vfiod.catalog`.
///
/// `journalctl -t vfiod MESSAGE_ID=…` finds all of a kind. They never change.
pub mod message {
    /// vfiod has started; the first whole observation is made.
    pub const STARTED: &str = "67452a7309004c5a99403349908ea016";
    /// vfiod stops; nothing is unbound.
    pub const STOPPED: &str = "8cc9b6180cd64e98a5bf7c857fc40106";
    /// The configuration was read again and is in force.
    pub const RELOADED: &str = "163f31afd03049edb0c56a711b7a5446";
    /// The configuration was read again and is wrong; the settings in force stay.
    pub const RELOAD_FAILED: &str = "daad3904dd2e4d85b3440eb6df42cb32";
    /// A required module went away.
    pub const MODULE_LOST: &str = "463e47c3cccd43d5906e652b0f42665a";
    /// A required module is back.
    pub const MODULE_RESTORED: &str = "48edd7d8cd0c4c64b293c81456fd69d6";
    /// A required module cannot be loaded, and trying again cannot help.
    pub const MODULE_BLOCKED: &str = "8cae91d146744578ab5f1e1594765915";
    /// A declared device is not as declared.
    pub const DRIFTED: &str = "cf5a0be09f5b45f9bd642643e0a4d4b2";
    /// A declared device is as declared again.
    pub const REPAIRED: &str = "16d42fdf8d7e46ba88fd57470ad9f2e1";
    /// A repair did not help; it is tried again later.
    pub const REPAIR_FAILED: &str = "6a8559cd36804cb2858a6ad03c4ae367";
    /// A declared device is left alone, and why.
    pub const HELD: &str = "d8696e49509a4e05b4ab069a859f8bc9";
    /// A declared device cannot be had, and trying again cannot help.
    pub const BLOCKED: &str = "c453b5b2743442b39b74291e035235a6";
    /// A declared device is not there, not what was declared, or not the only one it could be.
    pub const NOT_FOUND: &str = "1bfb48f8c32f4e73960d7115c4f769ff";
    /// A virtual machine has a declared device, or has let go of it.
    pub const ASSIGNED: &str = "c73a311fcbd34caba6afc1708f35c910";
    /// Alert: somebody undoes the repairs again and again; vfiod has stopped.
    pub const FIGHTING: &str = "74a1667e1c3d448a924c40726623ca58";
    /// The fight is over.
    pub const FIGHT_OVER: &str = "b934bcc4c7664499810a18a1f7b5473b";
    /// Alert: a write to the kernel has not returned within its deadline.
    pub const STUCK: &str = "a680017e697e424ca06c45096d2a5d1e";
    /// A write that was past its deadline has returned.
    pub const UNSTUCK: &str = "ee63865aa7c647cf87da9080fe969703";
    /// A write of an earlier vfiod is still under way; its outcome is awaited.
    pub const ADOPTED: &str = "8ce7051d730045a1869479958b523a7d";
    /// A module load makes the kernel bind a device that is pinned to it and not declared.
    pub const ALSO_BINDS: &str = "b16f34b132094e749631bd0a09529fc1";
    /// A device is given back at a person's request, and then left alone.
    pub const RELEASED: &str = "60ca48dda2b143ddbab14bddb57e830a";
    /// A release has come about: the device is the host's.
    pub const GIVEN_BACK: &str = "53df274181d2436eafc84439f4c36f2d";
    /// A required module has been loading for longer than `repair.deadline`.
    pub const LOADING: &str = "07401aadb2484c728f3ddb9e46de808e";
    /// A module that has been loading for so long is loading no more.
    pub const LOADING_OVER: &str = "8bc4b06e056d4b718da8b69c67ec4070";
    /// A released device is kept again.
    pub const UNRELEASED: &str = "8418664ba6404214a2934eea43eaab21";
    /// What a check warns of has changed, about a declared device or the host.
    pub const VERDICT: &str = "2068617b0e7e486c8caefb18e7574646";
    /// A hold or an inhibitor has begun.
    pub const HOLD: &str = "5f39020631d94f5fae23ef916374283a";
    /// A hold or an inhibitor has ended.
    pub const HOLD_OVER: &str = "31374f8a4e7746dab2ecfaab66c3748e";
    /// There is no system bus to be asked over; vfiod keeps watching.
    pub const BUS_LOST: &str = "a9fc5c20834e46ddaae91de5cccef0d7";
    /// vfiod can be asked over the system bus again.
    pub const BUS_BACK: &str = "ba3af816508d499bb7760b7237f88a9c";
    /// Somebody else has vfiod's name on the bus.
    pub const NAME_TAKEN: &str = "b01ad2d11cf144f2bf037cbcb18fa45b";
    /// State on disk could not be read or written; vfiod runs on.
    pub const STATE_TROUBLE: &str = "17ae8c63202343c0aeef88ad708a9bcf";
    /// What is declared could not be checked; what the last check found stays in force.
    pub const UNCHECKED: &str = "8b071c2800f944e298cb17903073f162";
    /// Who unloads modules cannot be seen; everything else goes on.
    pub const UNWITNESSED: &str = "9da5b466bfb24940894acce919402242";
}
