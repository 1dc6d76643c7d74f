//! A judgement as `JUnit` XML, which every CI reads: a test for each figure of each route.
//!
//! Owns which of them fail. An error is what could not be judged.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{judge::Line, told::Told, words::Words};

/// The file's text.
pub fn junit(told: &Told<'_>) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new("memtrace check");
    let doubts = &told.judgement.doubts;
    let whole = match doubts.first() {
        None => TestCaseStatus::success(),
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(first.as_str());
            status.set_description(doubts.join("\n"));
            status
        }
    };
    suite.add_test_case(TestCase::new("the run", whole));
    for line in &told.judgement.lines {
        let words = Words::of(line);
        let mut case = TestCase::new(words.what.as_str(), status(told, line, &words));
        case.set_classname(line.route.as_str());
        suite.add_test_case(case);
    }
    let mut report = Report::new("memtrace check");
    report.add_test_suite(suite);
    report.to_string()
}

fn status(told: &Told<'_>, line: &Line, words: &Words) -> TestCaseStatus {
    let kind = if line.verdict.is_regression() {
        NonSuccessKind::Failure
    } else if line.verdict.is_inconclusive() {
        NonSuccessKind::Error
    } else {
        return TestCaseStatus::success();
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(words.sentence());
    status.set_type(words.verdict);
    if let Some(why) = told.whys.iter().find(|why| why.route == line.route) {
        status.set_description(why.sentences().join("\n"));
    }
    status
}
