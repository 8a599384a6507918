//! The implementations that the derive writes.

use crate::json::{camel_case, kebab_case, quoted};
use crate::schema::{Schema, is_optional};
use crate::words::{Words, description, error};
use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
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
    let mut readers = TokenStream::new();
    properties.push(r#""type":"object","properties":{"#);
    for (index, field) in fields.enumerate() {
        if index > 0 {
            properties.push(",");
        }
        let (key, optional, reader) = property(field, &mut properties)?;
        if !optional {
            required.push(quoted(&key));
        }
        readers.extend(reader);
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
                value: ::meed_plugin_sdk::__private::Value,
            ) -> ::core::result::Result<Self, ::meed_plugin_sdk::Issue> {
                let mut object = ::meed_plugin_sdk::__private::Object::open(value)?;
                let params = Self { #readers };
                object.close()?;
                ::core::result::Result::Ok(params)
            }
        }
    })
}

/// Writes one property; returns its name, whether it may be left out, and how to read it.
fn property(field: &Field, schema: &mut Schema) -> Result<(String, bool, TokenStream)> {
    let Some(ident) = &field.ident else {
        return error(
            field
                .ident
                .as_ref()
                .map_or_else(proc_macro2::Span::call_site, syn::Ident::span),
            "params have named fields",
        );
    };
    let key = camel_case(&ident.unraw().to_string());
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

    let optional = is_optional(&field.ty) || default.is_some();
    let reader = match default {
        None => quote!(#ident: object.take(#key)?,),
        Some((_, Lit::Str(text))) => quote!(#ident: object.take_or(#key, ::std::string::String::from(#text))?,),
        Some((_, literal)) => quote!(#ident: object.take_or(#key, #literal)?,),
    };
    Ok((key, optional, reader))
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
                value: ::meed_plugin_sdk::__private::Value,
            ) -> ::core::result::Result<Self, ::meed_plugin_sdk::Issue> {
                ::core::result::Result::Ok(match ::meed_plugin_sdk::__private::choice(value, &[#(#names),*])? {
                    #(#indexes => Self::#others,)*
                    _ => Self::#last,
                })
            }
        }
    })
}
