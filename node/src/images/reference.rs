//! `image:` to registry, repository, tag and digest.

use oci_client::Reference;

use super::ImageError;

/// Parses a reference as Docker and Kubernetes read it: without a host it is Docker Hub's, without a tag `latest`.
pub(super) fn parse(image: &str) -> Result<Reference, ImageError> {
    let invalid = |reason: String| ImageError::InvalidName { image: image.to_owned(), reason };
    let parsed: Reference =
        image.parse().map_err(|error: oci_client::ParseError| invalid(error.to_string()))?;
    // The parser takes a first part in capitals for a path.
    if parsed.repository().contains(|c: char| c.is_ascii_uppercase()) {
        return Err(invalid("repository name must be lowercase".to_owned()));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::PullPolicy;

    #[test]
    fn references_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, registry, repository, tag) in [
            ("nginx", "docker.io", "library/nginx", Some("latest")),
            ("registry.local/app:v1", "registry.local", "app", Some("v1")),
            ("registry.local/team/app", "registry.local", "team/app", Some("latest")),
            ("localhost:5000/a/b:c", "localhost:5000", "a/b", Some("c")),
            (&format!("ghcr.io/x/y@{digest}"), "ghcr.io", "x/y", None),
        ] {
            let parsed = parse(image).unwrap();
            assert_eq!(
                (parsed.registry(), parsed.repository(), parsed.tag()),
                (registry, repository, tag),
                "{image}"
            );
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_by_name() {
        for image in
            ["", "UPPER/case", "a b", "x:y:z", "registry.local/app@sha256:short", "http://registry.local/app"]
        {
            let error = parse(image).unwrap_err().to_string();
            assert!(error.starts_with(&format!("couldn't parse image name {image:?}: ")), "{error}");
        }
    }

    #[test]
    fn the_policy_defaults_by_the_tag() {
        let digest = format!("registry.local/a@sha256:{}", "a".repeat(64));
        for (declared, image, want) in [
            (None, "registry.local/a", PullPolicy::Always),
            (None, "registry.local/a:latest", PullPolicy::Always),
            (None, "registry.local/a:v1", PullPolicy::IfNotPresent),
            (None, &digest, PullPolicy::IfNotPresent),
            (Some("Never"), "registry.local/a", PullPolicy::Never),
            (Some("Always"), "registry.local/a:v1", PullPolicy::Always),
            (Some("IfNotPresent"), "registry.local/a:latest", PullPolicy::IfNotPresent),
        ] {
            assert_eq!(PullPolicy::of(declared, image), want, "{declared:?} {image}");
        }
    }
}
