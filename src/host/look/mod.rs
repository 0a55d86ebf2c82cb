//! The closer look at single functions: what the guards must know before anything is written.
//!
//! It runs in a child process (`vfiod look`), because some of it can block for ever.
//!
//! * [`ask`]: the question and the answer, one JSON value each
//! * [`serve`]: the child's whole life: read the question, answer, let go of the output
//! * [`look`]: puts the answer together
//! * [`parts`]: what of it kept an earlier reader from coming back, and is left out
//! * [`patience`]: waiting for the kernel only so long
//! * [`attributes`]: what must be read under the device's lock: override, driver, number of VFs
//! * [`site`]: one function as sysfs shows it without blocking
//! * [`ids`]: what vfio-pci takes by its `ids=`, pinned or not
//! * [`nodes`]: which device nodes, disks and network interfaces lie below it
//! * [`holders`]: who has them open, by one scan of /proc
//! * [`descriptor`]: how a file is open, as fdinfo tells
//! * [`pci_files`]: functions that are open by the kernel's own files about them
//! * [`opened`]: who may have it open although no node gives that away
//! * [`process`]: a process's name, unit and user
//! * [`refcount`]: use that shows in a module's reference count alone
//! * [`view`]: whether this process sees the whole machine at all
//! * [`traffic`]: whether the host's traffic needs an interface
//! * [`network`]: the network of this namespace, asked once
//! * [`packets`]: who takes an interface's traffic without an address on it
//! * [`rtnetlink`]: links, addresses, routes and nexthops as rtnetlink tells them
//! * [`dump`]: asks rtnetlink for all of one kind
//! * [`storage`]: whether a disk is in use, and by what

pub mod ask;
pub mod attributes;
pub mod descriptor;
pub mod dump;
pub mod holders;
pub mod ids;
#[expect(clippy::module_inception, reason = "the folder is the noun, the file the verb")]
pub mod look;
pub mod network;
pub mod nodes;
pub mod opened;
pub mod packets;
pub mod parts;
pub mod patience;
pub mod pci_files;
pub mod process;
pub mod refcount;
pub mod rtnetlink;
pub mod serve;
pub mod site;
pub mod storage;
pub mod traffic;
pub mod view;
