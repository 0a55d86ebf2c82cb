//! Asks rtnetlink for all objects of one kind.

use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{NetlinkBuffer, nla_align};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{recv, sendto, socket};

/// What can be asked for: the number of the answers' type, the question's being two higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `RTM_NEWLINK`
    Links = 16,
    /// `RTM_NEWADDR`
    Addresses = 20,
    /// `RTM_NEWROUTE`: every family, every table
    Routes = 24,
    /// `RTM_NEWNEXTHOP`
    Nexthops = 104,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Something changed while the kernel answered: ask again.
    Interrupted,
    /// This kernel knows no such objects.
    Unsupported,
    /// Anything else, in words.
    Failed(String),
}

/// `NLM_F_DUMP_INTR`.
const INTERRUPTED: u16 = 0x10;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The kernel answers in pieces of at most 32 KiB.
const PIECE: usize = 64 << 10;

/// A connection to rtnetlink.
#[derive(Debug)]
pub struct Rtnetlink {
    socket: OwnedFd,
    asked: u32,
}

fn failed(verb: &str, cause: Errno) -> Trouble {
    Trouble::Failed(format!("{verb} rtnetlink: {}", std::io::Error::from(cause)))
}

impl Rtnetlink {
    /// Opens a socket of this network namespace.
    ///
    /// # Errors
    /// A sentence: the unit's `RestrictAddressFamilies` may forbid it.
    pub fn open() -> Result<Rtnetlink, Trouble> {
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .map(|socket| Rtnetlink { socket, asked: 0 })
            .map_err(|e| failed("open", e))
    }

    /// Hands the payload of every object of one kind to `each`.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn dump(&mut self, kind: Kind, mut each: impl FnMut(&[u8])) -> Result<(), Trouble> {
        self.asked += 1;
        let question = question(kind, self.asked);
        sendto(self.socket.as_raw_fd(), &question, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .map_err(|e| failed("ask", e))?;
        let mut piece = vec![0; PIECE];
        let mut interrupted = false;
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut piece, MsgFlags::MSG_TRUNC) {
                Err(Errno::EINTR) => continue,
                length => length.map_err(|e| failed("read", e))?,
            };
            let bytes = piece.get(..length).ok_or_else(|| failed("read", Errno::EMSGSIZE))?;
            if read_piece(bytes, kind, self.asked, &mut interrupted, &mut each)? {
                return if interrupted { Err(Trouble::Interrupted) } else { Ok(()) };
            }
        }
    }
}

/// The question: a header, and a body of zeros, which means "of every family".
///
/// The body has exactly the length of the kind's own header: what is beyond counts as an
/// attribute, and a dump of nexthops is refused for one that makes no sense (seen on 6.18).
fn question(kind: Kind, number: u32) -> Vec<u8> {
    let body: u32 = match kind {
        Kind::Links => 16,
        Kind::Routes => 12,
        Kind::Addresses | Kind::Nexthops => 8,
    };
    let mut bytes = (16 + body).to_ne_bytes().to_vec();
    bytes.extend((kind as u16 + 2).to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(vec![0; body as usize]);
    bytes
}

/// Reads one piece of an answer; true when it was the last.
fn read_piece(
    mut bytes: &[u8],
    kind: Kind,
    asked: u32,
    interrupted: &mut bool,
    each: &mut impl FnMut(&[u8]),
) -> Result<bool, Trouble> {
    const NLA_ALIGNTO: usize = 4;
    while bytes.len() >= HEADER {
        let message = NetlinkBuffer::new_checked(bytes).map_err(|e| Trouble::Failed(format!("read rtnetlink: {e}")))?;
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
        if message.sequence_number() == asked {
            *interrupted |= message.flags() & INTERRUPTED != 0;
            let payload = bytes.get(HEADER..length).unwrap_or_default();
            match message.message_type() {
                // Both carry a negative errno first; DONE does when the dump ended early.
                ERROR | DONE => return ended(payload).map(|()| true),
                answer if answer == kind as u16 => each(payload),
                _ => {}
            }
        }
        bytes = bytes.get(nla_align!(length)..).unwrap_or_default();
    }
    Ok(false)
}

fn ended(payload: &[u8]) -> Result<(), Trouble> {
    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    match Errno::from_raw(code.saturating_neg()) {
        _ if code == 0 => Ok(()),
        Errno::EOPNOTSUPP => Err(Trouble::Unsupported),
        cause => Err(failed("ask", cause)),
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, number: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(payload);
        bytes
    }

    fn read(bytes: &[u8]) -> (Result<bool, Trouble>, bool, usize) {
        let (mut interrupted, mut count) = (false, 0);
        let ended = read_piece(bytes, Kind::Routes, 7, &mut interrupted, &mut |_| count += 1);
        (ended, interrupted, count)
    }

    #[test]
    fn an_answer_ends_with_done_and_other_answers_are_skipped() {
        let bytes = [message(24, 2, 7, &[0; 12]), message(24, 2, 6, &[0; 12]), message(24, 2, 7, &[0; 12])].concat();
        assert_eq!(read(&bytes), (Ok(false), false, 2));
        assert_eq!(read(&message(DONE, 2, 7, &[0; 4])), (Ok(true), false, 0));
    }

    #[test]
    fn a_change_under_way_an_old_kernel_and_a_refusal_are_told_apart() {
        assert_eq!(read(&message(24, 2 | INTERRUPTED, 7, &[])), (Ok(false), true, 1));
        let error = |errno: i32| message(ERROR, 0, 7, &(-errno).to_le_bytes());
        assert_eq!(read(&error(95)).0, Err(Trouble::Unsupported));
        let Err(Trouble::Failed(why)) = read(&error(1)).0 else { panic!() };
        assert!(why.starts_with("ask rtnetlink: Operation not permitted"), "{why}");
    }

    #[test]
    fn this_kernel_answers_every_question() {
        let mut names = Vec::new();
        let mut rtnetlink = Rtnetlink::open().unwrap();
        rtnetlink.dump(Kind::Links, |payload| names.extend(super::super::rtnetlink::link(payload))).unwrap();
        for kind in [Kind::Addresses, Kind::Routes, Kind::Nexthops] {
            assert_eq!(rtnetlink.dump(kind, |_| ()), Ok(()), "{kind:?}");
        }
        assert!(names.iter().any(|link| link.name == "lo" && link.index == 1), "{names:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&bytes);
        }
    }
}
