//! What is written, against docs/schema/report.schema.json and the contract's order of fields.

use serde_json::{Value, json};

use super::*;

const SCHEMA: &str = include_str!("../../../../docs/schema/report.schema.json");

/// The schema, or only what its definition `kind` asks for.
fn validator(kind: Option<&str>) -> jsonschema::Validator {
    let mut schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    if let Some(kind) = kind {
        schema.as_object_mut().unwrap().remove("oneOf");
        schema["$ref"] = json!(format!("#/$defs/{kind}"));
    }
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn assert_valid(validator: &jsonschema::Validator, value: &Value) {
    let wrong: Vec<_> = validator
        .iter_errors(value)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{value:#}");
}

#[test]
fn the_schema_describes_what_is_written() {
    let any = validator(None);
    let mut requests = run();
    requests.push(sample::full(8));
    let text = report(
        Format::Ndjson,
        View::default(),
        plain(),
        &requests,
        &sample::summary(),
    );
    let mut kinds = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let kind = value["type"].as_str().unwrap().to_owned();
        assert_valid(&validator(Some(&kind)), &value);
        assert!(any.is_valid(&value), "not exactly one kind: {value:#}");
        kinds.push(kind);
    }
    assert!(kinds.is_sorted_by_key(|kind| {
        ["request", "route", "summary"]
            .iter()
            .position(|known| known == kind)
    }));
    kinds.dedup();
    assert_eq!(kinds, ["request", "route", "summary"]);

    for requests in [&requests[..], &[]] {
        let text = report(
            Format::Json,
            View::default(),
            plain(),
            requests,
            &sample::summary(),
        );
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_valid(&validator(Some("document")), &document);
        assert!(any.is_valid(&document));
    }
}

/// Every object of a report with all fields known; `false` where only a later feature fills the field.
fn document_of_all() -> Value {
    let requests = [sample::full(1)];
    let mut summary = sample::summary();
    (summary.books.causal, summary.command_status) = (Some(0), Some(0));
    serde_json::from_str(&report(
        Format::Json,
        View::default(),
        plain(),
        &requests,
        &summary,
    ))
    .unwrap()
}

/// The paths of all fields below `value`, the elements of a list under one name.
fn fields(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.push(format!("{at}/{name}"));
                fields(&format!("{at}/{name}"), value, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                fields(&format!("{at}/{index}"), value, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_schema_requires_every_field_and_no_other_type() {
    let (validator, whole) = (validator(Some("document")), document_of_all());
    let mut found = Vec::new();
    fields("", &whole, &mut found);
    assert!(found.len() > 100, "{found:?}");
    // The reasons are open ended, and three spreads stand beside those of the contract.
    let free = |field: &str| {
        field.starts_with("/summary/unattributed/")
            || field.starts_with("/requests/0/values/")
            || field == "/requests/0/runtime/heapUsed"
            || field == "/routes/0/faults/kernel_mode"
            || field == "/routes/0/faults/in_window"
            || field == "/routes/0/faults/causal"
    };
    let nullable = [
        "frames",
        "rss",
        "values",
        "runtime",
        "cause",
        "region",
        "files",
        "time_ns",
        "timed",
        "causal",
        "trace_id",
        "status",
        "command_status",
        "rss_delta",
        "fault_time_ns",
    ];
    let is_nullable = |field: &str, name: &str| {
        let is_one = nullable.contains(&name) && !["/summary/cause", "/summary/region"].contains(&field);
        is_one || field.starts_with("/requests/0/runtime/heapUsed/")
    };
    for field in &found {
        let (parent, name) = field.rsplit_once('/').unwrap();
        let mut without = whole.clone();
        without
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(name)
            .unwrap();
        assert_eq!(validator.is_valid(&without), free(field), "without {field}");

        let mut null = whole.clone();
        *null.pointer_mut(field).unwrap() = Value::Null;
        assert_eq!(
            validator.is_valid(&null),
            is_nullable(field, name),
            "null {field}"
        );

        let mut wrong = whole.clone();
        *wrong.pointer_mut(field).unwrap() = json!(1.5);
        assert!(!validator.is_valid(&wrong), "1.5 in {field}");
    }
    // Adding is free.
    for parent in [
        "",
        "/requests/0",
        "/requests/0/faults",
        "/routes/0",
        "/summary",
        "/summary/books",
    ] {
        let mut more = whole.clone();
        more.pointer_mut(parent).unwrap()["later"] = json!({});
        assert!(validator.is_valid(&more), "an addition to {parent:?}");
    }
}

#[test]
fn fields_stand_in_the_contracts_order() {
    let text = report(
        Format::Ndjson,
        View::default(),
        plain(),
        &[sample::full(7)],
        &sample::summary(),
    );
    let orders = [
        "type id pid tid method path route status trace_id start_ns duration_ns complete faults total minor major \
         user_mode kernel_mode cause region files attribution direct causal in_window open_requests_max time_ns \
         frames allocated freed user page_table kernel huge space mmap_calls mmap_bytes munmap_calls munmap_bytes \
         brk_calls brk_bytes mremap_calls madvise_calls mprotect_calls rss start end delta anon_delta file_delta \
         shmem_delta swap_delta error_max",
        "type route method requests faults total min p50 p90 p99 max sum minor major frames rss_delta duration_ns \
         fault_time_ns",
        "type requests other_requests elapsed_ns books kernel_min_flt kernel_maj_flt observed direct causal \
         dropped untraced failed balanced lost fault mm io frame task ns target pids comm command_status notes \
         kernel version",
    ];
    assert_eq!(text.lines().count(), orders.len());
    for (line, names) in text.lines().zip(orders) {
        let places: Vec<_> = names
            .split_whitespace()
            .map(|name| (line.find(&format!("\"{name}\":")), name))
            .collect();
        assert!(
            places.iter().all(|(place, _)| place.is_some()),
            "{places:?} in {line}"
        );
        assert!(places.is_sorted(), "{places:?} in {line}");
    }
}
