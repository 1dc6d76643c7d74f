//! What is recorded beside the committed object: the hash of all that it was built from, its own hash, and the tools.
//!
//! Owns what counts as a source of the object, and the manifest's format. Must not run any tool.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::build;
use crate::workspace;

/// The crates of this workspace that go into the object.
const CRATES: [&str; 2] = ["memtrace-ebpf", "memtrace-common"];

/// Each thing that the object is built from, by its name, and its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Inputs(BTreeMap<String, String>);

impl Inputs {
    /// Of the workspace at `root`.
    pub(super) fn of(root: &Path) -> Result<Self> {
        let mut inputs = BTreeMap::new();
        let pinned = "rust-toolchain.toml";
        inputs.insert(pinned.to_owned(), hash_of_file(&root.join(pinned))?);
        for name in CRATES {
            inputs.insert(
                format!("{name}/Cargo.toml"),
                hash_of_file(&root.join(name).join("Cargo.toml"))?,
            );
            let script = root.join(name).join("build.rs");
            if script.exists() {
                inputs.insert(format!("{name}/build.rs"), hash_of_file(&script)?);
            }
            let source = format!("{name}/src");
            for (file, hash) in hash_of_files(&root.join(&source))? {
                inputs.insert(format!("{source}/{file}"), hash);
            }
        }
        let workspace = read(&root.join("Cargo.toml"))?;
        inputs.insert(
            "Cargo.toml, as far as it reaches the object".to_owned(),
            hash(workspace_part(root, &workspace)?),
        );
        let lock = read(&root.join("Cargo.lock"))?;
        inputs.insert(
            "Cargo.lock, the object's crates".to_owned(),
            hash(locked_crates(root, &lock)?),
        );
        inputs.insert("xtask's recipe".to_owned(), hash(build::recipe()));
        Ok(Inputs(inputs))
    }

    fn digest(&self) -> String {
        let mut text = String::new();
        for (name, hash) in &self.0 {
            text.push_str(&format_line(&[hash, name]));
        }
        hash(text)
    }

    /// The inputs that are not as `self` has them, each with what became of it.
    fn changes(&self, now: &Inputs) -> Vec<String> {
        let names: BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        names
            .into_iter()
            .filter_map(|name| match (self.0.get(name), now.0.get(name)) {
                (Some(before), Some(after)) if before == after => None,
                (Some(_), Some(_)) => Some(format!("{name} changed")),
                (Some(_), None) => Some(format!("{name} is gone")),
                _ => Some(format!("{name} is new")),
            })
            .collect()
    }
}

/// Versions of what made the object. A rebuild with other ones need not be bit-identical.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tools {
    /// `rustc --version`, without its name.
    pub(super) rustc: String,
    /// The LLVM that rustc has inside.
    pub(super) rustc_llvm: String,
    /// bpf-linker's own version.
    pub(super) bpf_linker: String,
    /// The LLVM that bpf-linker generates code with.
    pub(super) llvm: String,
    /// SHA-256 over the source of `core`, which is compiled too: distributions patch the standard library.
    pub(super) core: String,
}

impl Tools {
    fn named(&self) -> [(&'static str, &str); 5] {
        [
            ("rustc", &self.rustc),
            ("rustc's LLVM", &self.rustc_llvm),
            ("bpf-linker", &self.bpf_linker),
            ("bpf-linker's LLVM", &self.llvm),
            ("core's source", &self.core),
        ]
    }

    /// What `here` has otherwise than was recorded.
    pub(super) fn differences(&self, here: &Tools) -> Vec<String> {
        self.named()
            .iter()
            .zip(here.named())
            .filter(|((_, recorded), (_, here))| recorded != here)
            .map(|((name, recorded), (_, here))| format!("{name}: {recorded} recorded, {here} here"))
            .collect()
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tools {
            rustc,
            rustc_llvm,
            bpf_linker,
            llvm,
            ..
        } = self;
        write!(
            out,
            "rustc {rustc} (LLVM {rustc_llvm}) and bpf-linker {bpf_linker} (LLVM {llvm})"
        )
    }
}

/// The committed object, as it was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Object {
    size: usize,
    sha256: String,
}

impl Object {
    fn of(bytes: &[u8]) -> Self {
        Object {
            size: bytes.len(),
            sha256: hash(bytes),
        }
    }
}

/// The file beside the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// One hash over all of `inputs`.
    sources_sha256: String,
    object: Object,
    pub(super) tools: Tools,
    inputs: Inputs,
}

impl Manifest {
    pub(super) fn new(inputs: Inputs, object: &[u8], tools: Tools) -> Self {
        Manifest {
            sources_sha256: inputs.digest(),
            object: Object::of(object),
            tools,
            inputs,
        }
    }

    pub(super) fn read(root: &Path) -> Result<Self> {
        let text =
            read(&root.join(workspace::MANIFEST)).context("run `cargo xtask bpf` to build the object")?;
        toml::from_str(&text).with_context(|| {
            format!(
                "{} is not a manifest; run `cargo xtask bpf` to write it anew",
                workspace::MANIFEST
            )
        })
    }

    pub(super) fn to_toml(&self) -> Result<String> {
        let body = toml::to_string(self).context("cannot write the manifest as TOML")?;
        Ok(format!(
            "# Written by `cargo xtask bpf`: what the object beside this file was built from, and with what.\n\n{body}"
        ))
    }

