//! `isopod get`: tables as the server makes them, or the objects themselves.

use std::io::Write as _;

use anyhow::Context as _;
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http::Request;
use kube::Client;
use serde_json::Value;

use crate::client::Connection;
use crate::target::{self, Scope, Target};

/// The Table form of Kubernetes' API conventions, whole objects kept out.
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Arguments of `get`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// KIND, KIND NAME… or KIND/NAME…
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Label selector, as app=web,tier!=cache
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Field selector, as status.phase=Running
    #[arg(long, value_name = "SELECTOR")]
    field_selector: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Leave out the line of column names
    #[arg(long)]
    no_headers: bool,
    /// Go on with every change, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Forms of an answer.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// The columns that fit a screen
    Table,
    /// All columns
    Wide,
    /// KIND/NAME, one a line
    Name,
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
}

/// Prints what was asked for.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client().await?;
    let targets = target::parse(&args.objects)?;
    for target in &targets {
        for path in paths(&args, &client, target) {
            show(&args, &client, target, &path).await?;
        }
    }
    Ok(())
}

/// One path for each name, or one for the whole collection.
fn paths(args: &Args, client: &Client, target: &Target) -> Vec<String> {
    let namespace = args.scope.resolve(client);
    if !target.names.is_empty() {
        return target.names.iter().map(|name| target::object(target.kind, namespace, name)).collect();
    }
    let mut path = target::collection(target.kind, (!args.all_namespaces).then_some(namespace));
    let selectors = [("labelSelector", &args.selector), ("fieldSelector", &args.field_selector)];
    let pairs = selectors
        .iter()
        .filter_map(|(name, text)| text.as_ref().map(|text| format!("{name}={}", target::escape(text))));
    let query = pairs.collect::<Vec<_>>().join("&");
    if !query.is_empty() {
        path = format!("{path}?{query}");
    }
    vec![path]
}

async fn show(args: &Args, client: &Client, target: &Target, path: &str) -> anyhow::Result<()> {
    let as_table = matches!(args.output, Output::Table | Output::Wide | Output::Name);
    let accept = if as_table { TABLE } else { "application/json" };
    let request = Request::get(path).header("Accept", accept).body(Vec::new())?;
    let answer: Value = client.request(request).await?;
    print(args, target, &answer, true)?;
    if args.watch {
        let revision = answer["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
        watch(args, client, target, path, &revision, accept).await?;
    }
    Ok(())
}

async fn watch(
    args: &Args,
    client: &Client,
    target: &Target,
    path: &str,
    revision: &str,
    accept: &str,
) -> anyhow::Result<()> {
    let join = if path.contains('?') { '&' } else { '?' };
    let uri = format!("{path}{join}watch=1&resourceVersion={revision}");
    let request = Request::get(uri).header("Accept", accept).body(Vec::new())?;
    let mut lines = std::pin::pin!(client.request_stream(request).await?.lines());
    while let Some(line) = lines.next().await {
        let event: Value =
            serde_json::from_str(&line?).context("the watch sent something that is not JSON")?;
        print(args, target, &event["object"], false)?;
    }
    Ok(())
}

fn print(args: &Args, target: &Target, answer: &Value, first: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => writeln!(out, "{answer:#}")?,
        Output::Yaml => write!(out, "---\n{}", serde_saphyr::to_string(answer)?)?,
        Output::Name => {
            for row in rows(answer) {
                let name = row["object"]["metadata"]["name"].as_str().unwrap_or_default();
                writeln!(out, "{}/{name}", target.kind.singular)?;
            }
        }
        Output::Table | Output::Wide => {
            let lines = table(answer, args.output == Output::Wide, args.all_namespaces);
            if first && lines.len() == 1 {
                eprintln!("No resources found");
                return Ok(());
            }
            let skip = usize::from(!first || args.no_headers);
            for line in align(&lines).into_iter().skip(skip) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

fn rows(answer: &Value) -> &[Value] {
    answer["rows"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Headers and rows as text cells.
fn table(answer: &Value, wide: bool, with_namespace: bool) -> Vec<Vec<String>> {
    let columns = answer["columnDefinitions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<usize> =
        (0..columns.len()).filter(|&i| wide || columns[i]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), Into::into);
    let header = shown.iter().map(|&i| columns[i]["name"].as_str().unwrap_or_default().to_uppercase());
    let header: Vec<String> =
        with_namespace.then(|| "NAMESPACE".to_owned()).into_iter().chain(header).collect();
    let body = rows(answer).iter().map(|row| {
        let namespace = row["object"]["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let cells = shown.iter().map(|&i| text(&row["cells"][i]));
        with_namespace.then_some(namespace).into_iter().chain(cells).collect()
    });
    std::iter::once(header).chain(body).collect()
}

/// Pads cells so that columns line up, three spaces apart.
fn align(lines: &[Vec<String>]) -> Vec<String> {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |i: usize| {
        lines.iter().filter_map(|line| line.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let pad = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    };
    lines.iter().map(pad).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_drop_wide_columns_and_line_up() {
        let answer = json!({
            "columnDefinitions": [{ "name": "Name", "priority": 0 }, { "name": "Age", "priority": 0 }, { "name": "IP", "priority": 1 }],
            "rows": [
                { "cells": ["a-long-name", "5s", "127.0.0.1"], "object": { "metadata": { "namespace": "x" } } },
                { "cells": ["b", 3, null], "object": { "metadata": { "namespace": "yy" } } },
            ],
        });
        assert_eq!(
            align(&table(&answer, false, false)),
            ["NAME          AGE", "a-long-name   5s", "b             3"]
        );
        assert_eq!(align(&table(&answer, false, true))[1], "x           a-long-name   5s");
        assert_eq!(table(&answer, true, false)[0], ["NAME", "AGE", "IP"]);
    }
}
