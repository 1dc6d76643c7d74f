//! What holds for any request that may come, however hostile its path and large its figures.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_line_is_wider_than_the_screen(
        requests in prop::collection::vec(sample::any_request(), 0..8),
        width in 1..160_usize,
        note in sample::any_path(),
        comm in "\\PC{0,15}",
        figures in any::<[u64; 4]>(),
    ) {
        let mut summary = sample::summary();
        summary.notes.push(note);
        summary.target.comm = comm;
        let books = &mut summary.books;
        [books.kernel_min_flt, books.dropped, books.untraced, books.failed] = figures;
        books.balanced = false;
        let text = table(Some(width), &requests, &summary);
        for line in text.lines() {
            let wide = printable::columns(line);
            prop_assert!(wide <= width.max(table::WIDTH_LEAST), "{wide} columns in {width}: {line:?}");
        }
    }

    #[test]
    fn a_client_writes_nothing_to_the_terminal(
        requests in prop::collection::vec(sample::any_request(), 1..5),
        width in prop::option::of(20..160_usize),
        format in prop::sample::select(vec![Format::Table, Format::Ndjson, Format::Json]),
    ) {
        let text = report(format, View::default(), options(width, false), &requests, &sample::summary());
        let unsafe_one = text.chars().find(|c| *c != '\n' && printable::is_unsafe(*c));
        prop_assert_eq!(unsafe_one, None);
        if format == Format::Ndjson {
            let routes = text.lines().filter(|line| line.starts_with(r#"{"type":"route""#)).count();
            prop_assert_eq!(text.lines().count(), requests.len() + routes + 1);
        }
    }

    #[test]
    fn lines_read_back_and_add_up(requests in prop::collection::vec(sample::any_request(), 0..8)) {
        let text = report(Format::Ndjson, View::default(), plain(), &requests, &sample::summary());
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
        for (line, request) in of("request").zip(&requests) {
            prop_assert_eq!(&line["path"], &request.path);
            let faults = &line["faults"];
            let n = |value: &Value| value.as_u64().unwrap_or(0);
            let total = n(&faults["total"]);
            prop_assert_eq!(total, request.faults.total);
            prop_assert_eq!(total, n(&faults["minor"]) + n(&faults["major"]));
            prop_assert_eq!(total, n(&faults["user_mode"]) + n(&faults["kernel_mode"]));
            prop_assert_eq!(total, n(&faults["attribution"]["direct"]) + n(&faults["attribution"]["causal"]));
            prop_assert_eq!(faults["time_ns"].is_null(), request.faults.time_ns.is_none());
            prop_assert!(n(&faults["in_window"]) >= total);
        }
        prop_assert_eq!(of("request").count(), requests.len());
        let sum: u64 = of("route").map(|route| route["faults"]["total"]["sum"].as_u64().unwrap()).sum();
        prop_assert_eq!(sum, requests.iter().map(|request| request.faults.total).sum::<u64>());
        prop_assert_eq!(of("summary").count(), 1);

        // The document has the very same objects.
        let document = report(Format::Json, View::default(), plain(), &requests, &sample::summary());
        let document: Value = serde_json::from_str(&document).unwrap();
        prop_assert_eq!(document["requests"].as_array().unwrap().iter().collect::<Vec<_>>(), of("request").collect::<Vec<_>>());
        prop_assert_eq!(document["routes"].as_array().unwrap().iter().collect::<Vec<_>>(), of("route").collect::<Vec<_>>());
        prop_assert_eq!(Some(&document["summary"]), of("summary").next());
    }
}
