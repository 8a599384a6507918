//! Which tables there are, what their columns hold on either side, and in which order they can be filled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::side::Side;
use super::value::Value;
use super::{CopyError, Result};

/// What a column holds.
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

    /// Whether one engine's word for it fits the other's.
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
    /// Columns that refer to this table itself.
    pub own: Vec<usize>,
}

impl Table {
    pub(super) fn key_values<'a>(&self, row: &'a [Value]) -> impl Iterator<Item = &'a Value> {
        self.key.iter().map(|&column| &row[column])
    }

    /// The key of a row, for people.
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

    /// Sets a column in rows that are named by their keys; the values come key first.
    pub(super) fn refer_sql(&self, column: usize, rows: usize) -> String {
        let column = &self.columns[column].name;
        let mut sql = format!(
            "UPDATE \"{0}\" SET \"{column}\" = v.column{1} FROM (VALUES ",
            self.name,
            self.key.len() + 1
        );
        let width = self.key.len() + 1;
        push_rows(&mut sql, rows, width, |place| format!("${place}"));
        sql.push_str(") AS v WHERE TRUE");
        for (place, &key) in self.key.iter().enumerate() {
            let name = &self.columns[key].name;
            write!(sql, " AND \"{}\".\"{name}\" = v.column{}", self.name, place + 1).ok();
        }
        sql
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

/// What a database says of one column: its table, its name, its type, and its place in the primary key or 0.
pub(super) type CatalogueRow = (String, String, String, i64);
/// A column that refers to a table: its table, the other one, its name.
pub(super) type ReferenceRow = (String, String, String);

/// The tables of both sides, which must be the same, in an order in which they can be filled.
pub(super) async fn list(source: &mut Side, target: &mut Side) -> Result<Vec<Table>> {
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
            "the table {name} is on one side only; it is not Meed's: take it away"
        ));
    }
    let mut waiting = Vec::new();
    for (name, columns) in there {
        waiting.push(table(name, columns, &here[name], references)?);
    }
    let mut filled: BTreeSet<String> = BTreeSet::new();
    let mut tables = Vec::new();
    while !waiting.is_empty() {
        let is_ready = |table: &Table| {
            let mut refers = references
                .iter()
                .filter(|(from, to, _)| *from == table.name && from != to);
            refers.all(|(_, to, _)| filled.contains(to))
        };
        let (ready, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ready);
        if ready.is_empty() {
            let names: Vec<_> = later.iter().map(|table| table.name.as_str()).collect();
            return Err(format!(
                "these tables refer to each other in a circle: {}",
                names.join(", ")
            ));
        }
        filled.extend(ready.iter().map(|table| table.name.clone()));
        tables.extend(ready);
        waiting = later;
    }
    Ok(tables)
}

fn table(
    name: &str,
    there: &Columns,
    here: &Columns,
    references: &[ReferenceRow],
) -> std::result::Result<Table, String> {
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
                "{name}.{column} is not the same on both sides ({kind}, {target})"
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
    let own = (0..columns.len())
        .filter(|&index| {
            let refers =
                |(from, to, column): &ReferenceRow| from == name && to == name && *column == columns[index].name;
            references.iter().any(refers)
        })
        .collect();
    Ok(Table {
        name: name.to_owned(),
        columns,
        key: key.into_iter().map(|(_, index)| index).collect(),
        own,
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

    fn reference(from: &str, to: &str, column: &str) -> ReferenceRow {
        (from.to_owned(), to.to_owned(), column.to_owned())
    }

    #[test]
    fn a_table_comes_after_those_it_refers_to() {
        let rows = [
            ("a", "id", "BLOB", 1),
            ("a", "b", "BLOB", 0),
            ("b", "id", "BLOB", 1),
            ("b", "parent", "BLOB", 0),
        ];
        let both = tables(&rows);
        let references = [reference("a", "b", "b"), reference("b", "b", "parent")];
        let plan = plan(&both, &both, &references).unwrap();
        assert_eq!((plan[0].name.as_str(), plan[1].name.as_str()), ("b", "a"));
        let own: Vec<_> = plan[0]
            .own
            .iter()
            .map(|&index| plan[0].columns[index].name.as_str())
            .collect();
        assert_eq!(own, ["parent"]);
    }

    #[test]
    fn what_cannot_be_copied_is_named() {
        let good = tables(&[("a", "id", "BLOB", 1), ("a", "n", "INTEGER", 0)]);
        let circle = tables(&[("a", "id", "BLOB", 1), ("b", "id", "BLOB", 1)]);
        let around = [reference("a", "b", "id"), reference("b", "a", "id")];
        for (there, here, references, fault) in [
            (&good, &tables(&[]), &[][..], "a is on one side only"),
            (&good, &tables(&[("a", "id", "uuid", 1)]), &[], "no column a.n"),
            (&tables(&[("a", "id", "uuid", 1)]), &good, &[], "no column a.n"),
            (
                &good,
                &tables(&[("a", "id", "uuid", 1), ("a", "n", "text", 0)]),
                &[],
                "a.n is not the same",
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
                "a.id is not the same",
            ),
            (
                &tables(&[("a", "id", "BLOB", 0)]),
                &tables(&[("a", "id", "BLOB", 0)]),
                &[],
                "no primary key",
            ),
            (&circle, &circle, &around, "in a circle: a, b"),
        ] {
            let refused = plan(there, here, references).unwrap_err();
            assert!(refused.contains(fault), "{fault}: {refused}");
        }
    }
}
