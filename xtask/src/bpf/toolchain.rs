//! The tools that compile the eBPF object: the pinned rustc, the source of `core`, and bpf-linker with its LLVM.
//!
//! Owns finding them, and installing what is missing, each step said before it is done. Must not know how the object
//! is compiled with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build;
use super::manifest::{self, Tools};
use crate::{apt, command, workspace};

const LINKER_VERSION: &str = "0.13.0";
/// At least the LLVM that rustc has inside, or the linker cannot read what rustc writes.
const LLVM_MAJOR: u32 = 22;
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// What bpf-linker is built against.
const LLVM_PACKAGES: [&str; 5] = [
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libxml2-dev",
];
/// Where Debian has the rust-src of the pinned version, or had it when the version was pinned.
const RUST_SRC_SUITES: [&str; 2] = ["trixie-backports", "forky"];

/// All that a build needs, found.
pub(crate) struct Toolchain {
    /// rustc's own directory.
    pub(super) sysroot: PathBuf,
    /// Where cargo keeps the sources of crates.
    pub(super) cargo_home: PathBuf,
    /// bpf-linker's binary.
    pub(super) linker: PathBuf,
    /// Their versions.
    pub(crate) tools: Tools,
}

/// The toolchain of this machine; fails with what is missing, first thing first.
pub(crate) fn find() -> Result<Toolchain> {
    let rustc = Rustc::find()?;
    if !has_core(&rustc.library()) {
        bail!(
            "no rust-src: `cargo xtask bpf` adds it to {}",
            rustc.sysroot.display()
        );
    }
    let cargo_home = build::cargo_home()?;
    let linker = find_linker(&cargo_home)?;
    let tools = Tools {
        rustc: rustc.version.clone(),
        rustc_llvm: rustc.llvm.clone(),
        bpf_linker: linker_version(&linker)?,
        llvm: linker_llvm(),
        core: manifest::hash_of_trees(&[
            &rustc.library().join("core/src"),
            &rustc.library().join("compiler-builtins/compiler-builtins/src"),
        ])?,
    };
    Ok(Toolchain {
        sysroot: rustc.sysroot,
        cargo_home,
        linker,
        tools,
    })
}

/// The toolchain of this machine, with what is missing installed first.
pub(crate) fn set_up() -> Result<Toolchain> {
    let rustc = Rustc::find()?;
    if !has_core(&rustc.library()) {
        install_rust_src(&rustc).context("no rust-src")?;
    }
    let cargo_home = build::cargo_home()?;
    if find_linker(&cargo_home).is_err() {
        install_linker(&cargo_home).context("no bpf-linker")?;
    }
    find()
}

/// The pinned compiler.
struct Rustc {
    sysroot: PathBuf,
    /// As in `1.95.0`.
    release: String,
    /// With commit and date.
    version: String,
    llvm: String,
}

impl Rustc {
    fn find() -> Result<Self> {
        let rustc = || {
            let mut command = Command::new("rustc");
            command.current_dir(workspace::root());
            command
        };
        let sysroot = PathBuf::from(command::read(rustc().args(["--print", "sysroot"]))?.trim());
        let about = command::read(rustc().arg("-vV"))?;
        let found = parse_version(&about, sysroot).context("`rustc -vV` does not say what it is")?;
        let pinned = pinned_release()?;
        if found.release != pinned {
            bail!(
                "rustc is {}, and rust-toolchain.toml pins {pinned}",
                found.release
            );
        }
        Ok(found)
    }

    /// Where cargo's build-std looks for the standard library's source.
    fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }
}

fn parse_version(about: &str, sysroot: PathBuf) -> Option<Rustc> {
    let field = |name: &str| {
        about
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::to_owned)
    };
    Some(Rustc {
        sysroot,
        release: field("release: ")?,
        version: field("rustc ")?,
        llvm: field("LLVM version: ")?,
    })
}

fn pinned_release() -> Result<String> {
    let path = workspace::root().join("rust-toolchain.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{} is not TOML", path.display()))?;
    let channel = table
        .get("toolchain")
        .and_then(|toolchain| toolchain.get("channel")?.as_str());
    Ok(channel
        .with_context(|| format!("{} names no channel", path.display()))?
        .to_owned())
}

