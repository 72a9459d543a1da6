//! `isopod member`: who the members of the control plane are, and how they change.

use std::io::Write as _;

use http::{Method, Request};
use isopod_control::membership::protocol::{
    Done, HandOver, LEADER, MEMBERS, MemberList, MemberRole, MemberState, MemberView,
};
use isopod_control::membership::token::Role;
use kube::Client;
use serde::de::DeserializeOwned;

use crate::client::Connection;
use crate::target::escape;
use crate::token;
use crate::version::Output;

/// Arguments of `member`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    connection: Connection,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Show all members
    List {
        /// Form of the answer
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Make a token and print the command that starts one more member with it
    Add {
        /// How long the token is valid, as 30m, 1h or 7d
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = token::duration)]
        ttl: std::time::Duration,
    },
    /// Let a learner that has caught up vote at once; the leader does so by itself
    Promote {
        /// Name or number
        member: String,
    },
    /// Take a member out; its process ends, its number is never used again
    Remove {
        /// Name or number
        member: String,
    },
    /// Let another member lead
    TransferLeader {
        /// Name or number [default: whoever is furthest]
        member: Option<String>,
    },
}

/// Does what was asked.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    match args.verb {
        Verb::List { output } => list(&client, output).await,
        Verb::Add { ttl } => {
            let made = token::create(&args.connection, Role::Server, ttl).await?;
            println!("on the new machine, within the life of the token:");
            println!(
                "  isopod server --data-dir /var/lib/isopod --listen ADDRESS:6443 --peer-listen ADDRESS:6444 --join {} --token {}",
                made.server, made.token
            );
            Ok(())
        }
        Verb::Promote { member } => {
            let path = format!("{MEMBERS}/{}/promote", escape(&member));
            let done: Done = ask(&client, Method::POST, &path, Vec::new()).await?;
            say(&done, "votes");
            Ok(())
        }
        Verb::Remove { member } => {
            let path = format!("{MEMBERS}/{}", escape(&member));
            let done: Done = ask(&client, Method::DELETE, &path, Vec::new()).await?;
            say(&done, "is removed");
            Ok(())
        }
        Verb::TransferLeader { member } => {
            let body = serde_json::to_vec(&HandOver { to: member })?;
            let done: Done = ask(&client, Method::POST, LEADER, body).await?;
            say(&done, "leads");
            Ok(())
        }
    }
}

/// Asks the members' part of the API.
pub(crate) async fn ask<T: DeserializeOwned>(
    client: &Client,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> anyhow::Result<T> {
    let request =
        Request::builder().method(method).uri(path).header("Content-Type", "application/json").body(body)?;
    Ok(client.request(request).await?)
}

fn say(done: &Done, what: &str) {
    println!("member {} ({}) {what}", done.member, done.name);
    if let Some(warning) = &done.warning {
        eprintln!("warning: {warning}");
    }
}

async fn list(client: &Client, output: Output) -> anyhow::Result<()> {
    let list: MemberList = ask(client, Method::GET, MEMBERS, Vec::new()).await?;
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(&list)?)?,
        Output::Text => write!(out, "{}", table(&list))?,
    }
    if let Some(warning) = &list.warning {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

const HEADER: [&str; 9] = ["ID", "NAME", "ROLE", "LEADER", "STATE", "REVISION", "BEHIND", "PEERS", "API"];

fn table(list: &MemberList) -> String {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(header).chain(list.members.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let line = |row: &[String; 9]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(member: &MemberView) -> [String; 9] {
    let role = match member.role {
        MemberRole::Voter => "voter",
        MemberRole::Learner => "learner",
        MemberRole::None => "-",
    };
    let state = match member.state {
        MemberState::Healthy => "healthy",
        MemberState::Silent => "silent",
        MemberState::Syncing => "syncing",
        MemberState::Joining => "joining",
        MemberState::Leaving => "leaving",
        MemberState::Unknown => "unknown",
    };
    [
        member.id.to_string(),
        member.name.clone(),
        role.to_owned(),
        if member.leader { "yes" } else { "" }.to_owned(),
        state.to_owned(),
        member.revision.map_or_else(|| "-".to_owned(), |revision| revision.to_string()),
        member.behind.map_or_else(|| "-".to_owned(), |entries| entries.to_string()),
        member.peer_address.clone(),
        member.api_address.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shown_in_columns() {
        let member = |id, leader| MemberView {
            id,
            name: format!("member-{id}"),
            role: MemberRole::Voter,
            leader,
            state: if leader { MemberState::Healthy } else { MemberState::Silent },
            revision: leader.then_some(4711),
            behind: (!leader).then_some(12),
            peer_address: "127.0.0.1:6444".into(),
            api_address: "127.0.0.1:6443".into(),
            link: None,
        };
        let list = MemberList { members: vec![member(1, true), member(2, false)], ..MemberList::default() };
        assert_eq!(
            table(&list),
            "\
ID   NAME       ROLE    LEADER   STATE     REVISION   BEHIND   PEERS            API
1    member-1   voter   yes      healthy   4711       -        127.0.0.1:6444   127.0.0.1:6443
2    member-2   voter            silent    -          12       127.0.0.1:6444   127.0.0.1:6443
"
        );
    }
}
