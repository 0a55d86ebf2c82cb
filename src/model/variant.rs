//! VFIO's drivers: which there are, what they are called, and the best one for a device.
//!
//! `modules.alias` lists variant drivers as `alias vfio_pci:v…d…sv…sd…bc…sc…i… module`; among the
//! patterns that match the device, the one with the fewest wildcards wins (libvirt's rule).
//!
//! It names modules, and a driver need not be called as its module: `xe_vfio_pci` of Linux 7.x has
//! the driver `xe-vfio-pci`. What a driver is called stands in `/sys/module/MODULE/drivers`, once the
//! module is loaded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::desired::Wanted;
use super::glob;
use super::pci::{Driver, Module};
use super::snapshot::{Fact, Variant};

/// PCI drivers that are there, each with its module, as far as they were looked at: those of VFIO,
/// those that functions are on, and those that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Drivers(pub BTreeMap<Driver, Module>);

impl Drivers {
    /// The module that a driver is of; of one that is not there, the one that its name suggests.
    #[must_use]
    pub fn module_of(&self, driver: &Driver) -> Module {
        self.0.get(driver).cloned().unwrap_or_else(|| driver.module())
    }

    /// What a module's driver is called. Of several the one that is called as the module, but for `-`
    /// and `_`; none where that does not tell.
    #[must_use]
    pub fn of(&self, module: &Module) -> Option<&Driver> {
        let mut all = self.0.iter().filter(|(_, of)| *of == module).map(|(driver, _)| driver);
        let namesake = all.clone().find(|driver| driver.module() == *module);
        namesake.or_else(|| all.next().filter(|_| all.next().is_none()))
    }
}

/// The driver that a device is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its name. Where that is not known, what its module or the configuration suggests: that is shown,
    /// and never written.
    pub driver: Driver,
    /// Its module.
    pub module: Module,
    /// Whether a driver bears that name; before its module is loaded nobody knows.
    pub known: bool,
}

impl Choice {
    /// vfio-pci, whose name is always known.
    #[must_use]
    pub fn vfio_pci() -> Choice {
        let driver = Driver::vfio_pci();
        Choice { module: driver.module(), driver, known: true }
    }

    /// Whether a driver is the one that is meant.
    #[must_use]
    pub fn is(&self, driver: &Driver, drivers: &Drivers) -> bool {
        // While its name is not known the module tells.
        *driver == self.driver || !self.known && drivers.module_of(driver) == self.module
    }
}

/// What is known of drivers.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The variant drivers.
    pub variants: &'a [Variant],
    /// Drivers that are there.
    pub drivers: &'a Drivers,
}