fn has_core(library: &Path) -> bool {
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

fn install_rust_src(rustc: &Rustc) -> Result<()> {
    let library = rustc.library();
    let by_rustup = rust_src_by_rustup(&library);
    let Err(rustup) = by_rustup else { return Ok(()) };
    println!("rustup cannot ({rustup:#}); taking Debian's package of the same version instead");
    rust_src_by_debian(&rustc.release, &library)
        .with_context(|| format!("neither by rustup ({rustup:#}) nor from Debian"))
}

fn rust_src_by_rustup(library: &Path) -> Result<()> {
    which::which("rustup").ok().context("there is no rustup")?;
    println!("adding the standard library's source to the toolchain: rustup component add rust-src");
    command::logged(
        Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .current_dir(workspace::root()),
    )?;
    if !has_core(library) {
        bail!("it added none to {}", library.display());
    }
    Ok(())
}

fn rust_src_by_debian(release: &str, library: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot create a scratch directory")?;
    println!(
        "downloading Debian's package rust-src {release} from the machine's own mirror (apt checks its signature; \
         nothing is installed)"
    );
    let package = apt::download("rust-src", release, &RUST_SRC_SUITES, scratch.path())?;
    let unpacked = scratch.path().join("unpacked");
    command::logged(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&unpacked))?;
    let source = unpacked.join(format!("usr/src/rustc-{release}/library"));
    if !has_core(&source) {
        bail!("the package has no library/core where it was expected");
    }
    println!("copying its library to {}", library.display());
    let above = library.parent().context("the library has no directory")?;
    fs::create_dir_all(above).with_context(|| format!("cannot create {}", above.display()))?;
    // Beside its place first, so that an interrupted copy is not taken for a whole one.
    let partial = library.with_file_name("library.partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    command::logged(Command::new("cp").arg("-rT").arg(&source).arg(&partial))?;
    fs::rename(&partial, library).with_context(|| format!("cannot move it to {}", library.display()))
}

fn find_linker(cargo_home: &Path) -> Result<PathBuf> {
    // Where `cargo install` puts it need not be on PATH.
    let installed = cargo_home.join("bin/bpf-linker");
    if installed.is_file() {
        return Ok(installed);
    }
    which::which("bpf-linker")
        .ok()
        .context("no bpf-linker: `cargo xtask bpf` installs it")
}

fn install_linker(cargo_home: &Path) -> Result<()> {
    let missing = apt::missing(&LLVM_PACKAGES)?;
    if !missing.is_empty() {
        println!(
            "installing what bpf-linker is built against: {}",
            missing.join(" ")
        );
        apt::install(&missing)?;
    }
    println!("building bpf-linker {LINKER_VERSION} against LLVM {LLVM_MAJOR} (about a minute)");
    command::logged(
        command::cargo()
            .args([
                "install",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--locked",
                "--no-default-features",
            ])
            .arg(format!("--features=llvm-{LLVM_MAJOR}"))
            .arg("--root")
            .arg(cargo_home)
            .env("LLVM_PREFIX", LLVM_PREFIX)
            // An outer build's settings are not meant for it.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS"),
    )
}

fn linker_version(linker: &Path) -> Result<String> {
    let text = command::read(Command::new(linker).arg("--version"))?;
    // "bpf-linker 0.13.0"
    text.split_whitespace()
        .nth(1)
        .map(str::to_owned)
        .context("`bpf-linker --version` prints no version")
}

/// bpf-linker does not say which LLVM it has loaded; it is the shared library under the prefix that it was built for.
fn linker_llvm() -> String {
    command::read(Command::new(Path::new(LLVM_PREFIX).join("bin/llvm-config")).arg("--version"))
        .map_or_else(|_| "unknown".to_owned(), |version| version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_says_what_it_is() {
        let about = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                     release: 1.95.0\nLLVM version: 22.1.2\n";
        let rustc = parse_version(about, "/rust".into()).expect("all fields");
        assert_eq!(
            (
                rustc.release.as_str(),
                rustc.version.as_str(),
                rustc.llvm.as_str()
            ),
            ("1.95.0", "1.95.0 (59807616e 2026-04-14)", "22.1.2")
        );
        assert_eq!(rustc.library(), Path::new("/rust/lib/rustlib/src/rust/library"));
        assert!(parse_version("rustc 1.95.0\nrelease: 1.95.0\n", "/rust".into()).is_none());
    }

    #[test]
    fn the_pinned_release_is_a_version() {
        let pinned = pinned_release().expect("rust-toolchain.toml is there");
        assert!(
            pinned.split('.').count() == 3 && pinned.starts_with('1'),
            "{pinned}"
        );
    }

    #[test]
    fn llvm_is_named_alike_everywhere() {
        assert!(LLVM_PREFIX.ends_with(&format!("llvm-{LLVM_MAJOR}")));
        assert!(
            LLVM_PACKAGES[..2]
                .iter()
                .all(|package| package.contains(&format!("-{LLVM_MAJOR}-")))
        );
    }

    #[test]
    fn a_half_copied_library_is_none() {
        let library = tempfile::tempdir().expect("a directory");
        assert!(!has_core(library.path()));
        fs::create_dir_all(library.path().join("core/src")).expect("created");
        fs::write(library.path().join("core/src/lib.rs"), "").expect("written");
        assert!(!has_core(library.path()));
        fs::write(library.path().join("Cargo.lock"), "").expect("written");
        assert!(has_core(library.path()));
    }
}
