//! What can be told about types and expressions from their tokens alone, and where the compiler is to point.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;

/// Whether a name occurs, also as `{name}` in a text, where a format macro would find it.
pub(crate) fn mentions(tokens: &impl ToTokens, name: &Ident) -> bool {
    mentions_in(tokens.to_token_stream(), &name.to_string())
}

fn mentions_in(tokens: TokenStream, name: &str) -> bool {
    // What follows a single dot is a field or a method, not an argument; two dots are a range.
    let mut dots = 0;
    tokens.into_iter().any(|token| {
        let is_member = dots == 1;
        dots = if matches!(&token, TokenTree::Punct(dot) if dot.as_char() == '.') {
            dots + 1
        } else {
            0
        };
        match token {
            TokenTree::Ident(ident) => !is_member && ident == name,
            TokenTree::Group(group) => mentions_in(group.stream(), name),
            TokenTree::Literal(literal) => holds_placeholder(&literal.to_string(), name),
            TokenTree::Punct(_) => false,
        }
    })
}

fn holds_placeholder(text: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    text.split('{')
        .skip(1)
        .any(|rest| rest.strip_prefix(name).is_some_and(ends))
}

/// Why a type may hold something borrowed: a reference, a lifetime, or a type parameter that is not `'static`.
pub(crate) fn borrows(tokens: &impl ToTokens, parameters: &[Ident]) -> bool {
    borrows_in(tokens.to_token_stream(), parameters)
}

fn borrows_in(tokens: TokenStream, parameters: &[Ident]) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_static = |index: usize| {
        matches!(tokens.get(index), Some(TokenTree::Punct(tick)) if tick.as_char() == '\'')
            && matches!(tokens.get(index + 1), Some(TokenTree::Ident(name)) if name == "static")
    };
    tokens.iter().enumerate().any(|(index, token)| match token {
        TokenTree::Group(group) => borrows_in(group.stream(), parameters),
        TokenTree::Punct(punct) => match punct.as_char() {
            '&' => !is_static(index + 1),
            '\'' => !is_static(index),
            _ => false,
        },
        TokenTree::Ident(ident) if ident == "impl" => !is_bounded_static(&tokens[index..]),
        TokenTree::Ident(ident) => parameters.contains(ident),
        TokenTree::Literal(_) => false,
    })
}

fn is_bounded_static(tokens: &[TokenTree]) -> bool {
    tokens.windows(2).any(|pair| {
        matches!(&pair[0], TokenTree::Punct(tick) if tick.as_char() == '\'')
            && matches!(&pair[1], TokenTree::Ident(name) if name == "static")
    })
}

/// Whether a list of bounds has `'static` among them.
pub(crate) fn says_static(tokens: &impl ToTokens) -> bool {
    let tokens: Vec<TokenTree> = tokens.to_token_stream().into_iter().collect();
    is_bounded_static(&tokens)
}

/// The same tokens, at another place: where the compiler is to point.
pub(crate) fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    let respanned = tokens.into_iter().map(|mut token| {
        match &mut token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), respan(group.stream(), span));
                inner.set_span(span);
                return TokenTree::Group(inner);
            }
            other => other.set_span(span),
        }
        token
    });
    respanned.collect()
}

/// Options as they would be written by hand: a literal or a name that a macro by example passed on as `$ttl:expr` stands in a
/// group of its own, which hides what it is.
pub(crate) fn without_fragments(tokens: TokenStream) -> TokenStream {
    let opened = tokens.into_iter().map(|token| {
        let TokenTree::Group(group) = token else {
            return token;
        };
        let inner = without_fragments(group.stream());
        let mut inside = inner.clone().into_iter();
        match (group.delimiter(), inside.next(), inside.next()) {
            (Delimiter::None, Some(only), None) => only,
            (delimiter, ..) => {
                let mut opened = Group::new(delimiter, inner);
                opened.set_span(group.span());
                TokenTree::Group(opened)
            }
        }
    });
    opened.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::{format_ident, quote};

    #[test]
    fn names_are_found_in_expressions_and_in_texts() {
        let id = format_ident!("id");
        assert!(mentions(&quote!(f(id.clone())), &id));
        assert!(mentions(&quote!(format!("user:{id}")), &id));
        assert!(mentions(&quote!(format!("user:{id:?}")), &id));
        assert!(!mentions(&quote!(format!("user:{idle}")), &id));
        assert!(!mentions(&quote!(ids), &id));
        assert!(!mentions(&quote!(user.id), &id));
        assert!(mentions(&quote!(0..id), &id));
        assert!(mentions(&quote!(id.user), &id));
    }

    #[test]
    fn borrowed_types_are_told_from_owned_ones() {
        let parameters = [format_ident!("T")];
        let check =
            |tokens: TokenStream, expected| assert_eq!(borrows(&tokens, &parameters), expected, "{tokens}");
        check(quote!(u64), false);
        check(quote!(&str), true);
        check(quote!(&'static str), false);
        check(quote!(Option<&'a str>), true);
        check(quote!(Cow<'static, str>), false);
        check(quote!(Vec<T>), true);
        check(quote!(impl Into<String>), true);
        check(quote!(impl Into<String> + Send + 'static), false);
    }
}
