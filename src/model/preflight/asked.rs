//! What is asked of a survey.

use super::release::{is_backported, version};
use super::survey::{Function, Group, Machine, Meaning, ModuleSurvey, Said, Survey};
use crate::model::module::ModuleState;
use crate::model::parameter::switch;
use crate::model::pci::{Address, BridgePath, Driver};
use crate::model::snapshot::Fact;
use crate::model::variant::Known;
use crate::model::vfio_ids::Lists;

/// The modules that give a container its IOMMU; a kernel has one of them.
pub const CONTAINER: [&str; 2] = ["vfio_iommu_spapr_tce", "vfio_iommu_type1"];

impl Survey {
    /// Where a function is.
    #[must_use]
    pub fn path_of(&self, address: Address) -> Option<BridgePath> {
        Some(self.functions.get(&address)?.card.path.clone())
    }

    /// The group of a function.
    #[must_use]
    pub fn group_of(&self, function: &Function) -> Option<(u32, &Group)> {
        let number = *function.group.is()?;
        Some((number, self.groups.get(&number)?))
    }

    /// What is known of drivers.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        Known { variants: &self.variants, drivers: &self.drivers }
    }

    /// Whether a driver does nothing but hand devices to user space.
    #[must_use]
    pub fn is_vfio(&self, driver: &Driver) -> bool {
        self.known().is_vfio(driver)
    }

    /// Whether a function is on VFIO, by a driver of VFIO's or by its vendor's own.
    #[must_use]
    pub fn on_vfio(&self, function: &Function) -> bool {
        self.known().on_vfio(&function.driver, function.registered)
    }

    /// The vendor's driver that a function is on, if that is itself VFIO.
    #[must_use]
    pub fn vendors_vfio<'f>(&self, function: &'f Function) -> Option<&'f Driver> {
        function.driver.is().filter(|driver| function.registered && !self.is_vfio(driver))
    }

    /// Why nobody knows whether a group is open, where it could be: a member is on a VFIO driver. A
    /// saved tree never tells, and is taken for a machine at rest.
    #[must_use]
    pub fn open_unknown(&self, group: &Group) -> Option<&str> {
        let bound = group.members.iter().filter_map(|member| self.functions.get(member)).any(|f| self.on_vfio(f));
        self.holders.unreadable().filter(|_| bound && !self.saved)
    }

    /// Whether a function is known to answer.
    #[must_use]
    pub fn alive(&self, address: Address) -> bool {
        self.functions.get(&address).is_some_and(|function| function.answers == Fact::Is(true))
    }

    /// Whether devices can be opened by nodes of their own and without `vfio_iommu_type1`.
    #[must_use]
    pub fn has_iommufd(&self) -> bool {
        self.device_nodes.is().is_some() && self.iommufd.is().is_some()
    }

    /// Whether devices are opened where interrupts are not remapped: `vfio_iommu_type1` is told to go
    /// without that, or iommufd where that one serves, beside it or in its place.
    #[must_use]
    pub fn goes_without_remapping(&self) -> bool {
        let type1 = self.module("vfio_iommu_type1").map(|module| module.facts.state);
        let in_its_place = !matches!(type1, Some(ModuleState::Live | ModuleState::Builtin));
        self.is_on("vfio_iommu_type1", "allow_unsafe_interrupts")
            || self.iommufd_unsafe == Fact::Is(true) && (self.has_iommufd() || in_its_place)
    }

    /// Whether any IOMMU is at work.
    #[must_use]
    pub fn has_iommu(&self) -> bool {
        self.iommu.units.is().is_some_and(|units| !units.is_empty()) || self.groups.values().any(|group| !group.noiommu)
    }

    /// What is known of a module.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<&ModuleSurvey> {
        self.modules.iter().find(|(module, _)| module.as_str() == name).map(|(_, survey)| survey)
    }

    /// What is known of the module that gives a container its IOMMU: POWER's has another one.
    #[must_use]
    pub fn container_module(&self) -> Option<&ModuleSurvey> {
        CONTAINER.iter().find_map(|name| self.module(name))
    }

    /// Whether a parameter of a module is on, or will be once the module is loaded.
    #[must_use]
    pub fn is_on(&self, module: &str, parameter: &str) -> bool {
        self.turned_on(module, parameter).is_some()
    }

    /// What says that a parameter is on, and its value there: the module itself, or, while it is not
    /// loaded, what modprobe will give it.
    #[must_use]
    pub fn turned_on(&self, module: &str, parameter: &str) -> Option<(String, String)> {
        let survey = self.module(module)?;
        let (value, source) = match survey.live.get(parameter) {
            Some(value) => (value.clone(), format!("/sys/module/{module}/parameters/{parameter}")),
            None if survey.live.is_empty() => survey.configured.get(parameter)?.clone(),
            None => return None,
        };
        (switch(Some(&value), self.machine.version()) == Some(true)).then_some((source, value))
    }

    /// vfio-pci's lists of ids.
    #[must_use]
    pub fn ids(&self) -> Lists<'_> {
        Lists::of(self.module("vfio_pci").map_or(&[], |vfio| &vfio.given))
    }

    /// What the kernel's log says about a function, by meaning.
    pub fn said(&self, meaning: Meaning) -> impl Iterator<Item = &Said> {
        self.log.is().into_iter().flatten().filter(move |said| said.meaning == meaning)
    }
}

impl Machine {
    /// Major and minor number of the kernel; zeros when the release does not begin with numbers.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        version(&self.release)
    }

    /// Whether the release is an enterprise distribution's (`.el9`): newer code is in an older number.
    #[must_use]
    pub fn is_backported(&self) -> bool {
        is_backported(&self.release)
    }
}
