//! A guest that runs, and its console.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::process;

/// How long the emulator may take to come into being.
const START_LIMIT: Duration = Duration::from_secs(20);
/// What the shell asks with.
const PROMPT: &str = "root@ferry:~#";
/// How long a guest may take to its shell: no promise, but a sign that it never will.
const BOOT_LIMIT: Duration = Duration::from_secs(300);

/// An emulator's process.
pub struct Session {
    /// Who it is, for messages.
    name: &'static str,
    child: Child,
    /// The emulator: `child`, or what that has started.
    pub pid: u32,
    /// When it began to be the emulator.
    pub started: Instant,
    /// The CPU time it had used then.
    pub cpu_at_start: Duration,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// What it has written, from the last thing that was looked for on.
    text: String,
}

impl Session {
    /// Starts `command`, which may be a script that in the end starts a program whose name begins with `program`.
    pub fn start(name: &'static str, program: &str, mut command: Command) -> anyhow::Result<Self> {
        let line = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        let started = Instant::now();
        let pid = loop {
            let mut tree = std::iter::once(child.id()).chain(match started.elapsed() {
                // A look at all processes is not free, and without a script needless.
                early if early < Duration::from_millis(5) => Vec::new(),
                _ => process::tree(child.id()),
            });
            let is_it = |pid: &u32| {
                process::program(*pid).is_some_and(|name| name.to_string_lossy().starts_with(program))
            };
            if let Some(pid) = tree.find(is_it) {
                break pid;
            }
            if let Some(status) = child.try_wait()? {
                bail!("{line} has ended with {status}, its last words above, if any");
            }
            if started.elapsed() > START_LIMIT {
                // Nothing is to be left behind; that it cannot be killed is no news then.
                let _ = child.kill();
                bail!("{line} starts no program called {program}…");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let started = Instant::now();
        let cpu_at_start = process::cpu_time(pid).unwrap_or_default();
        let (Some(input), Some(mut from)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{line} has no standard input and output");
        };
        let (to, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end is also what a session that is gone looks like.
            while let Ok(count) = from.read(&mut bytes)
                && count > 0
                && to.send(bytes[..count].to_vec()).is_ok()
            {}
        });
        Ok(Self { name, child, pid, started, cpu_at_start, input, output, text: String::new() })
    }

    /// Waits for the shell's prompt.
    pub fn expect_shell(&mut self) -> anyhow::Result<()> {
        self.expect(BOOT_LIMIT, PROMPT, |text| text.find(PROMPT).map(|at| at + PROMPT.len()))
    }

    /// Has the shell say nothing of its own accord.
    pub fn quieten(&mut self) -> anyhow::Result<()> {
        self.send("dmesg -n 1; stty -echo; PS1= ; echo silence")?;
        while self.line(BOOT_LIMIT)? != "silence" {}
        Ok(())
    }

    /// Types a line.
    pub fn send(&mut self, line: &str) -> anyhow::Result<()> {
        let sent = self.input.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.input.flush());
        sent.with_context(|| format!("{} takes no input", self.name))
    }

    /// The next line.
    pub fn line(&mut self, limit: Duration) -> anyhow::Result<String> {
        let mut line = String::new();
        self.expect(limit, "a line", |text| {
            let end = text.find('\n')?;
            line = text[..end].trim_end_matches('\r').to_owned();
            Some(end + 1)
        })?;
        Ok(line)
    }

    /// Waits until `find` finds something in what the guest has written; it says where that ends.
    fn expect(
        &mut self,
        limit: Duration,
        what: &str,
        mut find: impl FnMut(&str) -> Option<usize>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = find(&self.text) {
                self.text.drain(..end);
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{}: no {what} within {limit:?}; the console said:\n{}", self.name, self.text)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let name = self.name;
                    bail!("{name} has ended before there was {what}; the console said:\n{}", self.text)
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for pid in process::tree(self.child.id()) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // One that has just ended by itself is as dead.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}
