//! The best VFIO driver for a device, by libvirt's rule.
//!
//! `modules.alias` lists variant drivers as `alias vfio_pci:v…d…sv…sd…bc…sc…i… module`; among the
//! patterns that match the device, the one with the fewest wildcards wins.

use super::pci::Driver;
use super::snapshot::Variant;

/// The driver for a device with this modalias (`pci:v…`): a variant, else vfio-pci.
#[must_use]
pub fn best(modalias: &str, variants: &[Variant]) -> Driver {
    let Some(device) = modalias.strip_prefix("pci:") else {
        return Driver::vfio_pci();
    };
    variants
        .iter()
        .filter_map(|variant| Some((variant.pattern.strip_prefix("vfio_pci:")?, variant)))
        .filter(|(pattern, _)| matches(pattern.as_bytes(), device.as_bytes()))
        // The first of equals: the order of the file, as libvirt reads it.
        .min_by_key(|(pattern, _)| pattern.bytes().filter(|b| *b == b'*').count())
        // A variant driver's directory is called as its module (KBUILD_MODNAME); vfio_pci's own has `-`.
        .filter(|(_, variant)| variant.module.as_str() != "vfio_pci")
        .and_then(|(_, variant)| variant.module.as_str().parse().ok())
        .unwrap_or_else(Driver::vfio_pci)
}

/// Whether a pattern with `*` (anything) and `?` (any one byte) matches a text whole.
///
/// Linear but for the last `*` seen: a hostile `modules.alias` costs pattern × text at most.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b) if *b == b'?' || *b == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
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
        assert_eq!(best(CX6, &variants).as_str(), "vfio-pci");
        assert_eq!(best("", &[]).as_str(), "vfio-pci");
    }

    #[test]
    fn the_pattern_with_the_fewest_wildcards_wins() {
        let variants = [
            variant("vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci"),
            variant("vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci"),
            variant("vfio_pci:v000015B3d*sv*sd*bc02sc*i*", "other_vfio_pci"),
        ];
        assert_eq!(best(CX6, &variants).as_str(), "mlx5_vfio_pci");
        assert_eq!(best(CX6, &variants[..1]).as_str(), "vfio-pci");
    }

    #[test]
    fn a_pattern_matches_whole_or_not_at_all() {
        assert!(matches(b"a*c?", b"abbcd"));
        assert!(!matches(b"a*c", b"abbcd"));
        assert!(matches(b"***", b""));
        assert!(!matches(b"", b"a"));
    }
}
