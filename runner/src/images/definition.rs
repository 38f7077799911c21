//! The definition of an image: `image.toml`, parsed and validated. Pure: reads no file. Must not
//! know how an image is built.

use std::fmt::Write as _;

use serde::Deserialize;

/// Part of every image's name. Raise it whenever the builder's output for the same definition changes.
pub const BUILDER_VERSION: u32 = 2;

/// The script that configures the tree after its packages are installed.
pub const SETUP: &str = include_str!("setup.sh");
/// How much of the hash is in an image's name: enough to avoid collisions.
const NAME_BYTES: usize = 16;
/// Longest list in a definition.
const MAX_LIST_ENTRIES: usize = 1000;
/// Longest word in a definition.
const MAX_WORD_BYTES: usize = 200;
/// Lower numbers belong to the distribution's own users.
const MIN_UID: u32 = 1000;
const MAX_UID: u32 = 59_999;

/// A valid definition. Its values become arguments of programs that run as root, so all of them are
/// plain words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDefinition {
    /// First part of the image's name, such as "base".
    pub name: String,
    /// Debian's suite, such as "bookworm".
    pub suite: String,
    /// URL of a Debian mirror.
    pub mirror: String,
    /// URL of a mirror of Debian's security updates.
    pub security_mirror: String,
    /// A metapackage that depends on the kernel to use.
    pub kernel: String,
    /// Host name until the agent sets the workspace's own.
    pub hostname: String,
    /// Value of LANG.
    pub locale: String,
    /// Locales to generate, with their character sets.
    pub locales: Vec<String>,
    /// Debian packages to install.
    pub packages: Vec<String>,
    /// The user that programs of the workspace run as.
    pub user: GuestUser,
}

/// The guest's user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestUser {
    /// Login name.
    pub name: String,
    /// From 1000 to 59999.
    pub uid: u32,
    /// From 1000 to 59999.
    pub gid: u32,
    /// Absolute path of the login shell.
    pub shell: String,
    /// Supplementary groups.
    pub groups: Vec<String>,
}

/// The packages that the setup script uses.
const REQUIRED_PACKAGES: [&str; 2] = ["kmod", "sudo"];

impl ImageDefinition {
    /// Parses and validates a definition. The error says what is wrong, as a clause for users.
    pub fn parse(text: &str) -> Result<Self, String> {
        let definition: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        definition.validate()?;
        Ok(definition)
    }

    fn validate(&self) -> Result<(), String> {
        check_word("name", &self.name, "-")?;
        check_word("suite", &self.suite, "-")?;
        check_word("kernel", &self.kernel, "-+.")?;
        check_word("hostname", &self.hostname, "-")?;
        check_word("locale", &self.locale, "_.-@")?;
        check_mirror("mirror", &self.mirror)?;
        check_mirror("security_mirror", &self.security_mirror)?;
        check_words("locales", &self.locales, "_.-@")?;
        check_words("packages", &self.packages, "-+.")?;
        self.user.validate()?;
        if let Some(locale) = self.locales.iter().find(|locale| !locale.contains('.')) {
            return Err(format!("the locale {locale:?} needs a character set, such as en_US.UTF-8"));
        }
        let needs_locales = (!self.locales.is_empty()).then_some("locales");
        match REQUIRED_PACKAGES
            .into_iter()
            .chain(needs_locales)
            .find(|required| !self.packages.iter().any(|package| package == required))
        {
            Some(missing) => Err(format!("packages must contain {missing:?}")),
            None => Ok(()),
        }
    }
}

impl GuestUser {
    fn validate(&self) -> Result<(), String> {
        check_word("user.name", &self.name, "-_")?;
        check_words("user.groups", &self.groups, "-_")?;
        let Some(shell) = self.shell.strip_prefix('/') else {
            return Err("user.shell must be an absolute path".into());
        };
        check_word("user.shell", shell, "-_./")?;
        for (field, number) in [("user.uid", self.uid), ("user.gid", self.gid)] {
            if !(MIN_UID..=MAX_UID).contains(&number) {
                return Err(format!("{field} must be from {MIN_UID} to {MAX_UID}"));
            }
        }
        Ok(())
    }
}

/// The hash in the name of the image that this builder makes from a definition's text.
pub fn hash_definition(text: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("burrow image definition");
    hasher.update(&BUILDER_VERSION.to_le_bytes());
    // The setup script is part of the builder.
    hasher.update(&(SETUP.len() as u64).to_le_bytes());
    hasher.update(SETUP.as_bytes());
    hasher.update(text.as_bytes());
    short_hash(&hasher)
}

/// The beginning of a hash, in hexadecimal.
pub fn short_hash(hasher: &blake3::Hasher) -> String {
    hasher.finalize().as_bytes()[..NAME_BYTES].iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn check_words(field: &str, list: &[String], also: &str) -> Result<(), String> {
    if list.len() > MAX_LIST_ENTRIES {
        return Err(format!("{field} has more than {MAX_LIST_ENTRIES} entries"));
    }
    list.iter().try_for_each(|text| check_word(field, text, also))
}

/// Accepts a letter or digit, then letters, digits and the characters in `also`: nothing that a
/// shell or a program interprets.
fn check_word(field: &str, text: &str, also: &str) -> Result<(), String> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || also.contains(character);
    let begins_well = text.starts_with(|character: char| character.is_ascii_alphanumeric());
    if begins_well && text.len() <= MAX_WORD_BYTES && text.chars().all(is_plain) {
        return Ok(());
    }
    Err(format!("{field} is {text:?}, but may contain only letters, digits and {also:?}"))
}

fn check_mirror(field: &str, text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| format!("{field} must begin with http:// or https://"))?;
    check_word(field, rest, "-._~:/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = include_str!("../../../images/base/image.toml");

    #[test]
    fn base_definition_is_valid() {
        let base = ImageDefinition::parse(BASE).expect("it parses");
        assert_eq!((base.user.name.as_str(), base.user.uid, base.user.gid), ("dev", 1000, 1000));
        assert!(base.packages.iter().any(|package| package == "e2fsprogs"), "the agent needs it");
    }

    #[test]
    fn values_with_shell_syntax_are_refused() {
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
            assert!(ImageDefinition::parse(&BASE.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn any_change_renames_the_image() {
        let name = hash_definition(BASE);
        assert_eq!(name.len(), 2 * NAME_BYTES);
        assert_eq!(name, hash_definition(BASE));
        assert_ne!(name, hash_definition(&format!("{BASE}\n")));
    }
}
