//! What a kernel's release (`uname -r`) tells.

/// Whether a release is an enterprise distribution's: `5.14.0-503.el9.x86_64` has much of what came
/// after 5.14.
#[must_use]
pub fn is_backported(release: &str) -> bool {
    release.split('.').any(|part| {
        let number = part.strip_prefix("el").map(|rest| rest.split('_').next().unwrap_or_default());
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Major and minor number of a kernel's release; zeros when it does not begin with numbers.
#[must_use]
pub fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_of_an_enterprise_distribution_is_told_by_its_tag() {
        for (release, expected) in [
            ("4.18.0-553.el8_10.x86_64", true),
            ("5.14.0-503.11.1.el9_5.x86_64", true),
            ("6.12.0-55.el10.x86_64", true),
            ("5.15.0-200.131.27.el9uek.x86_64", false),
            ("6.1.0-50-amd64", false),
            ("6.1.0.el", false),
        ] {
            assert_eq!(is_backported(release), expected, "{release}");
        }
    }

    #[test]
    fn a_release_begins_with_two_numbers() {
        for (release, version) in [("6.1.0-50-amd64", (6, 1)), ("6.12.94+deb12-amd64", (6, 12)), ("next", (0, 0))] {
            assert_eq!(super::version(release), version, "{release}");
        }
    }
}
