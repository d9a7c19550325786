//! [`CachedFn`]: an annotated function after all checks. What cannot be expanded does not become one.

use proc_macro2::{Ident, Span};
use quote::{ToTokens, format_ident};
use syn::spanned::Spanned as _;
use syn::{Expr, GenericParam, Generics, Path, ReceiverKind, Type, parse_quote};

use crate::args::{Args, Companions, Key, TagText, Tags, Ttl};
use crate::check;
use crate::diag::Diag;
use crate::function::{Function, Param, Style, last_segment, type_arguments};
use crate::template::{Hole, Piece, Template};
use crate::tokens::{borrows, mentions, says_static};

/// A function that can be expanded.
pub(crate) struct CachedFn {
    pub(crate) function: Function,
    pub(crate) args: Args,
    pub(crate) params: Vec<Param>,
    pub(crate) style: Style,
    /// What the future gives.
    pub(crate) output: Type,
    pub(crate) shape: Shape,
    pub(crate) krate: Path,
    pub(crate) prefix: Option<String>,
    pub(crate) parts: Vec<Part>,
    /// The load runs in its caller.
    pub(crate) borrowed: bool,
    pub(crate) place: Place,
}

/// Where a function stands.
#[derive(Clone)]
pub(crate) enum Place {
    /// In a module.
    Free,
    /// In an `impl` block of this type.
    Block {
        type_name: String,
        generics: Generics,
        of_trait: bool,
    },
}

/// What of the output is the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Plain,
    Maybe,
    Fallible,
    FallibleMaybe,
}

/// One part of the key.
pub(crate) enum Part {
    Text(String),
    Type(Ident),
    Const(Ident),
    Value { expr: Expr, span: Span, secret: bool },
}

impl CachedFn {
    /// Checks everything that the tokens tell.
    pub(crate) fn new(function: Function, args: Args, place: Place, diag: &mut Diag) -> Option<Self> {
        check::function(&function, &place, diag);
        let (style, output) = function.output().or_else(|| {
            check::not_async(&function, diag);
            None
        })?;
        let params = function.params();
        let names_are_known = check::names(&function, &args, &params, diag);
        let shape = Shape::of(&output, &args);
        let parts = Parts {
            function: &function,
            args: &args,
            params: &params,
            place: &place,
            output: &output,
            names_are_known,
        };
        let parts = parts.collect(diag);
        let (prefix, parts) = split_prefix(&args, parts);
        let krate = args.krate.clone().unwrap_or_else(|| parse_quote!(::cache_core));
        let cached = Self {
            borrowed: check::is_borrowed(&function, &args, &params, &place),
            function,
            args,
            params,
            style,
            output,
            shape,
            krate,
            prefix,
            parts,
            place,
        };
        check::options(&cached, diag);
        Some(cached)
    }

    pub(crate) fn has_companions(&self) -> bool {
        !matches!(self.args.companions, Some(Companions::None))
    }

    /// What the companions' names begin with.
    pub(crate) fn base(&self) -> Ident {
        match &self.args.companions {
            Some(Companions::Named(name)) => name.clone(),
            _ => self.function.base(),
        }
    }

    pub(crate) fn is_free(&self) -> bool {
        matches!(self.place, Place::Free)
    }

    pub(crate) fn value_span(&self) -> Span {
        self.output.span()
    }

    /// Type parameters of the function itself.
    pub(crate) fn generic_names(&self) -> Vec<Ident> {
        generic_names(&self.function.sig.generics)
    }

    /// The templates of tags that speak of the value.
    pub(crate) fn tags_of_result(&self) -> Vec<&Template> {
        self.tag_templates()
            .into_iter()
            .filter(|template| self.is_of_result(template))
            .collect()
    }

    pub(crate) fn is_of_result(&self, template: &Template) -> bool {
        !self.params.iter().any(|param| param.name == "result")
            && template.holes().any(|hole| hole.root == "result")
    }

