//! Extracts the names that a source file uses. It reads tokens, so comments do not count, and it skips test code.

use std::fmt;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A name in a source file.
#[derive(Debug)]
pub(super) enum Name {
    /// A path such as `crate::rewards::store`. Groups of a `use` are expanded.
    Path(Vec<String>),
    /// A string literal.
    Text(String),
    /// A call `.query(…)` with arguments.
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

/// The names in a source file, with their line numbers.
pub(super) fn of(tokens: TokenStream) -> Vec<(usize, Name)> {
    let mut names = Vec::new();
    read(&tokens.into_iter().collect::<Vec<_>>(), &[], &mut names);
    names
}

/// `prefix` is the path before the enclosing braces of a `use`.
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

/// The index at which to continue after a `#`: after a doc comment (which is an attribute), after an item for tests
/// only, or else inside the attribute.
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
