//! Columns of a custom kind's table.
//!
//! Follows `pkg/registry/customresource/tableconvertor`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceColumnDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::path::Path;
use crate::table::{Cell, Column, ColumnType, age};

/// A column after that of the name.
#[derive(Clone, Debug)]
pub(super) struct PrinterColumn {
    column: Column,
    path: Path,
}

/// The columns of a version: those it declares, or the age.
pub(super) fn of(declared: Option<&[CustomResourceColumnDefinition]>) -> Vec<PrinterColumn> {
    let declared: Vec<PrinterColumn> = declared.into_iter().flatten().filter_map(column).collect();
    if !declared.is_empty() {
        return declared;
    }
    let path = Path::parse(".metadata.creationTimestamp").expect("the path is well formed");
    let description = "When the object was created.";
    let column = Column { cell_type: ColumnType::Date, description: description.into(), ..Column::AGE };
    vec![PrinterColumn { column, path }]
}

/// The headings, that of the name first.
pub(super) fn headings(columns: &[PrinterColumn]) -> Vec<Column> {
    std::iter::once(Column::NAME).chain(columns.iter().map(|own| own.column.clone())).collect()
}

fn column(declared: &CustomResourceColumnDefinition) -> Option<PrinterColumn> {
    let cell_type = match declared.type_.as_str() {
        "integer" => ColumnType::Integer,
        "number" => ColumnType::Number,
        "boolean" => ColumnType::Boolean,
        "date" => ColumnType::Date,
        _ => ColumnType::String,
    };
    let description = match declared.description.as_deref() {
        None | Some("") => {
            format!("Custom resource definition column (in JSONPath format): {}", declared.json_path)
        }
        Some(description) => description.to_owned(),
    };
    let column = Column {
        name: declared.name.clone().into(),
        cell_type,
        format: declared.format.clone().unwrap_or_default().into(),
        description: description.into(),
        priority: declared.priority.unwrap_or(0),
    };
    Some(PrinterColumn { column, path: Path::parse(&declared.json_path)? })
}

impl PrinterColumn {
    /// The cell of an object.
    pub(super) fn cell(&self, object: &Value, now: Timestamp) -> Cell {
        let found = self.path.find(object);
        let Some(first) = found.first() else { return Cell::Null };
        match self.column.cell_type {
            ColumnType::Integer => integer(first).map_or(Cell::Null, Cell::Integer),
            ColumnType::Number => first.as_f64().map_or(Cell::Null, Cell::Number),
            ColumnType::Boolean => first.as_bool().map_or(Cell::Null, Cell::Boolean),
            ColumnType::Date => date(first, now),
            ColumnType::String => {
                let texts: Vec<String> = found.into_iter().map(text).collect();
                Cell::Text(texts.join(" "))
            }
        }
    }
}

fn integer(value: &Value) -> Option<i64> {
    // A fraction is cut off, as upstream does.
    value.as_i64().or_else(|| value.as_f64().map(|number| number as i64))
}

fn date(value: &Value, now: Timestamp) -> Cell {
    let Some(text) = value.as_str() else { return Cell::Text("<unknown>".to_owned()) };
    match text.parse::<Timestamp>() {
        Ok(then) => Cell::Text(age(Some(&Time(then)), now)),
        Err(_) => Cell::Text("<invalid>".to_owned()),
    }
}

/// Texts as they are, everything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        value => value.to_string(),
    }
}
