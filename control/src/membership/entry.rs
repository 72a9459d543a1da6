//! What is asked of every machine that wants in, as a member or as a node: a token, a clock that is right, a release that
//! is understood, a name that is one.

use isopod_raft_store::{Revision, Snapshot};
use isopod_spec::status::Status;
use jiff::Timestamp;

use super::protocol;
use super::token::{self, Credential, Role};

/// How far the clocks of two machines may differ: certificates begin ten minutes back, and leases, tokens and events are
/// judged by whoever looks at them.
const CLOCK_DIFFERENCE_MAX: u64 = 60;
/// Longest name, as of a host.
const NAME_BYTES_MAX: usize = 253;

/// Somebody at the door.
pub(super) struct Entry {
    shown: Credential,
    role: Role,
    /// When it came: a token that was valid then is.
    at: Timestamp,
}

impl Entry {
    /// Reads what is shown; nothing is compared with the cluster's state yet.
    pub(super) fn read(version: u32, token: &str, role: Role) -> Result<Entry, Status> {
        if version != protocol::VERSION {
            return Err(Status::bad_request(format!(
                "the joining machine speaks version {version} of the join protocol, this cluster version {}: use the same release",
                protocol::VERSION
            )));
        }
        let shown = token.parse().map_err(|_| refused(token::Refused::Unknown))?;
        Ok(Entry { shown, role, at: Timestamp::now() })
    }

    /// What was shown.
    pub(super) fn shown(&self) -> &Credential {
        &self.shown
    }

    /// The key of the token's Secret and when it was last written, if it lets its owner in.
    pub(super) fn check_token(&self, state: &Snapshot) -> Result<(Vec<u8>, Revision), Status> {
        token::check_stored(state, &self.shown, self.role, self.at).map_err(refused)
    }

    /// Compares clocks.
    pub(super) fn check_clock(&self, theirs: i64) -> Result<(), Status> {
        clock(theirs, self.at.as_second()).map_err(Status::bad_request)
    }
}

fn refused(refused: token::Refused) -> Status {
    Status::bad_request(refused.to_string())
}

fn clock(theirs: i64, ours: i64) -> Result<(), String> {
    let difference = theirs.saturating_sub(ours);
    if difference.unsigned_abs() <= CLOCK_DIFFERENCE_MAX {
        return Ok(());
    }
    let way = if difference > 0 { "ahead of" } else { "behind" };
    Err(format!(
        "the joining machine's clock is {} seconds {way} this member's, {CLOCK_DIFFERENCE_MAX} are allowed: set the clocks (for instance by NTP) and try again",
        difference.unsigned_abs()
    ))
}

/// Whether `name` may be that of a `what`, member or node: one of a host.
pub(super) fn check_name(name: &str, what: &str) -> Result<(), String> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(sound) {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot be the name of a {what}: it must have lower-case letters, digits, - and . only; choose another with --name"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_a_minute() {
        assert_eq!([0, 60, -60].map(|difference| clock(1000 + difference, 1000)), [Ok(()), Ok(()), Ok(())]);
        let error = clock(4600, 1000).unwrap_err();
        assert!(error.contains("3600 seconds ahead of"), "{error}");
        let error = clock(i64::MIN, i64::MAX).unwrap_err();
        assert!(error.contains("behind"), "{error}");
    }

    #[test]
    fn another_release_and_what_is_no_token_are_refused_unseen() {
        let error = |version, token| Entry::read(version, token, Role::Node).err().expect("refused").message;
        assert!(error(protocol::VERSION + 1, "").contains("use the same release"));
        assert!(error(protocol::VERSION, "nonsense").contains("does not know the token"));
    }

    #[test]
    fn names_are_those_of_hosts() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for (name, sound) in
            [("b-1.example", true), ("12", true), ("", false), ("A", false), ("a b", false), (&*long, false)]
        {
            assert_eq!(check_name(name, "node").is_ok(), sound, "{name:?}");
        }
    }
}
