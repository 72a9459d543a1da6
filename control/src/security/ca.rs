//! The cluster's certificate authority: one ECDSA P-256 key in the data folder signs every identity.
//!
//! Files, all below `<data>/pki` and readable by the owner only: `ca.crt` and `ca.key` are made once; the
//! certificates of servers and clients are made anew at every start, so an address that changed or a
//! certificate near its end needs no renewal command.

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// How long the authority itself is valid: ten years, as kubeadm's.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// How long an issued certificate is valid unless it is said otherwise: a year, as kubeadm's.
pub const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Certificates begin so long ago, so that clocks may differ a little; those that last for less than an hour begin later,
/// since whoever renews them looks at both ends.
const BACKDATE: Duration = Duration::from_secs(600);

/// What the names of members end with in their certificates.
pub(super) const PEER_DOMAIN: &str = ".isopod.internal";

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused.
    #[error("cannot access {path}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A stored file is not what it should be.
    #[error(
        "{path} is damaged; restore it, or remove the pki folder to make a new authority (every kubeconfig and node must then be given new certificates)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

/// Whom a client certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Common name: the user.
    pub user: String,
    /// Organizations: the groups.
    pub groups: Vec<String>,
}

impl Subject {
    /// The person who runs the cluster.
    pub fn admin() -> Subject {
        Subject { user: "isopod-admin".into(), groups: vec![super::identity::MASTERS.into()] }
    }

    /// A node's agent.
    pub fn node(name: &str) -> Subject {
        Subject { user: format!("system:node:{name}"), groups: vec![super::identity::NODES.into()] }
    }

    /// A member among its peers.
    pub fn peer(member: u64) -> Subject {
        Subject { user: format!("system:member:{member}"), groups: vec![super::identity::MEMBERS.into()] }
    }

    /// A member, when it asks a node for logs.
    pub fn member() -> Subject {
        Subject { user: "system:isopod".into(), groups: vec![super::identity::MASTERS.into()] }
    }
}

/// A certificate and its private key, PEM.
#[derive(Clone)]
pub struct IssuedCertificate {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS #8 PEM.
    pub key_pem: String,
}

impl IssuedCertificate {
    /// The certificate as TLS wants it.
    pub fn certificate_der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).expect("PEM that rcgen wrote")
    }

    /// The key as TLS wants it.
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("PEM that rcgen wrote")
    }
}

/// Signs the cluster's certificates.
pub struct CertificateAuthority {
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Reads the authority from `<data>/pki`, or makes it there on first start.
    pub fn load_or_create(data_dir: &Path) -> Result<CertificateAuthority, Error> {
        let (certificate, key) = files(data_dir);
        if certificate.exists() && key.exists() {
            return CertificateAuthority::load(&certificate, &key);
        }
        let authority = CertificateAuthority::generate()?;
        authority.write(data_dir)?;
        Ok(authority)
    }

    /// The authority of a cluster that this member joins; nothing is written yet.
    pub(crate) fn received(certificate_pem: String, key_pem: String) -> Result<CertificateAuthority, Error> {
        let pair = KeyPair::from_pem(&key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair)?;
        Ok(CertificateAuthority { certificate_pem, key_pem, issuer })
    }

