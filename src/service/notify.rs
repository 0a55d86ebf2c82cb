//! What systemd is told: ready, status, alive, reloading and stopping.

use sd_notify::NotifyState;

/// Whom to tell. Outside systemd there is nobody, and that is no error.
pub trait Notify {
    /// The first whole observation is made.
    fn ready(&mut self);
    /// How things stand, in one line.
    fn status(&mut self, line: &str);
    /// The loop has completed an observation.
    fn alive(&mut self);
    /// The configuration is being read again.
    fn reloading(&mut self);
    /// The loop ends.
    fn stopping(&mut self);
}

/// systemd, by `NOTIFY_SOCKET`.
#[derive(Debug, Default)]
pub struct Systemd;

impl Systemd {
    /// A message that is lost is no reason to stop watching.
    fn send(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::debug!("notify systemd: {error}");
        }
    }
}

impl Notify for Systemd {
    fn ready(&mut self) {
        Systemd::send(&[NotifyState::Ready]);
    }

    fn status(&mut self, line: &str) {
        Systemd::send(&[NotifyState::Status(line)]);
    }

    fn alive(&mut self) {
        Systemd::send(&[NotifyState::Watchdog]);
    }

    fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => Systemd::send(&[NotifyState::Reloading, now]),
            Err(_) => Systemd::send(&[NotifyState::Reloading]),
        }
    }

    fn stopping(&mut self) {
        Systemd::send(&[NotifyState::Stopping]);
    }
}
