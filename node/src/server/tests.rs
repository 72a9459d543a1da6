//! The server as members meet it, over TLS.

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::client::api_client;
use crate::logs::{PodRef, Stream};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, group: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, group);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

struct Fixture {
    authority: Authority,
    address: SocketAddr,
    logs: Logs,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::new(folder.path().to_owned());
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            authority_pem: authority.0.pem(),
            identity: authority.issue("system:nodes"),
            groups: ["system:masters".to_owned()].into(),
            pods: "127.42.0.0/16".parse().unwrap(),
        };
        let mut metrics = Registry::default();
        let counter: prometheus_client::metrics::counter::Counter = Default::default();
        metrics.register("visits", "As an example", counter);
        // Nothing here asks the API.
        let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let nobody = kube::Client::try_from(nobody).unwrap();
        let claims = Claims::new(nobody, "n", &folder.path().join("claims"));
        let server = Server::bind(config, logs.clone(), claims, metrics).await.unwrap();
        let (address, stop) = (server.address().unwrap(), CancellationToken::new());
        tokio::spawn(server.run(stop.clone()));
        tokio::spawn(logs.flusher().run(stop.clone()));
        Self { authority, address, logs, stop, _folder: folder }
    }

    async fn get(&self, identity: &Identity, path: &str) -> Result<(StatusCode, String), kube::Error> {
        let server = format!("https://{}", self.address).parse().unwrap();
        let client = api_client(&[server], &self.authority.0.pem(), identity).unwrap().client;
        let request = Request::get(path).body(kube::client::Body::empty()).unwrap();
        let response = client.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn members_read_logs_and_metrics() {
    let fixture = Fixture::new().await;
    let member = fixture.authority.issue("system:masters");
    let pod = PodRef { namespace: "ns".into(), name: "p".into(), uid: "u".into() };
    let sink = fixture.logs.open(&pod, "c", 0);
    sink.writer(Stream::Stdout).write(b"one\ntwo\n");
    sink.close();
    let get = async |path: &str| fixture.get(&member, path).await.unwrap();
    assert_eq!(get("/healthz").await, (StatusCode::OK, "ok".to_owned()));
    assert_eq!(get("/containerLogs/ns/p/c?follow=true").await, (StatusCode::OK, "one\ntwo\n".to_owned()));
    assert_eq!(get("/containerLogs/ns/p/c?tailLines=1").await, (StatusCode::OK, "two\n".to_owned()));
    for (path, status) in [
        ("/containerLogs/ns/other/c", StatusCode::NOT_FOUND),
        ("/containerLogs/ns/p/other", StatusCode::BAD_REQUEST),
        ("/containerLogs/ns/p/c?previous=true", StatusCode::BAD_REQUEST),
        ("/containerLogs/ns/p/c?tailLines=x", StatusCode::BAD_REQUEST),
        ("/other", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(get(path).await.0, status, "{path}");
    }
    let (status, counted) = get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(counted.contains("visits_total 0\n"), "{counted}");
}

#[tokio::test]
async fn others_are_turned_away() {
    let fixture = Fixture::new().await;
    let node = fixture.authority.issue("system:nodes");
    assert_eq!(fixture.get(&node, "/healthz").await.unwrap().0, StatusCode::FORBIDDEN);
    let stranger = Authority::new().issue("system:masters");
    assert!(fixture.get(&stranger, "/healthz").await.is_err(), "a certificate of another authority");
}

#[tokio::test]
async fn a_client_of_several_servers_leaves_one_that_says_nothing() {
    let fixture = Fixture::new().await;
    let member = fixture.authority.issue("system:masters");
    // It takes connections, and never a word follows: as a process that was stopped.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = [silent.local_addr().unwrap(), fixture.address];
    let servers = servers.map(|address| format!("https://{address}").parse().unwrap());
    let client = api_client(&servers, &fixture.authority.0.pem(), &member).unwrap().client;
    let ask = async || {
        let request = Request::get("/healthz").body(kube::client::Body::empty()).unwrap();
        client.send(request).await.map(|response| response.status())
    };
    assert!(ask().await.is_err(), "the request that found out fails");
    assert_eq!(ask().await.unwrap(), StatusCode::OK);
}
