//! The functions that rules may use: CEL's own, its extensions for texts and mathematics, and those of Kubernetes'
//! libraries that are here.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelOptional, CelString};
use cel::common::value::Val;
use cel::{DeclarationError, Env, ExecutionError, Value as CelValue};
use regex::RegexBuilder;

use crate::quantity::Amount;

/// The size of a pattern that is compiled for one evaluation.
const PATTERN_BYTES_MAX: usize = 1 << 18;

/// Names of types, which are values too.
const TYPES: [&str; 11] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint", "optional_type"];

/// All functions by their names in a parsed expression.
const FUNCTIONS: &[&str] = &[
    // Operators.
    "_&&_",
    "_||_",
    "!_",
    "_?_:_",
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
    "_+_",
    "_-_",
    "-_",
    "_*_",
    "_/_",
    "_%_",
    "_[_]",
    "_[?_]",
    "_?._",
    "@in",
    "@not_strictly_false",
    // The standard library.
    "size",
    "type",
    "dyn",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "duration",
    "timestamp",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    // Optional values.
    "of",
    "none",
    "ofNonZeroValue",
    "hasValue",
    "value",
    "or",
    "orValue",
    "optMap",
    "optFlatMap",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
    // Texts and mathematics.
    "charAt",
    "indexOf",
    "lastIndexOf",
    "join",
    "lowerAscii",
    "upperAscii",
    "replace",
    "split",
    "substring",
    "trim",
    "reverse",
    "format",
    "strings.quote",
    "math.greatest",
    "math.least",
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.round",
    "math.sign",
    "math.trunc",
    // Kubernetes' own.
    "find",
    "isURL",
    "isIP",
    "isCIDR",
    "isQuantity",
];

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    env.add_extension(cel::extensions::strings).expect("the extension is added once");
    env.add_extension(cel::extensions::math).expect("the extension is added once");
    add_own(&mut env).expect("the names are not taken");
    Arc::new(env)
});

/// The environment of all expressions.
pub(super) fn env() -> Arc<Env> {
    Arc::clone(&ENV)
}

/// Whether a name is that of a type.
pub(super) fn is_type(name: &str) -> bool {
    TYPES.contains(&name) || matches!(name, "optional" | "math" | "strings")
}

/// Whether a function is known here.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

/// An optional value of what there is.
pub(super) fn optional(value: Option<&CelValue>) -> Box<dyn Val> {
    let inner = value.and_then(|value| Box::<dyn Val>::try_from(value.clone()).ok());
    Box::new(CelOptional::from(inner))
}

fn add_own(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_member_overload!(env, fn find: (CelString, CelString) -> Result<CelString>)?;
    cel::add_overload!(env, fn is_url: (CelString) -> CelBool, name = "isURL")?;
    cel::add_overload!(env, fn is_ip: (CelString) -> CelBool, name = "isIP")?;
    cel::add_overload!(env, fn is_cidr: (CelString) -> CelBool, name = "isCIDR")?;
    cel::add_overload!(env, fn is_quantity: (CelString) -> CelBool, name = "isQuantity")?;
    Ok(())
}

fn find(this: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelString<'static>, ExecutionError> {
    let pattern = RegexBuilder::new(pattern.inner()).size_limit(PATTERN_BYTES_MAX).build();
    let pattern = pattern.map_err(|error| ExecutionError::function_error("find", error))?;
    let found = pattern.find(this.inner()).map(|found| found.as_str().to_owned());
    Ok(found.unwrap_or_default().into())
}

fn is_url(this: &CelString<'_>) -> CelBool {
    let text = this.inner();
    let absolute =
        text.split_once("://").is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    (text.starts_with('/') || absolute).into()
}

fn is_ip(this: &CelString<'_>) -> CelBool {
    this.inner().parse::<IpAddr>().is_ok().into()
}

fn is_cidr(this: &CelString<'_>) -> CelBool {
    let parts = this.inner().split_once('/');
    let is_one = parts.is_some_and(|(address, bits)| {
        let max = address.parse::<IpAddr>().map(|own| if own.is_ipv4() { 32 } else { 128 });
        bits.parse::<u8>().is_ok_and(|bits| max.is_ok_and(|max| bits <= max))
    });
    is_one.into()
}

fn is_quantity(this: &CelString<'_>) -> CelBool {
    Amount::parse(this.inner()).is_ok().into()
}
