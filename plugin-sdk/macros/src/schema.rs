//! From a field's type and words to the members of its schema.

use crate::words::Words;
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericArgument, PathArguments, Result, Type};

/// A schema in the making: text that is known now, and the members that other types bring.
#[derive(Default)]
pub(crate) struct Schema {
    text: String,
    statements: TokenStream,
}

impl Schema {
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Writes `,"name":value` if there is a value.
    pub(crate) fn member(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.push(&format!(",\"{name}\":{value}"));
        }
    }

    /// The statements that write the schema to `out`.
    pub(crate) fn into_statements(mut self) -> TokenStream {
        self.flush();
        self.statements
    }

    /// The text of a schema without members of other types.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() {
            self.statements.extend(quote!(out.push_str(#text);));
        }
    }

    /// Writes the members for a type.
    pub(crate) fn describe(&mut self, ty: &Type, mut words: Words) -> Result<()> {
        let (name, arguments) = parts(ty);
        match (name.as_str(), arguments.as_slice()) {
            ("Option", [inner]) => return self.describe(inner, words),
            ("bool", []) => self.push(r#""type":"boolean""#),
            ("String", []) => {
                self.push(r#""type":"string""#);
                self.member("minLength", words.json("min_length")?);
                self.member("maxLength", words.json("max_length")?);
                self.member("pattern", words.json("pattern")?);
            }
            ("Vec", [item]) => {
                self.push(r#""type":"array","items":{"#);
                self.describe(item, words.inner("items")?)?;
                self.push("}");
                self.member("minItems", words.json("min_items")?);
                self.member("maxItems", words.json("max_items")?);
            }
            ("BTreeMap", [key, value]) if parts(key).0 == "String" => {
                self.push(r#""type":"object","propertyNames":{"#);
                self.describe(key, words.inner("keys")?)?;
                self.push(r#"},"additionalProperties":{"#);
                self.describe(value, words.inner("values")?)?;
                self.push("}");
                self.member("minProperties", words.json("min_properties")?);
                self.member("maxProperties", words.json("max_properties")?);
            }
            (integer, []) if let Some((minimum, maximum)) = bounds(integer) => {
                self.push(r#""type":"integer""#);
                self.member(
                    "minimum",
                    Some(words.json("minimum")?.unwrap_or_else(|| minimum.to_string())),
                );
                self.member(
                    "maximum",
                    Some(words.json("maximum")?.unwrap_or_else(|| maximum.to_string())),
                );
            }
            _ => {
                self.flush();
                self.statements
                    .extend(quote_spanned!(ty.span()=> <#ty as ::meed_plugin_sdk::Param>::schema(out);));
            }
        }
        words.finish(&format!("this {name}"))
    }
}

/// Whether a field of this type may be left out.
pub(crate) fn is_optional(ty: &Type) -> bool {
    parts(ty).0 == "Option"
}

/// The last name of a type's path and its type arguments.
fn parts(ty: &Type) -> (String, Vec<&Type>) {
    let Type::Path(path) = ty else {
        return ("type".to_owned(), Vec::new());
    };
    let Some(last) = path.path.segments.last() else {
        return ("type".to_owned(), Vec::new());
    };
    let arguments = match &last.arguments {
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .filter_map(|argument| {
                if let GenericArgument::Type(ty) = argument {
                    Some(ty)
                } else {
                    None
                }
            })
            .collect(),
        _ => Vec::new(),
    };
    (last.ident.to_string(), arguments)
}

fn bounds(integer: &str) -> Option<(i64, i64)> {
    Some(match integer {
        "u8" => (0, u8::MAX.into()),
        "u16" => (0, u16::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" => (i64::MIN, i64::MAX),
        _ => return None,
    })
}
