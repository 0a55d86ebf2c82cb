//! The traces of `tests/traces` on the simulated kernel: its answers must be those that the real
//! kernels gave. `tests/traces/README.md` describes the language, `replay` runs it on the real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use similar::TextDiff;
use vfiod::host::sim::kernel::Iommu;
use vfiod::host::sim::machine::plug_in;
use vfiod::host::sim::modprobe::Flags;
use vfiod::host::sim::{Answer, Kernel, Process, Rule, Version};
use vfiod::model::pci::{Address, Driver, Module};

/// The simulated machine, as the language of the traces sees it.
struct Machine {
    kernel: Kernel,
    holders: BTreeMap<String, Process>,
    /// What calls with a name answered first.
    jobs: BTreeMap<String, Answer>,
    objects: BTreeMap<Address, u64>,
    ruled: Option<Module>,
}

impl Machine {
    fn new(version: Version, options: &[&str]) -> Result<Machine, String> {
        let mut kernel = Kernel::new(version);
        if options == ["iommu", "none"] {
            kernel = kernel.with_iommu(Iommu::Off);
        }
        plug_in(&mut kernel);
        match options {
            [] | ["iommu", "none"] => {}
            ["rmrr", device] => kernel.reserve_region(address(device)?),
            other => return Err(format!("no such machine: {other:?}")),
        }
        Ok(Machine { kernel, holders: BTreeMap::new(), jobs: BTreeMap::new(), objects: BTreeMap::new(), ruled: None })
    }

    fn answer(&mut self, action: &str) -> Result<String, String> {
        match self.jobs.get(action) {
            Some(Answer::Blocks(job)) => return Ok(self.kernel.job(*job).to_string()),
            Some(answer) => return Ok(answer.to_string()),
            None => {}
        }
        let (action, job) = match action.split_once(" &") {
            Some((action, job)) => (action, Some(job)),
            None => (action, None),
        };
        let words: Vec<&str> = action.split_whitespace().collect();
        if let Some(shown) = self.show(&words)? {
            return Ok(shown);
        }
        let answer = self.act(&words)?;
        if let Some(name) = job {
            self.jobs.insert(name.to_owned(), answer.clone());
        }
        Ok(answer.to_string())
    }

    fn act(&mut self, words: &[&str]) -> Result<Answer, String> {
        let kernel = &mut self.kernel;
        Ok(match words {
            ["modprobe", "-r", m] => kernel.modprobe_r(&module(m)?),
            ["modprobe", "-b", m] => kernel.modprobe(&module(m)?, Flags { blacklist: true, ignore_install: false }),
            ["modprobe", "-i", m] => kernel.modprobe(&module(m)?, Flags { blacklist: false, ignore_install: true }),
            ["modprobe", m] => kernel.modprobe(&module(m)?, Flags::default()),
            ["rmmod", m] => kernel.rmmod(&module(m)?),
            ["override", a, "-"] => kernel.write_override(address(a)?, None),
            ["override", a, d] => kernel.write_override(address(a)?, Some(driver(d)?)),
            ["pin", a] => kernel.read_override(address(a)?),
            ["uevent", a] => kernel.read_uevent(address(a)?),
            ["probe", a] => kernel.drivers_probe(address(a)?),
            ["bind", a, d] => kernel.bind(address(a)?, &driver(d)?),
            ["unbind", a, d] => kernel.unbind(address(a)?, &driver(d)?),
            ["new-id", d, ids] => kernel.new_id(&driver(d)?, ids.parse().map_err(|e| format!("{e}"))?),
            ["autoprobe", value] => kernel.set_autoprobe(*value == "1"),
            ["remove", a] => kernel.remove(address(a)?),
            ["rescan"] => kernel.rescan(),
            ["vfs", a, number] => kernel.set_vfs(address(a)?, number.parse().map_err(|e| format!("{e}"))?),
            ["open", a, who] => {
                let who = self.holder(who);
                self.kernel.open(address(a)?, &who)
            }
            ["open-group", a, who] => {
                let who = self.holder(who);
                self.kernel.open_group(address(a)?, &who)
            }
            ["exit", who] => {
                let who = self.holders.remove(*who).ok_or("no such holder")?;
                self.kernel.exit(&who);
                Answer::Ok
            }
            ["rule", m, kind] => {
                let rule = match *kind {
                    "refuse" => Some(Rule::Refuse),
                    "run" => Some(Rule::Run("/sbin/modprobe -i".to_owned())),
                    "blacklist" => Some(Rule::Blacklist),
                    "none" => None,
                    other => return Err(format!("no such rule: {other}")),
                };
                // A file of one line: the rule before is gone.
                if let Some(before) = self.ruled.replace(module(m)?) {
                    kernel.set_rule(&before, None);
                }
                kernel.set_rule(&module(m)?, rule);
                Answer::Ok
            }
            ["modules-disabled", value] => {
                kernel.set_modules_disabled(*value == "1");
                Answer::Ok
            }
            ["tree", what] => {
                kernel.set_tree_missing(*what == "away");
                Answer::Ok
            }
            _ => return Err("no such action".to_owned()),
        })
    }

