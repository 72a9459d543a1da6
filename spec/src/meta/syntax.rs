//! The syntaxes that names, labels and keys must follow, and the sentences that tell people so.
//!
//! Sources: RFC 1035, RFC 1123, and `k8s.io/apimachinery/pkg/util/validation` for the wording. A function
//! answers with everything wrong with its argument.

const SUBDOMAIN_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

const DNS_1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS_1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS_1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
    start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
    regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', \
    '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  \
    or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and \
    end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
    regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' \
    (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Inner bytes as `inner` allows, the first and the last as `edge` allows, and not empty.
fn edged(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [only] => edge(*only),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|byte| inner(*byte)),
    }
}

fn is_dns_1123_label(text: &str) -> bool {
    edged(text, is_lower_alphanumeric, |byte| is_lower_alphanumeric(byte) || byte == b'-')
}

fn is_word(text: &str) -> bool {
    edged(
        text,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
    )
}

fn faults(text: &str, max: usize, matches: bool, sentence: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > max {
        faults.push(too_long(max));
    }
    if !matches {
        faults.push(sentence.to_owned());
    }
    faults
}

/// RFC 1123 labels joined by dots, at most 253 bytes.
pub fn dns_1123_subdomain_faults(text: &str) -> Vec<String> {
    faults(text, SUBDOMAIN_MAX_BYTES, text.split('.').all(is_dns_1123_label), DNS_1123_SUBDOMAIN)
}

/// Lower case letters, digits and `-`, at most 63 bytes.
pub fn dns_1123_label_faults(text: &str) -> Vec<String> {
    faults(text, LABEL_MAX_BYTES, is_dns_1123_label(text), DNS_1123_LABEL)
}

/// As [`dns_1123_label_faults`], and beginning with a letter.
pub fn dns_1035_label_faults(text: &str) -> Vec<String> {
    let matches = is_dns_1123_label(text) && text.as_bytes()[0].is_ascii_lowercase();
    faults(text, LABEL_MAX_BYTES, matches, DNS_1035_LABEL)
}

/// What could not stand between two slashes of a path.
pub(super) fn path_segment_faults(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| text.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// A label key: an optional DNS subdomain and a slash, then at most 63 bytes.
pub fn qualified_name_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            match *prefix {
                "" => faults.push("prefix part must be non-empty".to_owned()),
                prefix => faults.extend(
                    dns_1123_subdomain_faults(prefix).into_iter().map(|fault| format!("prefix part {fault}")),
                ),
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {QUALIFIED_NAME} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX_BYTES {
        faults.push(format!("name part {}", too_long(LABEL_MAX_BYTES)));
    }
    if !is_word(name) {
        faults.push(format!("name part {QUALIFIED_NAME}"));
    }
    faults
}

/// The value of a label: empty, or at most 63 bytes of a word.
pub fn label_value_faults(text: &str) -> Vec<String> {
    faults(text, LABEL_MAX_BYTES, text.is_empty() || is_word(text), LABEL_VALUE)
}

/// The name of an environment variable as Kubernetes takes it since 1.34: any printable ASCII but `=`.
pub fn env_name_faults(text: &str) -> Vec<String> {
    match !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        true => Vec::new(),
        false => vec![ENV_NAME.to_owned()],
    }
}

/// A key of a ConfigMap or Secret, which becomes a file name; `Err` has everything wrong with it.
pub fn is_config_key(text: &str) -> Result<(), Vec<String>> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let mut found =
        faults(text, SUBDOMAIN_MAX_BYTES, !text.is_empty() && text.bytes().all(inner), CONFIG_KEY);
    found.extend(dotted_path_faults(text));
    match found.is_empty() {
        true => Ok(()),
        false => Err(found),
    }
}

/// A name that is or begins like a way up in a file system.
fn dotted_path_faults(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("must not be '{text}'")],
        text if text.starts_with("..") => vec!["must not start with '..'".to_owned()],
        _ => Vec::new(),
    }
}

/// The name of a port (RFC 6335): at most 15 of `[a-z0-9-]`, a letter among them, hyphens only alone and inside.
pub fn port_name_faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 15 {
        faults.push("must be no more than 15 bytes".to_owned());
    }
    if !text.bytes().all(|byte| is_lower_alphanumeric(byte) || byte == b'-') {
        faults.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}
