//! What an `image.toml` says, checked. Pure: reads no file. Must not know how an image is built.

use std::fmt::Write as _;

use serde::Deserialize;

/// Goes into every image's name. Raise it whenever the builder makes something else of the same definition.
pub const BUILDER_VERSION: u32 = 2;
/// An image's name: enough of the hash that two never meet.
const NAME_BYTES: usize = 16;
/// What no list in a definition needs to exceed.
const MAX_LIST: usize = 1000;
const MAX_WORD: usize = 200;
/// Below are the distribution's own users.
const FIRST_USER: u32 = 1000;
const LAST_USER: u32 = 59_999;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub name: String,
    pub suite: String,
    pub mirror: String,
    pub security_mirror: String,
    pub kernel: String,
    pub hostname: String,
    pub locale: String,
    pub locales: Vec<String>,
    pub packages: Vec<String>,
    pub user: User,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub shell: String,
    pub groups: Vec<String>,
}

/// The packages that the setup itself runs.
const NEEDED: [&str; 2] = ["kmod", "sudo"];

impl Definition {
    /// Reads a definition. What it says becomes arguments of programs run as root, so every word has to be plain.
    pub fn parse(text: &str) -> Result<Self, String> {
        let definition: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> Result<(), String> {
        word("name", &self.name, "-")?;
        word("suite", &self.suite, "-")?;
        word("kernel", &self.kernel, "-+.")?;
        word("hostname", &self.hostname, "-")?;
        word("locale", &self.locale, "_.-@")?;
        mirror("mirror", &self.mirror)?;
        mirror("security_mirror", &self.security_mirror)?;
        words("locales", &self.locales, "_.-@")?;
        words("packages", &self.packages, "-+.")?;
        self.user.check()?;
        if let Some(locale) = self.locales.iter().find(|locale| !locale.contains('.')) {
            return Err(format!("the locale {locale:?} names no character set, as en_US.UTF-8 does"));
        }
        let needs_locales = (!self.locales.is_empty()).then_some("locales");
        match NEEDED
            .into_iter()
            .chain(needs_locales)
            .find(|needed| !self.packages.iter().any(|package| package == needed))
        {
            Some(missing) => Err(format!("packages must have {missing:?}")),
            None => Ok(()),
        }
    }
}

impl User {
    fn check(&self) -> Result<(), String> {
        word("user.name", &self.name, "-_")?;
        words("user.groups", &self.groups, "-_")?;
        let Some(shell) = self.shell.strip_prefix('/') else {
            return Err("user.shell must begin with a slash".into());
        };
        word("user.shell", shell, "-_./")?;
        for (field, number) in [("user.uid", self.uid), ("user.gid", self.gid)] {
            if !(FIRST_USER..=LAST_USER).contains(&number) {
                return Err(format!("{field} must be from {FIRST_USER} to {LAST_USER}"));
            }
        }
        Ok(())
    }
}

/// The name of the image that this builder makes of a definition's text.
pub fn image_name(text: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("burrow image definition");
    hasher.update(&BUILDER_VERSION.to_le_bytes());
    // The setup is part of the builder.
    hasher.update(&(super::rootfs::SETUP.len() as u64).to_le_bytes());
    hasher.update(super::rootfs::SETUP.as_bytes());
    hasher.update(text.as_bytes());
    short_name(&hasher)
}

/// The beginning of a hash, in hexadecimal.
pub fn short_name(hasher: &blake3::Hasher) -> String {
    hasher.finalize().as_bytes()[..NAME_BYTES].iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn words(field: &str, list: &[String], also: &str) -> Result<(), String> {
    if list.len() > MAX_LIST {
        return Err(format!("{field} has more than {MAX_LIST} entries"));
    }
    list.iter().try_for_each(|text| word(field, text, also))
}

/// A letter or digit, then letters, digits and the characters of `also`: nothing that a shell or a program would take for its own.
fn word(field: &str, text: &str, also: &str) -> Result<(), String> {
    let plain = |character: char| character.is_ascii_alphanumeric() || also.contains(character);
    let begins = text.starts_with(|character: char| character.is_ascii_alphanumeric());
    if begins && text.len() <= MAX_WORD && text.chars().all(plain) {
        return Ok(());
    }
    Err(format!("{field} cannot be {text:?}: it may have letters, digits and {also:?}"))
}

fn mirror(field: &str, text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| format!("{field} must begin with http:// or https://"))?;
    word(field, rest, "-._~:/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = include_str!("../../../images/base/image.toml");

    #[test]
    fn the_base_image_is_well_defined() {
        let base = Definition::parse(BASE).expect("it parses");
        assert_eq!((base.user.name.as_str(), base.user.uid, base.user.gid), ("dev", 1000, 1000));
        assert!(base.packages.iter().any(|package| package == "e2fsprogs"), "the agent needs it");
    }

    #[test]
    fn what_a_shell_would_read_is_refused() {
        for (from, to) in [
            ("\"git\"", "\"git; reboot\""),
            ("\"git\"", "\"--variant=custom\""),
            ("\"git\"", "\"git,vim\""),
            ("\"dev\"", "\"$(id)\""),
            ("\"dev\"", "\"../dev\""),
            ("http://deb.debian.org/debian\"", "http://deb.debian.org/debian main\\ndeb x\""),
            ("http://deb.debian.org/debian\"", "http://name:word@deb.debian.org/debian\""),
            ("uid = 1000", "uid = 0"),
            ("en_US.UTF-8", "en_US"),
            ("\"sudo\",\n    \"tmux\"", "\"tmux\""),
            ("suite =", "suit ="),
        ] {
            assert!(BASE.contains(from), "{from}");
            assert!(Definition::parse(&BASE.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn any_change_is_another_image() {
        let name = image_name(BASE);
        assert_eq!(name.len(), 2 * NAME_BYTES);
        assert_eq!(name, image_name(BASE));
        assert_ne!(name, image_name(&format!("{BASE}\n")));
    }
}
