//! The `memtrace` binary: all of it is in the library, so that tests reach it too.

fn main() -> std::process::ExitCode {
    memtrace::cli::main()
}
