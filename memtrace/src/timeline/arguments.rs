//! A report's object as a slice's arguments.
//!
//! Owns the way from one tree to the other: whatever a report says is on the slice, under the same names. Must not know
//! what those are.

use bumpalo::Bump;
use serde::Serialize;
use serde_json::Value as Json;

use crate::perfetto::{Arg, Value};

/// Gives an object's fields as arguments. What is not known is left out.
pub(super) fn of(object: &impl Serialize, give: impl FnOnce(&[Arg<'_>])) {
    // Maps with keys that are strings, and numbers: nothing that JSON could not hold.
    let json = serde_json::to_value(object).unwrap_or_default();
    let bump = Bump::new();
    if let Json::Object(fields) = &json {
        give(arguments(fields, &bump));
    }
}

fn arguments<'a>(fields: &'a serde_json::Map<String, Json>, bump: &'a Bump) -> &'a [Arg<'a>] {
    let known = fields
        .iter()
        .filter_map(|(name, field)| Some(Arg::new(name, value(field, bump)?)));
    bump.alloc_slice_fill_iter(known.collect::<Vec<_>>())
}

fn value<'a>(json: &'a Json, bump: &'a Bump) -> Option<Value<'a>> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::Uint(number),
            (None, Some(number)) => Value::Int(number),
            (None, None) => Value::Double(number.as_f64()?),
        },
        Json::String(text) => Value::Str(text),
        Json::Array(values) => {
            let values: Vec<_> = values.iter().filter_map(|json| value(json, bump)).collect();
            Value::List(bump.alloc_slice_fill_iter(values))
        }
        Json::Object(fields) => Value::Dict(arguments(fields, bump)),
    })
}
