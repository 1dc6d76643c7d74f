//! `memtrace doctor`, as whoever runs the tests.

use std::fs::File;
use std::process::{Command, Output, Stdio};

/// What it prints, and its status, with its standard output going there.
fn doctor(stdout: impl Into<Stdio>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memtrace"))
        .arg("doctor")
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("memtrace was built")
}

/// Every finding has one of three verdicts, and the exit status says whether any is `no`.
#[test]
fn the_exit_status_says_whether_anything_is_missing() {
    let output = doctor(Stdio::piped());
    let text = String::from_utf8(output.stdout).unwrap();
    let verdicts: Vec<&str> = text
        .lines()
        .take_while(|l| !l.is_empty())
        .filter(|l| !l.starts_with(' '))
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert!(verdicts.len() >= 8, "{text}");
    assert!(
        verdicts.iter().all(|v| ["ok", "limited", "no"].contains(v)),
        "{text}"
    );
    let missing = verdicts.contains(&"no");
    assert_eq!(output.status.code(), Some(if missing { 2 } else { 0 }), "{text}");
    let last = text.lines().last().unwrap();
    assert_eq!(last.starts_with("memtrace can trace here"), !missing, "{text}");
}

#[test]
fn a_process_that_is_not_there_is_two_lines() {
    let output = Command::new(env!("CARGO_BIN_EXE_memtrace"))
        .args(["doctor", "--pid", "4194304"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "memtrace: --pid 4194304: no such process");
    assert!(lines[1].starts_with("hint: ") && lines.len() == 2, "{text}");
}

#[test]
fn a_closed_pipe_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = doctor(writer);
    assert_eq!(output.status, doctor(Stdio::piped()).status);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_two_lines() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = doctor(full);
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("memtrace: cannot write to standard output: "),
        "{text}"
    );
    assert!(lines[1].starts_with("hint: ") && lines.len() == 2, "{text}");
}
