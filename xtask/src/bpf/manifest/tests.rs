//! The committed object is fresh; and what makes one stale.

use std::process::Command;

use super::*;

/// Fails on every machine, with or without a BPF toolchain, when the object was not rebuilt after its source changed.
#[test]
fn the_committed_object_is_fresh() {
    let root = workspace::root();
    let verdict = Manifest::read(&root).and_then(|manifest| manifest.verify(&root));
    if let Err(error) = verdict {
        panic!("{error:#}");
    }
}

/// A copy of all that goes into the object, to be changed at will, with a manifest and an object that fit.
fn copy() -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a directory");
    let root = workspace::root();
    let object = Path::new(workspace::OBJECT).parent().expect("it has a directory");
    fs::create_dir_all(copy.path().join(object)).expect("created");
    for path in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        fs::copy(root.join(path), copy.path().join(path)).expect("copied");
    }
    for name in CRATES {
        let to = copy.path().join(name);
        fs::create_dir_all(&to).expect("created");
        let status = Command::new("cp")
            .arg("-r")
            .args([root.join(name).join("src"), root.join(name).join("Cargo.toml")])
            .arg(to)
            .status();
        assert!(status.expect("cp runs").success());
    }
    let inputs = Inputs::of(copy.path()).expect("inputs");
    let manifest = Manifest::new(inputs, b"object", Tools::default());
    fs::write(copy.path().join(workspace::OBJECT), "object").expect("written");
    fs::write(
        copy.path().join(workspace::MANIFEST),
        manifest.to_toml().expect("TOML"),
    )
    .expect("written");
    verify(copy.path()).expect("fresh");
    copy
}

fn verify(root: &Path) -> Result<()> {
    Manifest::read(root)?.verify(root)
}

fn edit(root: &Path, file: &str, change: impl FnOnce(String) -> String) {
    let path = root.join(file);
    let before = read(&path).expect("read");
    let after = change(before.clone());
    assert_ne!(before, after, "the test changed nothing in {file}");
    fs::write(path, after).expect("written");
}

fn complaint(root: &Path) -> String {
    verify(root).expect_err("stale").to_string()
}

#[test]
fn a_changed_source_makes_it_stale_and_is_named() {
    for file in [
        "memtrace-ebpf/src/main.rs",
        "memtrace-common/src/wire.rs",
        "memtrace-ebpf/Cargo.toml",
        "memtrace-common/Cargo.toml",
        "rust-toolchain.toml",
    ] {
        let copy = copy();
        edit(copy.path(), file, |text| text + "\n");
        let text = complaint(copy.path());
        assert!(
            text.contains(&format!("{file} changed; run `cargo xtask bpf`")),
            "{text}"
        );
    }
}

#[test]
fn a_new_source_and_one_that_is_gone_make_it_stale() {
    let copy = copy();
    fs::create_dir_all(copy.path().join("memtrace-ebpf/src/deep/er")).expect("created");
    fs::write(copy.path().join("memtrace-ebpf/src/deep/er/new.rs"), "").expect("written");
    fs::remove_file(copy.path().join("memtrace-common/src/wire.rs")).expect("removed");
    fs::write(copy.path().join("memtrace-ebpf/build.rs"), "fn main() {}").expect("written");
    let text = complaint(copy.path());
    assert!(text.contains("memtrace-ebpf/src/deep/er/new.rs is new"), "{text}");
    assert!(text.contains("memtrace-ebpf/build.rs is new"), "{text}");
    assert!(text.contains("memtrace-common/src/wire.rs is gone"), "{text}");
}

#[test]
fn the_workspaces_manifest_counts_only_where_it_reaches_the_object() {
    let copy = copy();
    let root = copy.path();
    edit(root, "Cargo.toml", |text| {
        text.replace("httparse = \"1.10\"", "httparse = \"1.9\"") + "\n# a comment\n"
    });
    verify(root).expect("httparse is not in the object");
    edit(root, "Cargo.toml", |text| {
        text.replace("aya-ebpf = \"=0.2.1\"", "aya-ebpf = \"=0.2.0\"")
    });
    let text = complaint(root);
    assert!(
        text.contains("stale: Cargo.toml, as far as it reaches the object changed;"),
        "{text}"
    );
}

