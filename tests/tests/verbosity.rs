//! `-v` and `-vv`: what memtrace says of itself on standard error.

use memtrace_tests::memtrace::run;
use memtrace_tests::require_root;

#[test]
#[ignore = "needs root"]
fn verbose_runs_tell_their_story_and_not_their_libraries() {
    require_root();
    for option in ["-v", "-vv"] {
        let run = run([option, "--", "true"]);
        run.assert_status(0);
        for told in ["the probes are attached", "a process is traced", "the run ends"] {
            run.assert(run.stderr.contains(told), format_args!("not a word of {told:?}"));
        }
        run.assert(!run.stderr.contains(" aya"), "a library's own log");
    }
    for arguments in [&["--", "true"][..], &["-q", "--", "true"]] {
        let run = run(arguments);
        let lines = run.stderr.lines().count();
        run.assert(lines == 1, "more than the line that scripts wait for");
        run.assert(
            run.stderr.contains(", 1 thread)"),
            "another count, or not its singular",
        );
    }
}
