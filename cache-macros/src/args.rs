//! The options as written. What they mean together is for `model` to say.

use proc_macro2::{Ident, Span, TokenTree};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, ExprClosure, Lit, LitBool, LitFloat, LitInt, LitStr, Path, Token, parenthesized};

use crate::diag::{Diag, suggestion};
use crate::duration::Period;
use crate::template::Template;

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

/// Every option, for suggestions.
const KNOWN: &[&str] = &[
    "ttl",
    "policy",
    "prefix",
    "key",
    "skip",
    "secret",
    "tags",
    "stale",
    "negative_ttl",
    "error_ttl",
    "jitter",
    "eager",
    "soft_timeout",
    "hard_timeout",
    "throttle",
    "background",
    "if",
    "store_if",
    "cache",
    "version",
    "distributed",
    "codec",
    "crate",
    "companions",
    "detach",
    "propagate",
    "borrowed",
    "error",
    "batch",
    "result",
    "option",
];

/// What goes with `batch`, whose values are loaded together.
pub(crate) const OF_BATCHES: &[&str] = &[
    "batch",
    "ttl",
    "policy",
    "prefix",
    "key",
    "skip",
    "secret",
    "tags",
    "stale",
    "negative_ttl",
    "jitter",
    "soft_timeout",
    "hard_timeout",
    "throttle",
    "cache",
    "version",
    "distributed",
    "codec",
    "crate",
    "companions",
    "detach",
    "error",
];

/// What an `impl` block may say for all its functions.
const OF_BLOCKS: &[&str] = &["skip", "cache", "crate", "companions"];

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
                format!(
                    "`{text}` is not an option of `#[cached]`{}",
                    suggestion(&text, KNOWN.iter().copied())
                ),
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

fn codec(name: &Ident, input: ParseStream<'_>) -> syn::Result<Ident> {
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

fn prefix(literal: LitStr) -> syn::Result<LitStr> {
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
fn policy(name: Expr) -> syn::Result<Expr> {
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

fn closure(expr: Expr) -> syn::Result<ExprClosure> {
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
