//! What a list or watch request asks for: the parameters of `meta.k8s.io` ListOptions and their rules.

use std::time::Duration;

use isopod_raft_store::Revision;
use isopod_spec::field_error::{FieldErrors, Path};
use isopod_spec::status::{GroupKind, Status};

use super::page::Token;
use super::query::Query;

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadAt {
    /// Includes every write acknowledged before the request.
    Latest,
    /// Whatever this member has now.
    Any,
    /// At least as new as the revision.
    NotOlderThan(Revision),
    /// The state at exactly this revision.
    Exact(Revision),
}

/// A list request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListOptions {
    /// Which state is listed; for a page after the first, the token decides.
    pub(crate) at: ReadAt,
    /// Page size; `None` = all.
    pub(crate) limit: Option<usize>,
    /// Where the previous page ended.
    pub(crate) token: Option<Token>,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchFrom {
    /// Every object as it is, as ADDED events, then changes.
    State(ReadAt),
    /// Changes after the present.
    Now,
    /// Changes after this revision.
    Revision(Revision),
}

/// A watch request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchOptions {
    /// Where it begins.
    pub(crate) from: WatchFrom,
    /// Whether the client takes BOOKMARK events.
    pub(crate) bookmarks: bool,
    /// Whether a bookmark marks the end of the initial state (streaming lists).
    pub(crate) initial_events_end: bool,
    /// After how long the server ends the watch; `None` = the server's choice.
    pub(crate) timeout: Option<Duration>,
}

/// `resourceVersionMatch`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Exact,
    NotOlderThan,
}

const LIST_OPTIONS: GroupKind<'static> = GroupKind { group: "meta.k8s.io", kind: "ListOptions" };
const MATCH: Path<'static> = Path::new("resourceVersionMatch");
const INITIAL: Path<'static> = Path::new("sendInitialEvents");

