//! The implementations that the derive writes.

use crate::json::{camel_case, kebab_case, quoted};
use crate::schema::{Schema, is_optional};
use crate::words::{Words, description, error};
use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DataEnum, DeriveInput, Field, Fields, Lit, Result};

pub(crate) fn params(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return error(input.ident.span(), "params cannot be generic");
    }
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => structure(input, fields.named.iter()),
            _ => error(input.ident.span(), "params are a struct with named fields"),
        },
        Data::Enum(data) => choice(input, data),
        Data::Union(_) => error(input.ident.span(), "params are a struct with named fields"),
    }
}

fn structure<'a>(input: &DeriveInput, fields: impl Iterator<Item = &'a Field>) -> Result<TokenStream> {
    let mut about = Schema::default();
    let mut words = Words::of(&input.attrs)?;
    let text = description(&input.attrs);
    if !text.is_empty() {
        about.push(&format!("\"description\":{},", quoted(&text)));
    }
    if let Some(example) = words.json("example")? {
        about.push(&format!("\"examples\":[{example}],"));
    }
    words.finish("a struct")?;
    let about = about.into_text();

    let mut properties = Schema::default();
    let mut required = Vec::new();
    let mut names = Vec::new();
    let mut keys = Vec::new();
    let mut values = Vec::new();
    properties.push(r#""type":"object","properties":{"#);
    for (index, field) in fields.enumerate() {
        if index > 0 {
            properties.push(",");
        }
        let property = property(field, &mut properties)?;
        if property.required {
            required.push(quoted(&property.key));
        }
        names.push(&field.ident);
        keys.push(property.key);
        values.push(property.value);
    }
    properties.push(&format!(
        "}},\"required\":[{}],\"additionalProperties\":false",
        required.join(",")
    ));
    let schema = properties.into_statements();

    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl ::meed_plugin_sdk::Params for #name {
            const ABOUT: &'static str = #about;
        }

        #[automatically_derived]
        impl ::meed_plugin_sdk::Param for #name {
            fn schema(out: &mut ::std::string::String) {
                #schema
            }

            fn read(
                reader: &mut ::meed_plugin_sdk::__private::Reader<'_>,
            ) -> ::core::result::Result<Self, ::meed_plugin_sdk::__private::Fault> {
                #(let mut #names = ::core::option::Option::None;)*
                let mut more = reader.open(b'{', b'}')?;
                while more {
                    let key = reader.key()?;
                    match key.as_str() {
                        #(#keys => #names = ::core::option::Option::Some(
                            ::meed_plugin_sdk::__private::member(reader, #keys)?,
                        ),)*
                        _ => return ::core::result::Result::Err(::meed_plugin_sdk::__private::UNKNOWN),
                    }
                    more = reader.more(b'}')?;
                }
                ::core::result::Result::Ok(Self { #(#names: #values),* })
            }
        }
    })
}

/// One member of params.
struct Property {
    key: String,
    required: bool,
    /// From what was read, an `Option` of the field's name, to the field's value.
    value: TokenStream,
}

/// Writes the schema of one property.
fn property(field: &Field, schema: &mut Schema) -> Result<Property> {
    let Some(name) = &field.ident else {
        return error(field.span(), "params are a struct with named fields");
    };
    let key = camel_case(&name.unraw().to_string());
    let mut words = Words::of(&field.attrs)?;
    let default = words.literal("default")?;
    let example = words.json("example")?;

    schema.push(&format!("{}:{{", quoted(&key)));
    schema.describe(&field.ty, words)?;
    let text = description(&field.attrs);
    schema.member("description", (!text.is_empty()).then(|| quoted(&text)));
    schema.member("default", default.as_ref().map(|(json, _)| json.clone()));
    schema.member("examples", example.map(|example| format!("[{example}]")));
    schema.push("}");

    let required = !is_optional(&field.ty) && default.is_none();
    let value = match default {
        None => quote!(::meed_plugin_sdk::__private::given(reader, #name, #key)?),
        Some((_, Lit::Str(text))) => quote!(#name.unwrap_or_else(|| ::std::string::String::from(#text))),
        Some((_, literal)) => quote!(#name.unwrap_or(#literal)),
    };
    Ok(Property { key, required, value })
}

fn choice(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    Words::of(&input.attrs)?.finish("an enum")?;
    if data.variants.is_empty() {
        return error(input.ident.span(), "there is nothing to choose from");
    }
    if let Some(variant) = data
        .variants
        .iter()
        .find(|variant| !matches!(variant.fields, Fields::Unit))
    {
        return error(variant.ident.span(), "a choice of params has no data");
    }
    let name = &input.ident;
    let variants: Vec<_> = data.variants.iter().map(|variant| &variant.ident).collect();
    let names: Vec<_> = variants
        .iter()
        .map(|variant| kebab_case(&variant.to_string()))
        .collect();
    let quoted: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    let schema = format!("\"type\":\"string\",\"enum\":[{}]", quoted.join(","));
    let (last, others) = variants
        .split_last()
        .map_or((None, &[][..]), |(last, others)| (Some(last), others));
    let indexes = 0..others.len();
    Ok(quote! {
        #[automatically_derived]
        impl ::meed_plugin_sdk::Param for #name {
            fn schema(out: &mut ::std::string::String) {
                out.push_str(#schema);
            }

            fn read(
                reader: &mut ::meed_plugin_sdk::__private::Reader<'_>,
            ) -> ::core::result::Result<Self, ::meed_plugin_sdk::__private::Fault> {
                ::core::result::Result::Ok(match ::meed_plugin_sdk::__private::choice(reader, &[#(#names),*])? {
                    #(#indexes => Self::#others,)*
                    _ => Self::#last,
                })
            }
        }
    })
}
