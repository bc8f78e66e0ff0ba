//! Programs, and machines that run them.

use std::path::Path;
use std::thread::JoinHandle;

use machine::{Arch, Control, Ended, Firmware, Machine, MachineConfig};
use tempfile::TempDir;

/// Where programs begin.
pub const BASE: u64 = 0x8000_0000;

/// Counts to three, traps once, and switches off.
pub const COUNT: &[u32] = &[
    0x0000_0397, // 00 auipc t2, 0
    0x0403_8393, // 04 addi t2, t2, 0x40
    0x3053_9073, // 08 csrw mtvec, t2
    0x0000_0293, // 0c li t0, 0
    0x0030_0313, // 10 li t1, 3
    0x0012_8293, // 14 addi t0, t0, 1
    0xfe62_9ee3, // 18 bne t0, t1, 14
    0x0001_0285, // 1c c.addi t0, 1; c.nop
    0x0000_0073, // 20 ecall
    0x0010_0537, // 24 lui a0, 0x100
    0x0000_55b7, // 28 lui a1, 5
    0x5555_8593, // 2c addi a1, a1, 0x555
    0x00b5_2023, // 30 sw a1, 0(a0)
    0x0000_006f, // 34 j .
    0,
    0,
    0x3410_2e73, // 40 csrr t3, mepc
    0x004e_0e13, // 44 addi t3, t3, 4
    0x341e_1073, // 48 csrw mepc, t3
    0x3020_0073, // 4c mret
];

/// Counts up in t0, for ever.
pub const SPIN: &[u32] = &[
    0x0000_0417, // 00 auipc s0, 0
    0x0012_8293, // 04 addi t0, t0, 1
    0x1054_3023, // 08 sd t0, 0x100(s0)
    0xff9f_f06f, // 0c j 04
];

/// Adds one to a word with a load-reserve and a store-conditional, for ever.
pub const RESERVE: &[u32] = &[
    0x0000_0417, // 00 auipc s0, 0
    0x1000_0413, // 04 li s0, 0x100
    0x0000_0317, // 08 auipc t1, 0
    0x0083_0333, // 0c add t1, t1, s0
    0x1003_22af, // 10 lr.w t0, (t1)
    0x0012_8293, // 14 addi t0, t0, 1
    0x1853_23af, // 18 sc.w t2, t0, (t1)
    0xfe03_9ae3, // 1c bnez t2, 10
    0xff1f_f06f, // 20 j 10
];

/// Fails with code 7.
pub const FAIL: &[u32] = &[
    0x0010_0537, // 00 lui a0, 0x100
    0x0007_35b7, // 04 lui a1, 0x73
    0x3335_8593, // 08 addi a1, a1, 0x333
    0x00b5_2023, // 0c sw a1, 0(a0)
    0x0000_006f, // 10 j .
];

/// A configuration that runs `program`, which it writes into `dir`.
pub fn config(dir: &Path, program: &[u32], cpus: usize) -> MachineConfig {
    let path = dir.join("program");
    let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&path, bytes).unwrap();
    let mut config = MachineConfig::new(Arch::Riscv64);
    config.cpus = cpus;
    config.memory = 64 << 20;
    config.firmware = Firmware::None;
    config.kernel = Some(path);
    config
}

/// A machine that runs on its own thread, with a debugger's address.
pub struct Running {
    pub address: String,
    pub control: Control,
    thread: JoinHandle<Result<Ended, machine::Error>>,
    _dir: TempDir,
}

impl Running {
    /// Starts `program` on `cpus` harts, to be debugged over TCP.
    pub fn start(program: &[u32], cpus: usize) -> Self {
        Self::start_at(program, cpus, |_| ":0".into())
    }

    /// The same, with the debugger's address made from a directory for this machine alone.
    pub fn start_at(program: &[u32], cpus: usize, address: impl Fn(&Path) -> String) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path(), program, cpus);
        config.gdb = Some(address(dir.path()));
        let mut machine = Machine::new(config).unwrap();
        let address = machine.debugger_address().unwrap().to_owned();
        let control = machine.control();
        let thread = std::thread::spawn(move || machine.run());
        Self { address, control, thread, _dir: dir }
    }

    /// How the machine ended.
    pub fn ended(self) -> Ended {
        self.thread.join().unwrap().unwrap()
    }

    /// Pulls the plug.
    pub fn quit(self) {
        self.control.quit();
        assert_eq!(self.ended(), Ended::Quit);
    }
}
