//! Errands: their order, their deadline, what comes in and goes out.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use super::super::{Errand, run};
use super::sim::*;
use crate::host::root::Root;
use crate::model::pci::Address;
use crate::model::plan::{Act, Key, Outcome};
use crate::model::snapshot::Look;
use crate::model::time::Time;

#[test]
fn a_refused_write_ends_the_act() {
    let sim = Sim::new(Some("e1000"), "(null)");
    sim.refuses.borrow_mut().insert(OVERRIDE.to_owned(), Errno::EACCES);
    let (kind, why) = only(&sim.act(vec![pin(&sim, Some("e1000")), unbind(&sim, &[])]));
    assert_eq!((kind, why.as_str()), ('r', format!("write {OVERRIDE}: Permission denied (EACCES)").as_str()));
    assert_eq!(sim.writes().len(), 1);
}

#[test]
fn after_the_deadline_nothing_is_begun() {
    let sim = Sim::new(None, "(null)");
    sim.clock.set(DEADLINE.0 + 1);
    assert_eq!(sim.act(vec![pin(&sim, None), probe(&sim)]), []);
    assert_eq!(sim.writes(), []);
}

#[test]
fn a_write_that_comes_back_after_the_deadline_has_stalled_and_is_the_last() {
    let sim = Sim::new(Some("e1000"), "vfio-pci");
    sim.slow.borrow_mut().insert(UNBIND.to_owned());
    assert_eq!(sim.act(vec![unbind(&sim, &[]), probe(&sim)]), [(0, Outcome::Stalled)]);
    assert_eq!(sim.writes(), wrote(&[(UNBIND, ADDRESS)]));
}

#[test]
fn an_errand_is_read_whole_or_not_at_all() {
    let sim = Sim::new(Some("vfio-pci"), "vfio-pci");
    let act = Act { key: Key::Group(15), functions: BTreeSet::new(), steps: vec![probe(&sim)] };
    let errand = Errand { act, deadline: Time(u64::MAX), modprobe: PathBuf::from("/sbin/modprobe") };
    let text = serde_json::to_vec(&errand).unwrap();
    let look = |_: &Root, _: Address| -> Look { panic!("nothing to look at") };
    let go = |input: &[u8], output: &mut Vec<u8>| run(&sim.root, input, output, &look);
    let mut told = Vec::new();
    go(&text, &mut told).unwrap();
    assert_eq!(String::from_utf8(told).unwrap(), "{\"step\":0,\"outcome\":{\"outcome\":\"already-so\"}}\n");
    let mut told = Vec::new();
    assert!(go(b"", &mut told).unwrap_err().contains("none came"));
    assert!(go(&text[..text.len() - 1], &mut told).is_err());
    assert_eq!(told, b"");
}

#[test]
fn a_closed_output_stops_nothing() {
    struct Closed;
    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(Errno::EPIPE.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(Errno::EPIPE.into())
        }
    }
    let sim = Sim::new(Some("vfio-pci"), "wrong");
    let act =
        Act { key: Key::Group(15), functions: BTreeSet::new(), steps: vec![probe(&sim), pin(&sim, Some("vfio-pci"))] };
    let errand = Errand { act, deadline: Time(u64::MAX), modprobe: PathBuf::from("/sbin/modprobe") };
    let text = serde_json::to_vec(&errand).unwrap();
    let look = |_: &Root, _: Address| -> Look { sim.look.borrow().clone() };
    run(&sim.root, text.as_slice(), Closed, &look).unwrap();
    assert!(sim.root.read_text(OVERRIDE).unwrap().starts_with("vfio-pci"), "the second step was done");
}
