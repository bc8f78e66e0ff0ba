//! Follows an installation by what its machine writes on the console.

use crate::Progress;

/// Longest line that is looked at, in bytes.
const LINE_LIMIT: usize = 1000;

/// Reads what the console says: how far the installation is, and how it ended.
#[derive(Debug)]
pub struct Follower {
    line: Vec<u8>,
    doing: String,
    done: u64,
    total: u64,
    status: Option<i32>,
}

impl Follower {
    /// Follows the installation of so many packages, each of which is unpacked and set up.
    pub(super) fn new(packages: u64) -> Self {
        Follower { line: Vec::new(), doing: "Starting".into(), done: 0, total: 2 * packages, status: None }
    }

    /// Takes more of the console's output.
    pub fn read(&mut self, output: &[u8], progress: &mut dyn Progress) {
        for byte in output {
            match byte {
                b'\n' | b'\r' => {
                    self.take_line(progress);
                    self.line.clear();
                }
                _ if self.line.len() < LINE_LIMIT => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// What was being done last.
    pub fn doing(&self) -> &str {
        &self.doing
    }

    /// Whether all was done.
    pub fn has_succeeded(&self) -> bool {
        self.status == Some(0)
    }

    fn take_line(&mut self, progress: &mut dyn Progress) {
        let line = String::from_utf8_lossy(&self.line);
        // Output of programs and of the kernel can come before it in the same line.
        let after = |mark: &str| line.find(mark).and_then(|at| line.get(at + mark.len()..));
        if let Some(status) = after("ferry.run: exit status ") {
            self.status = status.trim().parse().ok();
            return;
        }
        let package = |line: &str| line.split([' ', ':']).next().unwrap_or_default().to_owned();
        if let Some(step) = after("ferry.install: ") {
            self.doing = step.trim().to_owned();
        } else if let Some(rest) = line.strip_prefix("Unpacking ") {
            self.doing = format!("Unpacking {}", package(rest));
            self.done += 1;
        } else if let Some(rest) = line.strip_prefix("Setting up ") {
            self.doing = format!("Setting up {}", package(rest));
            self.done += 1;
        } else {
            return;
        }
        // A package can be installed twice, to be there early.
        progress.step(&self.doing, self.done.min(self.total), self.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::hostile_bytes;

    #[derive(Default)]
    struct Steps(Vec<(String, u64)>);

    impl Progress for Steps {
        fn step(&mut self, what: &str, done: u64, total: u64) {
            assert_eq!(total, 4);
            self.0.push((what.to_owned(), done));
        }
    }

    #[test]
    fn steps_and_the_end_are_seen() {
        let mut follower = Follower::new(2);
        let mut steps = Steps::default();
        let output = "[    0.1] Linux\r\nferry.install: Making the file system\r\n\
                      Unpacking libc6:riscv64 (2.41-1) ...\r\nUnpacking dash (0.5) over (0.4) ...\r\n\
                      Setting up dash (0.5) ...\r\n(Reading database ... \rSetting up libc6 (1) ...\r\n\
                      Setting up again (1) ...\r\nferry.install: Done\r\n";
        for part in output.as_bytes().chunks(7) {
            follower.read(part, &mut steps);
        }
        let expected = [
            ("Making the file system", 0),
            ("Unpacking libc6", 1),
            ("Unpacking dash", 2),
            ("Setting up dash", 3),
            ("Setting up libc6", 4),
            ("Setting up again", 4),
            ("Done", 4),
        ];
        assert!(steps.0.iter().map(|(what, done)| (what.as_str(), *done)).eq(expected), "{:?}", steps.0);
        assert!(!follower.has_succeeded());
        follower.read(b"ferry.run: exit status 0\r\n", &mut steps);
        assert!(follower.has_succeeded());
        assert_eq!(follower.doing(), "Done");
    }

    #[test]
    fn a_failure_is_no_success() {
        for line in ["ferry.run: exit status 1\n", "ferry.run: exit status \n", "ferry.run: exit status 0"] {
            let mut follower = Follower::new(1);
            follower.read(line.as_bytes(), &mut ());
            assert!(!follower.has_succeeded(), "{line:?}");
        }
    }

    #[test]
    fn hostile_output_ends() {
        hostile_bytes("Setting up é\nferry.install: x\nferry.run: exit status 0\n".as_bytes(), |bytes| {
            let mut follower = Follower::new(u64::MAX / 2);
            follower.read(bytes, &mut ());
            assert!(follower.line.len() <= LINE_LIMIT);
        });
    }
}
