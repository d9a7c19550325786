//! What options take as their values.

use proc_macro2::{Ident, Span};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned as _;
use syn::{Expr, ExprClosure, Lit, LitBool, LitFloat, LitStr};

use super::equals;
use crate::duration::Period;
use crate::template::Template;

#[derive(Clone)]
pub(crate) enum Ttl {
    Period(Period),
    /// Decided by the value.
    OfResult(ExprClosure),
}

#[derive(Clone)]
pub(crate) enum Key {
    Template(Template),
    Parts(Vec<Expr>),
}

#[derive(Clone)]
pub(crate) enum Tags {
    List(Vec<TagText>),
    Expr(Expr),
}

#[derive(Clone)]
pub(crate) enum TagText {
    Template(Template),
    Expr(Expr),
}

/// A share of the TTL, as written.
#[derive(Clone)]
pub(crate) struct Share(pub(crate) Expr);

#[derive(Clone)]
pub(crate) enum Eager {
    After(Expr),
    XFetch(Span),
}

#[derive(Clone)]
pub(crate) enum Companions {
    None,
    Named(Ident),
}

impl Parse for Ttl {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        match input.parse()? {
            Expr::Closure(closure) => one_input(closure).map(Self::OfResult),
            expr => Period::of(expr).map(Self::Period),
        }
    }
}

impl Parse for Key {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        match input.parse()? {
            Expr::Lit(literal) => match literal.lit {
                Lit::Str(text) if text.value().is_empty() => Err(syn::Error::new(
                    text.span(),
                    "the key is empty; leave it out to get all arguments",
                )),
                Lit::Str(text) => Template::parse(&text).map(Self::Template),
                other => Err(syn::Error::new(
                    other.span(),
                    "a key is a template such as \"{id}:{lang}\", or an expression over the arguments",
                )),
            },
            Expr::Tuple(tuple) => Ok(Self::Parts(tuple.elems.into_iter().collect())),
            Expr::Closure(closure) => Err(syn::Error::new(
                closure.inputs_begin.span(),
                "a key is an expression over the arguments, not a closure: `key = (id, name.len())`",
            )),
            expr => Ok(Self::Parts(vec![expr])),
        }
    }
}

impl Parse for Tags {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        match input.parse()? {
            Expr::Array(array) => array
                .elems
                .into_iter()
                .map(TagText::of)
                .collect::<syn::Result<_>>()
                .map(Self::List),
            Expr::Lit(literal) => Err(syn::Error::new(
                literal.span(),
                "tags are a list: `tags = [\"user:{id}\"]`",
            )),
            expr => Ok(Self::Expr(expr)),
        }
    }
}

impl TagText {
    fn of(expr: Expr) -> syn::Result<Self> {
        match expr {
            Expr::Lit(literal) => match literal.lit {
                Lit::Str(text) if text.value().is_empty() => {
                    Err(syn::Error::new(text.span(), "a tag is not empty"))
                }
                Lit::Str(text) => Template::parse(&text).map(Self::Template),
                other => Err(syn::Error::new(
                    other.span(),
                    "a tag is a text such as \"user:{id}\"",
                )),
            },
            expr => Ok(Self::Expr(expr)),
        }
    }
}

impl Parse for Share {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        if let Some(share) = number(&expr)
            && !(0.0..1.0).contains(&share)
        {
            return Err(syn::Error::new(
                expr.span(),
                "`jitter` is a share of the TTL, from 0 to below 1",
            ));
        }
        Ok(Self(expr))
    }
}

impl Parse for Eager {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let expr: Expr = input.parse()?;
        if let Expr::Lit(literal) = &expr
            && let Lit::Str(text) = &literal.lit
        {
            return if text.value() == "xfetch" {
                Ok(Self::XFetch(text.span()))
            } else {
                Err(syn::Error::new(
                    text.span(),
                    "`eager` is a share of the TTL such as 0.8, or \"xfetch\"",
                ))
            };
        }
        match number(&expr) {
            Some(share) if share <= 0.0 || share >= 1.0 => Err(syn::Error::new(
                expr.span(),
                "`eager` is a share of the TTL, strictly between 0 and 1: 0.8 refreshes in its last fifth",
            )),
            _ => Ok(Self::After(expr)),
        }
    }
}

