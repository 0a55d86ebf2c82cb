//! What keeps a group from being given away.

use super::pci::Driver;
use super::snapshot::Card;

/// Drivers that a member of a viable group may be on besides VFIO's: they leave DMA alone and say so
/// (`driver_managed_dma`, or by name before 5.19).
const HARMLESS: [&str; 2] = ["pci-stub", "pcieport"];

/// Whether a member on this driver lets its group be viable, on a kernel of this version. One that is
/// `on_vfio` does, whatever its driver is called. An ISA bridge
/// on lpc_ich does not (seen on 6.1 and 6.12). Before 5.19 a bridge did where its header is no
/// endpoint's, as of PCI and CardBus bridges; since then the driver must say that it leaves DMA alone.
#[must_use]
pub fn is_harmless(card: &Card, driver: &Driver, on_vfio: bool, kernel: (u32, u32)) -> bool {
    let by_header = kernel != (0, 0) && kernel < (5, 19);
    let leads_on = by_header && matches!(card.class >> 8, 0x0604 | 0x0607);
    on_vfio || HARMLESS.contains(&driver.as_str()) || leads_on
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pci::{BridgePath, Ids};
    use crate::model::snapshot::Fact;

    fn card(class: u32) -> Card {
        Card {
            object: 1,
            ids: Ids { vendor: 0x8086, device: 0x2918 },
            subsystem: Fact::Absent,
            class,
            serial: Fact::Absent,
            modalias: String::new(),
            path: BridgePath { root: "00:1f.0".parse().unwrap(), hops: Vec::new() },
            bridge: class >> 16 == 0x06,
            boot_vga: false,
            physfn: None,
        }
    }

    #[test]
    fn a_member_is_harmless_by_its_driver_or_by_a_header_that_is_no_endpoints() {
        for (class, driver, [before, since]) in [
            (0x02_00_00, "pci-stub", [true, true]),
            (0x06_04_00, "pcieport", [true, true]),
            (0x06_04_00, "shpchp", [true, false]),
            (0x06_07_00, "yenta_cardbus", [true, false]),
            (0x06_01_00, "lpc_ich", [false, false]),
            (0x06_00_00, "agpgart-intel", [false, false]),
            (0x02_00_00, "e1000e", [false, false]),
        ] {
            let on = |kernel| is_harmless(&card(class), &driver.parse().unwrap(), false, kernel);
            assert!(is_harmless(&card(class), &driver.parse().unwrap(), true, (6, 12)), "{driver}");
            assert_eq!([(5, 18), (5, 19), (6, 12), (0, 0)].map(on), [before, since, since, since], "{driver}");
        }
    }
}
