//! Software bills of materials in CycloneDX's JSON: one of the crates in the executable, from
//! `cargo tree` and the lock file, and one of the packages in the web app, from npm.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use anyhow::{Context, Result};

use super::Release;
use crate::{node, root, run};

/// Writes both bills.
pub fn write(release: &Release) -> Result<()> {
    let tree = run::output(run::cargo().args([
        "tree",
        "--locked",
        "--package=burrow",
        "--package=workspace-agent",
        "--edges=normal",
        "--target=x86_64-unknown-linux-gnu",
        "--prefix=none",
        "--format={p}|{l}",
    ]))?;
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("Cannot read Cargo.lock")?;
    let bill = bill(&release.version, &components(&tree), &checksums(&lock));
    fs::write(release.sbom(), bill).context("Cannot write the SBOM")?;
    let web = run::output(node::npm().args(["sbom", "--sbom-format=cyclonedx", "--omit=dev"]))?;
    fs::write(release.web_sbom(), web).context("Cannot write the SBOM of the web app")
}

/// Name and version of a crate.
type Id = (String, String);

/// The licence of each crate, from lines such as `serde v1.0.0|MIT OR Apache-2.0`.
fn components(tree: &str) -> BTreeMap<Id, String> {
    tree.lines()
        .filter_map(|line| {
            let (package, license) = line.split_once('|')?;
            let mut words = package.split_whitespace();
            let name = words.next()?.to_owned();
            let version = words.next()?.strip_prefix('v')?.to_owned();
            Some(((name, version), license.trim_end_matches(" (*)").to_owned()))
        })
        .collect()
}

/// The SHA-256 of each crate of a registry, from `Cargo.lock`.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|package| {
            Some(((value(package, "name")?, value(package, "version")?), value(package, "checksum")?))
        })
        .collect()
}

fn bill(version: &str, components: &BTreeMap<Id, String>, checksums: &BTreeMap<Id, String>) -> String {
    let entries: Vec<String> = components
        .iter()
        .map(|(id, license)| component(id, license, checksums.get(id).map(String::as_str)))
        .collect();
    format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n  \"version\": 1,\n  \
         \"metadata\": {{ \"component\": {{ \"type\": \"application\", \"name\": \"burrow\", \
         \"version\": \"{version}\" }} }},\n  \"components\": [\n{}\n  ]\n}}\n",
        entries.join(",\n")
    )
}

fn component((name, version): &Id, license: &str, sha256: Option<&str>) -> String {
    let mut entry = format!("    {{ \"type\": \"library\", \"name\": \"{name}\", \"version\": \"{version}\"");
    if let Some(sha256) = sha256 {
        let _ = write!(
            entry,
            ", \"purl\": \"pkg:cargo/{name}@{version}\", \
             \"hashes\": [{{ \"alg\": \"SHA-256\", \"content\": \"{sha256}\" }}]"
        );
    }
    if !license.is_empty() {
        // Old manifests separate alternatives with a slash; SPDX says OR.
        let license = license.replace(" / ", " OR ").replace('/', " OR ");
        let _ = write!(entry, ", \"licenses\": [{{ \"expression\": \"{license}\" }}]");
    }
    entry + " }"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_has_checksum_and_license() {
        let components = components("a v1.0.0|MIT/Apache-2.0\nb v0.1.0 (/work/b)|Apache-2.0 (*)\n");
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n";
        let bill = bill("0.1.0", &components, &checksums(lock));
        assert!(bill.contains("pkg:cargo/a@1.0.0") && bill.contains("00ff"), "{bill}");
        assert!(bill.contains("MIT OR Apache-2.0"), "{bill}");
        assert!(bill.contains("\"name\": \"b\"") && !bill.contains("pkg:cargo/b"), "{bill}");
    }
}
