//! The one way in which the eBPF object is compiled.
//!
//! Owns the recipe: every flag, profile setting and environment variable that can reach the object is set here, so
//! that neither the machine nor the person who builds it leaves a trace. Must not know where the tools came from.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::toolchain::Toolchain;
use crate::{command, workspace};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "memtrace-ebpf";

/// Set whatever the caller's environment or the workspace's profiles say.
const ENVIRONMENT: &[(&str, &str)] = &[
    // `-Z build-std` on the pinned stable compiler: no precompiled `core` exists for this target.
    ("RUSTC_BOOTSTRAP", "1"),
    ("CARGO_INCREMENTAL", "0"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
    ("CARGO_PROFILE_RELEASE_LTO", "false"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
];

/// Would change the object or put it elsewhere.
const REMOVED: &[&str] = &[
    "AYA_BPF_TARGET_ARCH",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTFLAGS",
];

const ARGUMENTS: &[&str] = &[
    "--release",
    "--locked",
    "--target",
    TARGET,
    "-Z",
    "build-std=core",
    "--package",
    PACKAGE,
];

// aya-ebpf and the probes lay out registers by it. Left out, it would be the architecture of the machine that builds.
const FLAGS: &[&str] = &[r#"--cfg=bpf_target_arch="x86_64""#];

/// All of the above as text: a change of it makes the committed object stale.
pub(super) fn recipe() -> String {
    format!("{ENVIRONMENT:?} {REMOVED:?} {ARGUMENTS:?} {FLAGS:?}")
}

/// Compiles the object under `target_dir` and returns its path. Fails if it names a path of this machine.
pub(super) fn object(toolchain: &Toolchain, target_dir: &Path) -> Result<PathBuf> {
    command::stream(cargo(toolchain, "build", target_dir).arg("--quiet"))
        .context("the eBPF object does not build")?;
    let path = target_dir.join(TARGET).join("release").join(PACKAGE);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(leaked) = remapped(toolchain)
        .iter()
        .map(|(from, _)| from)
        .find(|from| names(&bytes, from))
    {
        bail!(
            "{} names the path {}, so it can be rebuilt on this machine alone",
            path.display(),
            leaked.display()
        );
    }
    Ok(path)
}

/// Clippy on the eBPF crate, for the target that it is built for.
pub(crate) fn clippy(toolchain: &Toolchain) -> Result<()> {
    let target_dir = workspace::target_dir().join("bpf");
    command::stream(cargo(toolchain, "clippy", &target_dir).args(["--quiet", "--", "-D", "warnings"]))
}

fn cargo(toolchain: &Toolchain, subcommand: &str, target_dir: &Path) -> Command {
    let mut command = command::cargo();
    for variable in REMOVED {
        command.env_remove(variable);
    }
    let mut flags = OsString::new();
    for flag in FLAGS {
        flags.push(flag);
        flags.push("\x1f");
    }
    for (at, (from, to)) in remapped(toolchain).iter().enumerate() {
        if at > 0 {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push(format!("={to}"));
    }
    command
        .arg(subcommand)
        .args(ARGUMENTS)
        .arg("--target-dir")
        .arg(target_dir)
        .envs(ENVIRONMENT.iter().copied())
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        // Takes the place of every other source of flags, those of a person's own cargo configuration included.
        .env("CARGO_ENCODED_RUSTFLAGS", flags);
    command
}

/// The paths of this machine that rustc sees, and what it calls them instead. Each also as the file system knows it,
/// for rustc resolves links in some and not in others.
fn remapped(toolchain: &Toolchain) -> Vec<(PathBuf, &'static str)> {
    let given = [
        (workspace::root(), "/memtrace"),
        (toolchain.cargo_home.clone(), "/cargo"),
        (toolchain.sysroot.clone(), "/rust"),
    ];
    let mut paths = Vec::new();
    for (path, name) in given {
        if let Ok(resolved) = path.canonicalize()
            && resolved != path
        {
            paths.push((resolved, name));
        }
        paths.push((path, name));
    }
    paths
}

fn names(object: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    // A path such as `/` is in anything.
    path.len() > 1 && object.windows(path.len()).any(|window| window == path)
}

/// `CARGO_HOME`, as cargo resolves it.
pub(super) fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(home));
    }
    env::home_dir()
        .map(|home| home.join(".cargo"))
        .context("neither CARGO_HOME nor HOME is set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::manifest::Tools;

    fn toolchain() -> Toolchain {
        Toolchain {
            sysroot: "/nonexistent/sysroot".into(),
            cargo_home: "/nonexistent/cargo".into(),
            linker: "/nonexistent/bpf-linker".into(),
            tools: Tools::default(),
        }
    }

    #[test]
    fn a_path_in_the_object_is_noticed() {
        assert!(names(
            b"\0/home/me/memtrace/src/main.rs\0",
            Path::new("/home/me/memtrace")
        ));
        assert!(!names(
            b"\0/memtrace/src/main.rs\0",
            Path::new("/home/me/memtrace")
        ));
        assert!(!names(b"a/b", Path::new("/")));
        assert!(!names(b"", Path::new("/home")));
    }

    #[test]
    fn the_callers_own_flags_do_not_reach_the_build() {
        let command = cargo(&toolchain(), "build", Path::new("/t"));
        let set = |name: &str| {
            command
                .get_envs()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        assert_eq!(set("RUSTFLAGS"), Some(None), "removed");
        assert_eq!(set("CARGO_INCREMENTAL"), Some(Some("0".as_ref())));
        let flags = set("CARGO_ENCODED_RUSTFLAGS")
            .flatten()
            .expect("set")
            .to_string_lossy()
            .into_owned();
        let flags: Vec<_> = flags.split('\x1f').collect();
        assert_eq!(flags[0], "--cfg=bpf_target_arch=\"x86_64\"");
        assert!(
            flags.contains(&"--remap-path-prefix=/nonexistent/sysroot=/rust"),
            "{flags:?}"
        );
        assert!(
            flags.contains(&"--remap-path-prefix=/nonexistent/cargo=/cargo"),
            "{flags:?}"
        );
        assert!(flags.iter().all(|flag| !flag.is_empty()), "{flags:?}");
    }
}