impl Known<'_> {
    /// Whether a driver does nothing but hand devices to user space: vfio-pci, or a variant of it.
    #[must_use]
    pub fn is_vfio(self, driver: &Driver) -> bool {
        driver.as_str() == "vfio-pci" || self.is_vfios(&self.drivers.module_of(driver))
    }

    /// Whether a module has a driver of VFIO's.
    #[must_use]
    pub fn is_vfios(self, module: &Module) -> bool {
        module.as_str() == "vfio_pci" || self.variants.iter().any(|variant| variant.module == *module)
    }

    /// Whether a function is on VFIO: it is on one of VFIO's drivers, or its vendor's driver hands it to
    /// user space itself (`registered`: there is a `vfio-dev` directory below it), as `nvidia` does with
    /// the VFs of a GPU that is shared.
    #[must_use]
    pub fn on_vfio(self, driver: &Fact<Driver>, registered: bool) -> bool {
        // While it is being unbound the link is gone, and `vfio-dev` may still be there (6.1).
        driver.is().is_some_and(|driver| registered || self.is_vfio(driver))
    }

    /// The driver that the configuration wants for a device with this modalias (`pci:v…`), which is on
    /// a driver now.
    #[must_use]
    pub fn choice(self, wanted: &Wanted, modalias: &str, on: &Fact<Driver>, registered: bool) -> Choice {
        let on = on.is().filter(|_| self.on_vfio(on, registered));
        match (wanted, on) {
            (Wanted::Named(driver), _) => self.named(driver),
            (Wanted::Any, Some(driver)) => self.stay(driver),
            (Wanted::Any, None) => Choice::vfio_pci(),
            (Wanted::Auto, Some(driver)) if !self.is_vfio(driver) => self.stay(driver),
            (Wanted::Auto, on) => self.best(modalias, on),
        }
    }

    fn stay(self, driver: &Driver) -> Choice {
        Choice { module: self.drivers.module_of(driver), driver: driver.clone(), known: true }
    }

    /// A driver by the name that a person gave it. A module's name in its place (`xe_vfio_pci`) is
    /// understood, as soon as the driver's is known.
    fn named(self, driver: &Driver) -> Choice {
        if *driver == Driver::vfio_pci() {
            return Choice::vfio_pci();
        }
        if self.drivers.0.contains_key(driver) {
            return self.stay(driver);
        }
        self.by_module(driver.module(), driver)
    }

    fn by_module(self, module: Module, called: &Driver) -> Choice {
        match self.drivers.of(&module) {
            Some(driver) => Choice { driver: driver.clone(), module, known: true },
            None => Choice { driver: called.clone(), module, known: false },
        }
    }

    /// The best driver: a variant, else vfio-pci. A device on a variant of which nothing tells whom it
    /// suits (there is no module tree) keeps it.
    #[must_use]
    pub fn best(self, modalias: &str, on: Option<&Driver>) -> Choice {
        let untold = |driver: &&Driver| {
            let module = self.drivers.module_of(driver);
            self.variants.iter().any(|one| one.pattern.is_empty() && one.module == module)
        };
        if let Some(driver) = on.filter(untold) {
            return self.stay(driver);
        }
        let wanted = format!("vfio_{modalias}");
        let variant = self
            .variants
            .iter()
            .filter(|variant| glob::matches(&variant.pattern, &wanted))
            // The first of equals: the order of the file, as libvirt reads it.
            .min_by_key(|variant| glob::wildcards(&variant.pattern))
            .filter(|variant| variant.module.as_str() != "vfio_pci");
        match variant.and_then(|variant| Some((variant.module.clone(), variant.module.as_str().parse().ok()?))) {
            Some((module, called)) => self.by_module(module, &called),
            None => Choice::vfio_pci(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CX6: &str = "pci:v000015B3d0000101Esv000015B3sd00000058bc02sc00i00";
    const XE: &str = "pci:v00008086d0000E223sv00008086sd00001100bc03sc00i00";

    fn variant(pattern: &str, module: &str) -> Variant {
        Variant { pattern: pattern.to_owned(), module: module.parse().unwrap() }
    }

    fn drivers(all: &[(&str, &str)]) -> Drivers {
        Drivers(all.iter().map(|(driver, module)| (driver.parse().unwrap(), module.parse().unwrap())).collect())
    }

    fn best(modalias: &str, on: Option<&str>, variants: &[Variant]) -> String {
        let drivers = Drivers::default();
        let on = on.map(|on| on.parse().unwrap());
        Known { variants, drivers: &drivers }.best(modalias, on.as_ref()).driver.to_string()
    }

    #[test]
    fn a_device_without_a_variant_gets_vfio_pci() {
        let variants = [variant("vfio_pci:v000019E5d0000A251sv*sd*bc*sc*i*", "hisi_acc_vfio_pci")];
        assert_eq!(best(CX6, None, &variants), "vfio-pci");
        assert_eq!(best("", None, &[]), "vfio-pci");
    }

    #[test]
    fn the_pattern_with_the_fewest_wildcards_wins() {
        let variants = [
            variant("vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci"),
            variant("vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci"),
            variant("vfio_pci:v000015B3d*sv*sd*bc02sc*i*", "other_vfio_pci"),
        ];
        assert_eq!(best(CX6, None, &variants), "mlx5_vfio_pci");
        assert_eq!(best(CX6, None, &variants[..1]), "vfio-pci");
    }

    #[test]
    fn a_device_on_a_variant_of_which_nothing_is_told_keeps_it() {
        let (untold, told) = ([variant("", "mlx5_vfio_pci")], [variant("vfio_pci:v1*", "mlx5_vfio_pci")]);
        assert_eq!(best(CX6, Some("mlx5-vfio-pci"), &untold), "mlx5-vfio-pci");
        assert_eq!(best(CX6, Some("mlx5-vfio-pci"), &told), "vfio-pci");
        assert_eq!(best(CX6, None, &untold), "vfio-pci");
        assert_eq!(best(CX6, Some("mlx5_core"), &untold), "vfio-pci");
    }

    #[test]
    fn a_driver_is_called_as_the_kernel_says_and_not_as_its_module() {
        let variants = [variant("vfio_pci:v00008086d0000E223sv*sd*bc*sc*i*", "xe_vfio_pci")];
        for (there, expected, known) in [
            (&[][..], "xe_vfio_pci", false),
            (&[("xe-vfio-pci", "xe_vfio_pci")], "xe-vfio-pci", true),
            (&[("xe_vfio_pci", "xe_vfio_pci")], "xe_vfio_pci", true),
            (&[("intel-gpu-vf", "xe_vfio_pci")], "intel-gpu-vf", true),
            (&[("one", "xe_vfio_pci"), ("xe-vfio-pci", "xe_vfio_pci")], "xe-vfio-pci", true),
            (&[("one", "xe_vfio_pci"), ("other", "xe_vfio_pci")], "xe_vfio_pci", false),
            (&[("vfio-pci", "vfio_pci")], "xe_vfio_pci", false),
        ] {
            let drivers = drivers(there);
            let asked = Known { variants: &variants, drivers: &drivers };
            for wanted in [Wanted::Auto, Wanted::Named("xe_vfio_pci".parse().unwrap())] {
                let choice = asked.choice(&wanted, XE, &Fact::Absent, false);
                assert_eq!((choice.driver.as_str(), choice.known), (expected, known), "{there:?} {wanted:?}");
                assert_eq!(choice.module.as_str(), "xe_vfio_pci");
            }
        }
    }

    #[test]
    fn what_is_on_vfio_stays_there_unless_another_driver_is_asked_for() {
        let variants = [variant("vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci")];
        let drivers = drivers(&[
            ("mlx5_vfio_pci", "mlx5_vfio_pci"),
            ("nvidia", "nvidia"),
            ("mlx5_core", "mlx5_core"),
            ("vfio-pci", "vfio_pci"),
        ]);
        let known = Known { variants: &variants, drivers: &drivers };
        for (on, registered, any, auto) in [
            ("-", false, "vfio-pci", "mlx5_vfio_pci"),
            // Still there while it is being unbound (6.1).
            ("-", true, "vfio-pci", "mlx5_vfio_pci"),
            ("vfio-pci", true, "vfio-pci", "mlx5_vfio_pci"),
            ("vfio-pci", false, "vfio-pci", "mlx5_vfio_pci"),
            ("mlx5_vfio_pci", true, "mlx5_vfio_pci", "mlx5_vfio_pci"),
            ("mlx5_vfio_pci", false, "mlx5_vfio_pci", "mlx5_vfio_pci"),
            ("mlx5_core", false, "vfio-pci", "mlx5_vfio_pci"),
            ("nvidia", true, "nvidia", "nvidia"),
            ("nvidia", false, "vfio-pci", "mlx5_vfio_pci"),
        ] {
            let driver = if on == "-" { Fact::Absent } else { Fact::Is(on.parse().unwrap()) };
            let choice = |wanted: &Wanted| known.choice(wanted, CX6, &driver, registered).driver.to_string();
            assert_eq!(choice(&Wanted::Any), any, "{on} {registered}");
            assert_eq!(choice(&Wanted::Auto), auto, "{on} {registered}");
            assert_eq!(choice(&Wanted::Named(Driver::vfio_pci())), "vfio-pci", "{on} {registered}");
        }
    }
}