#[test]
fn the_release_profile_reaches_the_object() {
    let copy = copy();
    edit(copy.path(), "Cargo.toml", |text| {
        text + "\n[profile.release.package.aya-ebpf]\nopt-level = 1\n"
    });
    assert!(complaint(copy.path()).contains("Cargo.toml"));
}

/// Changes the checksum of `name` in the lock file at `root`, as an update of that crate does.
fn update_crate(root: &Path, name: &str) {
    edit(root, "Cargo.lock", |text| {
        let entry = text
            .find(&format!("\nname = \"{name}\"\n"))
            .expect("it is locked");
        let checksum =
            entry + text[entry..].find("checksum = \"").expect("from a registry") + "checksum = \"".len();
        let other = if &text[checksum..=checksum] == "0" {
            "1"
        } else {
            "0"
        };
        format!("{}{other}{}", &text[..checksum], &text[checksum + 1..])
    });
}

#[test]
fn only_the_objects_own_crates_count_in_the_lock_file() {
    let copy = copy();
    // Not in the object: a dependency of the daemon, and a dev-dependency of memtrace-common.
    update_crate(copy.path(), "httparse");
    update_crate(copy.path(), "proptest");
    verify(copy.path()).expect("neither is in the object");
    // In it, through aya-ebpf.
    update_crate(copy.path(), "aya-ebpf-bindings");
    let text = complaint(copy.path());
    assert!(
        text.contains("stale: Cargo.lock, the object's crates changed;"),
        "{text}"
    );
}

#[test]
fn a_changed_object_or_manifest_is_noticed() {
    let copy = copy();
    fs::write(copy.path().join(workspace::OBJECT), "other!").expect("written");
    assert!(complaint(copy.path()).contains("is not the object that its manifest describes"));
    fs::write(copy.path().join(workspace::OBJECT), "object").expect("written");
    edit(copy.path(), workspace::MANIFEST, |text| {
        text.replace("sources_sha256 = \"", "sources_sha256 = \"00")
    });
    assert!(complaint(copy.path()).contains("the manifest was edited"));
    fs::write(copy.path().join(workspace::MANIFEST), "not = a manifest").expect("written");
    assert!(complaint(copy.path()).contains("run `cargo xtask bpf` to write it anew"));
    fs::remove_file(copy.path().join(workspace::MANIFEST)).expect("removed");
    assert!(complaint(copy.path()).contains("run `cargo xtask bpf` to build the object"));
}

#[test]
fn tools_that_differ_are_named_with_both_versions() {
    let recorded = Tools {
        rustc: "1.95.0".into(),
        llvm: "22.1.8".into(),
        ..Tools::default()
    };
    let here = Tools {
        llvm: "22.1.2".into(),
        ..recorded.clone()
    };
    assert_eq!(
        recorded.differences(&here),
        ["bpf-linker's LLVM: 22.1.8 recorded, 22.1.2 here"]
    );
    assert!(recorded.differences(&recorded).is_empty());
}

#[test]
fn a_tree_hashes_the_same_wherever_it_lies() {
    let (one, two) = (
        tempfile::tempdir().expect("one"),
        tempfile::tempdir().expect("two"),
    );
    for directory in [&one, &two] {
        fs::create_dir(directory.path().join("a")).expect("created");
        fs::write(directory.path().join("a/b.rs"), "text").expect("written");
    }
    let hash = |directory: &tempfile::TempDir| hash_of_trees(&[directory.path()]).expect("hashed");
    assert_eq!(hash(&one), hash(&two));
    fs::rename(two.path().join("a/b.rs"), two.path().join("a/c.rs")).expect("renamed");
    assert_ne!(hash(&one), hash(&two));
}
