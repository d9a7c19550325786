//! The options as written. What they mean together is for `model` to say.

use proc_macro2::{Ident, Span, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprClosure, LitBool, LitInt, LitStr, Path, Token, parenthesized};

use crate::diag::Diag;
use crate::duration::Period;

mod names;
mod values;

pub(crate) use names::OF_BATCHES;
pub(crate) use values::{Companions, Eager, Key, Share, TagText, Tags, Ttl};

use names::{KNOWN, OF_BLOCKS, remedy};
use values::{closure, codec, policy, prefix};

/// The options of one attribute, each with the span of its name.
#[derive(Clone, Default)]
pub(crate) struct Args {
    names: Vec<Ident>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) policy: Option<Expr>,
    pub(crate) prefix: Option<LitStr>,
    pub(crate) key: Option<Key>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) secret: Vec<Ident>,
    pub(crate) detach: Vec<Ident>,
    pub(crate) propagate: Vec<Path>,
    pub(crate) tags: Option<Tags>,
    pub(crate) stale: Option<Period>,
    pub(crate) negative_ttl: Option<Period>,
    pub(crate) error_ttl: Option<Period>,
    pub(crate) soft_timeout: Option<Period>,
    pub(crate) hard_timeout: Option<Period>,
    pub(crate) throttle: Option<Period>,
    pub(crate) jitter: Option<Share>,
    pub(crate) eager: Option<Eager>,
    pub(crate) background: bool,
    pub(crate) condition: Option<Expr>,
    pub(crate) store_if: Option<ExprClosure>,
    pub(crate) cache: Option<Expr>,
    pub(crate) version: Option<LitInt>,
    pub(crate) distributed: Option<LitBool>,
    pub(crate) codec: Option<Ident>,
    pub(crate) krate: Option<Path>,
    pub(crate) companions: Option<Companions>,
    pub(crate) result: Option<bool>,
    pub(crate) option: Option<bool>,
    pub(crate) borrowed: bool,
    /// Over a list of ids, and the argument that holds them if it is named.
    pub(crate) batch: Option<Option<Ident>>,
    pub(crate) error: Option<Vec<Ident>>,
}

impl Args {
    /// Reads the options; one that cannot be read does not keep the others from being checked.
    pub(crate) fn parse(input: ParseStream<'_>, diag: &mut Diag) -> Self {
        let mut args = Self::default();
        while !input.is_empty() {
            let read = args.option(input);
            if let Err(error) = read {
                diag.push(error);
                skip_option(input);
            }
            if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                diag.error(input.span(), "expected `,` between two options");
                skip_option(input);
                let _ = input.parse::<Token![,]>();
            }
        }
        args
    }

    /// Where an option was named.
    pub(crate) fn span_of(&self, name: &str) -> Span {
        self.names
            .iter()
            .find(|known| *known == name)
            .map_or_else(Span::call_site, Ident::span)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    pub(crate) fn names(&self) -> &[Ident] {
        &self.names
    }

    /// Takes what a function leaves open from its block.
    pub(crate) fn within(mut self, block: &Self) -> Self {
        self.cache = self.cache.or_else(|| block.cache.clone());
        self.krate = self.krate.or_else(|| block.krate.clone());
        self.companions = self.companions.or_else(|| block.companions.clone());
        self.skip.extend(block.skip.iter().cloned());
        self
    }

    /// Refuses what a block cannot say for all its functions.
    pub(crate) fn check_block(&self, diag: &mut Diag) {
        for name in self
            .names
            .iter()
            .filter(|name| !OF_BLOCKS.iter().any(|known| *name == known))
        {
            diag.error(
                name.span(),
                format!("`{name}` belongs to a function, not to the block; a block takes `skip(self)`, `cache`, `crate` and `companions`"),
            );
        }
        for skipped in self.skip.iter().filter(|skipped| *skipped != "self") {
            diag.error(
                skipped.span(),
                "a block can skip `self` alone; skip arguments where the function is",
            );
        }
    }

    fn option(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let name = Ident::parse_any(input).map_err(|error| {
            syn::Error::new(error.span(), "expected the name of an option, such as `ttl`")
        })?;
        let text = name.to_string();
        if !KNOWN.contains(&text.as_str()) {
            return Err(syn::Error::new(
                name.span(),
                format!("`{text}` is not an option of `#[cached]`{}", remedy(&text)),
            ));
        }
        if self.names.contains(&name) {
            return Err(syn::Error::new(name.span(), format!("`{text}` is given twice")));
        }
        self.names.push(name.clone());
        match text.as_str() {
            "ttl" => self.ttl = Some(assigned(&name, input)?),
            "policy" => self.policy = Some(policy(assigned(&name, input)?)?),
            "prefix" => self.prefix = Some(prefix(assigned(&name, input)?)?),
            "key" => self.key = Some(assigned(&name, input)?),
            "skip" => self.skip = names(&name, input)?,
            "secret" => self.secret = names(&name, input)?,
            "detach" => self.detach = names(&name, input)?,
            "error" => self.error = Some(names(&name, input)?),
            "propagate" => self.propagate = list(&name, input, Path::parse_mod_style)?,
            "tags" => self.tags = Some(assigned(&name, input)?),
            "stale" => self.stale = Some(assigned(&name, input)?),
            "negative_ttl" => self.negative_ttl = Some(assigned(&name, input)?),
            "error_ttl" => self.error_ttl = Some(assigned(&name, input)?),
            "soft_timeout" => self.soft_timeout = Some(assigned(&name, input)?),
            "hard_timeout" => self.hard_timeout = Some(assigned(&name, input)?),
            "throttle" => self.throttle = Some(assigned(&name, input)?),
            "jitter" => self.jitter = Some(assigned(&name, input)?),
            "eager" => self.eager = Some(assigned(&name, input)?),
            "if" => self.condition = Some(assigned(&name, input)?),
            "store_if" => self.store_if = Some(closure(assigned(&name, input)?)?),
            "cache" => self.cache = Some(assigned(&name, input)?),
            "version" => self.version = Some(assigned(&name, input)?),
            "distributed" => self.distributed = Some(truth(&name, input)?),
            "codec" => self.codec = Some(codec(&name, input)?),
            "crate" => self.krate = Some(path(&name, input)?),
            "companions" => self.companions = Some(assigned(&name, input)?),
            "background" => self.background = flag(&name, input)?,
            "batch" if input.peek(Token![=]) => self.batch = Some(Some(assigned(&name, input)?)),
            "batch" => self.batch = Some(None),
            "borrowed" => self.borrowed = flag(&name, input)?,
            "result" => self.result = Some(flag(&name, input)?),
            _ => self.option = Some(flag(&name, input)?),
        }
        Ok(())
    }
}

