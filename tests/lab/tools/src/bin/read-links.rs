//! The yardstick for a pass at rest: reads what a pass has to read, again and again, and prints the
//! processor time of one round in nanoseconds. No more than the system calls; no structure is built.
//!
//! Usage: `read-links ROUNDS ADDRESS…`

use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u64 = arguments.next().ok_or("how many rounds?")?.parse()?;
    let addresses: Vec<String> = arguments.collect();
    let mut seen = 0_usize;
    let begin = cpu()?;
    for _ in 0..rounds {
        seen += fs::read("/proc/modules")?.len();
        seen += fs::read_dir("/sys/bus/pci/drivers/vfio-pci")?.count();
        for address in &addresses {
            let device = format!("/sys/bus/pci/devices/{address}");
            seen += fs::metadata(&device)?.is_dir() as usize;
            seen += fs::read_link(format!("{device}/driver")).map_or(0, |link| link.as_os_str().len());
            let group = fs::read_link(format!("{device}/iommu_group"))?;
            let number = group.file_name().and_then(|name| name.to_str()).ok_or("no group number")?;
            for member in fs::read_dir(format!("/sys/kernel/iommu_groups/{number}/devices"))? {
                seen += member?.file_name().len();
            }
            seen += fs::metadata(format!("/dev/vfio/{number}")).is_ok() as usize;
        }
    }
    let took = cpu()? - begin;
    eprintln!("read {seen} bytes and names");
    println!("{}", took / rounds);
    Ok(())
}

/// Nanoseconds this process has been on a processor.
fn cpu() -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().ok_or("no schedstat")?.parse()?)
}
