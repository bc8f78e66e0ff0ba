//! Machines that are killed while they write to a disk: what they had synced is there afterwards, and the image is in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::serial::Serial;

/// How many kills there are: two, or what `FERRY_TEST_KILLS` says.
pub fn kills() -> u64 {
    std::env::var("FERRY_TEST_KILLS").map_or(2, |n| n.parse().expect("a number of kills"))
}

/// How long a machine goes on writing in this round.
pub fn work_time(round: u64) -> Duration {
    Duration::from_millis(700 + 450 * (round % 5))
}

/// Files in the working directory of a guest's shell, with their checksums.
#[derive(Default)]
pub struct SyncedFiles(BTreeMap<String, String>);

impl SyncedFiles {
    /// All files are there, with their content.
    pub fn check(&self, console: &mut Serial, limit: Duration) {
        let found = console.check("for f in f*; do [ ! -f $f ] || sha256sum $f; done", limit);
        let found = found.lines().filter_map(|line| line.split_once("  "));
        let found: BTreeMap<_, _> = found.map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect();
        assert_eq!(found, self.0, "the console said:\n{}", console.log());
    }

    /// Writes new files, and every other one of the last round again, and syncs them; leaves the machine busy.
    pub fn write(&mut self, console: &mut Serial, round: u64, limit: Duration) {
        for number in 0..4 {
            let name = format!("f{}", round * 2 + number);
            let write =
                format!("dd if=/dev/urandom of={name} bs=37k count=20 2> /dev/null && sha256sum {name}");
            let output = console.check(&write, limit);
            let sum = output.lines().last().and_then(|line| line.split_whitespace().next());
            self.0.insert(name, sum.expect("a checksum").to_owned());
        }
        console.check("sync", limit);
        // Something is always on its way when the kill comes.
        let busy = "while :; do dd if=/dev/urandom of=junk bs=64k count=64; sync; rm junk; done";
        console.check(&format!("{{ ({busy}) > /dev/null 2>&1 & }}"), limit);
    }
}

/// Another program's opinion of the image.
pub fn check_image(disk: &Path, round: u64) {
    let output =
        Command::new("qemu-img").arg("check").arg(disk).output().expect("qemu-img, of package qemu-utils");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("after {round} rounds: {}", text.lines().next().unwrap_or_default());
    assert!(output.status.success(), "after {round} rounds qemu-img says:\n{text}");
}
