//! `ferry run debian`: what the README says first.

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::ferry;

/// How long the fetch of a kernel and its boot may take, on a busy host.
const LIMIT: Duration = Duration::from_secs(900);

/// A running command with its console on pipes.
struct Console {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Console {
    fn start(args: &[&str]) -> Self {
        let mut command = ferry();
        // Where the other tests keep images, too.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
        command.args(["run", "debian", "--cache-dir"]).arg(cache).args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let output = Arc::<Mutex<String>>::default();
        let (mut from, shown) = (child.stdout.take().expect("its output"), Arc::clone(&output));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                shown.lock().expect("the output").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, output }
    }

    fn text(&self) -> String {
        self.output.lock().expect("the output").clone()
    }

    fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.text().contains(text) {
            let ended = self.child.try_wait().expect("a status");
            if ended.is_some() || Instant::now() >= deadline {
                let _ = self.child.kill();
                panic!("{text:?} did not come ({ended:?}); the console said:\n{}", self.text());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("its input");
        stdin.write_all(format!("{line}\n").as_bytes()).expect("somebody who reads");
    }

    /// Boots to the shell, looks around, and switches off.
    fn use_the_shell(mut self) {
        self.expect("root@ferry:~#");
        // The echo of what is typed does not look like the answer.
        self.type_line("echo \"[$(uname -m), $(nproc) CPUs, $(ip route | grep -c default) network]\"");
        self.expect("[riscv64, 2 CPUs, 1 network]");
        self.type_line("poweroff");
        let status = support::wait(&mut self.child);
        assert!(status.success(), "{status}; the console said:\n{}", self.text());
    }
}

#[test]
fn debian_boots_to_a_shell_and_again_without_the_archive() {
    let mirror = std::env::var("FERRY_TEST_MIRROR").ok();
    let mirror = mirror.as_deref().map(|url| ["--mirror", url]);
    let first: Vec<&str> = ["--cpus", "2"].into_iter().chain(mirror.into_iter().flatten()).collect();
    Console::start(&first).use_the_shell();
    // What the first start has fetched is enough.
    Console::start(&["--cpus", "2", "--mirror", "http://127.0.0.1:1/debian"]).use_the_shell();
}
