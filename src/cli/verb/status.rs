//! `vfiodctl status`: is passthrough ready, and if not, what to do. It fits a screen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::cli::answer::{Answer, Setting};
use crate::cli::failure::Failure;
use crate::cli::moment::length;
use crate::cli::screen::{Screen, Tone};
use crate::model::concern::Concern;
use crate::model::picture::{EntryView, HoldView, ModuleView, Picture};
use crate::model::policy::Mode;
use crate::model::preflight::{Code, Severity};
use crate::model::remedy::module_remedy;
use crate::model::state::{Health, State};
use crate::model::words;

/// The rows of a screen of which nobody says how many it has.
const ROWS: u16 = 24;

/// Asks the daemon, and nobody else: without it nothing is kept ready. On a saved tree, shows what it
/// would see there.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn run(setting: &Setting) -> Result<Answer, Failure> {
    if setting.json && setting.sight.tree.is_none() {
        let daemon = setting.sight.daemon().await?;
        let text = daemon.status_text().await?;
        let Ready { health } = daemon.read("status", &text).await?;
        return Ok(Answer::of_daemon(&text).if_ready(health == Health::Ready));
    }
    let (picture, notes) = match &setting.sight.tree {
        Some(_) => setting.sight.picture().await?,
        None => (setting.sight.daemon().await?.status().await?, Vec::new()),
    };
    let answer = if setting.json { Answer::json(&picture) } else { Answer::text(text(&picture, &setting.screen)) };
    Ok(answer.with_notes(notes).if_ready(picture.health == Health::Ready))
}

/// What the exit status needs.
#[derive(Deserialize)]
struct Ready {
    health: Health,
}

/// The picture as text.
#[must_use]
pub fn text(picture: &Picture, screen: &Screen) -> String {
    let mut out = headline(picture, screen);
    out += &summary(picture, screen);
    // The last row is the shell's.
    let room = usize::from(screen.rows.unwrap_or(ROWS)).saturating_sub(1 + rows(&out));
    let (troubles, holds) = (troubles(picture, screen), holds(picture, screen));
    let more_troubles = |more: usize| screen.hung(&format!("… and {more} more (vfiodctl list)"), 0, 4);
    let more_holds = |more: usize| screen.hung(&format!("… and {more} more (vfiodctl --json status has all)"), 0, 4);
    // Holds have a third of it for sure, and what the troubles leave.
    let least = fitting(&holds, room / 3, more_holds);
    out += &fitting(&troubles, room.saturating_sub(rows(&least)), more_troubles);
    let left = usize::from(screen.rows.unwrap_or(ROWS)).saturating_sub(1 + rows(&out));
    out += &fitting(&holds, left, more_holds);
    out
}

fn rows(text: &str) -> usize {
    text.matches('\n').count()
}

/// The first of these, an empty row before each, that fit so many rows, and how many more there are.
/// One is always told, and where even that does not fit, without the row before what is left out.
fn fitting(all: &[String], room: usize, more: impl Fn(usize) -> String) -> String {
    let shown = |count: usize, gap: &str| {
        let mut text: String = all.iter().take(count).map(|one| format!("\n{one}")).collect();
        if count < all.len() {
            text += &format!("{gap}{}\n", more(all.len() - count));
        }
        text
    };
    let fits = (1..=all.len().min(room)).rev().map(|count| shown(count, "\n")).find(|text| rows(text) <= room);
    fits.unwrap_or_else(|| shown(1.min(all.len()), ""))
}

