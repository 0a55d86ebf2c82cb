//! Why a call was not answered as asked: a stable name and a sentence.

use super::call::Refusal;
use crate::names::bus::ERROR;

/// An error of the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its name: one of `org.vfiod1.Error`, or a common one of D-Bus.
    pub name: String,
    /// What a person is told.
    pub text: String,
}

impl Refused {
    /// One of the names that all D-Bus services share.
    #[must_use]
    pub fn common(name: &str, text: impl Into<String>) -> Refused {
        Refused { name: format!("org.freedesktop.DBus.Error.{name}"), text: text.into() }
    }

    /// One of vfiod's own names.
    #[must_use]
    pub fn own(name: &str, text: impl Into<String>) -> Refused {
        Refused { name: format!("{ERROR}.{name}"), text: text.into() }
    }

    /// The arguments are not as they should be, and what was expected.
    #[must_use]
    pub fn arguments(text: impl Into<String>) -> Refused {
        Refused::common("InvalidArgs", text)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        let name = match refusal {
            Refusal::NoSuchObject { .. } => "NoSuchObject",
            Refusal::InUse(_) => "InUse",
            Refusal::Refused(_) => "Refused",
            Refusal::InvalidConfiguration(_) => "InvalidConfiguration",
            Refusal::LimitsExceeded(_) => "LimitsExceeded",
            Refusal::Failed(_) => "Failed",
        };
        Refused::own(name, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_stable_name() {
        let none = Refusal::NoSuchObject { what: "gpu".into(), near: vec!["gpu0".into(), "gpu1".into()] };
        let refused = Refused::from(none);
        assert_eq!(refused.name, "org.vfiod1.Error.NoSuchObject");
        assert_eq!(refused.text, "there is no gpu; near it are: gpu0, gpu1");
        let of = |refusal: Refusal| Refused::from(refusal).name;
        assert_eq!(of(Refusal::InUse("x".into())), "org.vfiod1.Error.InUse");
        assert_eq!(of(Refusal::Refused("x".into())), "org.vfiod1.Error.Refused");
        assert_eq!(of(Refusal::InvalidConfiguration("x".into())), "org.vfiod1.Error.InvalidConfiguration");
        assert_eq!(of(Refusal::LimitsExceeded("x".into())), "org.vfiod1.Error.LimitsExceeded");
        assert_eq!(of(Refusal::Failed("x".into())), "org.vfiod1.Error.Failed");
    }
}
