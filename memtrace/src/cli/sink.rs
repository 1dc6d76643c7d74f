//! What a report is written into: a stream, or a file that gets its name once it is whole.
//!
//! Owns opening, naming and taking back. Must not know threads, nor what is written.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{File, Metadata},
    io::{self, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC},
    io::Errno,
};
use tempfile::{Builder, NamedTempFile};

use super::failure::Failure;

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;
const MODE: u32 = 0o644;

/// Open, and perhaps without a name yet. What is dropped before [`Sink::complete`] leaves no file.
pub(super) enum Sink {
    Stream(Box<dyn io::Write + Send>),
    /// A file without a name until it is whole: memtrace can be killed at any moment and leaves no half of one.
    Nameless {
        file: File,
        path: PathBuf,
    },
    /// Where the file system has no nameless files, a hidden one beside `path`: `.NAME.XXXXXX.memtrace-part`. It goes
    /// when the report is given up, but `kill -9` leaves it behind.
    Part {
        part: NamedTempFile,
        path: PathBuf,
    },
}

impl Sink {
    pub(super) fn stdout() -> Self {
        Self::Stream(Box::new(io::stdout()))
    }

    /// Opens what a report at `path` goes to. A link stays, and what it leads to is written.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Self::create_by(path, nameless)
    }

    /// `nameless` opens a file without a name in a folder; `None` where its file system has no such files.
    fn create_by(path: &Path, nameless: impl FnOnce(&Path) -> io::Result<Option<File>>) -> io::Result<Self> {
        let path = match resolved(path)? {
            Place::Descriptor(path) => return descriptor(&path).map(Self::Stream),
            Place::Path(path) => path,
        };
        match path.metadata() {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // A pipe or a device.
            Ok(found) if !found.is_file() => {
                return Ok(Self::Stream(Box::new(File::options().write(true).open(path)?)));
            }
            _ => {}
        }
        match nameless(folder(&path))? {
            Some(file) => Ok(Self::Nameless { file, path }),
            None => Ok(Self::Part {
                part: beside(&path, |builder| builder.tempfile_in(folder(&path)))?,
                path,
            }),
        }
    }

    /// Whether there is a reader who can stall.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Writes all of it. A stream's reader has it at once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::Nameless { file, .. } => file.write_all(bytes),
            Self::Part { part, .. } => part.write_all(bytes),
        }
    }

    /// Gives a file its name, in place of what may have it.
    pub(super) fn complete(self) -> io::Result<()> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::Nameless { file, path } => give_name(&file, &path),
            Self::Part { part, path } => Ok(part.persist(path).map(drop)?),
        }
    }
}

/// Refuses to have two things written into one file. What is no file can take any number of them.
pub(super) fn apart(paths: &[Option<&Path>]) -> Result<(), Failure> {
    let mut places = HashSet::new();
    for path in paths.iter().flatten() {
        if place(path).is_ok_and(|place| place.is_some_and(|place| !places.insert(place))) {
            return Err(Failure::new(
                format!("cannot write {}", path.display()),
                "something else is to be written there, too",
                "name another file for one of them",
            ));
        }
    }
    Ok(())
}

/// The folder's device and inode, and the name in it; or none, where that is no file and will not be one.
fn place(path: &Path) -> io::Result<Option<(u64, u64, OsString)>> {
    let Place::Path(path) = resolved(path)? else {
        return Ok(None);
    };
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Ok(None);
    }
    let folder = folder(&path).metadata()?;
    let name = path.file_name().unwrap_or_default().to_owned();
    Ok(Some((folder.dev(), folder.ino(), name)))
}

enum Place {
    /// Not a link; there may be nothing there.
    Path(PathBuf),
    /// A link in `/proc`: a descriptor that somebody has open, and what it is open on is not to be replaced.
    Descriptor(PathBuf),
}

/// Where links lead.
fn resolved(path: &Path) -> io::Result<Place> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if !path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            return Ok(Place::Path(path));
        }
        let folder = folder(&path);
        if rustix::fs::statfs(folder)?.f_type == PROC_SUPER_MAGIC {
            return Ok(Place::Descriptor(path));
        }
        path = folder.join(path.read_link()?);
    }
    Err(Errno::LOOP.into())
}

/// What a descriptor in `/proc` is open on, to be written behind what is there. Where that is one of memtrace's own,
/// it is used itself: whoever else writes to it goes on behind the report, and a socket cannot be opened.
fn descriptor(path: &Path) -> io::Result<Box<dyn io::Write + Send>> {
    let found = path.metadata()?;
    if is_open_as(&found, io::stdout().as_fd()) {
        return Ok(Box::new(io::stdout()));
    }
    if is_open_as(&found, io::stderr().as_fd()) {
        return Ok(Box::new(io::stderr()));
    }
    Ok(Box::new(File::options().append(true).open(path)?))
}

