//! What actors were sent to do, kept until they are back.
//!
//! Two files a key in a directory that ends with the boot: `<key>.json`, the intent, complete before
//! the actor gets its errand, and `<key>.outcome`, the actor's stdout and stderr. A restarted daemon finds in
//! them which writes are still under way, and begins no second one.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::act::Line;
use crate::model::plan::{Act, Key, Outcome};
use crate::model::time::Time;

/// What is kept of an actor's last words, in characters.
const MOST_WORDS: usize = 500;

/// One actor's errand, and which process has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What it does.
    pub act: Act,
    /// When it was sent.
    pub started: Time,
    /// After this it begins no write.
    pub deadline: Time,
    /// The boot in which all this is true (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The actor's process.
    pub pid: u32,
    /// Its start time in clock ticks since boot: another process with that pid has another one.
    pub starttime: u64,
}

/// Something about the stored intents that could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{op} {}: {source}", path.display())]
pub struct Error {
    /// What was tried.
    pub op: &'static str,
    /// With which file.
    pub path: PathBuf,
    /// Why it failed.
    pub source: io::Error,
}

fn error(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error { op, path: path.to_owned(), source }
}

/// The directory of the intents.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// What was found in it.
#[derive(Debug, Default)]
pub struct Stored {
    /// The intents of this boot.
    pub intents: Vec<Intent>,
    /// What was damaged (and set aside as `….damaged`) or could not be read, a sentence each.
    pub trouble: Vec<String>,
    /// Whether there may be intents that are not among these, set aside by an earlier run too.
    pub doubtful: bool,
}

impl Store {
    /// The intents below a directory, which is made (for root alone) where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Store, Error> {
        let dir = dir.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(error("create", &dir))?;
        // Whoever could write to it could say that an actor is at work.
        std::fs::set_permissions(&dir, Permissions::from_mode(0o700)).map_err(error("change mode of", &dir))?;
        Ok(Store { dir })
    }

    fn path(&self, key: Key, ending: &str) -> PathBuf {
        self.dir.join(format!("{key}.{ending}"))
    }

    /// Stores an intent: whole or not at all, also when the daemon is killed in the middle.
    ///
    /// Nothing is synced: an intent has to outlive this process, and ends with the boot anyway.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, intent: &Intent) -> Result<(), Error> {
        let (path, draft) = (self.path(intent.act.key, "json"), self.path(intent.act.key, "draft"));
        let text = serde_json::to_vec(intent).map_err(|e| error("encode", &path)(e.into()))?;
        // Made anew, so that its mode does not depend on a file that is left there, nor on the umask.
        let _ = std::fs::remove_file(&draft);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
        file.and_then(|mut file| file.write_all(&text)).map_err(error("write", &draft))?;
        std::fs::rename(&draft, &path).map_err(error("rename", &draft))
    }

    /// An empty file for the outcomes of an actor that is about to begin.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new_outcomes(&self, key: Key) -> Result<File, Error> {
        let path = self.path(key, "outcome");
        // Removed, not truncated: should an earlier actor still have it open, its lines stay its own.
        remove(&path).map_err(error("remove", &path))?;
        OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path).map_err(error("create", &path))
    }

    /// What an actor has told so far: its outcomes, and whatever else it said (its last words, in
    /// one line). A line that was cut off when it was killed counts as words: what the write did is
    /// for the next observation to say.
    #[must_use]
    pub fn told(&self, key: Key) -> (Vec<(usize, Outcome)>, String) {
        let bytes = std::fs::read(self.path(key, "outcome")).unwrap_or_default();
        let (mut outcomes, mut words) = (Vec::new(), Vec::new());
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => outcomes.push((line.step, line.outcome)),
                Err(_) => words.push(String::from_utf8_lossy(line).replace(char::is_control, " ")),
            }
        }
        (outcomes, words.join("; ").chars().take(MOST_WORDS).collect())
    }

    /// Forgets an act. The intent goes first: outcomes without one are swept up by [`Store::load`].
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn forget(&self, key: Key) -> Result<(), Error> {
        ["json", "draft", "outcome"].into_iter().try_for_each(|ending| {
            let path = self.path(key, ending);
            remove(&path).map_err(error("remove", &path))
        })
    }

    /// Reads all intents, and clears up: what is of another boot, and outcomes without an intent,
    /// is removed; what makes no sense is set aside. Nothing of this is fatal.
    #[must_use]
    pub fn load(&self, boot_id: &str) -> Stored {
        let mut stored = Stored::default();
        let names = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()),
            Err(e) => {
                stored.trouble.push(error("list", &self.dir)(e).to_string());
                stored.doubtful = true;
                return stored;
            }
        };
        let (intents, others): (BTreeSet<String>, BTreeSet<String>) = names.partition(|name| name.ends_with(".json"));
        for name in intents {
            let path = self.dir.join(&name);
            match read(&path) {
                Ok(intent) if self.path(intent.act.key, "json") != path => {
                    stored.trouble.push(self.set_aside(&path, "it is about another key"));
                }
                Ok(intent) if intent.boot_id != boot_id => {
                    stored.trouble.extend(self.forget(intent.act.key).err().map(|e| e.to_string()));
                }
                Ok(intent) => stored.intents.push(intent),
                Err(e) => stored.trouble.push(self.set_aside(&path, &e.to_string())),
            }
        }
        let kept = |name: &str| stored.intents.iter().any(|intent| name == format!("{}.outcome", intent.act.key));
        stored.doubtful = !stored.trouble.is_empty() || others.iter().any(|name| name.ends_with(".damaged"));
        let swept = others.iter().filter(|name| name.ends_with(".draft") || name.ends_with(".outcome") && !kept(name));
        let failed: Vec<_> = swept.map(|name| self.dir.join(name)).filter_map(|path| remove(&path).err()).collect();
        stored.trouble.extend(failed.into_iter().map(|e| error("sweep", &self.dir)(e).to_string()));
        stored
    }

    fn set_aside(&self, path: &Path, why: &str) -> String {
        let aside = PathBuf::from(format!("{}.damaged", path.display()));
        let outcome = std::fs::rename(path, &aside)
            .map_or_else(|e| format!("cannot be set aside: {e}"), |()| "set aside".to_owned());
        format!("read {}: {why}; {outcome}", path.display())
    }
}

