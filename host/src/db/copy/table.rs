//! The tables of both databases, the types of their columns, and the order in which they can be filled.

use std::collections::{BTreeMap, BTreeSet};

use super::endpoint::Endpoint;
use super::value::Value;
use super::{CopyError, Result};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Truth,
    Text,
    Json,
    Bytes,
    Id,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "INTEGER" | "bigint" => Self::Integer,
            "boolean" => Self::Truth,
            "TEXT" | "text" => Self::Text,
            "jsonb" => Self::Json,
            "BLOB" | "bytea" => Self::Bytes,
            "uuid" => Self::Id,
            _ => return None,
        })
    }

    /// Whether the types of the two engines correspond.
    fn fits(self, other: Self) -> bool {
        let plain = |kind| match kind {
            Self::Truth => Self::Integer,
            Self::Json => Self::Text,
            Self::Id => Self::Bytes,
            other => other,
        };
        plain(self) == plain(other)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub source: Kind,
    pub target: Kind,
}

impl Column {
    pub(super) fn is_json(&self) -> bool {
        [self.source, self.target].contains(&Kind::Json)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// The columns of the primary key, in its order.
    pub key: Vec<usize>,
}

impl Table {
    pub(super) fn key_values<'a>(&self, row: &'a [Value]) -> impl Iterator<Item = &'a Value> {
        self.key.iter().map(|&column| &row[column])
    }

    /// The key of a row, for messages.
    pub(super) fn key_of(&self, row: &[Value]) -> String {
        let parts = self.key.iter().map(|&index| {
            let column = &self.columns[index];
            let kind = if column.source == Kind::Id {
                column.source
            } else {
                column.target
            };
            format!("{} = {}", column.name, row[index].show(kind))
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// `($1, $2), ($3, $4)`, with `place` for how each parameter is written.
pub(super) fn push_rows(sql: &mut String, rows: usize, width: usize, place: impl Fn(usize) -> String) {
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..width {
            if column > 0 {
                sql.push_str(", ");
            }
            sql.push_str(&place(row * width + column + 1));
        }
        sql.push(')');
    }
}

/// A column in the catalogue: its table, its name, its type, and its position in the primary key or 0.
pub(super) type CatalogueRow = (String, String, String, i64);
/// A foreign key: its table, and the table that it refers to.
pub(super) type ReferenceRow = (String, String);

/// The tables of both databases, which must be the same, in an order in which they can be filled.
pub(super) async fn list(source: &mut Endpoint, target: &mut Endpoint) -> Result<Vec<Table>> {
    let there = by_table(source.catalogue().await?);
    let here = by_table(target.catalogue().await?);
    plan(&there, &here, &target.references_between().await?).map_err(CopyError::Refused)
}

type Columns = BTreeMap<String, (String, i64)>;

fn by_table(rows: Vec<CatalogueRow>) -> BTreeMap<String, Columns> {
    let mut tables: BTreeMap<String, Columns> = BTreeMap::new();
    for (table, column, kind, key) in rows {
        tables.entry(table).or_default().insert(column, (kind, key));
    }
    tables
}

fn plan(
    there: &BTreeMap<String, Columns>,
    here: &BTreeMap<String, Columns>,
    references: &[ReferenceRow],
) -> std::result::Result<Vec<Table>, String> {
    let names = |tables: &BTreeMap<String, Columns>| tables.keys().cloned().collect::<BTreeSet<_>>();
    if let Some(name) = names(there).symmetric_difference(&names(here)).next() {
        return Err(format!(
            "the table {name} is in one of the databases only; it is not Meed's, so remove it"
        ));
    }
    let mut waiting = Vec::new();
    for (name, columns) in there {
        waiting.push(table(name, columns, &here[name])?);
    }
    let mut filled: BTreeSet<String> = BTreeSet::new();
    let mut tables = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |table: &Table| {
            let mut refers = references.iter().filter(|(from, _)| *from == table.name);
            refers.all(|(_, to)| filled.contains(to))
        };
        let (ready, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            let names: Vec<_> = later.iter().map(|table| table.name.as_str()).collect();
            return Err(format!(
                "the foreign keys of these tables form a circle: {}",
                names.join(", ")
            ));
        }
        filled.extend(ready.iter().map(|table| table.name.clone()));
        tables.extend(ready);
        waiting = later;
    }
    Ok(tables)
}

fn table(name: &str, there: &Columns, here: &Columns) -> std::result::Result<Table, String> {
    let mut columns = Vec::new();
    let mut key = Vec::new();
    for (column, (kind, place)) in there {
        let other = here.get(column);
        let (target, other_place) = other.ok_or_else(|| format!("the target has no column {name}.{column}"))?;
        let known =
            |kind: &str| Kind::named(kind).ok_or_else(|| format!("{name}.{column} is of the unknown type {kind}"));
        let (source_kind, target_kind) = (known(kind)?, known(target)?);
        if !source_kind.fits(target_kind) || place != other_place {
            return Err(format!(
                "{name}.{column} differs between the databases ({kind}, {target})"
            ));
        }
        if *place > 0 {
            key.push((*place, columns.len()));
        }
        columns.push(Column {
            name: column.clone(),
            source: source_kind,
            target: target_kind,
        });
    }
    if let Some(column) = here.keys().find(|column| !there.contains_key(*column)) {
        return Err(format!("the source has no column {name}.{column}"));
    }
    if key.is_empty() {
        return Err(format!("the table {name} has no primary key to compare by"));
    }
    key.sort_unstable();
    Ok(Table {
        name: name.to_owned(),
        columns,
        key: key.into_iter().map(|(_, index)| index).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(rows: &[(&str, &str, &str, i64)]) -> BTreeMap<String, Columns> {
        let owned = rows
            .iter()
            .map(|(table, column, kind, key)| ((*table).to_owned(), (*column).to_owned(), (*kind).to_owned(), *key));
        by_table(owned.collect())
    }

    fn reference(from: &str, to: &str) -> ReferenceRow {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn a_table_comes_after_those_it_refers_to() {
        let rows = [("a", "id", "BLOB", 1), ("a", "b", "BLOB", 0), ("b", "id", "BLOB", 1)];
        let both = tables(&rows);
        let references = [reference("a", "b")];
        let plan = plan(&both, &both, &references).unwrap();
        assert_eq!((plan[0].name.as_str(), plan[1].name.as_str()), ("b", "a"));
    }

    #[test]
    fn tables_that_cannot_be_copied_are_named() {
        let good = tables(&[("a", "id", "BLOB", 1), ("a", "n", "INTEGER", 0)]);
        let circle = tables(&[("a", "id", "BLOB", 1), ("b", "id", "BLOB", 1)]);
        let around = [reference("a", "b"), reference("b", "a")];
        for (there, here, references, fault) in [
            (&good, &tables(&[]), &[][..], "a is in one of the databases only"),
            (&good, &tables(&[("a", "id", "uuid", 1)]), &[], "no column a.n"),
            (&tables(&[("a", "id", "uuid", 1)]), &good, &[], "no column a.n"),
            (
                &good,
                &tables(&[("a", "id", "uuid", 1), ("a", "n", "text", 0)]),
                &[],
                "a.n differs",
            ),
            (
                &good,
                &tables(&[("a", "id", "uuid", 1), ("a", "n", "money", 0)]),
                &[],
                "unknown type money",
            ),
            (
                &good,
                &tables(&[("a", "id", "uuid", 0), ("a", "n", "bigint", 1)]),
                &[],
                "a.id differs",
            ),
            (
                &tables(&[("a", "id", "BLOB", 0)]),
                &tables(&[("a", "id", "BLOB", 0)]),
                &[],
                "no primary key",
            ),
            (&circle, &circle, &around, "form a circle: a, b"),
        ] {
            let refused = plan(there, here, references).unwrap_err();
            assert!(refused.contains(fault), "{fault}: {refused}");
        }
    }
}
