//! The word for how an IOMMU group stands.

use std::sync::Arc;

use vfiod::model::group_state::GroupState;
use vfiod::model::snapshot::{Fact, Function};

use super::tables::{function, snapshot};

fn on(driver: &str, class: u32) -> Function {
    let mut function = function("01:00.0", driver, 5);
    let card = Arc::make_mut(&mut function.card);
    card.class = class;
    card.bridge = class >> 16 == 0x06;
    function
}

fn state(members: &[(&'static str, Function)], other: Option<&str>) -> GroupState {
    let mut snapshot = snapshot(members.iter().cloned());
    let group = snapshot.groups.get_mut(&5).unwrap();
    group.others.extend(other.map(str::to_owned));
    GroupState::of(&snapshot, &snapshot.groups[&5])
}

#[test]
fn a_group_is_judged_by_the_others_in_it() {
    const NIC: u32 = 0x02_00_00;
    let (a, b, port) = ("0000:01:00.0", "0000:01:00.1", "0000:00:01.0");
    let vfio = || on("vfio-pci", NIC);
    let host = || on("e1000e", NIC);
    let free = || on("-", NIC);
    let pcieport = || on("pcieport", 0x06_04_00);
    let isa = || on("lpc_ich", 0x06_01_00);
    for (members, other, expected) in [
        (vec![(a, host())], None, GroupState::Host),
        (vec![(a, vfio())], None, GroupState::Ready),
        (vec![(a, free())], None, GroupState::Unbound),
        (vec![(a, host()), (port, pcieport())], None, GroupState::Host),
        (vec![(port, pcieport())], None, GroupState::Host),
        (vec![(port, isa())], None, GroupState::Host),
        (vec![(a, host()), (b, host())], None, GroupState::Shared),
        (vec![(a, host()), (b, free())], None, GroupState::Shared),
        (vec![(a, free()), (b, free())], None, GroupState::Unbound),
        (vec![(a, vfio()), (b, free())], None, GroupState::Ready),
        (vec![(a, vfio()), (b, vfio())], None, GroupState::Ready),
        (vec![(a, vfio()), (b, host())], None, GroupState::Blocked),
        (vec![(a, host()), (port, isa())], None, GroupState::Blocked),
        (vec![(a, vfio())], Some("soc-dma"), GroupState::Blocked),
        (vec![(a, host())], Some("soc-dma"), GroupState::Blocked),
    ] {
        assert_eq!(state(&members, other), expected, "{members:?}");
    }
    let mut unread = vfio();
    unread.driver = Fact::Unreadable("read: EIO".to_owned());
    assert_eq!(state(&[(a, vfio()), (b, unread)], None), GroupState::Unknown);
}
