//! A bus of our own: dbus-daemon with limits as the system bus has them, in a directory that goes with it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use zbus::Connection;
use zbus::connection::Builder;

pub struct Bus {
    daemon: Child,
    dir: TempDir,
}

/// Everything is allowed.
pub const OPEN: &str = r#"<policy context="default"><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy>"#;

/// What system.conf of dbus allows, and the policy file that we install.
pub fn as_on_a_system() -> String {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/dbus/org.vfiod1.conf");
    format!(
        r#"<policy context="default">
  <allow user="*"/><deny own="*"/><deny send_type="method_call"/>
  <allow send_type="signal"/><allow send_requested_reply="true" send_type="method_return"/>
  <allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/>
  <allow receive_type="error"/><allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
</policy>
<include>{}</include>"#,
        ours.display()
    )
}

impl Bus {
    pub fn start() -> Bus {
        Bus::with(OPEN)
    }

    pub fn with(policy: &str) -> Bus {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>
<limit name="max_connections_per_user">4096</limit><limit name="max_completed_connections">4096</limit>
{policy}</busconfig>"#,
            dir.path().join("bus").display()
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        // A client of another user has to get at the socket.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let daemon = daemon(dir.path());
        Bus { daemon, dir }
    }

    pub fn address(&self) -> String {
        format!("unix:path={}", self.dir.path().join("bus").display())
    }

    pub async fn connect(&self) -> Connection {
        Builder::address(self.address().as_str()).build().await.unwrap()
    }

    /// As a crash or a restart ends it.
    pub fn kill(&mut self) {
        let _ = self.daemon.kill();
        self.daemon.wait().unwrap();
    }

    /// At the same address, after [`Bus::kill`].
    pub fn start_again(&mut self) {
        self.daemon = daemon(self.dir.path());
    }

    /// A program that is told the bus by its environment.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.address()).env("DBUS_SESSION_BUS_ADDRESS", self.address());
        command
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.kill();
    }
}

fn daemon(dir: &Path) -> Child {
    let config: PathBuf = dir.join("config");
    let _ = std::fs::remove_file(dir.join("bus"));
    let mut command = Command::new("dbus-daemon");
    command.args(["--nofork", "--nopidfile", "--nosyslog", "--print-address", "--config-file"]).arg(config);
    let mut daemon =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("dbus-daemon, of the package dbus-daemon");
    // It says its address once it listens.
    let mut line = String::new();
    BufReader::new(daemon.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("unix:"), "{line}");
    daemon
}
