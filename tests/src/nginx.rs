//! An nginx of a test's own.
//!
//! Owns its configuration, its files and its end. Must not know memtrace.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::server::{Server, free_port, installed};

/// What `/page` has, in bytes: more than one write takes.
pub const PAGE: usize = 64 * 1024;

/// An nginx of its own, in a folder that goes with it.
pub struct Nginx {
    /// The master.
    pub server: Server,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// Serves `/page`, which has [`PAGE`] bytes, and `/short`. `sendfile` is `on` or `off`.
    #[track_caller]
    pub fn start(sendfile: &str) -> Nginx {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let place = folder.path().display();
        fs::write(folder.path().join("page"), vec![b'x'; PAGE]).expect("a file");
        fs::write(folder.path().join("short"), "short\n").expect("a file");
        // Its workers keep the user that starts it: the folder is that user's alone.
        let configuration = format!(
            "user root;
             daemon off;
             worker_processes 2;
             pid {place}/pid;
             error_log {place}/error.log;
             events {{ worker_connections 64; }}
             http {{
                 access_log {place}/access.log;
                 client_body_temp_path {place}/body;
                 proxy_temp_path {place}/proxy;
                 fastcgi_temp_path {place}/fastcgi;
                 uwsgi_temp_path {place}/uwsgi;
                 scgi_temp_path {place}/scgi;
                 sendfile {sendfile};
                 keepalive_requests 1000000;
                 server {{ listen 127.0.0.1:{port}; root {place}; }}
             }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration).expect("a configuration");
        let mut command = installed("nginx", "nginx");
        let server = Server::start_on(port, command.arg("-e").arg("stderr").arg("-c").arg(file));
        Nginx { server, folder }
    }

    /// How many requests it has answered, by its own account.
    #[track_caller]
    pub fn answered(&self) -> usize {
        let log = fs::read_to_string(self.log()).expect("a log");
        log.lines().count()
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("access.log")
    }

    /// The processes that serve.
    #[track_caller]
    pub fn workers(&self) -> Vec<u32> {
        let pid = self.server.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("workers");
        children
            .split_whitespace()
            .map(|pid| pid.parse().expect("a number"))
            .collect()
    }
}

impl Drop for Nginx {
    /// Its workers would outlive a master that is killed.
    fn drop(&mut self) {
        self.server.running.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.server.running.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