    /// Writes it to `<data>/pki`.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<(), Error> {
        let (certificate, key) = files(data_dir);
        let folder = data_dir.join("pki");
        fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder, source })?;
        write_private(&key, self.key_pem.as_bytes())?;
        write_private(&certificate, self.certificate_pem.as_bytes())
    }

    fn load(certificate: &Path, key: &Path) -> Result<CertificateAuthority, Error> {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
        };
        let (certificate_pem, key_pem) = (read(certificate)?, read(key)?);
        let pair =
            KeyPair::from_pem(&key_pem).map_err(|source| Error::Damaged { path: key.to_owned(), source })?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, pair)
            .map_err(|source| Error::Damaged { path: certificate.to_owned(), source })?;
        Ok(CertificateAuthority { certificate_pem, key_pem, issuer })
    }

    /// A new authority that lives in memory only.
    pub fn generate() -> Result<CertificateAuthority, Error> {
        let pair = KeyPair::generate()?;
        let key_pem = pair.serialize_pem();
        let mut params = valid_for(CertificateParams::default(), CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "isopod-ca");
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&pair)?;
        let issuer = Issuer::new(params, pair);
        Ok(CertificateAuthority { certificate_pem: certificate.pem(), key_pem, issuer })
    }

    /// The authority's own certificate, PEM: what clients trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The same as TLS wants it.
    pub fn certificate_der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .expect("PEM that was read or made here")
    }

    /// The authority's key, PEM: for another member of the cluster only.
    pub(crate) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A client certificate for `subject`.
    pub fn issue_client(&self, subject: &Subject) -> Result<IssuedCertificate, Error> {
        self.issue_client_for(subject, LIFE)
    }

    /// The client and the server certificate of a node, valid for `life`.
    pub fn issue_node(
        &self,
        name: &str,
        address: IpAddr,
        life: Duration,
    ) -> Result<(IssuedCertificate, IssuedCertificate), Error> {
        let subject = Subject::node(name);
        let client = self.issue_client_for(&subject, life)?;
        Ok((client, self.issue_server_for(&subject.user, &[address], &[name], life)?))
    }

    fn issue_client_for(&self, subject: &Subject, life: Duration) -> Result<IssuedCertificate, Error> {
        let mut params = valid_for(CertificateParams::default(), life);
        params.distinguished_name.push(DnType::CommonName, subject.user.as_str());
        for group in &subject.groups {
            params.distinguished_name.push(DnType::OrganizationName, group.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// A server certificate for the addresses and names that clients connect to.
    pub fn issue_server(
        &self,
        common_name: &str,
        ips: &[IpAddr],
        names: &[&str],
    ) -> Result<IssuedCertificate, Error> {
        self.issue_server_for(common_name, ips, names, LIFE)
    }

    fn issue_server_for(
        &self,
        common_name: &str,
        ips: &[IpAddr],
        names: &[&str],
        life: Duration,
    ) -> Result<IssuedCertificate, Error> {
        let mut params = valid_for(CertificateParams::default(), life);
        params.distinguished_name.push(DnType::CommonName, common_name);
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.subject_alt_names.extend(ips.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A member's certificate for both ends of its connections with the others.
    pub fn issue_peer(&self, member: u64) -> Result<IssuedCertificate, Error> {
        let subject = Subject::peer(member);
        let mut params = valid_for(CertificateParams::default(), LIFE);
        params.distinguished_name.push(DnType::CommonName, subject.user);
        for group in subject.groups {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.subject_alt_names.push(SanType::DnsName(peer_name(member).try_into()?));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<IssuedCertificate, Error> {
        params.use_authority_key_identifier_extension = true;
        let pair = KeyPair::generate()?;
        let certificate = params.signed_by(&pair, &self.issuer)?;
        Ok(IssuedCertificate { certificate_pem: certificate.pem(), key_pem: pair.serialize_pem() })
    }
}

/// The name in a member's certificate, whatever its address is: whoever connects to a member knows whom it wants.
pub fn peer_name(member: u64) -> String {
    format!("member-{member}{PEER_DOMAIN}")
}

/// Certificate and key of the authority.
fn files(data_dir: &Path) -> (PathBuf, PathBuf) {
    (data_dir.join("pki/ca.crt"), data_dir.join("pki/ca.key"))
}

fn valid_for(mut params: CertificateParams, life: Duration) -> CertificateParams {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - BACKDATE.min(life / 2);
    params.not_after = now + life;
    params
}

/// Reads such a file; `None` when there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path: path.to_owned(), source }),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&draft).map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&draft, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_survives_a_restart_and_a_damaged_key_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let first = CertificateAuthority::load_or_create(folder.path()).expect("made");
        let again = CertificateAuthority::load_or_create(folder.path()).expect("read");
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        again.issue_client(&Subject::admin()).expect("signs after a restart");

        fs::write(folder.path().join("pki/ca.key"), "no key").expect("written");
        let error = CertificateAuthority::load_or_create(folder.path()).err().expect("refused");
        assert!(error.to_string().contains("pki/ca.key is damaged"), "{error}");
    }

    #[test]
    fn private_files_are_readable_by_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a temporary folder");
        CertificateAuthority::load_or_create(folder.path()).expect("made");
        let mode = fs::metadata(folder.path().join("pki/ca.key")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
