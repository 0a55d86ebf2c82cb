//! How a device differs from what was declared: link, override, first sight.

use std::sync::Arc;

use vfiod::model::desired::{Desired, Wanted};
use vfiod::model::drift::{Drift, between};
use vfiod::model::keeper::Keeper;
use vfiod::model::memory::{Adopted, Memory};
use vfiod::model::pci::Driver;
use vfiod::model::policy::Policy;
use vfiod::model::snapshot::{Fact, Variant};
use vfiod::model::time::Time;
use vfiod::model::variant::Choice;

use crate::tables::{at, desired, entry, function, snapshot, x};

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
        let drift = between(&seen, &nic, &Choice::vfio_pci(), None);
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
        let adopted = Adopted { object, driver: Driver::vfio_pci(), pin: fact(then), wanted: None };
        let seen = snapshot([(NIC, nic.clone())]);
        let drift = between(&seen, &nic, &Choice::vfio_pci(), Some(&adopted));
        assert_eq!(drift.is_some(), drifts, "{then} {pin} {object}: {drift:?}");
    }
}

#[test]
fn what_was_found_on_vfio_is_taken_to_another_driver_once_its_entry_asks_for_that() {
    let mut nic = function(NIC, "vfio-pci", 1);
    nic.pin = Fact::Absent;
    let mut seen = snapshot([(NIC, nic)]);
    seen.variants = Arc::new(vec![Variant { pattern: "vfio_pci:x".to_owned(), module: x("mlx5_vfio_pci") }]);
    let asking = |driver: &str| -> Desired {
        let mut one = entry("nic", at(NIC));
        one.driver = Wanted::Named(x(driver));
        desired([one])
    };
    let drift = |keeper: &mut Keeper| keeper.learn(&seen, Time(1)).drifts.get(&x(NIC)).cloned();
    let mut reloaded = Keeper::new(asking("vfio-pci"), Policy::default(), Memory::default());
    assert_eq!(drift(&mut reloaded), None);
    // Also where the file was changed while nobody ran.
    let mut restarted = Keeper::new(asking("mlx5_vfio_pci"), Policy::default(), reloaded.memory.clone());
    reloaded.change(asking("mlx5_vfio_pci"), Policy::default());
    for keeper in [&mut reloaded, &mut restarted] {
        assert_eq!(drift(keeper), Some(Drift::WrongDriver(Driver::vfio_pci())));
    }
    // An entry that is new leaves what was found before it as it is.
    let mut undeclared = Keeper::new(desired([]), Policy::default(), Memory::default());
    assert_eq!(drift(&mut undeclared), None);
    undeclared.change(asking("mlx5_vfio_pci"), Policy::default());
    assert_eq!(drift(&mut undeclared), None);
}
