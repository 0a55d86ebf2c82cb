//! systemd's manager, played on the private bus: which job it has for the unit of whoever asks.

use vfiod::bus::serve::Place;
use vfiod::bus::systemd::restarts;
use zbus::fdo::{self, DBusProxy, RequestNameFlags};
use zbus::names::WellKnownName;
use zbus::{Connection, ObjectPath, OwnedObjectPath};

use crate::loops::soon;
use crate::private::Bus;

const UNIT: &str = "/org/freedesktop/systemd1/unit/vfiod_2eservice";
const JOB: &str = "/org/freedesktop/systemd1/job/812";

fn path(text: &'static str) -> OwnedObjectPath {
    ObjectPath::from_static_str(text).unwrap().into()
}

struct Manager {
    hangs: bool,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    #[zbus(name = "GetUnitByPID")]
    async fn get_unit_by_pid(&self, pid: u32) -> fdo::Result<OwnedObjectPath> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        match pid == std::process::id() {
            true => Ok(path(UNIT)),
            false => Err(fdo::Error::Failed(format!("PID {pid} does not belong to any loaded unit"))),
        }
    }
}

struct Unit {
    has_job: bool,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn job(&self) -> (u32, OwnedObjectPath) {
        if self.has_job { (812, path(JOB)) } else { (0, path(UNIT)) }
    }
}

struct Job(&'static str);

#[zbus::interface(name = "org.freedesktop.systemd1.Job")]
impl Job {
    #[zbus(property)]
    fn job_type(&self) -> String {
        self.0.to_owned()
    }
}

/// A manager with that job under way.
async fn systemd(bus: &Bus, job: Option<&'static str>, hangs: bool) -> Connection {
    let bus = bus.connect().await;
    let objects = bus.object_server();
    objects.at("/org/freedesktop/systemd1", Manager { hangs }).await.unwrap();
    objects.at(UNIT, Unit { has_job: job.is_some() }).await.unwrap();
    if let Some(job) = job {
        objects.at(JOB, Job(job)).await.unwrap();
    }
    let name = WellKnownName::try_from("org.freedesktop.systemd1").unwrap();
    DBusProxy::new(&bus).await.unwrap().request_name(name, RequestNameFlags::DO_NOT_QUEUE).await.unwrap();
    bus
}

#[tokio::test]
async fn only_a_restart_is_one() {
    for (job, expected) in [(Some("restart"), true), (Some("stop"), false), (None, false)] {
        let bus = Bus::start();
        let _systemd = systemd(&bus, job, false).await;
        assert_eq!(soon(restarts(&Place::At(bus.address()))).await, expected, "{job:?}");
    }
}

#[tokio::test]
async fn who_is_not_told_so_does_not_come_back() {
    let mut bus = Bus::start();
    let place = Place::At(bus.address());
    assert!(!soon(restarts(&place)).await, "nobody has the name");
    let systemd = systemd(&bus, Some("restart"), true).await;
    assert!(!soon(restarts(&place)).await, "it does not answer");
    drop(systemd);
    bus.kill();
    assert!(!soon(restarts(&place)).await, "there is no bus");
}
