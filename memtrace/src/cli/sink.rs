//! What a report is written into: a stream, or a file that gets its name once it is whole.
//!
//! Owns opening and naming. Must not know threads, nor what is written.

use std::{
    fs::{File, Metadata},
    io::{self, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC},
    io::Errno,
};

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;
const MODE: u32 = 0o644;

/// Open, and perhaps without a name yet.
pub(super) enum Sink {
    Stream(Box<dyn io::Write + Send>),
    /// A file without a name until it is whole: memtrace can be killed at any moment and leaves no half of one.
    Nameless {
        file: File,
        path: PathBuf,
    },
}

impl Sink {
    pub(super) fn stdout() -> Self {
        Self::Stream(Box::new(io::stdout()))
    }

    /// Opens what a report at `path` goes to. A link stays, and what it leads to is written.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
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
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(folder(&path), flags, Mode::from_raw_mode(MODE)) {
            Ok(file) => Ok(Self::Nameless {
                file: file.into(),
                path,
            }),
            // A file system without nameless files: better a file that grows than none.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => Ok(Self::Stream(Box::new(File::create(path)?))),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes all of it. A stream's reader has it at once.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::Nameless { file, .. } => file.write_all(bytes),
        }
    }

    /// Gives a file its name, in place of what may have it.
    pub(super) fn complete(self) -> io::Result<()> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::Nameless { file, path } => give_name(&file, &path),
        }
    }
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

/// Links a nameless file to `path`, in place of what may be there.
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let magic = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |to: &Path| rustix::fs::linkat(CWD, &magic, CWD, to, AtFlags::SYMLINK_FOLLOW);
    match link(path) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.new", std::process::id()));
            let beside = path.with_file_name(name);
            link(&beside)?;
            std::fs::rename(&beside, path)
        }
        Err(error) => Err(error.into()),
    }
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
        assert!(matches!(Sink::create(&link).unwrap(), Sink::Stream(_)));
        assert_eq!(names(folder.path()), ["stdout"]);
    }
}