    fn tag_templates(&self) -> Vec<&Template> {
        let Some(Tags::List(tags)) = &self.args.tags else {
            return Vec::new();
        };
        let templates = tags.iter().filter_map(|tag| match tag {
            TagText::Template(template) => Some(template),
            TagText::Expr(_) => None,
        });
        templates.collect()
    }

    /// Whether an argument is needed to build the key.
    pub(crate) fn is_in_key(&self, name: &Ident) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Value { expr, .. } if mentions(expr, name)))
    }

    /// Whether an argument is needed to find the cache.
    pub(crate) fn is_in_cache(&self, name: &Ident) -> bool {
        self.args
            .cache
            .as_ref()
            .is_some_and(|cache| mentions(cache, name))
    }

    /// Whether an option speaks of an argument, which the body then need not use.
    pub(crate) fn is_in_attribute(&self, name: &Ident) -> bool {
        let condition = self.args.condition.as_ref();
        let in_key = self.args.key.is_some() && self.is_in_key(name);
        in_key
            || self.is_in_cache(name)
            || self.is_in_options(name)
            || condition.is_some_and(|condition| mentions(condition, name))
    }

    /// Whether an argument is needed to build the options of a store.
    pub(crate) fn is_in_options(&self, name: &Ident) -> bool {
        let args = &self.args;
        let ttl = matches!(&args.ttl, Some(Ttl::Period(period)) if mentions(&period.expression(), name));
        let periods = [
            &args.stale,
            &args.negative_ttl,
            &args.error_ttl,
            &args.soft_timeout,
            &args.hard_timeout,
            &args.throttle,
        ];
        let in_tags = match &args.tags {
            None => false,
            Some(Tags::Expr(expr)) => mentions(expr, name),
            Some(Tags::List(tags)) => tags.iter().any(|tag| match tag {
                TagText::Expr(expr) => mentions(expr, name),
                TagText::Template(template) => template.holes().any(|hole| hole.root == *name),
            }),
        };
        ttl || in_tags
            || periods
                .into_iter()
                .flatten()
                .any(|period| mentions(&period.expression(), name))
            || args
                .jitter
                .as_ref()
                .is_some_and(|jitter| mentions(&jitter.0, name))
            || args.policy.as_ref().is_some_and(|policy| mentions(policy, name))
    }
}

impl Shape {
    fn of(output: &Type, args: &Args) -> Self {
        let segment = last_segment(output);
        let named = |name: &str| segment.is_some_and(|segment| segment.ident == name);
        let inner_is_option = segment
            .and_then(|segment| type_arguments(segment).first().and_then(|ty| last_segment(ty)))
            .is_some_and(|inner| inner.ident == "Option");
        let fallible = args.result.unwrap_or_else(|| named("Result"));
        let maybe = args.option.unwrap_or(if fallible {
            inner_is_option
        } else {
            named("Option")
        });
        match (fallible, maybe) {
            (true, true) => Self::FallibleMaybe,
            (true, false) => Self::Fallible,
            (false, true) => Self::Maybe,
            (false, false) => Self::Plain,
        }
    }

    pub(crate) fn is_fallible(self) -> bool {
        matches!(self, Self::Fallible | Self::FallibleMaybe)
    }

    pub(crate) fn is_optional(self) -> bool {
        matches!(self, Self::Maybe | Self::FallibleMaybe)
    }

    pub(crate) fn marker(self) -> Ident {
        format_ident!(
            "{}",
            match self {
                Self::Plain => "Plain",
                Self::Maybe => "Maybe",
                Self::Fallible => "Fallible",
                Self::FallibleMaybe => "FallibleMaybe",
            }
        )
    }
}

/// Names of type and const parameters.
pub(crate) fn generic_names(generics: &Generics) -> Vec<Ident> {
    let names = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(param.ident.clone()),
        GenericParam::Const(param) => Some(param.ident.clone()),
        GenericParam::Lifetime(_) => None,
    });
    names.collect()
}

