//! Whether the options go with each other and with the function.

use quote::format_ident;

use crate::args::{Args, Ttl};
use crate::diag::Diag;
use crate::duration::Period;
use crate::function::{Function, Param, Style};
use crate::generics::loose_types;
use crate::model::{CachedFn, Place, is_detached};
use crate::tokens::borrows;

/// Whether the load has to run inside its caller, by what the tokens show.
pub(crate) fn is_borrowed(function: &Function, args: &Args, params: &[Param], place: &Place) -> bool {
    args.borrowed || !obstacles(function, args, params, place).is_empty()
}

/// What keeps a load from owning all it uses.
fn obstacles(function: &Function, args: &Args, params: &[Param], place: &Place) -> Vec<String> {
    let mut loose = loose_types(&function.sig.generics);
    if let Place::Block { generics, .. } = place {
        loose.extend(loose_types(generics));
        if generics.lifetimes().next().is_some() {
            loose.push(format_ident!("Self"));
        }
    }
    let this = format_ident!("self");
    let mut obstacles = Vec::new();
    if function.receiver_is_borrowed() && !args.detach.contains(&this) {
        obstacles.push("`self`".to_owned());
    }
    for param in params {
        let is_borrowed = match &param.ty {
            syn::Type::Reference(reference) if is_detached(args, param) => borrows(&reference.elem, &[]),
            ty => borrows(ty, &[]),
        };
        if is_borrowed {
            obstacles.push(if param.is_named {
                format!("`{}`", param.name)
            } else {
                "an argument".to_owned()
            });
        }
    }
    if obstacles.is_empty() {
        obstacles.extend(
            loose
                .iter()
                .map(|name| format!("`{name}`, which is not bounded by `'static`")),
        );
    }
    obstacles
}

/// What the options mean for this function.
pub(crate) fn options(cached: &CachedFn, diag: &mut Diag) {
    durations(&cached.args, diag);
    backgrounds(cached, diag);
    errors(cached, diag);
    combinations(cached, diag);
}

fn durations(args: &Args, diag: &mut Diag) {
    let ttl = match &args.ttl {
        Some(Ttl::Period(period)) => Some(period),
        _ => None,
    };
    let mut refuse_zero = |period: Option<&Period>, message: &str| {
        if let Some(Period::Fixed(0, span)) = period {
            diag.error(*span, message);
        }
    };
    refuse_zero(
        ttl,
        "a TTL of zero stores nothing; leave `#[cached]` out, or use `if = ..` to switch it off",
    );
    refuse_zero(
        args.stale.as_ref(),
        "a stale window of zero is the default; leave `stale` out",
    );
    refuse_zero(
        args.error_ttl.as_ref(),
        "an `error_ttl` of zero is the default; leave it out",
    );
    refuse_zero(
        args.hard_timeout.as_ref(),
        "a `hard_timeout` of zero waits for nothing; give it at least 1 ms",
    );
    if let (Some(Period::Fixed(soft, span)), Some(Period::Fixed(hard, _))) =
        (&args.soft_timeout, &args.hard_timeout)
        && soft >= hard
    {
        diag.error(
            *span,
            "`soft_timeout` has no effect unless it is shorter than `hard_timeout`",
        );
    }
}

/// Loads that outlive their caller need to own what they use.
fn backgrounds(cached: &CachedFn, diag: &mut Diag) {
    let args = &cached.args;
    let obstacles = obstacles(&cached.function, args, &cached.params, &cached.place);
    for option in ["eager", "background", "soft_timeout"]
        .into_iter()
        .filter(|option| args.has(option))
    {
        if args.borrowed {
            diag.error(
                args.span_of(option),
                format!("`{option}` loads in the background, which `borrowed` forbids"),
            );
        } else if !obstacles.is_empty() && args.batch.is_none() {
            let borrowed = obstacles.join(", ");
            let names: Vec<_> = obstacles.iter().map(|name| name.trim_matches('`')).collect();
            let remedy = if names.iter().any(|name| name.contains('\'')) {
                "add that bound".to_owned()
            } else {
                format!(
                    "take owned arguments such as `Arc<_>`, or say `detach({})` to clone them into the load",
                    names.join(", ")
                )
            };
            diag.error(
                args.span_of(option),
                format!("`{option}` loads in the background and needs owned arguments, but borrows {borrowed}: {remedy}"),
            );
        }
    }
    if !args.propagate.is_empty() && cached.borrowed {
        diag.error(
            args.span_of("propagate"),
            "`propagate` is not needed here: the arguments are borrowed, so the load runs in the caller's task and sees its task-locals",
        );
    }
    for option in ["soft_timeout", "background", "throttle"]
        .into_iter()
        .filter(|option| args.has(option))
    {
        if args.stale.is_none() && args.policy.is_none() {
            diag.error(
                args.span_of(option),
                format!("`{option}` is about stale values, and none are kept: add `stale = \"1h\"`"),
            );
        }
    }
    if args.background && args.soft_timeout.is_some() {
        diag.error(
            args.span_of("background"),
            "`background` is a `soft_timeout` of zero; give one of the two",
        );
    }
}

/// Without a `Result` there is no way to tell a caller about a failure.
fn errors(cached: &CachedFn, diag: &mut Diag) {
    let args = &cached.args;
    if !cached.shape.is_fallible() {
        for option in ["hard_timeout", "error_ttl", "error"]
            .into_iter()
            .filter(|option| args.has(option))
        {
            diag.error(
                args.span_of(option),
                format!(
                    "`{option}` is about errors, and `{}` returns none; return a `Result` (for an alias of it, add `result = true`)",
                    cached.function.sig.ident
                ),
            );
        }
    }
    for name in args.error.iter().flatten() {
        if *name != "clone" && *name != "from" {
            diag.error(
                name.span(),
                "`error(..)` says what the error type implements: `clone`, `from`, or both",
            );
        }
    }
    if args.negative_ttl.is_some() && !cached.shape.is_optional() && args.batch.is_none() {
        diag.error(
            args.span_of("negative_ttl"),
            "`negative_ttl` is about `None`, and the function always returns a value; return an `Option` (for an alias of it, add `option = true`)",
        );
    }
}

fn combinations(cached: &CachedFn, diag: &mut Diag) {
    let args = &cached.args;
    let this = format_ident!("self");
    if !cached.has_companions() && args.detach.contains(&this) {
        diag.error(
            args.span_of("detach"),
            "`detach(self)` calls a companion, so it does not go with `companions = false`",
        );
    }
    if cached.style != Style::Async && matches!(cached.place, Place::Block { of_trait: true, .. }) {
        diag.error(
            cached.function.sig.fn_token.span,
            "in the implementation of a trait, write the method as `async fn`; with `#[async_trait]`, put `#[cached]` above it",
        );
    }
}
