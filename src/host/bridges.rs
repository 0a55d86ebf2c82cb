//! Where a path through bridges leads.

use std::io;

use super::dir::Dir;
use super::pass::{MANY, named};
use super::root::is_absent;
use crate::model::pci::{Address, BridgePath};

/// The functions at a bridge path: the root function, then below each bridge the child with the
/// hop's device and function. A VF sits below the same bridge on another bus; it has an index for a
/// name and is not meant.
///
/// # Errors
/// A bridge that is there and cannot be listed: what is below it is not known to be absent.
pub fn follow(devices: &Dir<'_>, path: &BridgePath) -> io::Result<Vec<Address>> {
    let mut level = vec![path.root];
    for hop in &path.hops {
        let mut below = Vec::new();
        for bridge in &level {
            let bridge = bridge.to_string();
            let listed = devices.each(&bridge, MANY, |name| {
                let child = name.parse::<Address>().ok();
                below.extend(child.filter(|c| (c.device, c.function) == (hop.device, hop.function)));
            });
            there(listed).map_err(|e| named("list", devices, &bridge, &e))?;
        }
        level.clear();
        for child in below {
            let physfn = format!("{child}/physfn");
            if there(devices.inode(&physfn)).map_err(|e| named("stat", devices, &physfn, &e))?.is_none() {
                level.push(child);
            }
        }
    }
    Ok(level)
}

/// None for what is not there.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}
