//! What is written in `#[param(...)]` and in comments.

use crate::json::{compact, quoted};
use proc_macro2::{Span, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Ident, Lit, Meta, Result, Token, parenthesized, token};

/// The words of one place, each to be taken by what it applies to.
#[derive(Default)]
pub(crate) struct Words(Vec<Word>);

struct Word {
    name: Ident,
    value: Value,
}

enum Value {
    /// `name = literal`, or `name = {...}` and `name = [...]` in JSON.
    Json { text: String, literal: Option<Lit> },
    /// `name(...)`
    Words(Words),
}

impl Words {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut words = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("param")) {
            words.0.extend(attribute.parse_args::<Self>()?.0);
        }
        Ok(words)
    }

    /// The JSON text of a word.
    pub(crate) fn json(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Word {
                value: Value::Json { text, .. },
                ..
            }) => Ok(Some(text)),
            Some(word) => Err(syn::Error::new(word.name.span(), format!("write `{name} = ...`"))),
        }
    }

    /// The JSON text and the Rust literal of a word.
    pub(crate) fn literal(&mut self, name: &str) -> Result<Option<(String, Lit)>> {
        match self.take(name) {
            None => Ok(None),
            Some(Word {
                value:
                    Value::Json {
                        text,
                        literal: Some(literal),
                    },
                ..
            }) => Ok(Some((text, literal))),
            Some(word) => Err(syn::Error::new(
                word.name.span(),
                format!("write `{name} = ` and a literal"),
            )),
        }
    }

    /// The words inside of a word.
    pub(crate) fn inner(&mut self, name: &str) -> Result<Self> {
        match self.take(name) {
            None => Ok(Self::default()),
            Some(Word {
                value: Value::Words(words),
                ..
            }) => Ok(words),
            Some(word) => Err(syn::Error::new(word.name.span(), format!("write `{name}(...)`"))),
        }
    }

    /// Refuses what nothing took.
    pub(crate) fn finish(self, place: &str) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(syn::Error::new(
                word.name.span(),
                format!("`{}` does not apply to {place}", word.name),
            )),
        }
    }

    fn take(&mut self, name: &str) -> Option<Word> {
        let position = self.0.iter().position(|word| word.name == name)?;
        Some(self.0.remove(position))
    }
}

impl Parse for Words {
    fn parse(input: ParseStream) -> Result<Self> {
        Ok(Self(
            Punctuated::<Word, Token![,]>::parse_terminated(input)?
                .into_iter()
                .collect(),
        ))
    }
}

impl Parse for Word {
    fn parse(input: ParseStream) -> Result<Self> {
        let name: Ident = input.parse()?;
        if input.peek(token::Paren) {
            let content;
            parenthesized!(content in input);
            return Ok(Self {
                name,
                value: Value::Words(content.parse()?),
            });
        }
        input.parse::<Token![=]>()?;
        if input.peek(token::Brace) || input.peek(token::Bracket) {
            let text = compact(&input.parse::<TokenTree>()?.to_string());
            return Ok(Self {
                name,
                value: Value::Json { text, literal: None },
            });
        }
        let negative = input.parse::<Option<Token![-]>>()?.is_some();
        let mut literal: Lit = input.parse()?;
        let text = match &literal {
            Lit::Int(integer) if negative => format!("-{}", integer.base10_digits()),
            Lit::Int(integer) => integer.base10_digits().to_owned(),
            Lit::Str(text) if !negative => quoted(&text.value()),
            Lit::Bool(flag) if !negative => flag.value.to_string(),
            _ => {
                return Err(syn::Error::new(
                    literal.span(),
                    "expected an integer, a text, true or false",
                ));
            }
        };
        if negative {
            literal = Lit::new(proc_macro2::Literal::i64_unsuffixed(
                text.parse()
                    .map_err(|_| syn::Error::new(literal.span(), "the number is too small"))?,
            ));
        }
        Ok(Self {
            name,
            value: Value::Json {
                text,
                literal: Some(literal),
            },
        })
    }
}

/// The text of the comments, as one paragraph.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("doc"))
        .filter_map(|attribute| {
            let Meta::NameValue(meta) = &attribute.meta else {
                return None;
            };
            let Expr::Lit(expression) = &meta.value else {
                return None;
            };
            let Lit::Str(line) = &expression.lit else { return None };
            Some(line.value())
        });
    lines
        .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect::<Vec<_>>()
        .join(" ")
}

/// An error at a place.
pub(crate) fn error<T>(span: Span, message: &str) -> Result<T> {
    Err(syn::Error::new(span, message))
}