    /// Fails where the workspace at `root` is no longer what the object was built from, or the object is not the one
    /// that was built.
    pub(super) fn verify(&self, root: &Path) -> Result<()> {
        let now = Inputs::of(root)?;
        if self.inputs != now || self.sources_sha256 != now.digest() {
            let mut changes = self.inputs.changes(&now);
            if changes.is_empty() {
                changes.push("the manifest was edited".to_owned());
            }
            bail!(
                "{} is stale: {}; run `cargo xtask bpf` and commit what it writes",
                workspace::OBJECT,
                changes.join(", ")
            );
        }
        let path = root.join(workspace::OBJECT);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", workspace::OBJECT))?;
        let found = Object::of(&bytes);
        if found != self.object {
            bail!(
                "{} is not the object that its manifest describes ({} bytes, {} recorded); run `cargo xtask bpf` \
                 and commit what it writes",
                workspace::OBJECT,
                found.size,
                self.object.size
            );
        }
        Ok(())
    }
}

/// SHA-256 over all files under each of `directories`: their paths in it and their contents.
pub(super) fn hash_of_trees(directories: &[&Path]) -> Result<String> {
    let mut text = String::new();
    for directory in directories {
        for (file, hash) in hash_of_files(directory)? {
            text.push_str(&format_line(&[&hash, &file]));
        }
    }
    Ok(hash(text))
}

fn hash_of_files(directory: &Path) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    let mut directories = Vec::from([directory.to_path_buf()]);
    while let Some(next) = directories.pop() {
        let listed = || format!("cannot list {}", next.display());
        for entry in fs::read_dir(&next).with_context(listed)? {
            let path = entry.with_context(listed)?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path
                    .strip_prefix(directory)
                    .unwrap_or(&path)
                    .display()
                    .to_string();
                hashes.insert(name, hash_of_file(&path)?);
            }
        }
    }
    Ok(hashes)
}

fn hash_of_file(path: &Path) -> Result<String> {
    Ok(hash(
        fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
    ))
}

fn hash(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn format_line(words: &[&str]) -> String {
    format!("{}\n", words.join("  "))
}

/// The names that a crate's manifest lists under `[dependencies]` and `[build-dependencies]`; tests are not built.
fn dependencies(root: &Path, name: &str) -> Result<BTreeSet<String>> {
    let path = root.join(name).join("Cargo.toml");
    let manifest: toml::Table = read(&path)?
        .parse()
        .with_context(|| format!("{} is not TOML", path.display()))?;
    let tables = ["dependencies", "build-dependencies"];
    Ok(tables
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(toml::Table::keys)
        .cloned()
        .collect())
}

/// The parts of the workspace's manifest that can change the object: the release profile, what crates inherit, and
/// the features of the dependencies that the object has.
fn workspace_part(root: &Path, manifest: &str) -> Result<String> {
    let manifest: toml::Table = manifest
        .parse()
        .context("the workspace's Cargo.toml is not TOML")?;
    let workspace = manifest.get("workspace").and_then(toml::Value::as_table);
    let find = |name: &str| workspace.and_then(|workspace| workspace.get(name));
    let mut wanted = BTreeSet::new();
    for name in CRATES {
        wanted.append(&mut dependencies(root, name)?);
    }
    let mut part = toml::Table::new();
    if let Some(profile) = manifest.get("profile").and_then(|profile| profile.get("release")) {
        part.insert("profile".to_owned(), profile.clone());
    }
    if let Some(inherited) = find("package") {
        for name in ["edition", "version"] {
            part.extend(inherited.get(name).map(|value| (name.to_owned(), value.clone())));
        }
    }
    if let Some(shared) = find("dependencies").and_then(toml::Value::as_table) {
        let used = shared.iter().filter(|(name, _)| wanted.contains(*name));
        part.insert(
            "dependencies".to_owned(),
            used.map(|(name, value)| (name.clone(), value.clone()))
                .collect::<toml::Table>()
                .into(),
        );
    }
    toml::to_string(&part).context("cannot write the workspace's part as TOML")
}

/// `Cargo.lock`, as far as it is needed here.
#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    /// A crate of this workspace has none.
    checksum: Option<String>,
    /// Each a name; with the version after it where the lock file has several of that name.
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    fn find(&self, dependency: &str) -> Result<&Locked> {
        let mut words = dependency.split(' ');
        let (name, version) = (words.next(), words.next());
        self.package
            .iter()
            .find(|package| {
                Some(package.name.as_str()) == name
                    && version.is_none_or(|version| package.version == version)
            })
            .with_context(|| format!("Cargo.lock does not have {dependency}"))
    }
}

/// Name, version and checksum of each crate that goes into the object or runs while it is built.
fn locked_crates(root: &Path, lock: &str) -> Result<String> {
    let lock: Lock = toml::from_str(lock).context("cannot read Cargo.lock")?;
    let mut queue = VecDeque::new();
    for name in CRATES {
        queue.push_back(lock.find(name)?);
    }
    let mut lines = BTreeSet::new();
    while let Some(package) = queue.pop_front() {
        let checksum = package.checksum.as_deref().unwrap_or("-");
        if !lines.insert(format_line(&[&package.name, &package.version, checksum])) {
            continue;
        }
        // Cargo.lock lists a workspace crate's dev-dependencies among the others.
        let built = match CRATES.iter().find(|name| **name == package.name) {
            Some(name) => Some(dependencies(root, name)?),
            None => None,
        };
        for dependency in &package.dependencies {
            let found = lock.find(dependency)?;
            if built.as_ref().is_none_or(|built| built.contains(&found.name)) {
                queue.push_back(found);
            }
        }
    }
    Ok(lines.into_iter().collect())
}

#[cfg(test)]
mod tests;
