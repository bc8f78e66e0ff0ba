//! Boots a kernel with an initial RAM disk on the console: `boot KERNEL INITRD APPEND [CPUS [FIRMWARE]]`. Environment:
//! `ARCH=aarch64`, `CPU=model`, `GIC=2`, `EL2=1`, `INTERP=1`, `TRACE=file` (exceptions).

use machine::{Arch, Console, Firmware, Machine, MachineConfig};

fn main() -> Result<(), machine::Error> {
    let args: Vec<String> = std::env::args().collect();
    let is_set = |name| std::env::var_os(name).is_some();
    let arch = if is_set("ARCH") { Arch::Aarch64 } else { Arch::Riscv64 };
    let mut config = MachineConfig::new(arch);
    config.cpu = std::env::var("CPU").ok();
    config.gic = is_set("GIC").then_some(machine::GicVersion::V2);
    config.virtualization = is_set("EL2");
    if let Some(file) = std::env::var_os("TRACE") {
        config.trace.exceptions = true;
        config.trace.file = Some(file.into());
    }
    config.kernel = args.get(1).map(Into::into);
    config.initrd = args.get(2).map(Into::into);
    config.append = args.get(3).cloned().unwrap_or_default();
    config.cpus = args.get(4).and_then(|n| n.parse().ok()).unwrap_or(1);
    if let Some(file) = args.get(5) {
        config.firmware = Firmware::File(file.into());
    }
    if is_set("INTERP") {
        config.accel = machine::Accel::Interp;
    }
    config.console = Console::Stdio(None);
    let ended = Machine::new(config)?.run()?;
    eprintln!("{ended:?}");
    Ok(())
}