fn read(path: &Path) -> io::Result<Intent> {
    let mut file = File::open(path)?;
    let owner = file.metadata()?.uid();
    if owner != geteuid().as_raw() {
        let why = format!("it belongs to user {owner}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::{Mode, umask};

    use super::*;

    fn intent(key: &str, boot_id: &str) -> Intent {
        Intent {
            act: Act { key: key.parse().unwrap(), functions: BTreeSet::new(), steps: Vec::new() },
            started: Time(1),
            deadline: Time(2),
            boot_id: boot_id.to_owned(),
            pid: 3,
            starttime: 4,
        }
    }

    fn names(dir: &Path) -> BTreeSet<String> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_intent_is_read_back_as_stored_and_is_gone_once_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("acts")).unwrap();
        let stored = intent("device-10000:e1:00.0", "now");
        store.save(&stored).unwrap();
        store.new_outcomes(stored.act.key).unwrap();
        assert_eq!(store.load("now").intents, vec![stored.clone()]);
        store.forget(stored.act.key).unwrap();
        assert!(names(&dir.path().join("acts")).is_empty());
    }

    #[test]
    fn intents_are_for_nobody_else_also_where_the_directory_was() {
        let dir = tempfile::tempdir().unwrap();
        let (acts, draft) = (dir.path().join("acts"), dir.path().join("acts/modules.draft"));
        std::fs::create_dir(&acts).unwrap();
        std::fs::write(&draft, "").unwrap();
        for path in [&acts, &draft] {
            std::fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        let before = umask(Mode::empty());
        let store = Store::open(&acts).unwrap();
        store.save(&intent("modules", "now")).unwrap();
        umask(before);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&acts), mode(&acts.join("modules.json"))), (0o700, 0o600));
    }

    #[test]
    fn intents_of_another_boot_are_dropped_with_their_outcomes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(&intent("group-15", "before")).unwrap();
        store.new_outcomes("group-15".parse().unwrap()).unwrap();
        let found = store.load("now");
        assert!(found.intents.is_empty() && found.trouble.is_empty());
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_damaged_intent_is_set_aside_and_said_and_the_others_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.save(&intent("modules", "now")).unwrap();
        std::fs::write(dir.path().join("group-1.json"), b"{\"act\":{").unwrap();
        std::fs::write(dir.path().join("group-2.json"), b"\xff\0").unwrap();
        std::fs::rename(dir.path().join("modules.json"), dir.path().join("group-3.json")).unwrap();
        store.save(&intent("modules", "now")).unwrap();
        std::fs::write(dir.path().join("group-9.outcome"), b"an orphan").unwrap();
        let found = store.load("now");
        assert_eq!(found.intents, vec![intent("modules", "now")]);
        assert_eq!(found.trouble.len(), 3, "{:?}", found.trouble);
        assert_eq!(
            names(dir.path()),
            ["group-1.json.damaged", "group-2.json.damaged", "group-3.json.damaged", "modules.json"]
                .map(str::to_owned)
                .into()
        );
        let again = store.load("now");
        assert!(again.trouble.is_empty() && again.doubtful, "said once, and known for longer");
    }

    #[test]
    fn a_line_that_was_cut_off_is_no_outcome_but_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let text = b"{\"step\":0,\"outcome\":{\"outcome\":\"changed\"}}\n{\"step\":1,\"outcome\":{\"outc";
        std::fs::write(dir.path().join("group-0.outcome"), text).unwrap();
        let cut = "{\"step\":1,\"outcome\":{\"outc".to_owned();
        assert_eq!(store.told("group-0".parse().unwrap()), (vec![(0, Outcome::Changed)], cut));
    }
}
