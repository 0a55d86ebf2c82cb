//! `vfiodctl plan`: what would be done now, what is held back and why. Nothing is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cli::answer::{Answer, Setting};
use crate::cli::daemon::Daemon;
use crate::cli::failure::Failure;
use crate::cli::observed::{self, Extent};
use crate::cli::screen::{Screen, Tone};
use crate::cli::sight::without;
use crate::host::root::Root;
use crate::model::plan_view::{InstallRule, PlanView};
use crate::model::policy::Mode;
use crate::model::printable::printable;

/// Asks the daemon, or plans from what can be seen without it.
///
/// # Errors
/// When another machine's daemon cannot be asked.
pub async fn run(setting: &Setting) -> Result<Answer, Failure> {
    let (plan, notes) = match plan(setting).await? {
        Made::Here(plan, notes) => (plan, notes),
        Made::There(daemon, text) if setting.json => {
            let Work { acts, held } = daemon.read("plan", &text).await?;
            return Ok(Answer::of_daemon(&text).if_ready(acts.is_empty() && held.is_empty()));
        }
        Made::There(daemon, text) => (daemon.read("plan", &text).await?, Vec::new()),
    };
    let answer = if setting.json { Answer::json(&plan) } else { Answer::text(text(&plan, &setting.screen)) };
    Ok(answer.with_notes(notes).if_ready(plan.is_empty()))
}

/// Who has made a plan.
enum Made {
    Here(PlanView, Vec<String>),
    There(Daemon, String),
}

/// What the exit status needs.
#[derive(Deserialize)]
struct Work {
    acts: Vec<IgnoredAny>,
    held: Vec<IgnoredAny>,
}

async fn plan(setting: &Setting) -> Result<Made, Failure> {
    let sight = &setting.sight;
    let (root, note) = match &sight.tree {
        Some(tree) => (tree.clone(), None),
        None => {
            let asked = match sight.daemon().await {
                Ok(daemon) => daemon.plan().await.map(|text| (daemon, text)),
                Err(failure) => Err(failure),
            };
            match asked {
                Ok((daemon, text)) => return Ok(Made::There(daemon, text)),
                Err(Failure::Unreachable { why, .. }) if sight.host.is_none() => (Root::live(), Some(without(&why))),
                Err(failure) => return Err(failure),
            }
        }
    };
    let observed = observed::observe(&root, setting.sight.names(), Extent::Declared).await;
    Ok(Made::Here(observed.plan, note.into_iter().chain(observed.notes).collect()))
}

fn text(plan: &PlanView, screen: &Screen) -> String {
    let mut out = String::new();
    if plan.is_empty() {
        out += "nothing to do: all that is declared is as declared\n";
    }
    if plan.mode == Mode::Observe && !plan.acts.is_empty() {
        out += "mode is observe: nothing of this is done\n";
    }
    for act in &plan.acts {
        out += &format!("{}\n", screen.paint(&act.key, Tone::Plain));
        for (n, step) in act.steps.iter().enumerate() {
            out += &format!("  {}. {}\n", n + 1, screen.wrapped(step, 5));
        }
    }
    for also in &plan.also_binds {
        let text = format!(
            "besides, the kernel binds {} to {}: it is pinned to that, or named by ids=",
            also.device, also.driver
        );
        out += &format!("  {}\n", screen.wrapped(&text, 2));
    }
    let mut rules: BTreeMap<(&str, bool), Vec<&str>> = BTreeMap::new();
    for InstallRule { module, rule, runs } in &plan.install_rules {
        rules.entry((rule, *runs)).or_default().push(module.as_str());
    }
    for ((rule, runs), modules) in rules {
        let (rule, modules) = (printable(rule), modules.join(", "));
        let text = match runs {
            true => format!("modprobe runs the install rule of {modules}: {rule}"),
            false => format!("the install rule of {modules} is not run (allow_install is off): {rule}"),
        };
        out += &format!("  {}\n", screen.wrapped(&text, 2));
    }
    for held in &plan.held {
        let what = match held.guard {
            Some(guard) => format!("held back: {} ({guard})", held.about),
            None => format!("waits: {}", held.about),
        };
        out += &format!("{}\n    {}\n", screen.paint(&what, Tone::Fair), screen.wrapped(&held.reason, 4));
        if held.not_before_usec > 0 {
            out += &format!("    not before {}\n", screen.moment(held.not_before_usec));
        }
    }
    out
}
