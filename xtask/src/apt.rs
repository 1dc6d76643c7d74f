//! Debian packages: installed from the machine's own suite, or fetched from another suite without touching the
//! system's own apt.
//!
//! Owns every call of apt and dpkg. Must not know what the packages are for.
//! The mirror and the keys are always the machine's own; this file names none.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::{command, privilege};

/// Those of `packages` that are not installed. Fails where there is no dpkg.
pub(crate) fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    which::which("dpkg-query")
        .ok()
        .context("this is no Debian or Ubuntu (no dpkg-query)")?;
    Ok(packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect())
}

fn installed(package: &str) -> bool {
    // A package that dpkg never heard of is an error of dpkg-query, and as little installed as any other.
    command::read(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Installs `packages` with apt-get; without root it fails with the command to run.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    // Once a run is enough.
    static UPDATED: OnceLock<Result<(), String>> = OnceLock::new();
    which::which("apt-get").ok().context("no apt-get")?;
    if !privilege::is_root() {
        bail!("needs root: run `sudo apt-get install {}`", packages.join(" "));
    }
    let updated = UPDATED.get_or_init(|| {
        command::logged(apt_get().args(["update", "-qq"])).map_err(|error| format!("{error:#}"))
    });
    if let Err(why) = updated {
        bail!("{why}");
    }
    command::logged(
        apt_get()
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(packages),
    )
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Another apt may be at work on a machine that has just started.
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=120"]);
    command
}

/// Downloads `package` into `scratch`, in a version that starts with `upstream` and `+` or `-`, from the first of
/// `suites` that has it, and returns the file. Needs no root; signatures are checked as the machine's own are.
pub(crate) fn download(package: &str, upstream: &str, suites: &[&str], scratch: &Path) -> Result<PathBuf> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let Some(codename) = debian_codename(&release) else {
        bail!("this is no Debian")
    };
    let own = sources_of(Path::new("/etc/apt"), codename)?;
    let mut why = String::new();
    for suite in suites {
        match download_from(package, upstream, &own, suite, &scratch.join(suite)) {
            Ok(file) => return Ok(file),
            Err(error) => why = format!("{suite}: {error:#}"),
        }
    }
    bail!("no suite has {package} {upstream}; {why}")
}

fn download_from(
    package: &str,
    upstream: &str,
    own: &Source,
    suite: &str,
    scratch: &Path,
) -> Result<PathBuf> {
    for directory in ["etc", "lists/partial", "cache/archives/partial"] {
        let path = scratch.join(directory);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let list = scratch.join("etc").join(format!("other.{}", own.extension()));
    fs::write(&list, own.for_suite(suite)).with_context(|| format!("cannot write {}", list.display()))?;

    let set = |name: &str, path: &str| {
        let mut option = OsString::from(format!("{name}="));
        option.push(scratch.join(path));
        option
    };
    let options = [
        OsString::from("Dir::Etc::SourceList=/dev/null"),
        set("Dir::Etc::SourceParts", "etc"),
        set("Dir::State::Lists", "lists"),
        set("Dir::Cache", "cache"),
        // apt's own user could not write into a directory of root's.
        OsString::from("APT::Sandbox::User=root"),
    ];
    let apt = |program: &str| {
        let mut command = Command::new(program);
        for option in &options {
            command.arg("-o").arg(option);
        }
        command.current_dir(scratch);
        command
    };
    command::logged(apt("apt-get").args(["-qq", "update"]))?;
    let table = command::read(apt("apt-cache").args(["madison", package]))?;
    let Some(version) = version_of(&table, upstream) else {
        bail!("it does not have {package} {upstream}")
    };
    command::logged(
        apt("apt-get")
            .args(["-qq", "download"])
            .arg(format!("{package}={version}")),
    )?;
    let entries = fs::read_dir(scratch).with_context(|| format!("cannot list {}", scratch.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")
}

/// The code name of this Debian, out of `/etc/os-release`; nothing on another distribution.
fn debian_codename(release: &str) -> Option<&str> {
    let field = |name: &str| {
        let value = release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"'))
    };
    if field("ID")? == "debian" {
        field("VERSION_CODENAME")
    } else {
        None
    }
}

/// The version in `apt-cache madison`'s table that packages `upstream`.
fn version_of<'a>(table: &'a str, upstream: &str) -> Option<&'a str> {
    table
        .lines()
        .filter_map(|row| row.split('|').nth(1))
        .map(str::trim)
        .find(|version| {
            version
                .strip_prefix(upstream)
                .is_some_and(|rest| rest.starts_with(['+', '-']))
        })
}

/// One source of packages, in either of apt's two formats (sources.list(5)).
#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// The fields of a deb822 stanza, `Suites` and `Types` left out.
    Stanza(String),
    /// A one-line entry: what stands before the suite's name, and the components.
    Line { before: String, components: String },
}

impl Source {
    fn extension(&self) -> &'static str {
        match self {
            Source::Stanza(_) => "sources",
            Source::Line { .. } => "list",
        }
    }

    fn for_suite(&self, suite: &str) -> String {
        match self {
            Source::Stanza(fields) => format!("Types: deb\nSuites: {suite}\n{fields}"),
            Source::Line { before, components } => format!("{before} {suite} {components}\n"),
        }
    }
}

/// The source of the machine's own suite `codename`, out of apt's configuration directory `etc`.
fn sources_of(etc: &Path, codename: &str) -> Result<Source> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    files.sort();
    files
        .iter()
        .find_map(|path| {
            let text = fs::read_to_string(path).ok()?;
            match path.extension()?.to_str()? {
                "sources" => stanza_of(&text, codename),
                "list" => line_of(&text, codename),
                _ => None,
            }
        })
        .with_context(|| format!("{} has no source for {codename}", etc.display()))
}

