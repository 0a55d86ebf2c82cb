//! One line of `trace_pipe`.
//!
//! `        modprobe-334     [000] .....    41.852516: module_free: vfio_pci`: the process's name and
//! thread id, the processor, flags, the time, the event. The name is the process's own choice, 15
//! bytes of anything, a line break too; so a line is read from its end, where no process writes.

use crate::model::pci::Module;
use crate::model::time::Time;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A program was started.
    Started(Task),
    /// A module is being taken out of the kernel.
    Freed(Task, Module),
    /// A module is being put into the kernel.
    Loaded(Task, Module),
    /// The kernel had no room for some events.
    Missed,
}

/// Whose line it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The thread.
    pub tid: u32,
    /// When, by the clock `boot`.
    pub at: Time,
    /// Its name as the trace remembers it, possibly from before; empty when it does not.
    pub comm: String,
}

/// The events that are asked for, as they stand in a line.
const EVENTS: [(&str, Event); 3] =
    [(": module_free: ", Event::Freed), (": module_load: ", Event::Loaded), (": sched_process_exec: ", Event::Started)];

#[derive(Clone, Copy)]
enum Event {
    Started,
    Freed,
    Loaded,
}

/// Reads a line, without its end. None for what is none, or none that is of interest.
#[must_use]
pub fn parse(line: &[u8]) -> Option<Line> {
    let text = String::from_utf8_lossy(line);
    if is_missed(&text) {
        return Some(Line::Missed);
    }
    let found = EVENTS.iter().filter_map(|(words, event)| Some((text.rfind(words)?, words.len(), *event)));
    let (at, length, event) = found.max_by_key(|(at, ..)| *at)?;
    let (head, rest) = (text.get(..at)?, text.get(at + length..)?);
    let task = task(head)?;
    // Behind a loaded module's name there may be letters for what it taints.
    let module = || rest.split_whitespace().next()?.parse().ok();
    match event {
        Event::Started => Some(Line::Started(task)),
        Event::Freed => Some(Line::Freed(task, module()?)),
        Event::Loaded => Some(Line::Loaded(task, module()?)),
    }
}

/// `CPU:0 [LOST 2534 EVENTS]`, the number left out where the kernel does not know it.
fn is_missed(text: &str) -> bool {
    let lost = || {
        let (cpu, lost) = text.strip_prefix("CPU:")?.split_once(" [LOST ")?;
        let count = lost.strip_suffix("EVENTS]")?.trim_end();
        Some(is_number(cpu) && (count.is_empty() || is_number(count)))
    };
    lost().unwrap_or(false)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The part before the event: name, thread, processor, flags, time.
fn task(head: &str) -> Option<Task> {
    let (rest, time) = last_word(head)?;
    let at = time_of(time)?;
    let (mut rest, mut cpu) = last_word(rest)?;
    if !is_cpu(cpu) {
        // The flags, which can be switched off.
        (rest, cpu) = last_word(rest)?;
    }
    if !is_cpu(cpu) {
        return None;
    }
    let mut who = rest.trim_end();
    if let Some(shorter) = who.strip_suffix(')') {
        // The thread group, which can be switched on.
        who = shorter.rsplit_once('(')?.0.trim_end();
    }
    let (comm, tid) = who.rsplit_once('-')?;
    let tid = tid.parse().ok().filter(|_| is_number(tid))?;
    let comm = comm.trim_start();
    Some(Task { tid, at, comm: if comm == "<...>" { String::new() } else { comm.to_owned() } })
}

fn last_word(text: &str) -> Option<(&str, &str)> {
    let (rest, word) = text.trim_end_matches(' ').rsplit_once(' ')?;
    Some((rest, word))
}

fn is_cpu(word: &str) -> bool {
    word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).is_some_and(is_number)
}

