//! Every list of the API with every filter, from the OpenAPI document, so that no list needs an entry here. The benchmark
//! `fill` includes this file.

use serde_json::Value;

/// A list and its filters.
#[derive(Clone, Debug)]
pub(crate) struct List {
    /// As in the document, such as `/users/{id}/activities`.
    pub path: String,
    /// Names and values.
    pub filters: Vec<(String, String)>,
}

impl List {
    /// The path and the query of a page. `value` names what stands for a part in braces of the path.
    pub(crate) fn url(&self, page_size: u32, value: impl Fn(&str) -> String) -> String {
        let parts: Vec<&str> = self.path.split('/').collect();
        let part = |at: usize| match parts[at].strip_prefix('{') {
            // An id is that of the collection before it.
            Some("id}") => value(parts[at - 1]),
            Some(name) => value(name.trim_end_matches('}')),
            None => parts[at].to_owned(),
        };
        let path: Vec<String> = (0..parts.len()).map(part).collect();
        let filters = self.filters.iter().map(|(name, value)| format!("&{name}={value}"));
        format!("{}?pageSize={page_size}{}", path.join("/"), filters.collect::<String>())
    }
}

/// Each list without a filter, with each value of each filter, and with each two filters. `value` names a value of a filter
/// that is no enumeration; a filter without one must get one.
pub(crate) fn all(document: &Value, value: impl Fn(&str) -> Option<String>) -> Vec<List> {
    let mut lists = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        let operation = &item["get"];
        let parameters = [&item["parameters"], &operation["parameters"]];
        let parameters = parameters.iter().filter_map(|list| list.as_array()).flatten();
        let query: Vec<&Value> = parameters.filter(|parameter| parameter["in"] == "query").collect();
        if !query.iter().any(|parameter| parameter["name"] == "pageToken") {
            continue;
        }
        let mut filters: Vec<Vec<(String, String)>> = Vec::new();
        for parameter in query {
            let name = parameter["name"].as_str().unwrap_or_default();
            if ["pageSize", "pageToken"].contains(&name) {
                continue;
            }
            let values = values(document, &parameter["schema"]);
            let values = values.unwrap_or_else(|| {
                let value = value(name);
                vec![value.unwrap_or_else(|| panic!("{path} has a filter {name}: name a value for it"))]
            });
            filters.push(values.into_iter().map(|value| (name.to_owned(), value)).collect());
        }
        let mut add = |filters: Vec<(String, String)>| {
            lists.push(List {
                path: path.clone(),
                filters,
            });
        };
        add(Vec::new());
        for (at, filter) in filters.iter().enumerate() {
            for one in filter {
                add(vec![one.clone()]);
                for other in filters[at + 1..].iter().flatten() {
                    add(vec![one.clone(), other.clone()]);
                }
            }
        }
    }
    lists
}

/// The values of an enumeration.
fn values(document: &Value, schema: &Value) -> Option<Vec<String>> {
    if let Some(reference) = schema["$ref"].as_str() {
        let schema = document.pointer(reference.trim_start_matches('#'))?;
        return values(document, schema);
    }
    if schema["type"] == "boolean" {
        return Some(vec!["true".to_owned(), "false".to_owned()]);
    }
    let values = schema["enum"].as_array()?;
    Some(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
