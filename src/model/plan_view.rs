//! A plan as the public sees it: the JSON of `Manager.Plan` and of `vfiodctl plan --json`.

use serde::{Deserialize, Serialize};

use super::pci::{Address, Driver, Module};
use super::picture::{Clock, SCHEMA};
use super::plan::{Act, Guard, Held, Plan};
use super::policy::Mode;

/// What would be done, what is held back and why, what a module load would bind besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanView {
    /// [`SCHEMA`].
    pub schema: u32,
    /// In mode `observe` nothing of it is done.
    pub mode: Mode,
    /// Work, each with the devices it touches.
    pub acts: Vec<ActView>,
    /// What is wanted and held back.
    pub held: Vec<HeldView>,
    /// Functions that nobody declared and that a planned load makes the kernel bind.
    pub also_binds: Vec<AlsoBinds>,
    /// Install rules of modprobe.d for modules that are to be loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub install_rules: Vec<InstallRule>,
}

/// What is done in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActView {
    /// `modules`, `group-15` or `device-0000:01:00.0`.
    pub key: String,
    /// The functions that it touches.
    pub devices: Vec<Address>,
    /// The writes in order, in words.
    pub steps: Vec<String>,
}

/// Something that is wanted and held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldView {
    /// An address, `entry NAME` or `module NAME`.
    pub about: String,
    /// The guard that holds it; none where pacing does.
    pub guard: Option<Guard>,
    /// Why, in a sentence.
    pub reason: String,
    /// When it will be tried at the earliest, where time is what it waits for; else 0.
    pub not_before_usec: u64,
}

/// A function that a load binds besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlsoBinds {
    /// Which.
    pub device: Address,
    /// To which driver.
    pub driver: Driver,
}

/// An install rule: modprobe runs its command instead of loading the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRule {
    /// For which module.
    pub module: Module,
    /// `file:line: command`.
    pub rule: String,
    /// Whether it is run, by `allow_install`; else the module is loaded past it.
    pub runs: bool,
}

impl PlanView {
    /// A plan as the public sees it.
    #[must_use]
    pub fn of(plan: &Plan, mode: Mode, clock: Clock) -> PlanView {
        PlanView {
            schema: SCHEMA,
            mode,
            acts: plan.acts.iter().map(act).collect(),
            held: plan.held.iter().map(|line| held(line, clock)).collect(),
            also_binds: plan
                .also_binds
                .iter()
                .map(|(device, driver)| AlsoBinds { device: *device, driver: driver.clone() })
                .collect(),
            install_rules: plan
                .install_rules
                .iter()
                .map(|(module, rule, runs)| InstallRule { module: module.clone(), rule: rule.clone(), runs: *runs })
                .collect(),
        }
    }

    /// Whether there is nothing to do and nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.acts.is_empty() && self.held.is_empty()
    }
}

fn act(act: &Act) -> ActView {
    ActView {
        key: act.key.to_string(),
        devices: act.functions.iter().copied().collect(),
        steps: act.steps.iter().map(ToString::to_string).collect(),
    }
}

fn held(held: &Held, clock: Clock) -> HeldView {
    HeldView {
        about: held.about.to_string(),
        guard: held.guard,
        reason: held.reason.clone(),
        not_before_usec: held.not_before.map_or(0, |time| clock.realtime_usec(time)),
    }
}
