//! A certificate authority of one installation, for networks where no public authority issues
//! certificates. Users trust its certificate once; server certificates are issued from it for the
//! names and addresses that the host has at present.
//!
//! A user who trusts this CA trusts everyone who has its key. So only the server's user can read the key,
//! and the CA certificate is limited to names of local networks and of this host: with a stolen key,
//! nobody can pretend to be another web site by name.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use gateway::{CertificatePem, CertificateSource, ServerCertificate};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData as _,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use time::{Duration, OffsetDateTime};

const CERTIFICATE_FILE: &str = "ca.crt";
const KEY_FILE: &str = "ca.key";
/// The names that the CA certificate is limited to, one a line.
const NAMES_FILE: &str = "ca.names";

/// Ends of names that only local networks use, and localhost.
const LOCAL_NAMES: [&str; 5] = ["localhost", "local", "lan", "internal", "home.arpa"];

/// Validity of the CA certificate. Users must trust a new one after that.
const CA_VALIDITY: Duration = Duration::days(3650);

/// Validity of a server certificate. Some systems accept at most 398 days.
const SERVER_VALIDITY: Duration = Duration::days(90);

/// Age at which a server certificate is replaced.
const RENEWAL_AGE: Duration = Duration::days(30);

/// How far clocks of users may be behind ours.
const CLOCK_TOLERANCE: Duration = Duration::days(1);

/// The CA, and the server certificate that it issued last.
pub struct LocalCa<N> {
    directory: PathBuf,
    key: KeyPair,
    /// In PEM.
    certificate: String,
    /// Names that it may issue certificates for; also names below them.
    permitted: BTreeSet<String>,
    /// The names and addresses of the host at present.
    names: N,
    issued: Option<Issued>,
}

/// The server certificate in use.
struct Issued {
    at: OffsetDateTime,
    names: BTreeSet<String>,
}

impl<N: Fn() -> Vec<String>> LocalCa<N> {
    /// Opens the CA in `directory`, or makes one. `names` returns the host's names and addresses.
    pub fn open(directory: &Path, names: N) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let (certificate_file, key_file) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
        match (read_if_exists(&certificate_file)?, read_if_exists(&key_file)?) {
            (None, None) => make(directory, &names())?,
            // A crash between the two files: nobody has seen the certificate yet.
            (None, Some(_)) => make(directory, &names())?,
            (Some(_), None) => bail!("{KEY_FILE} is missing"),
            (Some(_), Some(_)) => {}
        }
        let certificate = fs::read_to_string(&certificate_file).context(CERTIFICATE_FILE)?;
        let key_pem = fs::read_to_string(&key_file).context(KEY_FILE)?;
        let pem = CertificatePem { certificates: certificate.clone(), key: key_pem.clone().into() };
        ServerCertificate::try_from(pem)?;
        let permitted = read_if_exists(&directory.join(NAMES_FILE))?.unwrap_or_default();
        Ok(Self {
            directory: directory.to_owned(),
            key: KeyPair::from_pem(&key_pem).context(KEY_FILE)?,
            certificate,
            permitted: permitted.lines().map(str::to_owned).collect(),
            names,
            issued: None,
        })
    }

    /// The CA certificate in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The file of the CA certificate.
    pub fn certificate_file(&self) -> PathBuf {
        self.directory.join(CERTIFICATE_FILE)
    }

    /// SHA-256 of the CA certificate, as browsers show it: `AB:CD:…`.
    pub fn fingerprint(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let der = der.expect("it was parsed when it was opened");
        let hex: Vec<String> =
            digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        hex.join(":")
    }

    /// Issues a server certificate for these names, with a new key that is only in memory.
    fn issue(&self, names: &BTreeSet<String>, now: OffsetDateTime) -> anyhow::Result<ServerCertificate> {
        let mut params = CertificateParams::new(names.iter().cloned().collect::<Vec<_>>())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Burrow");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - CLOCK_TOLERANCE;
        params.not_after = now + SERVER_VALIDITY;
        let key = KeyPair::generate()?;
        let issuer = Issuer::new(ca_params(&self.key, &self.permitted, now), &self.key);
        let chain = format!("{}{}", params.signed_by(&key, &issuer)?.pem(), self.certificate);
        let pem = CertificatePem { certificates: chain, key: key.serialize_pem().into() };
        Ok(ServerCertificate::try_from(pem)?)
    }

    /// The host's names that the CA may issue a certificate for.
    fn current_names(&self) -> BTreeSet<String> {
        (self.names)().into_iter().filter(|name| is_permitted(name, &self.permitted)).collect()
    }

    fn poll_at(&mut self, now: OffsetDateTime) -> anyhow::Result<Option<ServerCertificate>> {
        let names = self.current_names();
        let is_current = |issued: &Issued| issued.names == names && (now - issued.at).abs() < RENEWAL_AGE;
        if self.issued.as_ref().is_some_and(is_current) {
            return Ok(None);
        }
        ensure!(!names.is_empty(), "this host has no name or address that the CA is for");
        let certificate = self.issue(&names, now)?;
        self.issued = Some(Issued { at: now, names });
        Ok(Some(certificate))
    }
}

