//! `docs/schema/report.schema.json`, which all that memtrace prints for scripts has to follow.
//!
//! Owns saying where a value does not. Must not know what the values mean.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../docs/schema/report.schema.json");

/// One of the schema's four kinds of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request's line.
    Request,
    /// A route's line.
    Route,
    /// The summary's line.
    Summary,
    /// All of `--format json`.
    Document,
}

/// A validator for each kind: the schema's own choice of one of them would not say what is wrong. Built once, since
/// some reports have a hundred thousand lines.
struct Validators {
    request: Validator,
    route: Validator,
    summary: Validator,
    document: Validator,
}

static VALIDATORS: LazyLock<Validators> = LazyLock::new(|| {
    let of = |name| {
        let mut schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
        let root = schema.as_object_mut().expect("an object");
        root.remove("oneOf").expect("a choice of kinds");
        root.insert("$ref".to_owned(), json!(format!("#/$defs/{name}")));
        jsonschema::validator_for(&schema).expect("a schema")
    };
    Validators {
        request: of("request"),
        route: of("route"),
        summary: of("summary"),
        document: of("document"),
    }
});

impl Kind {
    /// What an object of this `type` is; a document has none.
    pub fn of(r#type: &str) -> Option<Kind> {
        match r#type {
            "request" => Some(Kind::Request),
            "route" => Some(Kind::Route),
            "summary" => Some(Kind::Summary),
            _ => None,
        }
    }

    /// Where this value is not what the schema says, and why.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let validator = match self {
            Kind::Request => &VALIDATORS.request,
            Kind::Route => &VALIDATORS.route,
            Kind::Summary => &VALIDATORS.summary,
            Kind::Document => &VALIDATORS.document,
        };
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("not as the schema has it: {}", wrong.join("; ")))
        }
    }
}
