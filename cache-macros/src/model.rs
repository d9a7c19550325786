//! [`CachedFn`]: an annotated function after all checks. What cannot be expanded does not become one.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Generics, Path, Type, parse_quote};

use crate::args::{Args, Companions, TagText, Tags, Ttl};
use crate::check;
use crate::diag::Diag;
use crate::function::{Function, Param, Style};
use crate::generics::generic_names;
use crate::parts::{Part, Parts, split_prefix};
use crate::shape::Shape;
use crate::template::Template;
use crate::tokens::mentions;

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
            Some(Companions::Named(name)) => name.unraw(),
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

/// Whether a parameter is a reference that `detach` names.
pub(crate) fn is_detached(args: &Args, param: &Param) -> bool {
    args.detach.contains(&param.name)
}
