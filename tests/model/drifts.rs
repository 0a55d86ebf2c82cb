//! How a device differs from what was declared: link, override, first sight.

use vfiod::model::drift::between;
use vfiod::model::memory::Adopted;
use vfiod::model::pci::Driver;
use vfiod::model::snapshot::Fact;

use crate::tables::{function, snapshot, x};

const NIC: &str = "0000:01:00.0";

fn fact(text: &str) -> Fact<Driver> {
    match text {
        "-" => Fact::Absent,
        "?" => Fact::Unreadable("no answer".to_owned()),
        name => Fact::Is(x(name)),
    }
}

#[test]
fn the_link_and_the_override_tell_and_what_cannot_be_read_does_not() {
    // link, override, what that is
    let table = [
        ("vfio-pci", "vfio-pci", ""),
        ("vfio-pci", "-", "its driver_override was cleared"),
        ("vfio-pci", "e1000e", "its driver_override is e1000e"),
        ("vfio-pci", "?", ""),
        ("e1000e", "vfio-pci", "it is on e1000e"),
        ("-", "vfio-pci", "it has no driver"),
        ("-", "?", "it has no driver"),
        ("?", "-", ""),
    ];
    for (driver, pin, expected) in table {
        let mut nic = function(NIC, "-", 1);
        (nic.driver, nic.pin) = (fact(driver), fact(pin));
        let seen = snapshot([(NIC, nic.clone())]);
        let drift = between(&seen, &nic, &Driver::vfio_pci(), None);
        assert_eq!(drift.map(|drift| drift.to_string()).unwrap_or_default(), expected, "{driver} {pin}");
    }
}

#[test]
fn what_was_found_on_vfio_stays_as_it_was_found() {
    // the override then and now, the object then, drift
    let table = [
        ("-", "-", 7, false),
        ("?", "-", 7, false),
        ("vfio-pci", "-", 7, true),
        ("-", "e1000e", 7, true),
        ("-", "-", 8, true),
    ];
    for (then, pin, object, drifts) in table {
        let mut nic = function(NIC, "vfio-pci", 1);
        nic.pin = fact(pin);
        let adopted = Adopted { object, driver: Driver::vfio_pci(), pin: fact(then) };
        let seen = snapshot([(NIC, nic.clone())]);
        let drift = between(&seen, &nic, &Driver::vfio_pci(), Some(&adopted));
        assert_eq!(drift.is_some(), drifts, "{then} {pin} {object}: {drift:?}");
    }
}
