//! The eBPF object: rebuilt in place, or rebuilt elsewhere and compared with the committed one.
//!
//! Owns what "the same object" means. Must not know how the object is compiled (`build`), with what (`toolchain`),
//! or what is recorded of it (`manifest`).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub(crate) mod build;
mod manifest;
mod stack;
pub(crate) mod toolchain;

use self::manifest::{Inputs, Manifest};
use self::toolchain::Toolchain;
use crate::workspace;

/// `cargo xtask bpf`: builds the object and writes it, and its manifest, where they are committed.
pub(crate) fn rebuild() -> Result<()> {
    let toolchain = toolchain::set_up()?;
    let root = workspace::root();
    // Before the build: a source that is saved while it compiles must leave the object stale, not fresh.
    let inputs = Inputs::of(&root)?;
    println!("building the object with {}", toolchain.tools);
    let object = read(&build::object(&toolchain, &workspace::target_dir().join("bpf"))?)?;
    stack::check(&object)?;
    let manifest = Manifest::new(inputs, &object, toolchain.tools);
    let before = fs::read(root.join(workspace::OBJECT)).ok();
    replace(&root.join(workspace::OBJECT), &object)?;
    replace(&root.join(workspace::MANIFEST), manifest.to_toml()?.as_bytes())?;
    let change = match before {
        Some(before) if before == object => "unchanged",
        Some(_) => "changed",
        None => "new",
    };
    println!(
        "wrote {} ({change}, {} bytes)\nwrote {}",
        workspace::OBJECT,
        object.len(),
        workspace::MANIFEST
    );
    Ok(())
}

/// What a rebuild says about the committed object.
pub(crate) enum Check {
    /// The same, bit for bit. With what differs between the tools, if anything does.
    Identical(Vec<String>),
    /// Not the same, and other tools made it: only running it can tell whether it is right.
    OtherTools {
        /// The rebuilt object.
        object: PathBuf,
        /// Which tools differ, and how.
        differences: Vec<String>,
    },
}

/// Rebuilds the object from nothing in a scratch directory and compares it with the committed one.
///
/// Fails where the committed object is stale or damaged, or where the same tools make another one.
pub(crate) fn check(toolchain: &Toolchain) -> Result<Check> {
    let root = workspace::root();
    let recorded = Manifest::read(&root)?;
    recorded.verify(&root)?;
    let committed = read(&root.join(workspace::OBJECT))?;

    let scratch = workspace::target_dir().join("bpf-check");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("cannot empty {}", scratch.display()))?;
    }
    println!(
        "rebuilding the object in {} with {}",
        workspace::shown(&scratch),
        toolchain.tools
    );
    let object = build::object(toolchain, &scratch)?;
    let differences = recorded.tools.differences(&toolchain.tools);
    let rebuilt = read(&object)?;
    if rebuilt == committed {
        return Ok(Check::Identical(differences));
    }
    if differences.is_empty() {
        bail!(
            "{} is not what its source builds with the tools recorded beside it: {}; the rebuilt object is {}",
            workspace::OBJECT,
            first_difference(&committed, &rebuilt),
            workspace::shown(&object),
        );
    }
    Ok(Check::OtherTools { object, differences })
}

fn first_difference(committed: &[u8], rebuilt: &[u8]) -> String {
    let at = committed
        .iter()
        .zip(rebuilt)
        .position(|(a, b)| a != b)
        .unwrap_or(committed.len().min(rebuilt.len()));
    format!(
        "{} bytes against {}, and they part at byte {at}",
        committed.len(),
        rebuilt.len()
    )
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", workspace::shown(path)))
}

/// Replaces a file as a whole, or leaves it as it was.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let directory = path.parent().context("it has no directory")?;
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new()
            .permissions(readable())
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", workspace::shown(path)))
}

fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_located() {
        assert_eq!(
            first_difference(b"abc", b"abd"),
            "3 bytes against 3, and they part at byte 2"
        );
        assert_eq!(
            first_difference(b"abc", b"ab"),
            "3 bytes against 2, and they part at byte 2"
        );
        assert_eq!(
            first_difference(b"", b"ab"),
            "0 bytes against 2, and they part at byte 0"
        );
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("object/file.o");
        replace(&path, b"one").expect("written");
        replace(&path, b"two").expect("written again");
        assert_eq!(fs::read(&path).expect("read"), b"two");
        assert_eq!(
            fs::read_dir(directory.path().join("object"))
                .expect("listed")
                .count(),
            1
        );
    }
}