/// Type parameters that may stand for something borrowed.
pub(crate) fn loose_types(generics: &Generics) -> Vec<Ident> {
    let in_where = |name: &Ident| {
        generics.where_clause.as_ref().is_some_and(|clause| {
            clause
                .predicates
                .iter()
                .any(|predicate| mentions(predicate, name) && says_static(predicate))
        })
    };
    let loose = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) if !says_static(&param.bounds) && !in_where(&param.ident) => {
            Some(param.ident.clone())
        }
        _ => None,
    });
    loose.collect()
}

/// A prefix is what `prefix` says, or else the literal that the key template begins with.
fn split_prefix(args: &Args, mut parts: Vec<Part>) -> (Option<String>, Vec<Part>) {
    if let Some(prefix) = &args.prefix {
        return (Some(prefix.value()), parts);
    }
    if let Some(Key::Template(template)) = &args.key
        && matches!(template.pieces.first(), Some(Piece::Text(_)))
        && let Some(index) = parts.iter().position(|part| matches!(part, Part::Text(_)))
        && let Part::Text(text) = parts.remove(index)
    {
        // The version stands behind the prefix.
        return (Some(text), parts);
    }
    (None, parts)
}

/// Collects the parts of the key.
struct Parts<'a> {
    function: &'a Function,
    args: &'a Args,
    params: &'a [Param],
    place: &'a Place,
    output: &'a Type,
    /// Otherwise what is missing from the key may be what was misspelt.
    names_are_known: bool,
}

