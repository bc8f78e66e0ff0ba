//! Boots a kernel with an initial RAM disk on the console: `boot KERNEL INITRD APPEND [CPUS [FIRMWARE]]`.

use machine::{Arch, Console, Firmware, Machine, MachineConfig};

fn main() -> Result<(), machine::Error> {
    let args: Vec<String> = std::env::args().collect();
    let mut config = MachineConfig::new(Arch::Riscv64);
    config.kernel = args.get(1).map(Into::into);
    config.initrd = args.get(2).map(Into::into);
    config.append = args.get(3).cloned().unwrap_or_default();
    config.cpus = args.get(4).and_then(|n| n.parse().ok()).unwrap_or(1);
    if let Some(file) = args.get(5) {
        config.firmware = Firmware::File(file.into());
    }
    if std::env::var_os("INTERP").is_some() {
        config.accel = machine::Accel::Interp;
    }
    config.console = Console::Stdio(None);
    let ended = Machine::new(config)?.run()?;
    eprintln!("{ended:?}");
    Ok(())
}
