//! Who this member is: the one that lives in the data folder, the first of a new cluster, or one that joins.
//!
//! Nothing is written before it is decided, so a start that fails can be tried again.

use isopod_raft_store::{ClusterId, Founding, MemberId};
use jiff::Timestamp;

use super::{Config, StartError};
use crate::membership::SERVICE_ACCOUNT_KEY;
use crate::membership::folder::Folder;
use crate::membership::join;
use crate::membership::protocol::{self, JoinAnswer, JoinRequest};
use crate::membership::token::{AuthorityHash, JoinToken};
use crate::security::{CertificateAuthority, ca};

/// What to do with a data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// Go on with the member that lives in it; an empty folder is an error.
    Continue,
    /// Found a cluster when it is empty.
    Found,
    /// Go on alone with what its member has, as a new cluster: the others are lost for good.
    ForceNewCluster,
    /// Go on with its member, whose store is set aside and fetched anew from the others.
    Reseed,
    /// Join a cluster when it is empty.
    Join {
        /// `host:port` of the API of a member.
        server: String,
        /// Lets it in.
        token: JoinToken,
    },
}

/// What was done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Began {
    /// Its member goes on.
    Continued,
    /// It is the first member of a new cluster.
    Founded,
    /// It has joined.
    Joined {
        /// What the person should know.
        warning: Option<String>,
    },
}

/// Service addresses of a cluster that is founded without saying which: as `isopod dev`, whose nodes are on one machine too.
const SERVICE_CIDR: &str = "127.43.0.0/16";

/// A member that is decided.
pub(super) struct Identity {
    pub(super) folder: Folder,
    pub(super) service_cidr: String,
    pub(super) authority: CertificateAuthority,
    pub(super) began: Began,
}

/// Decides, and writes it down.
pub(super) async fn begin(config: &Config, api: &str, peers: Option<&str>) -> Result<Identity, StartError> {
    if let Some(folder) = Folder::read(&config.data_dir)? {
        return go_on(config, folder);
    }
    match &config.beginning {
        Beginning::Continue | Beginning::ForceNewCluster | Beginning::Reseed => {
            Err(StartError::NobodyHome { dir: config.data_dir.clone() })
        }
        Beginning::Found => found(config),
        Beginning::Join { server, token } => {
            let request = JoinRequest {
                version: protocol::VERSION,
                token: token.credential.to_string(),
                name: config.name.clone(),
                peer_address: peers.unwrap_or_default().to_owned(),
                api_address: api.to_owned(),
                time: Timestamp::now().as_second(),
                service_cidr: config.service_cidr.clone(),
                key: format!("{:032x}", rand::random::<u128>()),
            };
            let answer = join::join(server, token.authority, &request).await?;
            take_in(config, server, token.authority, answer)
        }
    }
}

fn go_on(config: &Config, mut folder: Folder) -> Result<Identity, StartError> {
    if let Some(name) = &config.name {
        folder.name.clone_from(name);
    }
    if config.beginning == Beginning::Reseed {
        if folder.introduced.is_empty() {
            return Err(StartError::NobodyToAsk { dir: config.data_dir.clone() });
        }
        folder.founding = Founding::Reseed;
    }
    let told = config.service_cidr.as_ref().or(folder.service_cidr.as_ref());
    let service_cidr = told.map_or(SERVICE_CIDR, String::as_str).to_owned();
    folder.service_cidr = Some(service_cidr.clone());
    let authority = CertificateAuthority::load_or_create(&config.data_dir)?;
    folder.write(&config.data_dir)?;
    Ok(Identity { folder, service_cidr, authority, began: Began::Continued })
}

fn found(config: &Config) -> Result<Identity, StartError> {
    let service_cidr = config.service_cidr.clone().unwrap_or_else(|| SERVICE_CIDR.to_owned());
    let folder = Folder::founder(config.name.clone(), service_cidr.clone());
    let authority = CertificateAuthority::load_or_create(&config.data_dir)?;
    folder.write(&config.data_dir)?;
    Ok(Identity { folder, service_cidr, authority, began: Began::Founded })
}

/// Writes down what the cluster said.
fn take_in(
    config: &Config,
    server: &str,
    pinned: AuthorityHash,
    answer: JoinAnswer,
) -> Result<Identity, StartError> {
    let unsound = || StartError::Join(join::Error::Answer { server: server.to_owned() });
    let cluster = u64::from_str_radix(&answer.cluster, 16).map_err(|_| unsound())?;
    let authority = CertificateAuthority::received(answer.authority_pem, answer.authority_key_pem)?;
    if AuthorityHash::of(&authority.certificate_der()) != pinned || answer.member == 0 {
        return Err(unsound());
    }
    let others = answer.members.into_iter().filter(|(member, _)| *member != answer.member);
    let folder = Folder {
        member: MemberId(answer.member),
        name: answer.name,
        cluster: Some(ClusterId(cluster)),
        founding: Founding::Join,
        service_cidr: Some(answer.service_cidr.clone()),
        introduced: others.map(|(member, record)| (MemberId(member), record.peer_address)).collect(),
    };
    authority.write(&config.data_dir)?;
    if let Some(key) = answer.service_account_key_pem {
        ca::write_private(&config.data_dir.join(SERVICE_ACCOUNT_KEY), key.as_bytes())?;
    }
    folder.write(&config.data_dir)?;
    let (service_cidr, began) = (answer.service_cidr, Began::Joined { warning: answer.warning });
    Ok(Identity { folder, service_cidr, authority, began })
}
