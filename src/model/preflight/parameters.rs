//! What the kernel command line says about IOMMUs.

use super::make::Make;
use crate::model::parameter::{Written, of_kernel};

/// What the command line says about IOMMUs.
#[derive(Debug, Clone, Default)]
pub struct Asked<'c> {
    all: Vec<Written<'c>>,
}

impl<'c> Asked<'c> {
    /// Of a command line.
    #[must_use]
    pub fn of(cmdline: &'c str) -> Asked<'c> {
        Asked { all: of_kernel(cmdline).collect() }
    }

    fn named<'s>(&'s self, name: &'static str) -> impl DoubleEndedIterator<Item = &'s Written<'c>> {
        self.all.iter().filter(move |parameter| parameter.is(name))
    }

    /// Whether Intel's driver is told to run: the last `on` or `off` counts, whichever parameter it is
    /// in (`intel_iommu_setup` compares the beginnings of words). With the parameter that decides.
    #[must_use]
    pub fn intel(&self) -> Option<(bool, &'c str)> {
        self.named("intel_iommu").rev().find_map(|parameter| {
            let said = parameter.parts().rev().find_map(|part| match part {
                part if part.starts_with("on") => Some(true),
                part if part.starts_with("off") => Some(false),
                _ => None,
            });
            Some((said?, parameter.text))
        })
    }

    /// The parameter that leaves Intel's graphics without translation; nothing takes that back.
    #[must_use]
    pub fn without_graphics(&self) -> Option<&'c str> {
        let mut named = self.named("intel_iommu");
        named.find(|parameter| parameter.parts().any(|part| part.starts_with("igfx_off"))).map(|found| found.text)
    }

    /// The parameter that switches an IOMMU of this make off.
    ///
    /// `amd_iommu=off` and `iommu=off` cannot be taken back by a later one, and each driver hears its own
    /// name alone; `iommu=` is x86's (and POWER's).
    #[must_use]
    pub fn off(&self, make: Option<Make>) -> Option<&'c str> {
        let own = match make {
            Some(Make::Intel) => self.intel().filter(|(on, _)| !on).map(|(_, text)| text),
            Some(Make::Amd) => self.last_off("amd_iommu"),
            Some(_) => None,
            None => self.intel().filter(|(on, _)| !on).map(|(_, text)| text).or_else(|| self.last_off("amd_iommu")),
        };
        let both = matches!(make, None | Some(Make::Intel | Make::Amd | Make::Power));
        own.or_else(|| self.last_off("iommu").filter(|_| both))
    }

    /// All parameters that switch it off; each of them does by itself.
    #[must_use]
    pub fn offs(&self, make: Option<Make>) -> Vec<&'c str> {
        let first = self.off(make);
        let common = first.and_then(|_| self.last_off("iommu"));
        let common = common.filter(|common| first != Some(common) && self.heard(make).contains(common));
        first.into_iter().chain(common).collect()
    }

    fn last_off(&self, name: &'static str) -> Option<&'c str> {
        let mut named = self.named(name).rev();
        named.find(|parameter| parameter.parts().any(|part| part.starts_with("off"))).map(|found| found.text)
    }

    /// The parameter that switches interrupt remapping off: the last word of `intremap=` counts,
    /// `nointremap` stays (drivers/iommu/irq_remapping.c).
    #[must_use]
    pub fn without_remapping(&self) -> Option<&'c str> {
        let mut found = None;
        for parameter in &self.all {
            match parameter.name {
                "nointremap" => found = Some(parameter.text),
                "intremap" => {
                    for part in parameter.parts() {
                        if part.starts_with("on") {
                            found = None;
                        } else if part.starts_with("off") {
                            found = Some(parameter.text);
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The parameters that an IOMMU of this make hears, as they are written.
    #[must_use]
    pub fn heard(&self, make: Option<Make>) -> Vec<&'c str> {
        let hears = |name: &str| match name {
            "intel_iommu" => matches!(make, None | Some(Make::Intel)),
            "amd_iommu" => matches!(make, None | Some(Make::Amd)),
            "iommu" => matches!(make, None | Some(Make::Intel | Make::Amd | Make::Power)),
            "s390_iommu" => make == Some(Make::S390),
            name => name.starts_with("iommu.") || (name.starts_with("arm_smmu") && make == Some(Make::Smmu)),
        };
        self.all
            .iter()
            .filter(|parameter| hears(&parameter.name.replace('-', "_")))
            .map(|parameter| parameter.text)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_to_intels_driver_counts_and_graphics_stay_left_out() {
        for (cmdline, expected) in [
            ("intel_iommu=on", Some(true)),
            ("intel-iommu=on", Some(true)),
            ("\"intel-iommu=on\"", Some(true)),
            ("intel_iommu=off intel-iommu=on", Some(true)),
            ("intel_iommu=on,sm_on intel_iommu=sp_off,off", Some(false)),
            ("intel_iommu=sm_on,igfx_off", None),
            ("amd_iommu=off", None),
            ("quiet -- intel_iommu=on", None),
        ] {
            assert_eq!(Asked::of(cmdline).intel().map(|(on, _)| on), expected, "{cmdline}");
        }
        assert!(Asked::of("intel_iommu=igfx_off,on intel-iommu=on").without_graphics().is_some());
        assert!(Asked::of("intel_iommu=on").without_graphics().is_none());
    }

    #[test]
    fn each_make_is_switched_off_by_its_own_name_or_by_that_of_all() {
        for (cmdline, intel, amd, smmu) in [
            ("amd_iommu=off", None, Some("amd_iommu=off"), None),
            ("amd-iommu=off amd_iommu=on", None, Some("amd-iommu=off"), None),
            ("intel_iommu=off", Some("intel_iommu=off"), None, None),
            ("intel_iommu=off intel-iommu=on", None, None, None),
            ("iommu=pt,off", Some("iommu=pt,off"), Some("iommu=pt,off"), None),
            ("iommu=pt iommu.passthrough=0 iommu=soft iommu=nopt", None, None, None),
        ] {
            let asked = Asked::of(cmdline);
            let found = [Make::Intel, Make::Amd, Make::Smmu].map(|make| asked.off(Some(make)));
            assert_eq!(found, [intel, amd, smmu], "{cmdline}");
        }
    }

    #[test]
    fn remapping_is_off_by_the_last_word_and_not_by_those_about_something_else() {
        for (cmdline, expected) in [
            ("intremap=off", Some("intremap=off")),
            ("intremap=nosid,off", Some("intremap=nosid,off")),
            ("intremap=off intremap=on", None),
            ("intremap=nosid intremap=nopost", None),
            ("nointremap", Some("nointremap")),
            ("x -- nointremap", None),
        ] {
            assert_eq!(Asked::of(cmdline).without_remapping(), expected, "{cmdline}");
        }
    }
}
