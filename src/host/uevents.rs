//! The kernel's uevents as wake-up calls: "look again", never a fact.
//!
//! Root can forge them and an overrun loses them, so nothing but the names of what to look at is
//! taken from one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, setsockopt, socket, sockopt,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::model::pci::{Address, Module};

/// The multicast group of the kernel's own events; udev's processed ones are in group 2.
const KERNEL_GROUP: u32 = 1;
/// Room for a burst: 10,000 events of 500 bytes, each with the kernel's overhead. It is taken only
/// while events wait.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The kernel's environment of one event has 2 KiB, its path may add to that.
const LONGEST: usize = 8 << 10;
/// After so many events that do not matter, others get a turn.
const BATCH: u32 = 256;

/// Why to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// A module came or went. It may be any module.
    Module(Module),
    /// Something happened to a PCI function, or to VFIO's or the IOMMU's view of one.
    Pci(Option<Address>),
    /// What became of a PCI function after errors: the kernel could not bring it back (`failed`), or
    /// could, or it was bound anew.
    Recovery {
        /// The function.
        address: Address,
        /// Whether it could not.
        failed: bool,
    },
    /// Events were lost or made no sense.
    Overrun,
}

/// A socket with the kernel's events.
#[derive(Debug)]
pub struct Uevents {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function, for types that may close or change their descriptor; OwnedFd cannot"
)]
fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

enum Received {
    Event(usize),
    Foreign,
    Lost,
}

impl Uevents {
    /// Opens the socket. Within a tokio runtime.
    ///
    /// # Errors
    /// As `socket(2)` and `bind(2)`.
    pub fn open() -> io::Result<Uevents> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkKObjectUEvent)?;
        // Beyond the limit for everybody with CAP_NET_ADMIN, up to it without; less room is no failure.
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, KERNEL_GROUP))?;
        Ok(Uevents { socket: register(socket)?, buffer: vec![0; LONGEST] })
    }

    /// Waits for the next event that matters. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Wake {
        let mut passed_over = 0;
        loop {
            match self.receive().await {
                Ok(Received::Event(length)) => match parse(&self.buffer[..length]) {
                    Some(event) => {
                        if let Some(wake) = event.wake() {
                            return wake;
                        }
                    }
                    None => return Wake::Overrun,
                },
                Ok(Received::Foreign) => {}
                Ok(Received::Lost) => return Wake::Overrun,
                Err(_) => {
                    // No error but ENOBUFS is known here; whichever it is, it must not spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    return Wake::Overrun;
                }
            }
            passed_over += 1;
            if passed_over % BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn receive(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.socket.readable().await?;
            let buffer = &mut self.buffer;
            match ready.try_io(|socket| Ok(receive(socket.as_raw_fd(), buffer)?)) {
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }
}

fn receive(socket: i32, buffer: &mut [u8]) -> nix::Result<Received> {
    let mut parts = [io::IoSliceMut::new(buffer)];
    match recvmsg::<NetlinkAddr>(socket, &mut parts, None, MsgFlags::MSG_DONTWAIT) {
        Ok(message) if message.flags.contains(MsgFlags::MSG_TRUNC) => Ok(Received::Lost),
        // Port 0 is the kernel; a process may send to the group too.
        Ok(message) if message.address.is_none_or(|from| from.pid() != 0) => Ok(Received::Foreign),
        Ok(message) => Ok(Received::Event(message.bytes)),
        Err(Errno::ENOBUFS) => Ok(Received::Lost),
        Err(e) => Err(e),
    }
}

/// One event, as far as it is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uevent<'a> {
    /// `add`, `remove`, `bind`, `unbind`, `change` …
    pub action: &'a str,
    /// The path below /sys.
    pub path: &'a str,
    /// `SUBSYSTEM=`.
    pub subsystem: &'a str,
    /// `PCI_SLOT_NAME=`.
    pub slot: Option<&'a str>,
    /// `DRIVER=`; an `unbind` has none.
    pub driver: Option<&'a str>,
    /// `ERROR_EVENT=`: `BEGIN_RECOVERY`, `SUCCESSFUL_RECOVERY`, `FAILED_RECOVERY` (seen on 7.3).
    pub error: Option<&'a str>,
}

/// Reads an event: `action@path`, then `KEY=value` each, all with a NUL behind.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Uevent<'_>> {
    let mut fields = bytes.split(|b| *b == 0);
    let (action, path) = std::str::from_utf8(fields.next()?).ok()?.split_once('@')?;
    let mut event = Uevent { action, path, subsystem: "", slot: None, driver: None, error: None };
    for field in fields {
        let text = |value: &'_ [u8]| -> bool { std::str::from_utf8(value).is_ok() };
        if let Some(value) = field.strip_prefix(b"SUBSYSTEM=") {
            event.subsystem = std::str::from_utf8(value).ok()?;
        } else if let Some(value) = field.strip_prefix(b"PCI_SLOT_NAME=").filter(|v| text(v)) {
            event.slot = std::str::from_utf8(value).ok();
        } else if let Some(value) = field.strip_prefix(b"DRIVER=").filter(|v| text(v)) {
            event.driver = std::str::from_utf8(value).ok();
        } else if let Some(value) = field.strip_prefix(b"ERROR_EVENT=").filter(|v| text(v)) {
            event.error = std::str::from_utf8(value).ok();
        }
    }
    (!event.subsystem.is_empty() && path.starts_with('/')).then_some(event)
}

