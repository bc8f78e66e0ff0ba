//! What Linux says about other processes (proc(5)).

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::time::Duration;

/// `pid` and the processes that descend from it.
pub fn tree(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = numbers("/proc").filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        tree.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| *child));
        next += 1;
    }
    tree
}

/// The name of the file that the process runs.
pub fn program(pid: u32) -> Option<OsString> {
    Some(fs::read_link(format!("/proc/{pid}/exe")).ok()?.file_name()?.to_owned())
}

/// CPU time, user and system, of all its threads so far; in steps of some milliseconds.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = |field| field_of(&text, field).and_then(|ticks| ticks.parse::<u64>().ok());
    let (Some(user), Some(system)) = (ticks(14), ticks(15)) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat is unlike proc(5)"),
        ));
    };
    Ok(Duration::from_secs_f64((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// Memory in bytes, what is shared with other processes divided by how many share it.
pub fn proportional_size(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/smaps_rollup has no Pss"))
    })
}

/// Measures the CPU time of a process finely: sums that of its threads. A thread that begins and ends between two
/// readings is missed.
pub struct CpuMeter {
    pid: u32,
    threads: HashMap<u32, u64>,
}

impl CpuMeter {
    pub fn new(pid: u32) -> Self {
        Self { pid, threads: HashMap::new() }
    }

    /// CPU time so far.
    pub fn read(&mut self) -> io::Result<Duration> {
        for thread in numbers(&format!("/proc/{}/task", self.pid)) {
            // It may have ended: then what was read before is kept.
            let path = format!("/proc/{}/task/{thread}/schedstat", self.pid);
            if let Some(ns) =
                fs::read_to_string(path).ok().and_then(|text| text.split(' ').next()?.parse().ok())
            {
                self.threads.insert(thread, ns);
            }
        }
        match self.threads.is_empty() {
            // The kernel keeps no such statistics.
            true => cpu_time(self.pid),
            false => Ok(Duration::from_nanos(self.threads.values().sum())),
        }
    }
}

fn numbers(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(pid: u32) -> Option<u32> {
    field_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 4)?.parse().ok()
}

/// Field `number` of a `stat` file, counted as in proc(5); the second, a name in parentheses, may hold anything.
fn field_of(stat: &str, number: usize) -> Option<&str> {
    stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let stat = "42 (a) b) c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 0 0";
        assert_eq!(field_of(stat, 3), Some("S"));
        assert_eq!(field_of(stat, 4), Some("7"));
        assert_eq!((field_of(stat, 14), field_of(stat, 15)), (Some("150"), Some("50")));
        assert_eq!(field_of("nothing", 4), None);
    }

    #[test]
    fn this_process() {
        let me = std::process::id();
        assert_eq!(tree(me)[0], me);
        assert!(program(me).is_some());
        assert!(proportional_size(me).unwrap() > 100 << 10);
        let mut meter = CpuMeter::new(me);
        let before = meter.read().unwrap();
        // Work that the optimiser cannot leave out, until the clocks have noticed.
        let mut x = 1u64;
        while meter.read().unwrap() <= before {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
    }

    #[test]
    fn descendants() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60; true"]).spawn().unwrap();
        // The shell forks in its own time.
        let tree = loop {
            let tree = tree(child.id());
            if tree.len() == 2 {
                break tree;
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        let orphan = rustix::process::Pid::from_raw(tree[1] as i32).unwrap();
        rustix::process::kill_process(orphan, rustix::process::Signal::KILL).unwrap();
        assert_eq!(tree[0], child.id());
    }
}
