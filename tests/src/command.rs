//! Running a client program to its end.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a program printed and how it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// Exit status 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a command that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "`{}` failed:\n{}{}", self.line, self.stdout, self.stderr);
        self.stdout
    }

    /// Standard error of a command that must fail.
    #[track_caller]
    pub fn err(self) -> String {
        assert!(
            !self.success,
            "`{}` should have failed but printed:\n{}{}",
            self.line, self.stdout, self.stderr
        );
        self.stderr
    }
}

/// Runs a command with `stdin` and collects what it prints.
#[track_caller]
pub fn run(command: &mut Command, stdin: &str) -> Outcome {
    let line = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
    let mut pipe = child.stdin.take().expect("standard input is piped");
    let text = stdin.to_owned();
    let writer = std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("a child can be waited for");
    // A program that reads only part of its input is judged by what it prints.
    drop(writer.join());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome {
        line,
        success: output.status.success(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// A tool that `tests/run` installed, or the one on the path.
pub fn tool(name: &str) -> PathBuf {
    let installed =
        std::env::var_os("ISOPOD_TEST_TOOLS").map(|tools| PathBuf::from(tools).join("bin").join(name));
    installed.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from(name))
}

/// The `isopod` binary under test.
pub fn isopod() -> PathBuf {
    if let Some(path) = std::env::var_os("ISOPOD_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a test has a path");
    // target/<profile>/deps/<test> is beside target/<profile>/isopod.
    own.ancestors().nth(2).expect("a test lies in target/<profile>/deps").join("isopod")
}

/// Whether this test runs as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