fn headline(picture: &Picture, screen: &Screen) -> String {
    let tone = Tone::of_health(picture.health);
    let word = screen.paint(&screen.marked(picture.health.as_str(), tone), tone);
    let good = picture.entries.values().filter(|entry| entry.state.is_good()).count();
    let words = match (picture.entries.len(), picture.health) {
        (0, Health::Ready) => "nothing is declared".to_owned(),
        (0, _) => "no entry, and a module is missing".to_owned(),
        (all, Health::Ready) => ready(all, all),
        (all, _) if good == all => format!("{}, but not the modules", ready(all, all)),
        (all, _) => ready(good, all),
    };
    // The whole stands as it does since the last of its parts came to stand so.
    let since = picture.entries.values().map(|entry| entry.since_usec).max().unwrap_or_default();
    let since = if since == 0 { String::new() } else { format!(", since {}", screen.moment(since)) };
    format!("{word}: {}\n", screen.hung(&format!("{words}{since}"), picture.health.as_str().len() + 4, 4))
}

fn ready(good: usize, all: usize) -> String {
    let are = if good == 1 || all == 1 { "is" } else { "are" };
    format!("{good} of {} {are} ready", words::count(all, "entry"))
}

fn summary(picture: &Picture, screen: &Screen) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    // In a saved tree nobody looks again.
    let every = match picture.interval_usec {
        0 => None,
        usec => Some(format!("looks at least every {}", length(usec).replace(".000", ""))),
    };
    let mode = match picture.mode {
        Mode::Enforce => ["enforce", ", "],
        Mode::Observe => ["observe: nothing is repaired", "; "],
        Mode::Unknown => [picture.mode.as_str(), ", "],
    };
    lines.push(("mode", mode[0].to_owned() + &every.map(|every| mode[1].to_owned() + &every).unwrap_or_default()));
    if !picture.entries.is_empty() {
        lines.push(("entries", counted(picture.entries.values().map(|entry| entry.state.as_str()))));
    }
    let unmanaged = picture.devices.values().filter(|device| device.state == State::Unmanaged).count();
    if unmanaged > 0 {
        lines.push((
            "besides",
            format!("{} on VFIO that no entry declares (vfiodctl list)", words::count(unmanaged, "device")),
        ));
    }
    lines.push(("modules", modules(picture)));
    let iommu = &picture.iommu;
    lines.push((
        "iommu",
        match (iommu.kinds.as_slice(), iommu.groups) {
            ([], 0) => "none".to_owned(),
            ([], groups) => words::count(groups, "group"),
            (kinds, groups) => format!("{}, {}", kinds.join(", "), words::count(groups, "group")),
        },
    ));
    let warned = warnings(picture);
    if !warned.is_empty() {
        lines.push(("warnings", format!("{warned} (vfiodctl check)")));
    }
    if !picture.state_trouble.is_empty() {
        lines.push(("not saved", picture.state_trouble.clone()));
    }
    let counters = &picture.counters;
    if counters.drifts + counters.repairs + counters.failures > 0 {
        let last = match counters.last_repair_latency_usec {
            0 => String::new(),
            usec => format!("; the last was back after {}", length(usec)),
        };
        let (lost, back, failed) = (counters.drifts, counters.repairs, counters.failures);
        lines.push(("this boot", format!("{lost} lost, {back} brought back, {failed} failed{last}")));
    }
    let line = |(name, text): (&str, String)| format!("  {name:<9}  {}\n", screen.wrapped(&text, 13));
    lines.into_iter().map(line).collect()
}

/// `2 ready, 1 held`, the most frequent first.
fn counted<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut counts: Vec<(usize, &str)> = Vec::new();
    for word in words {
        match counts.iter_mut().find(|(_, known)| *known == word) {
            Some((count, _)) => *count += 1,
            None => counts.push((1, word)),
        }
    }
    counts.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    counts.iter().map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// `no-reset for 2 devices, unsafe-interrupts`: what the last check warns of, in its order.
fn warnings(picture: &Picture) -> String {
    let codes = |concerns: &[Concern]| -> BTreeSet<Code> {
        concerns.iter().filter(|concern| concern.severity == Severity::Warning).map(|concern| concern.code).collect()
    };
    let mut devices: BTreeMap<Code, usize> = BTreeMap::new();
    for code in picture.devices.values().flat_map(|device| codes(&device.findings)) {
        *devices.entry(code).or_default() += 1;
    }
    let about = |(code, count): (Code, usize)| format!("{code} for {}", words::count(count, "device"));
    let host = codes(&picture.findings).into_iter().map(|code| code.to_string());
    devices.into_iter().map(about).chain(host).collect::<Vec<_>>().join(", ")
}