    fn show(&mut self, words: &[&str]) -> Result<Option<String>, String> {
        let kernel = &mut self.kernel;
        let or_none = |found: Option<String>| found.unwrap_or_else(|| "none".to_owned());
        let presence = |there: bool| if there { "present" } else { "absent" }.to_owned();
        let list = |all: Vec<Address>| all.iter().map(Address::to_string).collect::<Vec<_>>().join(" ");
        Ok(Some(match words {
            ["driver", a] => or_none(kernel.driver(address(a)?).map(Driver::to_string)),
            ["exists", a] => if kernel.exists(address(a)?) { "yes" } else { "no" }.to_owned(),
            ["object", a] => match kernel.object(address(a)?) {
                None => format!("{:?}", Errno::ENOENT),
                Some(now) if self.objects.insert(address(a)?, now) == Some(now) => "same".to_owned(),
                Some(_) => "new".to_owned(),
            },
            ["node", a] if kernel.group(address(a)?).is_none() => format!("{:?}", Errno::ENOENT),
            ["node", a] => presence(kernel.node(address(a)?)),
            ["vfio-dev", a] => presence(kernel.vfio_dev(address(a)?)),
            ["members", a] if kernel.group(address(a)?).is_none() => format!("{:?}", Errno::ENOENT),
            ["members", a] => list(kernel.members(address(a)?)),
            ["ids", a] => {
                let spec = kernel.spec(address(a)?).ok_or("no such function")?;
                format!("{} {:06x}", spec.ids, spec.class)
            }
            ["functions"] => list(kernel.addresses()),
            ["module", m] => {
                let module = module(m)?;
                let facts = kernel.module_facts(&module, false);
                match facts.refcount {
                    None => "absent".to_owned(),
                    Some(count) => {
                        let users: Vec<String> = facts.used_by.iter().map(Module::to_string).collect();
                        format!("{} {count} {}", facts.state, users.join(",")).trim_end().to_owned()
                    }
                }
            }
            ["uevents"] => {
                let mut events: Vec<String> = kernel.take_uevents().iter().map(ToString::to_string).collect();
                events.sort();
                if events.is_empty() { "none".to_owned() } else { events.join("; ") }
            }
            _ => return Ok(None),
        }))
    }

    fn holder(&mut self, name: &str) -> Process {
        let pid = 4000 + u32::try_from(self.holders.len()).unwrap_or(0);
        self.holders.entry(name.to_owned()).or_insert_with(|| Process::new(pid, name, 64055)).clone()
    }
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn driver(text: &str) -> Result<Driver, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn module(text: &str) -> Result<Module, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// The actions and answers of a trace that are meant for a version.
fn lines(text: &str, version: &str) -> Vec<(String, String)> {
    let meant = |line: &str| match line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((only, rest)) if only == version => Some(rest.trim().to_owned()),
        Some(_) => None,
        None => Some(line.to_owned()),
    };
    let lines = text.lines().map(str::trim).filter_map(meant);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (action, expected) = line.split_once(" -> ").unwrap_or((&line, ""));
            let mut events: Vec<&str> = expected.split("; ").collect();
            if action == "uevents" {
                events.sort_unstable();
            }
            (action.to_owned(), events.join("; "))
        })
        .collect()
}

/// Both texts: as written, and as the simulation answers.
fn replay(text: &str, version: Version) -> (String, String) {
    let name = if version == Version::V6_1 { "6.1" } else { "6.12" };
    let options = text.lines().next().and_then(|line| line.strip_prefix("#! ")).unwrap_or_default();
    let mut machine = Machine::new(version, &options.split_whitespace().collect::<Vec<_>>()).unwrap();
    let (mut wanted, mut found) = (String::new(), String::new());
    for (action, expected) in lines(text, name) {
        let answer = machine.answer(&action).unwrap_or_else(|wrong| format!("error: {wrong}"));
        wanted += &format!("{action} -> {expected}\n");
        found += &format!("{action} -> {answer}\n");
    }
    (wanted, found)
}

fn traces() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut traces: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "trace")).collect();
    traces.sort();
    traces
}

fn differences(version: Version) -> String {
    let mut all = String::new();
    for path in traces() {
        let (wanted, found) = replay(&std::fs::read_to_string(&path).unwrap(), version);
        if wanted != found {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            all += &TextDiff::from_lines(&wanted, &found).unified_diff().header(&name, "simulation").to_string();
        }
    }
    all
}

#[test]
fn the_simulated_6_1_answers_like_the_real_one() {
    let differences = differences(Version::V6_1);
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn the_simulated_6_12_answers_like_the_real_one() {
    let differences = differences(Version::V6_12);
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn there_are_traces() {
    assert!(traces().len() >= 8);
}