impl Uevent<'_> {
    /// What to look at, if it concerns us at all.
    #[must_use]
    pub fn wake(&self) -> Option<Wake> {
        match self.subsystem {
            "module" => {
                let name = self.path.strip_prefix("/module/")?;
                Some(name.parse().map_or(Wake::Overrun, Wake::Module))
            }
            "pci" => {
                let address = self.slot.and_then(|slot| slot.parse().ok());
                let failed = match (self.action, self.error) {
                    ("change", Some("FAILED_RECOVERY")) => Some(true),
                    ("change", Some("SUCCESSFUL_RECOVERY")) | ("bind", _) => Some(false),
                    _ => None,
                };
                Some(match address.zip(failed) {
                    Some((address, failed)) => Wake::Recovery { address, failed },
                    None => Wake::Pci(address),
                })
            }
            // Nodes that come and go; an IOMMU that appears.
            "vfio" | "vfio-dev" | "iommu" => Some(Wake::Pci(None)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian 12, kernel 6.1.
    const UNBIND: &[u8] =
        b"unbind@/devices/pci0000:00/0000:00:03.0\0ACTION=unbind\0DEVPATH=/devices/pci0000:00/0000:00:03.0\0\
        SUBSYSTEM=pci\0PCI_CLASS=20000\0PCI_ID=8086:10D3\0PCI_SUBSYS_ID=8086:0000\0PCI_SLOT_NAME=0000:00:03.0\0\
        MODALIAS=pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00\0SEQNUM=1204\0";
    const BIND: &[u8] = b"bind@/devices/pci0000:00/0000:00:03.0\0ACTION=bind\0SUBSYSTEM=pci\0DRIVER=vfio-pci\0\
        PCI_SLOT_NAME=0000:00:03.0\0SEQNUM=1210\0";
    const REMOVED: &[u8] =
        b"remove@/module/vfio_pci\0ACTION=remove\0DEVPATH=/module/vfio_pci\0SUBSYSTEM=module\0SEQNUM=1206\0";

    #[test]
    fn each_event_says_what_to_look_at() {
        let pci = |address: &str| Some(Wake::Pci(address.parse().ok()));
        for (bytes, expected) in [
            (UNBIND, pci("0000:00:03.0")),
            (BIND, Some(Wake::Recovery { address: "0000:00:03.0".parse().unwrap(), failed: false })),
            (
                b"change@/devices/pci0000:00/0000:00:03.0\0SUBSYSTEM=pci\0PCI_SLOT_NAME=0000:00:03.0\0",
                pci("0000:00:03.0"),
            ),
            (REMOVED, Some(Wake::Module("vfio_pci".parse().unwrap()))),
            (b"add@/devices/virtual/vfio/3\0SUBSYSTEM=vfio\0", Some(Wake::Pci(None))),
            (b"add@/devices/pci0000:00/0000:00:03.0/net/eth0\0SUBSYSTEM=net\0INTERFACE=eth0\0", None),
            (b"change@/devices/virtual/block/loop0\0SUBSYSTEM=block\0", None),
            (b"add@/module/\xc3\xa9\0SUBSYSTEM=module\0", Some(Wake::Overrun)),
        ] {
            let event = parse(bytes).unwrap();
            assert_eq!(event.wake(), expected, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(parse(BIND).unwrap().driver, Some("vfio-pci"));
        assert_eq!(parse(UNBIND).unwrap().driver, None);
    }

    /// Debian's 7.3.4, errors injected into a device of QEMU's.
    #[test]
    fn an_event_after_an_error_says_whether_the_kernel_could_bring_the_device_back() {
        let address = "0000:01:00.0".parse().unwrap();
        for (error, online, expected) in [
            ("BEGIN_RECOVERY", 0, Wake::Pci(Some(address))),
            ("SUCCESSFUL_RECOVERY", 1, Wake::Recovery { address, failed: false }),
            ("FAILED_RECOVERY", 0, Wake::Recovery { address, failed: true }),
        ] {
            let text = format!(
                "change@/devices/pci0000:00/0000:00:05.0/0000:01:00.0\0ACTION=change\0SUBSYSTEM=pci\0\
                 DRIVER=vfio-pci\0PCI_SLOT_NAME=0000:01:00.0\0ERROR_EVENT={error}\0DEVICE_ONLINE={online}\0SEQNUM=2211\0"
            );
            assert_eq!(parse(text.as_bytes()).unwrap().wake(), Some(expected), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_event() {
        for bytes in [
            &b""[..],
            b"\0",
            b"add",
            b"add@x\0SUBSYSTEM=pci\0",
            b"libudev\0\xfe\xed\xca\xfe",
            b"add@/x\0",
            b"\xff@/x\0",
        ] {
            assert_eq!(parse(bytes), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), text in "(add|x)@/(module/)?[a-z\0=A-Z_]{0,60}") {
            let _ = parse(&bytes).map(|event| event.wake());
            let _ = parse(text.as_bytes()).map(|event| event.wake());
        }
    }

    #[tokio::test]
    async fn the_socket_opens_and_waits() {
        let mut events = Uevents::open().unwrap();
        let _ = tokio::time::timeout(Duration::from_millis(1), events.next()).await;
    }
}