/// Reads the options of a list.
pub(crate) fn list(query: &Query) -> Result<ListOptions, Status> {
    let mut errors = FieldErrors::new();
    let text = query.text("resourceVersion");
    let asked = version_match(query, &["Exact", "NotOlderThan", ""], &mut errors);
    if query.text("resourceVersionMatch").is_some() {
        if text.is_none() {
            errors.forbidden(&MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.text("continue").is_some() {
            errors.forbidden(&MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
        if asked == Some(Match::Exact) && text == Some("0") {
            errors.forbidden(&MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if query.get("sendInitialEvents").is_some() {
        errors.forbidden(&INITIAL, "sendInitialEvents is forbidden for list");
    }
    refuse(errors)?;
    let version = resource_version(text)?;
    let token = query.text("continue").map(Token::decode).transpose()?;
    if token.is_some() && version.is_some_and(|version| version.0 != 0) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let at = read_at(version, asked, limit(query)?.is_some());
    // A cached read is served whole, as upstream's watch cache does.
    let limit = if at == ReadAt::Any && token.is_none() { None } else { limit(query)? };
    Ok(ListOptions { at, limit, token })
}

/// Reads the options of a watch.
pub(crate) fn watch(query: &Query) -> Result<WatchOptions, Status> {
    let mut errors = FieldErrors::new();
    let initial = query.flag("sendInitialEvents");
    let asked = version_match(query, &["NotOlderThan"], &mut errors);
    if initial.is_some() && asked != Some(Match::NotOlderThan) {
        errors.forbidden(&MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if query.text("resourceVersionMatch").is_some() {
        if initial.is_none() {
            errors.forbidden(
                &MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if query.text("continue").is_some() {
            errors.forbidden(&MATCH, "resourceVersionMatch is forbidden when continue is provided");
        }
    }
    refuse(errors)?;
    let version = resource_version(query.text("resourceVersion"))?;
    let from = match (initial, version) {
        (Some(true), version) => WatchFrom::State(read_at(version, Some(Match::NotOlderThan), false)),
        (Some(false), None | Some(Revision(0))) => WatchFrom::Now,
        (None, None | Some(Revision(0))) => WatchFrom::State(read_at(version, None, false)),
        (_, Some(revision)) => WatchFrom::Revision(revision),
    };
    let bookmarks = query.is_set("allowWatchBookmarks");
    Ok(WatchOptions {
        from,
        bookmarks,
        initial_events_end: bookmarks && initial == Some(true),
        timeout: timeout(query)?,
    })
}

/// How fresh a GET of one object must be.
pub(crate) fn get(query: &Query) -> Result<ReadAt, Status> {
    Ok(read_at(resource_version(query.text("resourceVersion"))?, None, false))
}

fn read_at(version: Option<Revision>, asked: Option<Match>, paged: bool) -> ReadAt {
    match (version, asked) {
        (None, _) => ReadAt::Latest,
        (Some(Revision(0)), _) => ReadAt::Any,
        (Some(revision), Some(Match::Exact)) => ReadAt::Exact(revision),
        // A first page at a version, without a match rule, has always meant exactly that version.
        (Some(revision), None) if paged => ReadAt::Exact(revision),
        (Some(revision), _) => ReadAt::NotOlderThan(revision),
    }
}

fn version_match(query: &Query, supported: &[&str], errors: &mut FieldErrors) -> Option<Match> {
    match query.text("resourceVersionMatch")? {
        "NotOlderThan" => Some(Match::NotOlderThan),
        "Exact" if supported.contains(&"Exact") => Some(Match::Exact),
        other => {
            errors.not_supported(&MATCH, other, supported);
            None
        }
    }
}

fn refuse(errors: FieldErrors) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(LIST_OPTIONS, "", &errors)) }
}

/// A `resourceVersion` parameter.
pub(crate) fn resource_version(text: Option<&str>) -> Result<Option<Revision>, Status> {
    text.map(|text| match text.parse() {
        Ok(number) => Ok(Revision(number)),
        Err(error) => Err(Status::bad_request(format!("invalid resource version: {text:?}: {error}"))),
    })
    .transpose()
}

fn limit(query: &Query) -> Result<Option<usize>, Status> {
    let limit = integer(query, "limit")?.unwrap_or(0);
    Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0))
}

fn timeout(query: &Query) -> Result<Option<Duration>, Status> {
    let seconds = integer(query, "timeoutSeconds")?.unwrap_or(0);
    Ok(u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

fn integer(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    query.integer(name).map_err(|value| {
        Status::bad_request(format!("invalid value {value:?} of the parameter {name}: not an integer"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(raw: &str) -> Result<ListOptions, Status> {
        list(&Query::parse(Some(raw)))
    }

    fn watch_of(raw: &str) -> Result<WatchOptions, Status> {
        watch(&Query::parse(Some(raw)))
    }

    #[test]
    fn a_list_reads_the_state_its_version_asks_for() {
        for (raw, at, limit) in [
            ("", ReadAt::Latest, None),
            ("limit=500", ReadAt::Latest, Some(500)),
            ("resourceVersion=0", ReadAt::Any, None),
            ("resourceVersion=0&limit=500", ReadAt::Any, None),
            ("resourceVersion=7", ReadAt::NotOlderThan(Revision(7)), None),
            ("resourceVersion=7&limit=2", ReadAt::Exact(Revision(7)), Some(2)),
            (
                "resourceVersion=7&limit=2&resourceVersionMatch=NotOlderThan",
                ReadAt::NotOlderThan(Revision(7)),
                Some(2),
            ),
            ("resourceVersion=7&resourceVersionMatch=Exact", ReadAt::Exact(Revision(7)), None),
            ("limit=-1", ReadAt::Latest, None),
        ] {
            let options = list_of(raw).expect(raw);
            assert_eq!((options.at, options.limit), (at, limit), "{raw}");
        }
    }

    #[test]
    fn a_list_refuses_what_cannot_go_together() {
        for (raw, code, words) in [
            (
                "resourceVersionMatch=Exact",
                422,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                422,
                "\"exact\" is forbidden for resourceVersion \"0\"",
            ),
            ("resourceVersionMatch=Newest&resourceVersion=1", 422, "Unsupported value: \"Newest\""),
            ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
            ("resourceVersion=abc", 400, "invalid resource version"),
            ("limit=x", 400, "limit"),
            ("continue=%21", 400, "continue key is not valid"),
        ] {
            let status = list_of(raw).expect_err(raw);
            assert_eq!(status.code, code, "{raw}");
            assert!(status.message.contains(words), "{raw}: {}", status.message);
        }
        let token = Token { revision: Some(Revision(5)), start: "a".into() }.encode();
        let status = list_of(&format!("continue={token}&resourceVersion=5")).expect_err("both");
        assert_eq!(status.code, 400);
    }

    #[test]
    fn a_watch_begins_where_it_is_told() {
        for (raw, from) in [
            ("", WatchFrom::State(ReadAt::Latest)),
            ("resourceVersion=0", WatchFrom::State(ReadAt::Any)),
            ("resourceVersion=9", WatchFrom::Revision(Revision(9))),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", WatchFrom::State(ReadAt::Latest)),
            (
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=9",
                WatchFrom::State(ReadAt::NotOlderThan(Revision(9))),
            ),
            ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan", WatchFrom::Now),
            (
                "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=9",
                WatchFrom::Revision(Revision(9)),
            ),
        ] {
            assert_eq!(watch_of(raw).expect(raw).from, from, "{raw}");
        }
        let streaming = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=9";
        let options = watch_of(streaming).expect("a streaming list");
        assert!(options.initial_events_end && options.bookmarks);
        assert_eq!(options.timeout, Some(Duration::from_secs(9)));
    }

    #[test]
    fn a_watch_refuses_what_cannot_go_together() {
        for raw in [
            "sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan&resourceVersion=1",
            "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1",
        ] {
            assert_eq!(watch_of(raw).expect_err(raw).code, 422, "{raw}");
        }
    }
}
