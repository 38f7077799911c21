//! The container image: Debian with the package installed, as an OCI archive that `docker load`,
//! `podman load` and `skopeo` read. It is written without a container engine: one layer from
//! `mmdebstrap`, and the three JSON files that the format asks for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::Release;
use crate::run;

/// The Debian release inside. The same as the base image's.
const SUITE: &str = "bookworm";
/// Media types of the OCI image specification.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Builds the image of the release.
pub fn build(release: &Release) -> Result<()> {
    let directory = release.directory.join("oci");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let blobs = Blobs(directory.join("blobs/sha256"));
    fs::create_dir_all(&blobs.0)?;

    let layer = directory.join("layer.tar");
    debian_with_package(release, &layer)?;
    let layer_digest = sha256(&layer)?;
    run::run(Command::new("gzip").args(["-n", "-6"]).arg(&layer))?;
    let layer = blobs.add_file(&directory.join("layer.tar.gz"), LAYER)?;
    let config = blobs.add_text(&config(&layer_digest), CONFIG)?;
    let manifest = format!(
        "{{ \"schemaVersion\": 2, \"mediaType\": \"{MANIFEST}\", \"config\": {config}, \
         \"layers\": [{layer}] }}"
    );
    let manifest = blobs.add_text(&manifest, MANIFEST)?;
    let named = manifest.replacen(
        '{',
        &format!(
            "{{ \"annotations\": {{ \"org.opencontainers.image.ref.name\": \"burrow:{}\" }},",
            release.version
        ),
        1,
    );
    fs::write(
        directory.join("index.json"),
        format!("{{ \"schemaVersion\": 2, \"manifests\": [{named}] }}\n"),
    )?;
    fs::write(directory.join("oci-layout"), "{ \"imageLayoutVersion\": \"1.0.0\" }\n")?;
    run::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--owner=0", "--group=0", "--file"])
            .arg(release.image())
            .arg("--directory")
            .arg(&directory)
            .args(["oci-layout", "index.json", "blobs"]),
    )?;
    Ok(fs::remove_dir_all(&directory)?)
}

/// A root file system with the package and its dependencies, as a tar archive.
fn debian_with_package(release: &Release, target: &Path) -> Result<()> {
    let package = release.package();
    let package = package.to_str().context("the path of the package is text")?;
    run::run(
        Command::new("mmdebstrap")
            .args(["--variant=apt", "--mode=root", "--aptopt=APT::Install-Recommends \"false\""])
            .args(["--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*"])
            .args(["--dpkgopt=path-include=/usr/share/doc/burrow/*"])
            .arg(format!("--customize-hook=copy-in {package} /tmp"))
            .arg("--customize-hook=chroot \"$1\" sh -c 'apt-get install -y -q /tmp/*.deb'")
            .arg("--customize-hook=chroot \"$1\" sh -c 'rm /tmp/*.deb && apt-get clean'")
            .arg(SUITE)
            .arg(target),
    )
}

/// What a container runs. Networks of workspaces need a privileged container.
fn config(layer_digest: &str) -> String {
    format!(
        "{{ \"architecture\": \"amd64\", \"os\": \"linux\", \"config\": {{ \
         \"Env\": [\"PATH=/usr/sbin:/usr/bin:/sbin:/bin\", \"BURROW_LISTEN=0.0.0.0\"], \
         \"Entrypoint\": [\"/usr/bin/burrow\"], \"Cmd\": [\"up\"], \"StopSignal\": \"SIGINT\", \
         \"ExposedPorts\": {{ \"8080/tcp\": {{}} }}, \"Volumes\": {{ \"/var/lib/burrow\": {{}} }} }}, \
         \"rootfs\": {{ \"type\": \"layers\", \"diff_ids\": [\"sha256:{layer_digest}\"] }} }}"
    )
}

/// The content-addressed files of the image.
struct Blobs(PathBuf);

impl Blobs {
    /// Moves a file in and returns its descriptor.
    fn add_file(&self, file: &Path, media_type: &str) -> Result<String> {
        let digest = sha256(file)?;
        let size = fs::metadata(file)?.len();
        fs::rename(file, self.0.join(&digest))?;
        Ok(format!(
            "{{ \"mediaType\": \"{media_type}\", \"digest\": \"sha256:{digest}\", \"size\": {size} }}"
        ))
    }

    fn add_text(&self, text: &str, media_type: &str) -> Result<String> {
        let file = self.0.join("new");
        fs::write(&file, text)?;
        self.add_file(&file, media_type)
    }
}

fn sha256(file: &Path) -> Result<String> {
    let text = run::output(Command::new("sha256sum").arg(file))?;
    text.split_whitespace().next().map(str::to_owned).context("sha256sum printed no checksum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blob_is_named_by_its_hash() {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = Blobs(directory.path().to_owned());
        let descriptor = blobs.add_text("{}", CONFIG).expect("added");
        let hash = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert!(descriptor.contains(hash) && descriptor.contains("\"size\": 2"), "{descriptor}");
        assert!(directory.path().join(hash).is_file());
    }
}