impl<N> std::fmt::Debug for LocalCa<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCa").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl<N: Fn() -> Vec<String> + Send> CertificateSource for LocalCa<N> {
    fn poll(&mut self) -> anyhow::Result<Option<ServerCertificate>> {
        self.poll_at(OffsetDateTime::now_utc())
    }
}

/// Makes a CA for local names and for the names that the host has now.
fn make(directory: &Path, names: &[String]) -> anyhow::Result<()> {
    let own = names.iter().filter(|name| name.parse::<std::net::IpAddr>().is_err()).map(String::as_str);
    let permitted: BTreeSet<String> = LOCAL_NAMES.into_iter().chain(own).map(str::to_owned).collect();
    let key = KeyPair::generate()?;
    let certificate = ca_params(&key, &permitted, OffsetDateTime::now_utc()).self_signed(&key)?;
    let lines: Vec<&str> = permitted.iter().map(String::as_str).collect();
    write_file(&directory.join(KEY_FILE), &key.serialize_pem(), 0o600)?;
    write_file(&directory.join(NAMES_FILE), &lines.join("\n"), 0o644)?;
    // The last one: with it the CA exists.
    write_file(&directory.join(CERTIFICATE_FILE), &certificate.pem(), 0o644)?;
    Ok(())
}

/// The content of the CA certificate. Its name is different for each key, because browsers refuse two
/// authorities with one name.
fn ca_params(key: &KeyPair, permitted: &BTreeSet<String>, now: OffsetDateTime) -> CertificateParams {
    let hash = digest(&SHA256, key.der_bytes());
    let id = hash.as_ref().iter().take(4).fold(0_u32, |id, byte| (id << 8) | u32::from(*byte));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Burrow local CA {id:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - CLOCK_TOLERANCE;
    params.not_after = now + CA_VALIDITY;
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.iter().cloned().map(GeneralSubtree::DnsName).collect(),
        excluded_subtrees: Vec::new(),
    });
    params
}

/// Whether a name is one of these or below one of them. Addresses are not limited.
fn is_permitted(name: &str, permitted: &BTreeSet<String>) -> bool {
    let is_below = |parent: &String| {
        name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    name.parse::<std::net::IpAddr>().is_ok() || permitted.iter().any(is_below)
}

fn read_if_exists(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that is complete or does not exist, whatever happens.
fn write_file(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    // One of an earlier start may have other permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt as _,
        sync::{Arc, Mutex},
    };

    use super::*;

    fn open(directory: &Path, names: &[&str]) -> anyhow::Result<LocalCa<impl Fn() -> Vec<String> + use<>>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        LocalCa::open(directory, move || names.clone())
    }

    #[test]
    fn ca_survives_restart_with_private_key() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join("tls");
        let first = open(&directory, &["lab-1", "192.0.2.1"]).expect("made");
        let second = open(&directory, &["lab-1"]).expect("opened");
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint().len(), 32 * 3 - 1);
        let mode = fs::metadata(directory.join(KEY_FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_file(directory.join(KEY_FILE)).expect("removed");
        let error = open(&directory, &[]).map(drop).expect_err("refused");
        assert!(error.to_string().contains("ca.key is missing"), "{error}");
        let other = open(&place.path().join("other"), &[]).expect("made");
        fs::copy(other.directory.join(KEY_FILE), directory.join(KEY_FILE)).expect("copied");
        assert!(open(&directory, &[]).is_err(), "the key of another CA");
    }

    #[test]
    fn certificate_follows_names_and_time() {
        let place = tempfile::tempdir().expect("a directory");
        let names = Arc::new(Mutex::new(vec!["lab-1".to_owned(), "192.0.2.1".to_owned()]));
        let current = names.clone();
        let mut ca =
            LocalCa::open(place.path(), move || current.lock().expect("unused").clone()).expect("made");
        let now = OffsetDateTime::now_utc();
        let mut is_new = |now| ca.poll_at(now).expect("issued").is_some();
        assert!(is_new(now));
        assert!(!is_new(now + Duration::days(29)));
        assert!(is_new(now + Duration::days(31)), "it is old");
        names.lock().expect("unused").push("192.0.2.2".to_owned());
        assert!(is_new(now + Duration::days(31)), "a new address");
        names.lock().expect("unused").push("bank.example".to_owned());
        assert!(!is_new(now + Duration::days(31)), "a name that the CA is not for");
        assert!(!is_new(now + Duration::days(2)), "the clock was set back");
        assert!(is_new(now - Duration::days(2)), "the certificate is not valid yet");
    }

    #[test]
    fn names_are_limited() {
        let permitted = BTreeSet::from(["local".to_owned(), "lab-1".to_owned()]);
        for (name, expected) in
            [("lab-1", true), ("x.local", true), ("xlocal", false), ("bank.example", false), ("::1", true)]
        {
            assert_eq!(is_permitted(name, &permitted), expected, "{name}");
        }
    }
}