/// Seconds, a point, six digits.
fn time_of(word: &str) -> Option<Time> {
    let (seconds, micros) = word.split_once('.')?;
    if micros.len() != 6 || !is_number(seconds) || !is_number(micros) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    Some(Time(seconds.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(comm: &str, tid: u32, at: u64) -> Task {
        Task { tid, at: Time(at), comm: comm.to_owned() }
    }

    fn freed(line: &str) -> Task {
        match parse(line.as_bytes()) {
            Some(Line::Freed(task, module)) if module.as_str() == "vfio_pci" => task,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn the_lines_of_6_1_and_6_12_are_understood() {
        let text = "           rmmod-336     [000] .....    42.116342: module_free: vfio_pci";
        assert_eq!(freed(text), task("rmmod", 336, 42_116_342));
        let text = "        modprobe-335     [000] .....    42.025016: module_load: vfio_pci ";
        assert_eq!(
            parse(text.as_bytes()),
            Some(Line::Loaded(task("modprobe", 335, 42_025_016), "vfio_pci".parse().unwrap()))
        );
        let text = "        modprobe-349     [000] .....    45.847769: sched_process_exec: filename=/usr/sbin/modprobe pid=349 old_pid=349";
        assert_eq!(parse(text.as_bytes()), Some(Line::Started(task("modprobe", 349, 45_847_769))));
        assert_eq!(parse(b"CPU:0 [LOST 2534 EVENTS]"), Some(Line::Missed));
        assert_eq!(parse(b"CPU:12 [LOST EVENTS]"), Some(Line::Missed));
    }

    #[test]
    fn flags_may_be_missing_and_the_thread_group_may_be_there() {
        assert_eq!(freed("rmmod-336  [128]    42.116342: module_free: vfio_pci"), task("rmmod", 336, 42_116_342));
        let text = "rmmod-336 (    336) [000] d..1.    42.116342: module_free: vfio_pci";
        assert_eq!(freed(text), task("rmmod", 336, 42_116_342));
        assert_eq!(freed("rmmod-336 (-------) [000] d..1. 42.116342: module_free: vfio_pci").tid, 336);
        assert_eq!(freed("           <...>-336     [000] ..... 42.116342: module_free: vfio_pci").comm, "");
    }

    #[test]
    fn a_name_can_pass_for_nothing_else() {
        let line = |comm: &str| format!("{comm}-7     [000] .....     1.000002: module_free: vfio_pci");
        for comm in [
            "a b-1 [0] .. 9",
            "x-1 [0] 9.9: m",
            ": module_load: ",
            ": module_free: ",
            ") ( -5 [1]",
            "-",
            " (1)",
            "é-ü",
            "[000] .....",
        ] {
            let task = freed(&line(comm));
            assert_eq!((task.tid, task.at), (7, Time(1_000_002)), "{comm:?}");
        }
        // One with a line break makes two lines; the first is none.
        assert_eq!(parse(b"     a b-1 [0]"), None);
        assert_eq!(parse(b"CPU:0 [LOST 9 E-7     [000] .....     1.000002: sched_switch: x"), None);
        assert_eq!(freed("CPU:0 [LOST 9 E-7     [000] .....     1.000002: module_free: vfio_pci").tid, 7);
    }

    #[test]
    fn numbers_that_lie_and_lines_that_are_cut_off_are_none() {
        for line in [
            "",
            "rmmod-99999999999     [000] .....    42.116342: module_free: vfio_pci",
            "rmmod-+7     [000] .....    42.116342: module_free: vfio_pci",
            "rmmod-7     [000] .....    99999999999999999999.116342: module_free: vfio_pci",
            "rmmod-7     [000] .....    18446744073709551615.116342: module_free: vfio_pci",
            "rmmod-7     [000] .....    42.1163: module_free: vfio_pci",
            "rmmod-7     [000] .....    42.116342: module_free: ",
            "rmmod-7     [000] .....    42.116342: module_free",
            "rmmod-7     [x] .....    42.116342: module_free: vfio_pci",
            "[000] .....    42.116342: module_free: vfio_pci",
            "CPU:x [LOST 1 EVENTS]",
            "CPU:1 [LOST -1 EVENTS]",
        ] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_changes_whose_line_it_is(comm in "[ -~é\t]{0,15}", tid in 1_u32..4_194_304) {
            let line = format!("{comm:>16}-{tid:<7} [001] .....   100.000001: module_free: vfio_pci");
            let parsed = parse(line.as_bytes());
            let is_it = matches!(parsed, Some(Line::Freed(Task { tid: found, at: Time(100_000_001), .. }, _)) if found == tid);
            proptest::prop_assert!(is_it);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), text in "[a-z]{0,4}-[0-9]{0,12} ?(\\[0+\\])? [0-9.]{0,24}: (module_free|x): [a-z]{0,9}") {
            let _ = (parse(&bytes), parse(text.as_bytes()));
        }
    }
}
