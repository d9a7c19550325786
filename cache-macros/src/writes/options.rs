//! What `#[cache_put(..)]` and `#[cache_evict(..)]` say.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Expr, ExprClosure, Path, Token};

use super::Write;
use crate::args::Tags;
use crate::diag::{Diag, suggestion};

/// The options as written.
#[derive(Default)]
pub(super) struct Options {
    pub(super) targets: Vec<Target>,
    pub(super) tags: Option<Tags>,
    pub(super) value: Option<ExprClosure>,
    pub(super) before: Option<Ident>,
    pub(super) always: Option<Ident>,
    pub(super) cache: Option<Expr>,
    pub(super) krate: Option<Path>,
}

/// One call of a companion.
pub(super) struct Target {
    pub(super) span: Span,
    /// The receiver or the type and the companion's name, without its arguments.
    pub(super) callee: TokenStream,
    pub(super) args: Vec<Expr>,
}

impl Options {
    pub(super) fn parse(write: Write, input: ParseStream<'_>, diag: &mut Diag) -> Self {
        let mut options = Self::default();
        while !input.is_empty() {
            if let Err(error) = options.option(write, input) {
                diag.push(error);
                while !input.is_empty() && !input.peek(Token![,]) {
                    let _ = input.parse::<proc_macro2::TokenTree>();
                }
            }
            if !input.is_empty() && input.parse::<Token![,]>().is_err() {
                diag.error(input.span(), "expected `,` between two options");
                let _ = input.parse::<TokenStream>();
            }
        }
        options
    }

    fn option(&mut self, write: Write, input: ParseStream<'_>) -> syn::Result<()> {
        let ahead = input.fork();
        let Ok(name) = Ident::parse_any(&ahead) else {
            self.targets.push(Target::parse(write, input)?);
            return Ok(());
        };
        let text = name.to_string();
        let is_option = ahead.peek(Token![=]) || matches!(text.as_str(), "before" | "always");
        if text == "all" && ahead.peek(syn::token::Paren) && write == Write::Evict {
            return self.all(input);
        }
        if !is_option {
            self.targets.push(Target::parse(write, input)?);
            return Ok(());
        }
        if !write.options().contains(&text.as_str()) {
            return Err(syn::Error::new(
                name.span(),
                format!(
                    "`{text}` is not an option of `#[{}]`{}",
                    write.name(),
                    suggestion(&text, write.options().iter().copied())
                ),
            ));
        }
        Ident::parse_any(input)?;
        match text.as_str() {
            "before" => self.before = Some(name),
            "always" => self.always = Some(name),
            "tags" => self.tags = Some(assigned(input)?),
            "value" => self.value = Some(assigned(input)?),
            "cache" => self.cache = Some(assigned(input)?),
            _ => {
                input.parse::<Token![=]>()?;
                self.krate = Some(Path::parse_mod_style(input)?);
            }
        }
        Ok(())
    }

    /// `all(user)`, `all(self.user)`: every entry of a function.
    fn all(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        Ident::parse_any(input)?;
        let content;
        syn::parenthesized!(content in input);
        for function in Punctuated::<Expr, Token![,]>::parse_terminated(&content)? {
            self.targets.push(Target {
                span: function.span(),
                callee: callee(&function, "invalidate_all")?,
                args: Vec::new(),
            });
        }
        Ok(())
    }
}

fn assigned<T: Parse>(input: ParseStream<'_>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    input.parse()
}

impl Target {
    fn parse(write: Write, input: ParseStream<'_>) -> syn::Result<Self> {
        let companion = match write {
            Write::Put => "set",
            Write::Evict => "invalidate",
        };
        let expr: Expr = input.parse()?;
        let span = expr.span();
        match &expr {
            Expr::Call(call) => Ok(Self {
                span,
                callee: callee(&call.func, companion)?,
                args: call.args.iter().cloned().collect(),
            }),
            Expr::MethodCall(call) => {
                let (receiver, method) = (&call.receiver, format_ident!("{}_{companion}", call.method));
                Ok(Self {
                    span,
                    callee: quote!(#receiver.#method),
                    args: call.args.iter().cloned().collect(),
                })
            }
            _ => Err(syn::Error::new(
                span,
                "name a cached function with the arguments of its key, as if it were called: `user(id)`, `self.user(id)`",
            )),
        }
    }
}

/// The companion of a function: `user::set`, `Db::user_set`, `self.user_set`.
fn callee(function: &Expr, companion: &str) -> syn::Result<TokenStream> {
    let refused = || {
        syn::Error::new(
            function.span(),
            "name a cached function: `user`, `Db::user`, `self.user`",
        )
    };
    match function {
        Expr::Path(path) => {
            let mut path = path.path.clone();
            let owner = path
                .segments
                .iter()
                .rev()
                .nth(1)
                .map(|segment| segment.ident.to_string());
            let of_type = owner.is_some_and(|owner| owner.starts_with(char::is_uppercase));
            match path.segments.last_mut() {
                Some(last) if of_type => last.ident = format_ident!("{}_{companion}", last.ident),
                Some(_) => path.segments.push(parse_path_segment(companion)),
                None => return Err(refused()),
            }
            Ok(path.to_token_stream())
        }
        Expr::Field(field) => {
            let (base, syn::Member::Named(name)) = (&field.base, &field.member) else {
                return Err(refused());
            };
            let method = format_ident!("{name}_{companion}");
            Ok(quote!(#base.#method))
        }
        _ => Err(refused()),
    }
}

fn parse_path_segment(name: &str) -> syn::PathSegment {
    syn::PathSegment::from(Ident::new(name, Span::call_site()))
}
