//! What a source file names. Tokens and not lines, so comments do not count, and what is only for tests is passed over.

use std::fmt;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What a piece of source names.
#[derive(Debug)]
pub(super) enum Name {
    /// `crate::rewards::store`; groups of a `use` are taken apart.
    Path(Vec<String>),
    /// A string.
    Text(String),
    /// `.query(…)` with something in the parentheses.
    QueryCall,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "`{}`", path.join("::")),
            Self::Text(text) => write!(f, "SQL in {}", text.split_whitespace().collect::<Vec<_>>().join(" ")),
            Self::QueryCall => write!(f, "a call of `query`"),
        }
    }
}

/// What a source file names, with the lines.
pub(super) fn of(tokens: TokenStream) -> Vec<(usize, Name)> {
    let mut names = Vec::new();
    read(&tokens.into_iter().collect::<Vec<_>>(), &[], &mut names);
    names
}

/// `prefix` is the path before the braces that they stand in.
fn read(tokens: &[TokenTree], prefix: &[String], names: &mut Vec<(usize, Name)>) {
    let mut at = 0;
    let mut prefix = prefix;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(hash) if hash.as_char() == '#' => at = after_attribute(tokens, at),
            TokenTree::Punct(dot) if dot.as_char() == '.' => {
                if let [TokenTree::Ident(method), TokenTree::Group(arguments), ..] = &tokens[at..]
                    && method == "query"
                    && !arguments.stream().is_empty()
                {
                    names.push((method.span().start().line, Name::QueryCall));
                }
            }
            TokenTree::Ident(first) => {
                let mut path = [prefix, &[first.to_string()]].concat();
                let mut is_whole = true;
                prefix = &[];
                while is_path_separator(tokens, at) {
                    match tokens.get(at + 2) {
                        Some(TokenTree::Ident(next)) => path.push(next.to_string()),
                        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                            is_whole = false;
                            let inner: Vec<_> = group.stream().into_iter().collect();
                            for piece in inner.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ','))
                            {
                                read(piece, &path, names);
                            }
                        }
                        _ => break,
                    }
                    at += 3;
                }
                if is_whole {
                    names.push((first.span().start().line, Name::Path(path)));
                }
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.ends_with(['"', '#']) {
                    names.push((literal.span().start().line, Name::Text(text)));
                }
            }
            TokenTree::Group(group) => read(&group.stream().into_iter().collect::<Vec<_>>(), &[], names),
            TokenTree::Punct(_) => {}
        }
    }
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    tokens.get(at).is_some_and(is_colon) && tokens.get(at + 1).is_some_and(is_colon)
}

/// Where to read on behind a `#`: behind a comment (which arrives as an attribute), behind the item that is only for
/// tests, or else in the attribute itself.
fn after_attribute(tokens: &[TokenTree], at: usize) -> usize {
    let inner = matches!(tokens.get(at), Some(TokenTree::Punct(bang)) if bang.as_char() == '!');
    let body = at + usize::from(inner);
    let Some(TokenTree::Group(attribute)) = tokens.get(body) else {
        return at;
    };
    let text = attribute.stream().to_string().replace(' ', "");
    if text.starts_with("doc=") {
        return body + 1;
    }
    if text != "cfg(test)" {
        return at;
    }
    let ends_item = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let item = tokens[body + 1..].iter().position(ends_item);
    item.map_or(tokens.len(), |length| body + 1 + length + 1)
}