/// To the comma that ends an option that could not be read.
fn skip_option(input: ParseStream<'_>) {
    while !input.is_empty() && !input.peek(Token![,]) {
        let _ = input.parse::<TokenTree>();
    }
}

fn equals(name: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    input
        .parse::<Token![=]>()
        .map(drop)
        .map_err(|_| syn::Error::new(name.span(), format!("`{name}` takes a value: `{name} = ..`")))
}

fn assigned<T: Parse>(name: &Ident, input: ParseStream<'_>) -> syn::Result<T> {
    equals(name, input)?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(syn::Error::new(
            name.span(),
            format!("`{name}` has no value after its `=`"),
        ));
    }
    input.parse()
}

/// `name`, or `name = true`.
fn flag(name: &Ident, input: ParseStream<'_>) -> syn::Result<bool> {
    if input.is_empty() || input.peek(Token![,]) {
        return Ok(true);
    }
    Ok(truth(name, input)?.value)
}

fn truth(name: &Ident, input: ParseStream<'_>) -> syn::Result<LitBool> {
    equals(name, input)?;
    input
        .parse()
        .map_err(|error| syn::Error::new(error.span(), format!("`{name}` is `true` or `false`")))
}

fn list<T>(
    name: &Ident,
    input: ParseStream<'_>,
    item: fn(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<Vec<T>> {
    if !input.peek(syn::token::Paren) {
        return Err(syn::Error::new(
            name.span(),
            format!("`{name}` takes a list: `{name}(..)`"),
        ));
    }
    let content;
    parenthesized!(content in input);
    let items = Punctuated::<T, Token![,]>::parse_terminated_with(&content, item)?;
    if items.is_empty() {
        return Err(syn::Error::new(
            name.span(),
            format!("`{name}()` names nothing; leave it out"),
        ));
    }
    Ok(items.into_iter().collect())
}

fn names(name: &Ident, input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    list(name, input, Ident::parse_any)
}

fn path(name: &Ident, input: ParseStream<'_>) -> syn::Result<Path> {
    equals(name, input)?;
    Path::parse_mod_style(input).map_err(|error| {
        syn::Error::new(
            error.span(),
            "`crate` is the path of `cache_core`: `crate = my::cache_core`",
        )
    })
}
