//! From starting the emulator to the shell: time and memory.

use std::time::Duration;

use crate::emulator::{Emulator, Guest};
use crate::process;

/// Boots that are for memory alone: looking at it takes time.
const MEMORY_RUNS: u32 = 3;
/// How often memory is looked at.
const PERIOD: Duration = Duration::from_millis(30);

/// What one emulator needs to boot.
#[derive(Clone, Debug, Default)]
pub struct Boots {
    /// Elapsed seconds to the shell's prompt.
    pub wall: Vec<f64>,
    /// CPU seconds of the emulator up to then.
    pub cpu: Vec<f64>,
    /// Largest proportional size on the way, in bytes.
    pub memory: Vec<f64>,
}

/// Boots both emulators in turn.
pub fn measure(emulators: &[Emulator; 2], guest: &Guest, runs: u32) -> anyhow::Result<[Boots; 2]> {
    let mut boots = [Boots::default(), Boots::default()];
    for run in 0..runs {
        eprintln!("boot {} of {runs}", run + 1);
        for index in order(run) {
            let (wall, cpu) = time(&emulators[index], guest)?;
            boots[index].wall.push(wall);
            boots[index].cpu.push(cpu);
        }
    }
    eprintln!("memory of a boot");
    for _ in 0..runs.min(MEMORY_RUNS) {
        for index in order(0) {
            boots[index].memory.push(peak_memory(&emulators[index], guest)?);
        }
    }
    Ok(boots)
}

/// Which emulator is first changes from round to round.
pub fn order(round: u32) -> [usize; 2] {
    if round.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

fn time(emulator: &Emulator, guest: &Guest) -> anyhow::Result<(f64, f64)> {
    let mut session = emulator.start(guest)?;
    session.expect_shell()?;
    let wall = session.started.elapsed();
    let cpu = process::cpu_time(session.pid)?.saturating_sub(session.cpu_at_start);
    Ok((wall.as_secs_f64(), cpu.as_secs_f64()))
}

fn peak_memory(emulator: &Emulator, guest: &Guest) -> anyhow::Result<f64> {
    let mut session = emulator.start(guest)?;
    let pid = session.pid;
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        loop {
            let over = is_done.recv_timeout(PERIOD) != Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            // A process that is gone needs none; that it should not be gone is noticed elsewhere.
            peak = peak.max(process::proportional_size(pid).unwrap_or(0));
            if over {
                return peak;
            }
        }
    });
    let booted = session.expect_shell();
    drop(done);
    let peak = watcher.join().unwrap_or(0);
    booted?;
    anyhow::ensure!(peak > 0, "/proc/{pid}/smaps_rollup of {} cannot be read", emulator.name);
    Ok(peak as f64)
}