fn is_open_as(found: &Metadata, descriptor: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(descriptor).is_ok_and(|own| (own.st_dev, own.st_ino) == (found.dev(), found.ino()))
}

fn nameless(folder: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(MODE)) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOSYS | Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Links a nameless file to `path`, in place of what may be there.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |to: &Path| rustix::fs::linkat(CWD, &magic, CWD, to, AtFlags::SYMLINK_FOLLOW);
    match link(path) {
        Ok(()) => Ok(()),
        // A link replaces nothing, a renamed file does.
        Err(Errno::EXIST) => {
            let linked = beside(path, |builder| builder.make_in(folder(path), |to| Ok(link(to)?)))?;
            Ok(linked.into_temp_path().persist(path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A hidden file beside `path`, which goes if nothing comes of it.
fn beside<T>(path: &Path, make: impl FnOnce(&Builder<'_, '_>) -> io::Result<T>) -> io::Result<T> {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    make(
        Builder::new()
            .prefix(&prefix)
            .suffix(".memtrace-part")
            .permissions(std::fs::Permissions::from_mode(MODE)),
    )
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The names in a folder.
    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (link, there) = (folder.path().join("link"), folder.path().join("there"));
        std::fs::create_dir(&there).unwrap();
        symlink("there/middle", &link).unwrap();
        symlink("report", there.join("middle")).unwrap();
        // The last of them is not there at first, and is replaced then.
        for text in ["first", "second"] {
            let mut sink = Sink::create(&link).unwrap();
            sink.write(text.as_bytes()).unwrap();
            sink.complete().unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read_to_string(there.join("report")).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["link", "there"]);
        assert_eq!(names(&there), ["middle", "report"]);
    }

    #[test]
    fn links_in_a_circle_are_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("link", &link).unwrap();
        assert!(Sink::create(&link).is_err());
        assert!(link.is_symlink());
    }

    #[test]
    fn a_descriptor_is_written_behind_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("log"), folder.path().join("out"));
        std::fs::write(&path, "before ").unwrap();
        let open = File::options().append(true).open(&path).unwrap();
        // What /dev/stdout is.
        symlink(format!("/proc/self/fd/{}", open.as_raw_fd()), &link).unwrap();
        let mut sink = Sink::create(&link).unwrap();
        assert!(sink.is_stream());
        sink.write(b"report").unwrap();
        sink.complete().unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before report");
        assert_eq!(names(folder.path()), ["log", "out"]);
    }

    #[test]
    fn standard_output_by_its_path_is_itself() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("stdout");
        symlink("/proc/self/fd/1", &link).unwrap();
        assert!(Sink::create(&link).unwrap().is_stream());
        assert_eq!(names(folder.path()), ["stdout"]);
    }

    /// Where there are no nameless files.
    fn create_part(path: &Path) -> Sink {
        let sink = Sink::create_by(path, |_| Ok(None)).unwrap();
        assert!(matches!(sink, Sink::Part { .. }));
        sink
    }

    #[test]
    fn without_nameless_files_too_a_file_appears_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        for text in ["first", "second"] {
            let before = std::fs::read_to_string(&path).ok();
            let mut sink = create_part(&path);
            sink.write(text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).ok(), before);
            let part = names(folder.path()).remove(0);
            assert!(
                part.starts_with(".report.") && part.ends_with(".memtrace-part"),
                "{part}"
            );
            sink.complete().unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), ["report"]);
        }
    }

    #[test]
    fn both_kinds_of_file_are_for_all_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let modes = [create_part, |path: &Path| Sink::create(path).unwrap()].map(|create| {
            let path = folder.path().join("report");
            create(&path).complete().unwrap();
            path.metadata().unwrap().permissions().mode()
        });
        assert_eq!(modes[0], modes[1]);
    }

    #[test]
    fn a_part_that_comes_to_nothing_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let mut given_up = create_part(&path);
        given_up.write(b"half of it").unwrap();
        drop(given_up);
        assert_eq!(names(folder.path()), [""; 0]);
        // Its name is taken from it: by a folder, which a file cannot replace.
        let sink = create_part(&path);
        std::fs::create_dir(&path).unwrap();
        assert!(sink.complete().is_err());
        assert_eq!(names(folder.path()), ["report"]);
    }

    /// A device that is always full stands for the disk.
    #[test]
    fn a_part_that_finds_the_disk_full_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let part = folder.path().join(".report.memtrace-part");
        symlink("/dev/full", &part).unwrap();
        let full = File::options().write(true).open(&part).unwrap();
        let mut sink = Sink::Part {
            part: NamedTempFile::from_parts(full, tempfile::TempPath::try_from_path(part).unwrap()),
            path,
        };
        assert!(sink.write(b"anything").is_err());
        drop(sink);
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