fn stanza_of(text: &str, codename: &str) -> Option<Source> {
    let mut stanzas = Vec::from([Vec::new()]);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if let Some(stanza) = stanzas.last_mut() {
            stanza.push(line);
        }
    }
    stanzas.iter().find_map(|stanza| {
        let mut kept = String::new();
        let (mut suite, mut binary, mut enabled) = (false, false, true);
        let mut field = String::new();
        for line in stanza {
            let value = if line.starts_with([' ', '\t']) {
                *line
            } else {
                let (name, value) = line.split_once(':')?;
                field = name.to_ascii_lowercase();
                value
            };
            match field.as_str() {
                "suites" => suite |= value.split_whitespace().any(|word| word == codename),
                "types" => binary |= value.split_whitespace().any(|word| word == "deb"),
                "enabled" => enabled = !value.trim().eq_ignore_ascii_case("no"),
                _ => {
                    kept.push_str(line);
                    kept.push('\n');
                }
            }
        }
        (suite && binary && enabled).then_some(Source::Stanza(kept))
    })
}

fn line_of(text: &str, codename: &str) -> Option<Source> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?.trim();
        let mut words = line.strip_prefix("deb")?.split_whitespace().peekable();
        if !line[3..].starts_with([' ', '\t']) {
            return None;
        }
        let mut before = String::from("deb");
        if words.peek()?.starts_with('[') {
            loop {
                let word = words.next()?;
                before = format!("{before} {word}");
                if word.ends_with(']') {
                    break;
                }
            }
        }
        let address = words.next()?;
        let suite = words.next()?;
        let components: Vec<_> = words.collect();
        (suite == codename).then(|| Source::Line {
            before: format!("{before} {address}"),
            components: components.join(" "),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "\
Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/a.gpg

# a comment
Types: deb deb-src
# http://old.example
URIs: http://mirror.example/debian
Suites: bookworm
 bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDME
";

    #[test]
    fn a_stanza_keeps_its_mirror_and_its_keys_and_changes_its_suite() {
        let source = stanza_of(STANZAS, "bookworm").expect("the second stanza");
        assert_eq!(
            source.for_suite("trixie-backports"),
            "Types: deb\nSuites: trixie-backports\nURIs: http://mirror.example/debian\nComponents: main\n\
             Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n"
        );
        assert_eq!(source.extension(), "sources");
    }

    #[test]
    fn a_stanza_that_is_off_or_has_only_source_code_is_no_source() {
        let off = "Types: deb\nURIs: http://m.example\nSuites: bookworm\nComponents: main\nEnabled: no\n";
        let code = "Types: deb-src\nURIs: http://m.example\nSuites: bookworm\nComponents: main\n";
        assert_eq!(stanza_of(off, "bookworm"), None);
        assert_eq!(stanza_of(code, "bookworm"), None);
        assert_eq!(stanza_of(STANZAS, "trixie"), None);
    }

    #[test]
    fn a_one_line_entry_keeps_its_options() {
        let text = "deb-src http://m.example/debian bookworm main\n\
                    # deb http://off.example/debian bookworm main\n\
                    deb http://m.example/debian bookworm-updates main\n\
                    deb [ arch=amd64 signed-by=/k.gpg ] http://m.example/debian bookworm main contrib # why\n";
        let source = line_of(text, "bookworm").expect("the last line");
        assert_eq!(
            source.for_suite("forky"),
            "deb [ arch=amd64 signed-by=/k.gpg ] http://m.example/debian forky main contrib\n"
        );
        assert_eq!(
            line_of("deb http://m.example/debian bookworm main", "trixie"),
            None
        );
        assert_eq!(line_of("deb [arch=amd64", "bookworm"), None);
    }

    #[test]
    fn sources_are_found_in_either_place() {
        let etc = tempfile::tempdir().expect("a directory");
        assert!(sources_of(etc.path(), "bookworm").is_err());
        fs::write(
            etc.path().join("sources.list"),
            "deb http://one.example bookworm main\n",
        )
        .expect("written");
        assert_eq!(
            sources_of(etc.path(), "bookworm").expect("found"),
            Source::Line {
                before: "deb http://one.example".into(),
                components: "main".into()
            }
        );
        fs::remove_file(etc.path().join("sources.list")).expect("removed");
        fs::create_dir(etc.path().join("sources.list.d")).expect("created");
        fs::write(etc.path().join("sources.list.d/debian.sources"), STANZAS).expect("written");
        assert!(matches!(
            sources_of(etc.path(), "bookworm").expect("found"),
            Source::Stanza(_)
        ));
    }

    #[test]
    fn only_debian_has_a_debian_code_name() {
        assert_eq!(
            debian_codename("ID=debian\nVERSION_CODENAME=\"bookworm\"\n"),
            Some("bookworm")
        );
        assert_eq!(debian_codename("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(debian_codename("VERSION_ID=1\nID=debian\n"), None);
    }

    #[test]
    fn a_version_is_matched_whole() {
        let table = " rust-src | 1.95.01-1 | somewhere\n rust-src | 1.95.0+dfsg1-2~bpo13+1 | somewhere\n";
        assert_eq!(version_of(table, "1.95.0"), Some("1.95.0+dfsg1-2~bpo13+1"));
        assert_eq!(version_of(table, "1.9"), None);
        assert_eq!(version_of("", "1.95.0"), None);
    }
}
