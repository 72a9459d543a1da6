//! Manifests and tags: keys of the replicated store.
//!
//! `/artifacts/manifests/<name>@<digest>` holds the media type, a line feed, and the manifest's bytes;
//! `/artifacts/tags/<name>:<tag>` holds a digest. `@` and `:` cannot be in a name, so a name is never a
//! prefix of another's keys.

use bytes::Bytes;
use isopod_raft_store::{Compare, KeyRange, Op, Store, Txn};

use super::error::Error;
use super::reference::{Digest, Reference, RepositoryName};

/// A stored manifest.
pub(super) struct Manifest {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) content: Bytes,
}

#[derive(Clone)]
pub(super) struct Catalog {
    store: Store,
}

impl Catalog {
    pub(super) fn new(store: Store) -> Catalog {
        Catalog { store }
    }

    /// The manifest that a tag or digest names.
    pub(super) async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<Manifest>, Error> {
        let snapshot = self
            .store
            .linearizable()
            .await
            .map_err(|e| Error::internal("read the registry's catalog", &e))?;
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(tag) => match snapshot.get(&tag_key(name, tag)) {
                Some(entry) => Digest::parse(&String::from_utf8_lossy(&entry.value))?,
                None => return Ok(None),
            },
        };
        Ok(snapshot.get(&manifest_key(name, &digest)).map(|entry| {
            let split = entry.value.iter().position(|b| *b == b'\n').unwrap_or(0);
            let media_type = String::from_utf8_lossy(&entry.value[..split]).into_owned();
            Manifest { digest, media_type, content: entry.value.slice(split + 1..) }
        }))
    }

    /// Stores a manifest and, by one transaction, lets the tag name it.
    pub(super) async fn put(
        &self,
        name: &RepositoryName,
        tag: Option<&str>,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        let mut value = Vec::with_capacity(manifest.media_type.len() + 1 + manifest.content.len());
        value.extend_from_slice(manifest.media_type.as_bytes());
        value.push(b'\n');
        value.extend_from_slice(&manifest.content);
        let mut ops = vec![Op::Put(manifest_key(name, &manifest.digest), value.into())];
        if let Some(tag) = tag {
            ops.push(Op::Put(
                tag_key(name, tag),
                Bytes::copy_from_slice(manifest.digest.as_str().as_bytes()),
            ));
        }
        self.commit(Txn { compares: vec![], ops }).await.map(drop)
    }

    /// Removes a tag, or a manifest with all its tags. `false` when there is none.
    pub(super) async fn delete(&self, name: &RepositoryName, reference: &Reference) -> Result<bool, Error> {
        let (present, mut ops) = match reference {
            Reference::Tag(tag) => (tag_key(name, tag), vec![]),
            Reference::Digest(digest) => (manifest_key(name, digest), self.untag(name, digest)),
        };
        ops.push(Op::Delete(present.clone()));
        self.commit(Txn { compares: vec![Compare::Present(present)], ops }).await
    }

    fn untag(&self, name: &RepositoryName, digest: &Digest) -> Vec<Op> {
        let snapshot = self.store.snapshot();
        let tags = snapshot.range(&KeyRange::prefix(tag_prefix(name)));
        let named = tags.filter(|(_, entry)| entry.value == digest.as_str().as_bytes());
        named.map(|(key, _)| Op::Delete(key.clone())).collect()
    }

    async fn commit(&self, txn: Txn) -> Result<bool, Error> {
        let outcome =
            self.store.propose(txn).await.map_err(|e| Error::internal("write the registry's catalog", &e))?;
        Ok(outcome.failed.is_none())
    }

    /// Tags of a repository in order; `None` when the repository is not known.
    pub(super) fn tags(&self, name: &RepositoryName) -> Option<Vec<String>> {
        let snapshot = self.store.snapshot();
        let prefix = tag_prefix(name);
        let tags: Vec<String> = snapshot
            .range(&KeyRange::prefix(prefix.clone()))
            .map(|(key, _)| String::from_utf8_lossy(&key[prefix.len()..]).into_owned())
            .collect();
        let manifests = KeyRange::prefix(format!("{MANIFESTS}{}@", name.as_str()));
        let known = !tags.is_empty() || snapshot.range(&manifests).next().is_some();
        known.then_some(tags)
    }

    /// All repositories in order.
    pub(super) fn repositories(&self) -> Vec<String> {
        let snapshot = self.store.snapshot();
        let mut names: Vec<String> = snapshot
            .range(&KeyRange::prefix(MANIFESTS))
            .filter_map(|(key, _)| {
                let text = String::from_utf8_lossy(&key[MANIFESTS.len()..]);
                text.split_once('@').map(|(name, _)| name.to_owned())
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

const MANIFESTS: &str = "/artifacts/manifests/";
const TAGS: &str = "/artifacts/tags/";

fn manifest_key(name: &RepositoryName, digest: &Digest) -> Bytes {
    format!("{MANIFESTS}{}@{digest}", name.as_str()).into()
}

fn tag_prefix(name: &RepositoryName) -> Bytes {
    format!("{TAGS}{}:", name.as_str()).into()
}

fn tag_key(name: &RepositoryName, tag: &str) -> Bytes {
    format!("{TAGS}{}:{tag}", name.as_str()).into()
}
