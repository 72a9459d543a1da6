//! The kubeconfig of the cluster's administrator: everything that kubectl, helm and client libraries need.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ca::IssuedCertificate;

/// The name of cluster, user and context in the file.
pub const CONTEXT: &str = "isopod";

/// The file's content: one cluster, one user with a client certificate, one context, all data inline.
///
/// `server` is a URL such as `https://127.0.0.1:6443`.
pub fn render(server: &str, ca_pem: &str, client: &IssuedCertificate) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: {CONTEXT}\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\nusers:\n- name: {CONTEXT}\n  user:\n    \
         client-certificate-data: {certificate}\n    client-key-data: {key}\ncontexts:\n- name: {CONTEXT}\n  \
         context:\n    cluster: {CONTEXT}\n    user: {CONTEXT}\n    namespace: default\ncurrent-context: {CONTEXT}\n",
        ca = encode(ca_pem),
        certificate = encode(&client.certificate_pem),
        key = encode(&client.key_pem),
    )
}
