//! Paths below `/v2`: which operation, on which repository.

use http::Method;

use super::error::Error;
use super::reference::{Digest, Reference, RepositoryName};

/// One operation of the distribution API. `head` asks for headers only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operation {
    Base,
    Catalog,
    Tags(RepositoryName),
    Referrers,
    GetManifest { name: RepositoryName, reference: Reference },
    PutManifest { name: RepositoryName, reference: Reference },
    DeleteManifest { name: RepositoryName, reference: Reference },
    GetBlob { name: RepositoryName, digest: Digest },
    StartUpload { name: RepositoryName },
    UploadStatus { name: RepositoryName, id: String },
    AppendUpload { name: RepositoryName, id: String },
    FinishUpload { name: RepositoryName, id: String },
    CancelUpload { id: String },
}

/// Finds the operation. A repository name may hold slashes, so the words after it are searched from the end.
pub(super) fn route(method: &Method, path: &str) -> Result<Operation, Error> {
    let rest = path.strip_prefix("/v2").ok_or_else(Error::not_found)?.trim_start_matches('/');
    let reads = method == Method::GET || method == Method::HEAD;
    match rest {
        "" if reads => return Ok(Operation::Base),
        "_catalog" if reads => return Ok(Operation::Catalog),
        "" | "_catalog" => return Err(Error::unsupported()),
        _ => {}
    }
    let parts: Vec<&str> = rest.split('/').collect();
    match parts.as_slice() {
        [name @ .., "tags", "list"] if reads => Ok(Operation::Tags(repository(name)?)),
        [name @ .., "referrers", digest] if reads => {
            repository(name)?;
            Digest::parse(digest)?;
            Ok(Operation::Referrers)
        }
        [name @ .., "manifests", reference] => {
            manifest(method, repository(name)?, Reference::parse(reference)?)
        }
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => match *method {
            Method::POST => Ok(Operation::StartUpload { name: repository(name)? }),
            _ => Err(Error::unsupported()),
        },
        [name @ .., "blobs", "uploads", id] => upload(method, repository(name)?, (*id).to_owned()),
        [name @ .., "blobs", digest] if reads => {
            Ok(Operation::GetBlob { name: repository(name)?, digest: Digest::parse(digest)? })
        }
        [_, .., "blobs", _] => Err(Error::unsupported()),
        _ => Err(Error::not_found()),
    }
}

fn repository(parts: &[&str]) -> Result<RepositoryName, Error> {
    RepositoryName::parse(&parts.join("/"))
}

fn manifest(method: &Method, name: RepositoryName, reference: Reference) -> Result<Operation, Error> {
    match *method {
        Method::GET | Method::HEAD => Ok(Operation::GetManifest { name, reference }),
        Method::PUT => Ok(Operation::PutManifest { name, reference }),
        Method::DELETE => Ok(Operation::DeleteManifest { name, reference }),
        _ => Err(Error::unsupported()),
    }
}

fn upload(method: &Method, name: RepositoryName, id: String) -> Result<Operation, Error> {
    match *method {
        Method::GET => Ok(Operation::UploadStatus { name, id }),
        Method::PATCH => Ok(Operation::AppendUpload { name, id }),
        Method::PUT => Ok(Operation::FinishUpload { name, id }),
        Method::DELETE => Ok(Operation::CancelUpload { id }),
        _ => Err(Error::unsupported()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_told_from_the_words_after_them() {
        let name = RepositoryName::parse("a/blobs/manifests").expect("valid");
        let reference = Reference::parse("v1").expect("valid");
        assert_eq!(
            route(&Method::GET, "/v2/a/blobs/manifests/manifests/v1"),
            Ok(Operation::GetManifest { name: name.clone(), reference })
        );
        assert_eq!(
            route(&Method::POST, "/v2/a/blobs/manifests/blobs/uploads/"),
            Ok(Operation::StartUpload { name })
        );
    }

    #[test]
    fn what_is_not_offered_is_refused_by_code() {
        for (method, path, code) in [
            (Method::GET, "/v2/x", "UNSUPPORTED"),
            (Method::POST, "/v2/", "UNSUPPORTED"),
            (Method::GET, "/v2/UP/tags/list", "NAME_INVALID"),
            (Method::GET, "/v2/a/blobs/sha256:1", "DIGEST_INVALID"),
            (Method::DELETE, "/v2/a/blobs/sha256:1", "UNSUPPORTED"),
            (Method::PUT, "/v2/a/manifests/.x", "TAG_INVALID"),
            (Method::GET, "/v2/../../etc/passwd/tags/list", "NAME_INVALID"),
        ] {
            assert_eq!(route(&method, path).map_err(|e| e.code), Err(code), "{method} {path}");
        }
    }
}