fn modules(picture: &Picture) -> String {
    if picture.modules.is_empty() {
        return "none required".to_owned();
    }
    let missing = picture.modules.iter().filter(|(_, module)| !module.state.serves());
    let missing: Vec<String> = missing.map(|(name, module)| format!("{name} {}", module.state)).collect();
    let all = picture.modules.len();
    match missing.len() {
        0 => format!("all {all} there"),
        gone => format!("{} of {all} there; {}", all - gone, missing.join(", ")),
    }
}

fn troubles(picture: &Picture, screen: &Screen) -> Vec<String> {
    let mut entries: Vec<_> = picture.entries.iter().filter(|(_, entry)| !entry.state.is_good()).collect();
    // The worst first: the last ones may not fit.
    entries.sort_by_key(|(_, entry)| (Reverse(Health::of(entry.state)), entry.state));
    let entries = entries.into_iter().map(|(name, entry)| entry_trouble(name, entry, screen));
    let modules = picture.modules.iter().filter(|(_, module)| !module.state.serves());
    let modules = modules.map(|(name, module)| module_trouble(name.as_str(), module, screen));
    modules.chain(entries).collect()
}

fn entry_trouble(name: &str, entry: &EntryView, screen: &Screen) -> String {
    let places = match entry.devices.as_slice() {
        [] => String::new(),
        [one] => format!(" ({one})"),
        [first, others @ ..] => format!(" ({first} and {} more)", others.len()),
    };
    let what = format!("{name}{places}");
    let wait = (entry.not_before_usec, entry.since_usec);
    trouble(&what, entry.state.as_str(), Tone::of(entry.state), wait, [&entry.reason, &entry.remedy], screen)
}

fn module_trouble(name: &str, module: &ModuleView, screen: &Screen) -> String {
    let tone = if module.blocked || module.fighting { Tone::Bad } else { Tone::Fair };
    let by = match module.last_unload_by.as_str() {
        "" => String::new(),
        by => format!("unloaded by {by}"),
    };
    let reason = [module.reason.as_str(), by.as_str()].into_iter().filter(|text| !text.is_empty());
    let reason = reason.collect::<Vec<_>>().join("; ");
    let wait = (module.not_before_usec, module.since_usec);
    trouble(
        &format!("module {name}"),
        module.state.as_str(),
        tone,
        wait,
        [&reason, module_remedy(module.state)],
        screen,
    )
}

/// One thing that is not ready: what, since when, why, when it is tried again, what to do.
fn trouble(
    what: &str,
    word: &str,
    tone: Tone,
    (not_before, since): (u64, u64),
    [reason, remedy]: [&str; 2],
    screen: &Screen,
) -> String {
    let mut out = format!("{} {}\n", screen.plain(what), screen.paint(word, tone));
    let mut line = |name: &str, text: &str| {
        if !text.is_empty() {
            out += &format!("    {name:<5}  {}\n", screen.wrapped(text, 11));
        }
    };
    line("why", reason);
    if since > 0 {
        line("since", &screen.moment(since));
    }
    if not_before > 0 {
        line("again", &screen.moment(not_before));
    }
    line("do", remedy);
    out
}

fn holds(picture: &Picture, screen: &Screen) -> Vec<String> {
    let one = |hold: &HoldView| {
        let until = match hold.until_usec {
            0 => format!("as long as process {} keeps it", hold.pid),
            until => format!("until {}", screen.moment(until)),
        };
        let text = format!("hold {} on {} {until}, by {}: {}", hold.id, hold.target, hold.who, hold.why);
        format!("{}\n", screen.hung(&text, 0, 4))
    };
    picture.holds.iter().map(one).collect()
}