/// The value of a literal number.
fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Float(float) => LitFloat::base10_parse(float).ok(),
            Lit::Int(int) => int.base10_parse::<u32>().ok().map(f64::from),
            _ => None,
        },
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => number(&unary.expr).map(|n| -n),
        _ => None,
    }
}

impl Parse for Companions {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.peek(LitBool) {
            let on: LitBool = input.parse()?;
            return if on.value {
                Err(syn::Error::new(
                    on.span,
                    "companions are on by default; give them a name, or `false`",
                ))
            } else {
                Ok(Self::None)
            };
        }
        input
            .parse()
            .map(Self::Named)
            .map_err(|error| syn::Error::new(error.span(), "`companions` is a name for them, or `false`"))
    }
}

pub(super) fn prefix(literal: LitStr) -> syn::Result<LitStr> {
    let text = literal.value();
    let message = if text.is_empty() {
        "a prefix is not empty; leave it out to get the function's path".to_owned()
    } else if text.len() > 100 {
        format!("the prefix has {} bytes; at most 100 are allowed", text.len())
    } else if let Some(refused) = text.chars().find(|c| !is_plain(*c)) {
        match refused {
            ':' => {
                "a prefix is one part and holds no `:`; nest with `/` or `.`, or write further parts in `key`"
                    .to_owned()
            }
            '{' | '}' => "a prefix is fixed and has no placeholders; those belong into `key`".to_owned(),
            _ => format!("a prefix does not hold {refused:?}, which would have to be escaped in every key"),
        }
    } else {
        return Ok(literal);
    };
    Err(syn::Error::new(literal.span(), message))
}

/// The name of a policy is fit for configuration; one that is computed is checked when it is used.
pub(super) fn policy(name: Expr) -> syn::Result<Expr> {
    let Expr::Lit(literal) = &name else {
        return Ok(name);
    };
    let Lit::Str(text) = &literal.lit else {
        return Err(syn::Error::new(
            name.span(),
            "`policy` is the name of options in the configuration: `policy = \"price\"`",
        ));
    };
    let text = text.value();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err(syn::Error::new(
            name.span(),
            "the name of a policy has 1 to 64 ASCII letters, digits, `_`, `-` and `.`",
        ));
    }
    Ok(name)
}

/// Whether a character stands in keys as itself.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./@+=&!$;|<>\"`".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

pub(super) fn codec(name: &Ident, input: ParseStream<'_>) -> syn::Result<Ident> {
    equals(name, input)?;
    let known = ["Json", "MessagePack", "Postcard"];
    let refused = |at: Span, hint: String| {
        syn::Error::new(
            at,
            format!("`codec` is `Json`, `MessagePack` or `Postcard`, as in `codec = Postcard`{hint}"),
        )
    };
    let given: Ident = input
        .parse()
        .map_err(|error| refused(error.span(), String::new()))?;
    let text = given.to_string();
    if known.contains(&text.as_str()) {
        return Ok(given);
    }
    let nearest = known.iter().find(|known| known.eq_ignore_ascii_case(&text));
    let hint = nearest.map(|nearest| format!("; did you mean `{nearest}`?"));
    Err(refused(given.span(), hint.unwrap_or_default()))
}

pub(super) fn closure(expr: Expr) -> syn::Result<ExprClosure> {
    match expr {
        Expr::Closure(closure) => one_input(closure),
        other => Err(syn::Error::new(
            other.span(),
            "this is decided by the value: write a closure that gets it, `|value| ..`",
        )),
    }
}

fn one_input(closure: ExprClosure) -> syn::Result<ExprClosure> {
    if closure.inputs.len() == 1 {
        Ok(closure)
    } else {
        Err(syn::Error::new(
            closure.inputs_begin.span(),
            "this closure gets one argument, the value: `|value| ..`",
        ))
    }
}