impl Parts<'_> {
    fn collect(&self, diag: &mut Diag) -> Vec<Part> {
        let values = match &self.args.key {
            None => self.all_arguments(),
            Some(Key::Template(template)) => match diag.take(template.segments()) {
                Some(segments) => segments
                    .into_iter()
                    .map(|segment| self.segment(segment))
                    .collect(),
                None => return Vec::new(),
            },
            Some(Key::Parts(exprs)) => exprs
                .iter()
                .map(|expr| self.value(expr.clone(), expr.span()))
                .collect(),
        };
        if self.names_are_known {
            self.check_complete(&values, diag);
        }
        let mut parts: Vec<Part> = self
            .types()
            .into_iter()
            .filter(|part| !self.is_named_in(part, &values))
            .collect();
        // A leading literal is the prefix when there is no other.
        parts.extend(values);
        if let Some(version) = &self.args.version {
            parts.insert(
                0,
                Part::Value {
                    expr: version_part(version),
                    span: version.span(),
                    secret: false,
                },
            );
        }
        parts
    }

    fn all_arguments(&self) -> Vec<Part> {
        let kept = self
            .params
            .iter()
            .filter(|param| !self.args.skip.contains(&param.name));
        kept.map(|param| {
            let name = &param.name;
            self.value(parse_quote!(#name), param.ty.span())
        })
        .collect()
    }

    fn segment(&self, segment: Piece) -> Part {
        match segment {
            Piece::Text(text) => Part::Text(text),
            Piece::Hole(Hole { root, expr }) => {
                let param = self.params.iter().find(|param| param.name == root);
                let literal = expr.span();
                let span = match (&expr, param) {
                    // The type of the argument is what has to fit.
                    (Expr::Path(_), Some(param)) => param.ty.span(),
                    _ => literal,
                };
                self.value(expr, span)
            }
        }
    }

    fn value(&self, expr: Expr, span: Span) -> Part {
        let secret = self.args.secret.iter().any(|name| mentions(&expr, name));
        Part::Value { expr, span, secret }
    }

    /// The type and const parameters that may decide the result. One that occurs in skipped arguments alone is skipped
    /// with them.
    fn types(&self) -> Vec<Part> {
        let of_block = match self.place {
            Place::Block { generics, .. } => Some(generics),
            Place::Free => None,
        };
        let matters = |name: &Ident| {
            let (skipped, kept): (Vec<_>, Vec<_>) = self
                .params
                .iter()
                .partition(|param| self.args.skip.contains(&param.name));
            let only_skipped = skipped.iter().any(|param| mentions(&param.ty, name))
                && !kept.iter().any(|param| mentions(&param.ty, name))
                && !mentions(self.output, name);
            !only_skipped && !self.args.skip.contains(name)
        };
        let mut parts = Vec::new();
        for generics in of_block.into_iter().chain([&self.function.sig.generics]) {
            for param in &generics.params {
                match param {
                    GenericParam::Type(param) if matters(&param.ident) => {
                        parts.push(Part::Type(param.ident.clone()));
                    }
                    GenericParam::Const(param) if matters(&param.ident) => {
                        parts.push(Part::Const(param.ident.clone()));
                    }
                    _ => {}
                }
            }
        }
        parts
    }

    fn is_named_in(&self, part: &Part, values: &[Part]) -> bool {
        let (Part::Type(name) | Part::Const(name)) = part else {
            return false;
        };
        values
            .iter()
            .any(|value| matches!(value, Part::Value { expr, .. } if mentions(expr, name)))
    }

    /// Every argument is in the key or skipped.
    fn check_complete(&self, values: &[Part], diag: &mut Diag) {
        let in_key = |name: &Ident| {
            values
                .iter()
                .any(|part| matches!(part, Part::Value { expr, .. } if mentions(expr, name)))
        };
        for param in self.params {
            let name = &param.name;
            if !in_key(name) && !self.args.skip.contains(name) {
                let (name, remedy) = if param.is_named {
                    (
                        format!("`{name}`"),
                        format!(
                            "add `{{{name}}}` to the key, or say `skip({name})` if it does not change the result"
                        ),
                    )
                } else {
                    (
                        "this argument".to_owned(),
                        "give it a name instead of a pattern to use it in `key` or `skip`".to_owned(),
                    )
                };
                diag.error(
                    param.pat.span(),
                    format!("{name} is neither in the key nor skipped: {remedy}"),
                );
            } else if in_key(name) && self.args.skip.contains(name) {
                diag.error(
                    name_in(&self.args.skip, name),
                    format!("`{name}` is both skipped and in the key"),
                );
            }
        }
        let this = format_ident!("self");
        if let Some(receiver) = self.function.receiver()
            && !in_key(&this)
            && !self.args.skip.contains(&this)
        {
            diag.error(
                receiver.self_token.span,
                "`self` is neither in the key nor skipped, so two values of this type would share entries: say \
                 `skip(self)` if they should, or name what tells them apart, as in `key = \"{self.tenant}:{id}\"`",
            );
        }
    }
}

fn version_part(version: &syn::LitInt) -> Expr {
    let text = format!("v{}", version.base10_digits());
    let mut literal = proc_macro2::Literal::string(&text);
    literal.set_span(version.span());
    let literal = proc_macro2::TokenTree::Literal(literal).to_token_stream();
    parse_quote!(#literal)
}

/// Where a list names something.
pub(crate) fn name_in(list: &[Ident], name: &Ident) -> Span {
    list.iter()
        .find(|known| *known == name)
        .map_or_else(Span::call_site, Ident::span)
}

/// Whether a parameter is a reference that `detach` names.
pub(crate) fn is_detached(args: &Args, param: &Param) -> bool {
    args.detach.contains(&param.name)
}

/// Whether the receiver is one that can be cached with.
pub(crate) fn receiver_refusal(kind: &ReceiverKind) -> Option<&'static str> {
    match kind {
        ReceiverKind::Reference(_, _, None) => None,
        ReceiverKind::Reference(_, _, Some(_)) => Some(
            "a method that takes `&mut self` changes something, and a hit would leave that out; take `&self`, and see \
             `#[cache_evict]` for methods that write",
        ),
        ReceiverKind::Value => Some(
            "a method that takes `self` uses it up, and a hit would not; take `&self` or `self: Arc<Self>`",
        ),
        ReceiverKind::Typed(_, ty) => {
            let arc = last_segment(ty).is_some_and(|segment| segment.ident == "Arc");
            (!arc && !borrows(ty, &[])).then_some("`self` is `&self` or `self: Arc<Self>` in a cached method")
        }
        _ => Some("`self` is `&self` or `self: Arc<Self>` in a cached method"),
    }
}
