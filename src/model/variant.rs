//! The best VFIO driver for a device, by libvirt's rule.
//!
//! `modules.alias` lists variant drivers as `alias vfio_pci:v…d…sv…sd…bc…sc…i… module`; among the
//! patterns that match the device, the one with the fewest wildcards wins.

use super::glob;
use super::pci::Driver;
use super::snapshot::Variant;

/// Whether a driver hands devices to user space: vfio-pci, or a variant of it.
#[must_use]
pub fn is_vfio(driver: &Driver, variants: &[Variant]) -> bool {
    driver.as_str() == "vfio-pci" || {
        let module = driver.module();
        variants.iter().any(|variant| variant.module == module)
    }
}

/// The driver for a device with this modalias (`pci:v…`): a variant, else vfio-pci. One on a variant
/// of which nothing tells whom it suits (there is no module tree) keeps it.
#[must_use]
pub fn best(modalias: &str, on: Option<&Driver>, variants: &[Variant]) -> Driver {
    let untold = |driver: &&Driver| variants.iter().any(|one| one.pattern.is_empty() && one.module == driver.module());
    if let Some(driver) = on.filter(untold) {
        return driver.clone();
    }
    let wanted = format!("vfio_{modalias}");
    variants
        .iter()
        .filter(|variant| glob::matches(&variant.pattern, &wanted))
        // The first of equals: the order of the file, as libvirt reads it.
        .min_by_key(|variant| glob::wildcards(&variant.pattern))
        // A variant driver's directory is called as its module (KBUILD_MODNAME); vfio_pci's own has `-`.
        .filter(|variant| variant.module.as_str() != "vfio_pci")
        .and_then(|variant| variant.module.as_str().parse().ok())
        .unwrap_or_else(Driver::vfio_pci)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CX6: &str = "pci:v000015B3d0000101Esv000015B3sd00000058bc02sc00i00";

    fn variant(pattern: &str, module: &str) -> Variant {
        Variant { pattern: pattern.to_owned(), module: module.parse().unwrap() }
    }

    #[test]
    fn a_device_without_a_variant_gets_vfio_pci() {
        let variants = [variant("vfio_pci:v000019E5d0000A251sv*sd*bc*sc*i*", "hisi_acc_vfio_pci")];
        assert_eq!(best(CX6, None, &variants).as_str(), "vfio-pci");
        assert_eq!(best("", None, &[]).as_str(), "vfio-pci");
    }

    #[test]
    fn the_pattern_with_the_fewest_wildcards_wins() {
        let variants = [
            variant("vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci"),
            variant("vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci"),
            variant("vfio_pci:v000015B3d*sv*sd*bc02sc*i*", "other_vfio_pci"),
        ];
        assert_eq!(best(CX6, None, &variants).as_str(), "mlx5_vfio_pci");
        assert_eq!(best(CX6, None, &variants[..1]).as_str(), "vfio-pci");
    }

    #[test]
    fn a_device_on_a_variant_of_which_nothing_is_told_keeps_it() {
        let (untold, told) = ([variant("", "mlx5_vfio_pci")], [variant("vfio_pci:v1*", "mlx5_vfio_pci")]);
        let on: Driver = "mlx5-vfio-pci".parse().unwrap();
        assert_eq!(best(CX6, Some(&on), &untold), on);
        assert_eq!(best(CX6, Some(&on), &told).as_str(), "vfio-pci");
        assert_eq!(best(CX6, None, &untold).as_str(), "vfio-pci");
        assert_eq!(best(CX6, Some(&"mlx5_core".parse().unwrap()), &untold).as_str(), "vfio-pci");
    }
}
