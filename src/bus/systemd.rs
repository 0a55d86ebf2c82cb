//! systemd's manager, asked for one thing: whether vfiod comes back at once.

use std::time::Duration;

use tokio::time::timeout;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use super::serve::{Place, connected};

/// How long it may take to say so. A unit that is stopped has five seconds.
const PATIENCE: Duration = Duration::from_secs(1);

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Whether this process is stopped as the first half of a restart of its unit. No, where systemd does not
/// say: then vfiod leaves nothing behind.
pub async fn restarts(place: &Place) -> bool {
    timeout(PATIENCE, job_type(place)).await.is_ok_and(|kind| kind.as_deref() == Some("restart"))
}

/// The type of the job that systemd has under way for the unit of this process.
async fn job_type(place: &Place) -> Option<String> {
    let bus = connected(place).await.ok()?;
    let (manager, interface, pid) =
        ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", std::process::id());
    let unit = bus.call_method(Some(SYSTEMD), manager, Some(interface), "GetUnitByPID", &pid).await.ok()?;
    let unit: OwnedObjectPath = unit.body().deserialize().ok()?;
    let job = property(&bus, &unit, "org.freedesktop.systemd1.Unit", "Job").await?;
    // No number but 0 is that of no job; its path is the unit's then.
    let (_number, job): (u32, OwnedObjectPath) = job.try_into().ok()?;
    property(&bus, &job, "org.freedesktop.systemd1.Job", "JobType").await?.try_into().ok()
}

async fn property(bus: &Connection, of: &OwnedObjectPath, interface: &str, name: &str) -> Option<OwnedVariant> {
    let answer = bus.call_method(Some(SYSTEMD), of, Some(PROPERTIES), "Get", &(interface, name)).await.ok()?;
    answer.body().deserialize().ok()
}
