//! The baseline's file: written, changed by people, written again, and refused.

use super::*;

#[test]
fn a_baseline_is_short_and_reads_well() {
    let mut requests = touches((0..100).map(|i| if i < 4 { 900 } else { 48 + i % 3 }));
    requests.extend((200..250).map(|id| request(id, "POST", "/saju", 7)));
    insta::assert_snapshot!(written(&requests));
}

#[test]
fn what_people_have_written_stays() {
    let text = written(&touches([60; 100]));
    let with_words = text
        .replace("version = 1", "# Ours.\nversion = 1 # the first")
        .replace("requests = 100", "max = 90 # see issue 12\nrequests = 100");
    let again = baseline(&with_words).updated(&run(&touches([61; 100])), &here());
    assert_eq!(again, with_words.replace("= 60", "= 61"));
    let first_of_all: Vec<Request> = (0..50).map(|id| request(id, "GET", "/a", 1)).collect();
    let another = baseline(&again).updated(&run(&first_of_all), &here());
    assert!(
        another.contains("max = 90 # see issue 12"),
        "the other route stays"
    );
    assert!(
        another.find("GET /a").expect("the new one") < another.find("GET /touch").expect("the old one"),
        "{another}"
    );
    assert_eq!(
        baseline(&another).updated(&run(&first_of_all), &here()),
        another,
        "written twice it is the same"
    );
}

#[test]
fn what_is_no_baseline_is_refused_by_name() {
    let good = written(&touches((0..100).map(|i| 60 + i % 9)));
    let refused = |text: &str| Baseline::parse(text).expect_err(text).to_string();
    let changed = |from: &str, to: &str| {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        refused(&text)
    };
    assert_eq!(refused(""), "version: it is missing: this is no baseline");
    assert!(changed("version = 1", "version = 2").contains("2 is none"));
    assert!(changed("[environment]", "[enviroment]").starts_with("enviroment: no such entry"));
    assert!(changed("page_size = 4096", "page_size = \"4K\"").contains("a whole number"));
    assert!(
        changed("warmup = 0", "max_majr = 0").contains("max_majr: no such entry; did you mean max_major?")
    );
    assert!(
        changed("calls = {}", "calls = { map = 1 }").contains("calls.map: no such entry; did you mean mmap?")
    );
    assert!(
        changed("node = \"1a2b3c\"", "node = 7").contains("environment.programs.node: it should be a text")
    );
    assert!(changed("warmup = 0", "max_mmap_bytes = \"2 MB\"").contains("\"2 MiB\""));
    assert!(changed("warmup = 0", "max = \"2 MiB\"").contains("a whole number"));
    assert!(changed("warmup = 0", "warmup = -1").contains("no less than 0"));
    assert!(changed("p75", "p80").contains("p80: no such entry"));
    assert!(changed("p50 = 64, ", "").contains("p50 is missing"));
    assert!(changed("p50 = 64", "p50 = 640").contains("no less than the one before"));
    assert!(changed("\"major\"", "\"mayor\"").contains("nothing: no such entry"));
    assert!(refused("version = 1\nroutes = 3").contains("routes: it should be a table"));
    assert!(refused("version = ").contains("TOML parse error at line 1"));
}
