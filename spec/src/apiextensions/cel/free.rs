//! The names that an expression takes from outside.

use cel::common::ast::Expr;
use cel::parser::Expression;

use super::cost::inner;

/// The first name that is neither bound by a loop around it nor accepted by `is_known`.
pub(super) fn first_unknown<'e>(
    expression: &'e Expression,
    is_known: &dyn Fn(&str) -> bool,
) -> Option<&'e str> {
    find(expression, &mut Vec::new(), is_known)
}

fn find<'e>(
    expression: &'e Expression,
    bound: &mut Vec<&'e str>,
    is_known: &dyn Fn(&str) -> bool,
) -> Option<&'e str> {
    match &expression.expr {
        Expr::Ident(name) if bound.contains(&name.as_str()) || is_known(name) => None,
        Expr::Ident(name) => Some(name),
        Expr::Comprehension(own) => {
            let outside = [&own.iter_range, &own.accu_init].into_iter();
            if let Some(name) = outside.into_iter().find_map(|part| find(part, bound, is_known)) {
                return Some(name);
            }
            let length = bound.len();
            bound.extend([own.iter_var.as_str(), own.accu_var.as_str()]);
            bound.extend(own.iter_var2.as_deref());
            let parts = [&own.loop_cond, &own.loop_step, &own.result];
            let found = parts.into_iter().find_map(|part| find(part, bound, is_known));
            bound.truncate(length);
            found
        }
        _ => inner(expression).into_iter().find_map(|part| find(part, bound, is_known)),
    }
}
