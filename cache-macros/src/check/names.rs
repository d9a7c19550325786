//! Whether the names that options speak of are arguments.

use proc_macro2::Ident;

use crate::args::{Args, Key, TagText, Tags};
use crate::diag::{Diag, suggestion};
use crate::function::{Function, Param};
use crate::generics::generic_names;

/// Every name in a list is an argument, and each list makes sense with the others.
pub(crate) fn names(function: &Function, args: &Args, params: &[Param], diag: &mut Diag) -> bool {
    let mut all_known = true;
    let mut known: Vec<String> = params
        .iter()
        .filter(|param| param.is_named)
        .map(|param| param.name.to_string())
        .collect();
    if function.receiver().is_some() {
        known.push("self".to_owned());
    }
    let types: Vec<Ident> = generic_names(&function.sig.generics);
    let mut check = |list: &[Ident], generics: bool| {
        for (index, name) in list.iter().enumerate() {
            let text = name.to_string();
            // `skip(self)` may come from the block, for functions without one too.
            let is_known = known.contains(&text) || (generics && (types.contains(name) || text == "self"));
            if !is_known {
                let remedy = suggestion(&text, known.iter().map(String::as_str));
                all_known = false;
                diag.error(
                    name.span(),
                    format!("`{text}` is not an argument of `{}`{remedy}", function.sig.ident),
                );
            } else if list[..index].contains(name) && text != "self" {
                diag.error(name.span(), format!("`{text}` is named twice"));
            }
        }
    };
    // Type parameters of a block are not seen from here, so a capitalised name is left to the compiler.
    let skipped: Vec<Ident> = args
        .skip
        .iter()
        .filter(|name| !name.to_string().starts_with(char::is_uppercase))
        .cloned()
        .collect();
    check(&skipped, true);
    check(&args.secret, false);
    check(&args.detach, false);
    for name in args.secret.iter().filter(|name| args.skip.contains(name)) {
        diag.error(
            name.span(),
            format!("`{name}` is skipped, so there is nothing of it to hide"),
        );
    }
    all_known &= template_names(function, args, &known, diag);
    for name in &args.detach {
        let param = params.iter().find(|param| param.name == *name);
        if param.is_some_and(|param| !matches!(param.ty, syn::Type::Reference(_))) {
            diag.error(
                name.span(),
                format!("`{name}` is owned already; `detach` is for references"),
            );
        }
    }
    all_known
}

fn template_names(function: &Function, args: &Args, known: &[String], diag: &mut Diag) -> bool {
    let mut all_known = true;
    let mut check = |template: &crate::template::Template, result: bool| {
        for hole in template.holes() {
            let root = hole.root.to_string();
            let is_value = result && root == "result";
            if !is_value && !known.contains(&root) {
                let remedy = suggestion(&root, known.iter().map(String::as_str));
                all_known = false;
                diag.error(
                    template.literal.span(),
                    format!(
                        "`{{{root}}}` is not an argument of `{}`{remedy}",
                        function.sig.ident
                    ),
                );
            }
        }
    };
    if let Some(Key::Template(template)) = &args.key {
        check(template, false);
    }
    if let Some(Tags::List(tags)) = &args.tags {
        for tag in tags {
            if let TagText::Template(template) = tag {
                check(template, true);
            }
        }
    }
    all_known
}
