//! The node's certificates are renewed before they end: after two thirds of their life the node, by showing those it has,
//! asks for new ones.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::client::{Identity, Shown, TlsError};
use crate::known::Known;

/// A machine may sleep, and its clock be set: the time is looked at this often.
const LOOK: Duration = Duration::from_secs(600);
/// A renewal that failed is tried again after this share of the time that is left, and not sooner than the other.
const RETRY_SHARE: i64 = 20;
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Renews the certificates.
pub(crate) struct Renewal {
    pub(crate) client: kube::Client,
    pub(crate) name: String,
    pub(crate) address: IpAddr,
    /// What is shown to the API.
    pub(crate) to_api: Arc<Shown>,
    /// What the node's own server shows.
    pub(crate) to_members: Arc<Shown>,
    pub(crate) known: watch::Sender<Known>,
}

#[derive(Serialize)]
struct Asked {
    address: IpAddr,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    client_certificate_pem: String,
    client_key_pem: String,
    server_certificate_pem: String,
    server_key_pem: String,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the API did not give new certificates")]
    Asked(#[source] kube::Error),
    #[error("the certificates that the API gave cannot be used")]
    Unusable(#[from] TlsError),
}

impl Renewal {
    /// Works until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut wait = Duration::ZERO;
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            let life = Life::of(&self.known.borrow().client);
            let now = Timestamp::now().as_second();
            wait = match life {
                Some(life) if life.wait(now).is_zero() => {
                    match shutdown.run_until_cancelled(self.renew()).await {
                        None => return,
                        Some(Ok(())) => RETRY_MIN,
                        Some(Err(error)) => {
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(
                                error,
                                left_seconds = life.end - now,
                                "the node's certificates are not renewed"
                            );
                            life.retry(now)
                        }
                    }
                }
                Some(life) => life.wait(now),
                None => LOOK,
            };
        }
    }

    async fn renew(&self) -> Result<(), Error> {
        let body = serde_json::to_vec(&Asked { address: self.address }).expect("an address is text");
        let request = Request::post(format!("/isopod/v1/nodes/{}/certificates", self.name))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| Error::Asked(kube::Error::HttpError(error)))?;
        let given: Given = self.client.request(request).await.map_err(Error::Asked)?;
        let client =
            Identity { certificate_pem: given.client_certificate_pem, key_pem: given.client_key_pem };
        let server =
            Identity { certificate_pem: given.server_certificate_pem, key_pem: given.server_key_pem };
        self.to_members.set(&server)?;
        self.to_api.set(&client)?;
        self.known.send_modify(|known| (known.client, known.server) = (client, server));
        tracing::info!("the node's certificates are renewed");
        Ok(())
    }
}

/// When a certificate begins and ends, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    begin: i64,
    end: i64,
}

impl Life {
    fn of(identity: &Identity) -> Option<Life> {
        let certificates = identity.certificates("the node's client certificate").ok()?;
        let (_, certificate) = X509Certificate::from_der(certificates.first()?).ok()?;
        let validity = certificate.validity();
        Some(Life { begin: validity.not_before.timestamp(), end: validity.not_after.timestamp() })
    }

    /// How long it is until it is to be renewed, or looked at again.
    fn wait(self, now: i64) -> Duration {
        let due = self.begin + (self.end - self.begin) / 3 * 2;
        Duration::from_secs(u64::try_from(due - now).unwrap_or(0)).min(LOOK)
    }

    fn retry(self, now: i64) -> Duration {
        let share = u64::try_from((self.end - now) / RETRY_SHARE).unwrap_or(0);
        Duration::from_secs(share).clamp(RETRY_MIN, LOOK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_after_two_thirds_of_their_life() {
        let life = Life { begin: 1000, end: 1300 };
        let seconds = Duration::from_secs;
        assert_eq!([1000, 1150, 1199, 1200, 1400].map(|now| life.wait(now)), [200, 50, 1, 0, 0].map(seconds));
        assert_eq!(Life { begin: 0, end: 31_536_000 }.wait(0), LOOK);
        assert_eq!([1200, 1290, 1400].map(|now| life.retry(now)), [5, 1, 1].map(seconds));
    }

    #[test]
    fn the_life_of_a_certificate_is_read_from_it() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
        let certificate_pem = params.self_signed(&key).unwrap().pem();
        let life = Life::of(&Identity { certificate_pem, key_pem: String::new() }).unwrap();
        assert_eq!(life.end - life.begin, 365 * 24 * 3600);
        assert_eq!(Life::of(&Identity { certificate_pem: String::new(), key_pem: String::new() }), None);
    }
}
