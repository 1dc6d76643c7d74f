//! What a root test needs beside root, by the words of its `#[ignore = "needs root, nginx and wrk"]`.
//!
//! Owns reading those. Must not know how tests are run, nor how a program is had.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A test that `cargo test` alone leaves out.
#[derive(Debug, PartialEq, Eq)]
struct RootTest<'a> {
    name: &'a str,
    needs: Vec<&'a str>,
    /// From its name to the end of its body.
    source: &'a str,
}

/// The root tests in the files of `folder` that need one of these programs.
pub(crate) fn tests_that_need(programs: &[&str], folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for source in sources(folder)? {
        let tests = root_tests(&source);
        let left_out = tests
            .iter()
            .filter(|test| test.needs.iter().any(|need| programs.contains(need)));
        names.extend(left_out.map(|test| test.name.to_owned()));
    }
    names.sort();
    Ok(names)
}

fn sources(folder: &Path) -> Result<Vec<String>> {
    let listed = || format!("cannot list {}", folder.display());
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).with_context(listed)? {
        let path = entry.with_context(listed)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let read = || format!("cannot read {}", path.display());
            sources.push(fs::read_to_string(&path).with_context(read)?);
        }
    }
    Ok(sources)
}

fn root_tests(source: &str) -> Vec<RootTest<'_>> {
    const MARK: &str = "#[ignore = \"needs ";
    let parts = source.split(MARK).skip(1);
    parts
        .filter_map(|part| {
            let (needs, rest) = part.split_once("\"]")?;
            let (_, rest) = rest.split_once("fn ")?;
            let (name, _) = rest.split_once('(')?;
            let words = needs.split([' ', ',']);
            let is_program = |word: &&str| !["", "and", "root"].contains(word);
            Some(RootTest {
                name,
                needs: words.filter(is_program).collect(),
                source: rest.split_once("\n}").map_or(rest, |(body, _)| body),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::PROGRAMS;
    use crate::{perfetto, workspace};

    #[test]
    fn a_test_says_what_it_needs() {
        let source = "#[test]\n#[ignore = \"needs root\"]\nfn plain() {\n    a();\n}\n\n\
                      #[test]\n#[ignore = \"needs root, nginx and wrk\"]\nfn both() {\n    b();\n}\n\nfn other() {}\n\
                      #[test]\n#[ignore = \"needs node\"]\nfn without_root() {\n}\n";
        let tests = root_tests(source);
        assert_eq!(
            tests
                .iter()
                .map(|t| (t.name, t.needs.join(" ")))
                .collect::<Vec<_>>(),
            [
                ("plain", String::new()),
                ("both", "nginx wrk".to_owned()),
                ("without_root", "node".to_owned()),
            ]
        );
        assert_eq!(tests[1].source, "both() {\n    b();");
    }

    /// By what each of them calls: one that needs more than it says would fail where that is missing.
    #[test]
    fn every_root_test_says_all_that_it_needs() {
        const CALLS: [(&str, &str); 9] = [
            ("Server::shapes(", "python3"),
            ("assert_each_shape_is_seen(", "python3"),
            ("assert_passed_on(", "python3"),
            ("Cgroup::", "python3"),
            ("Saju::", "node"),
            ("Nginx::", "nginx"),
            ("assert_nginx_is_exact(", "nginx"),
            ("wrk(", "wrk"),
            ("TraceProcessor::", perfetto::NEED),
        ];
        let sources = sources(&workspace::root().join("tests/tests")).expect("the tests");
        let tests: Vec<_> = sources.iter().flat_map(|source| root_tests(source)).collect();
        assert!(tests.len() > 50, "{} tests were found", tests.len());
        for RootTest { name, needs, source } in tests {
            for need in &needs {
                let known = *need == perfetto::NEED || PROGRAMS.iter().any(|(p, _)| p == need);
                assert!(known, "{name} needs {need}");
            }
            let direct = PROGRAMS.map(|(program, _)| (format!("installed(\"{program}\""), program));
            let direct = direct.iter().map(|(call, program)| (&**call, *program));
            for (call, program) in CALLS.into_iter().chain(direct) {
                assert!(
                    !source.contains(call) || needs.contains(&program),
                    "{name} does not say that it needs {program}"
                );
            }
        }
    }
}
