//! Debian's unmodified kernel, booted to a shell and put through what a user does with it.
//!
//! Each test boots as seldom as it can: an interpreter takes the better part of a minute for a boot.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use devices::backend::net::{self, Forward, Protocol};
use emu_core::testing::Random;
use machine::{Accel, Arch, Console, Firmware, GicVersion, MachineConfig, NetConfig};
use sha2::{Digest, Sha256};
use support::guest::{COMMAND_LIMIT, Guest, OpenSbi, config, config_for, debian_for, opensbi};
use support::serial::Serial;

/// The kernel is Debian's, and it has found all CPUs.
fn check_system_of(arch: Arch, guest: &mut Guest, cpus: usize) {
    let release = guest.console.check("uname -rm", COMMAND_LIMIT);
    assert_eq!(release.trim(), format!("{} {}", debian_for(arch).kernel_release, arch.name()));
    assert_eq!(guest.console.check("nproc", COMMAND_LIMIT).trim(), cpus.to_string());
}

/// The same for RISC-V.
fn check_system(guest: &mut Guest, cpus: usize) {
    check_system_of(Arch::Riscv64, guest, cpus);
}

#[test]
fn one_hart_with_a_network() {
    let resolver = serve_names();
    let (server, checksum) = serve_file(2 << 20);
    let port = free_port();
    let mut config = config(1);
    config.net = NetConfig::User(net::Config {
        dns: Some(resolver),
        forwards: vec![Forward {
            protocol: Protocol::Tcp,
            host: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            guest: None,
            guest_port: 7777,
        }],
        ..net::Config::default()
    });
    let folder = tempfile::tempdir().expect("a temporary directory");
    let socket = folder.path().join("hvc0");
    config.virtio_console = Some(Console::Unix(socket.clone()));
    let mut guest = Guest::boot(config);
    check_system(&mut guest, 1);
    let console = &mut guest.console;

    // A shell on the virtio console: what is long comes and goes in one piece.
    let mut other = Serial::connect(&socket);
    console.check("{ setsid sh -c 'exec sh -i < /dev/hvc0 > /dev/hvc0 2>&1' & }", COMMAND_LIMIT);
    let numbers = other.check("seq 1 3000", COMMAND_LIMIT);
    let expected: String = (1..=3000).map(|n| format!("{n}\n")).collect();
    assert!(numbers == expected, "{numbers}");

    let address = console.check("ip -4 -o addr show dev eth0", COMMAND_LIMIT);
    assert!(address.contains("inet 10.0.2.15/24"), "{address}");
    let ping = console.check("ping -c 1 -W 30 10.0.2.2", COMMAND_LIMIT);
    assert!(ping.contains("1 packets received"), "{ping}");
    let lookup = console.check(&format!("nslookup {NAME}"), COMMAND_LIMIT);
    assert!(lookup.contains(&ADDRESS.to_string()), "{lookup}");
    let download = format!("wget -q -O - http://10.0.2.2:{}/file | sha256sum", server.port());
    let sum = console.check(&download, COMMAND_LIMIT);
    assert_eq!(sum.split_whitespace().next(), Some(&*checksum));

    // The connection comes when the guest listens; one that comes too early ends without an answer.
    let caller = std::thread::spawn(move || call(port, "from the host\n"));
    let heard = console.check("echo from the guest | nc -l -p 7777", COMMAND_LIMIT);
    assert_eq!(heard, "from the host\n");
    assert_eq!(caller.join().expect("a caller"), "from the guest\n");
    guest.power_off();
}

#[test]
fn the_second_boot_finds_what_the_first_has_translated() {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let boot = || {
        let mut config = config(1);
        config.cache = Some(cache.path().join("translations"));
        let mut guest = Guest::boot(config);
        check_system(&mut guest, 1);
        let stats = guest.stats();
        guest.power_off();
        stats.code.expect("a translator")
    };
    let (cold, warm) = (boot(), boot());
    assert!(cold.kept_loaded == 0 && cold.kept_pages == 0, "{cold}");
    // Until all has been read the guest is translated as usual.
    assert!(warm.kept_pages > 0 && warm.kept_blocks > warm.blocks, "{warm}");
}

#[test]
fn two_harts_boot_again() {
    let mut guest = Guest::boot(config(2));
    check_system(&mut guest, 2);
    guest.console.send_line("reboot");
    // The shell's prompt comes once more before its end.
    guest.console.expect("Restarting system", COMMAND_LIMIT);
    guest.expect_shell();
    check_system(&mut guest, 2);
    guest.power_off();
}

#[test]
fn four_harts_and_a_panic() {
    let mut config = config(4);
    config.append += " panic=1";
    config.no_reboot = true;
    let mut guest = Guest::boot(config);
    check_system(&mut guest, 4);
    guest.console.send_line("echo c > /proc/sysrq-trigger");
    guest.console.expect("Kernel panic - not syncing", COMMAND_LIMIT);
    guest.expect_off();
}

#[test]
fn one_hart_with_opensbi() {
    let mut config = config(1);
    config.firmware = Firmware::File(opensbi(OpenSbi::Dynamic));
    let mut guest = Guest::start(config);
    guest.console.expect("OpenSBI v", COMMAND_LIMIT);
    guest.expect_shell();
    check_system(&mut guest, 1);
    guest.power_off();
}

#[test]
fn two_harts_with_opensbi_end_at_a_reboot() {
    let mut config = config(2);
    config.firmware = Firmware::File(opensbi(OpenSbi::Jump));
    config.no_reboot = true;
    let mut guest = Guest::boot(config);
    check_system(&mut guest, 2);
    guest.console.send_line("reboot");
    guest.expect_off();
}

#[test]
fn four_harts_with_opensbi_boot_again_after_a_panic() {
    let mut config = config(4);
    config.firmware = Firmware::File(opensbi(OpenSbi::Dynamic));
    config.append += " panic=1";
    let mut guest = Guest::boot(config);
    check_system(&mut guest, 4);
    guest.console.send_line("echo c > /proc/sysrq-trigger");
    guest.console.expect("Kernel panic - not syncing", COMMAND_LIMIT);
    guest.expect_shell();
    check_system(&mut guest, 4);
    guest.power_off();
}

/// An Arm machine with this interrupt controller.
fn arm(cpus: usize, gic: GicVersion) -> MachineConfig {
    let mut config = config_for(Arch::Aarch64, cpus);
    config.gic = Some(gic);
    config
}

/// Boots an Arm machine, checks that the kernel has found what there is, and leaves the rest to the test.
fn boot_arm(config: MachineConfig) -> Guest {
    let (cpus, gic) = (config.cpus, config.gic);
    let mut guest = Guest::boot(config);
    check_system_of(Arch::Aarch64, &mut guest, cpus);
    let interrupts = guest.console.check("cat /proc/interrupts", COMMAND_LIMIT);
    let controller = if gic == Some(GicVersion::V2) { "GIC-0" } else { "GICv3" };
    let timer = interrupts.lines().find(|line| line.contains("arch_timer"));
    assert!(timer.is_some_and(|line| line.contains(controller)), "{interrupts}");
    guest
}

/// What the kernel does against the faults of processors costs time, and the default model has none of them.
#[test]
fn arm_with_one_cpu_needs_no_work_around() {
    let mut guest = boot_arm(arm(1, GicVersion::V3));
    let console = &mut guest.console;
    let log = console.check("dmesg", COMMAND_LIMIT);
    assert!(log.contains("CPU features: detected:"), "{log}");
    for word in ["KPTI", "page table isolation", "Spectre-v2", "Spectre-BHB", "erratum"] {
        let named = log.lines().find(|line| line.contains("CPU features") && line.contains(word));
        assert_eq!(named, None, "{log}");
    }
    let list = "cd /sys/devices/system/cpu/vulnerabilities && for f in *; do echo $f $(cat $f); done; cd";
    let vulnerabilities = console.check(list, COMMAND_LIMIT);
    for name in ["meltdown", "spectre_v2", "spec_store_bypass"] {
        let line = vulnerabilities.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name}:\n{vulnerabilities}"));
        assert!(!line.contains("Vulnerable"), "{line}");
    }
    let meltdown = format!("meltdown {NOT_AFFECTED}");
    let branches = format!("spectre_v2 {NOT_AFFECTED}");
    assert!(vulnerabilities.contains(&meltdown) && vulnerabilities.contains(&branches), "{vulnerabilities}");
    guest.power_off();
}

/// What the kernel says of a fault that a processor does not have.
const NOT_AFFECTED: &str = "Not affected";

#[test]
fn arm_with_two_cpus_and_a_gicv2_boots_again() {
    let mut guest = boot_arm(arm(2, GicVersion::V2));
    guest.console.send_line("reboot");
    guest.console.expect("Restarting system", COMMAND_LIMIT);
    guest.expect_shell();
    check_system_of(Arch::Aarch64, &mut guest, 2);
    guest.power_off();
}

#[test]
fn arm_with_four_cpus_at_el2_and_a_panic() {
    let mut config = arm(4, GicVersion::V3);
    config.virtualization = true;
    config.append += " panic=1";
    config.no_reboot = true;
    let mut guest = boot_arm(config);
    let log = guest.console.check("dmesg", COMMAND_LIMIT);
    assert!(log.contains("All CPU(s) started at EL2"), "{log}");
    guest.console.send_line("echo c > /proc/sysrq-trigger");
    guest.console.expect("Kernel panic - not syncing", COMMAND_LIMIT);
    guest.expect_off();
}

#[test]
fn arm_with_a_gicv2_and_older_models() {
    for (model, gic) in [("cortex-a57", GicVersion::V2), ("neoverse-n1", GicVersion::V3)] {
        let mut config = arm(1, gic);
        config.cpu = Some(model.to_owned());
        boot_arm(config).power_off();
    }
}

#[test]
fn arm_interpreted() {
    let mut config = arm(1, GicVersion::V3);
    config.accel = Accel::Interp;
    boot_arm(config).power_off();
}

/// A name that no resolver but the test's own knows.
const NAME: &str = "host.ferry.test";
/// What the name stands for.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// A name server that knows one name: [`NAME`] is [`ADDRESS`] (RFC 1035, section 4.1).
fn serve_names() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP socket");
    let address = socket.local_addr().expect("its address");
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            // Nobody is hurt if an answer is lost: it is asked for again.
            let _ = socket.send_to(&answer(&query[..length]), from);
        }
    });
    address
}

/// The answer to a query with one question.
fn answer(query: &[u8]) -> Vec<u8> {
    let labels = NAME.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    let name: Vec<u8> = labels.chain([0]).collect();
    let question = query.get(12..12 + name.len() + 4).unwrap_or_default();
    let known = question.starts_with(&name);
    let has_address = known && question.ends_with(&[0, 1, 0, 1]);
    let mut answer = query[..2.min(query.len())].to_vec();
    // A response, recursion desired and available; no such name unless it is the one.
    answer.extend([0x81, if known { 0x80 } else { 0x83 }]);
    answer.extend([0, u8::from(known), 0, u8::from(has_address), 0, 0, 0, 0]);
    if known {
        answer.extend(question);
    }
    if has_address {
        // A pointer to the name in the question, type A, class IN, an hour, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    answer
}

/// A web server that gives one file of `length` bytes to all who ask; the file's SHA-256 in hexadecimal.
fn serve_file(length: usize) -> (SocketAddr, String) {
    let mut rng = Random(length as u64);
    let content: Vec<u8> = std::iter::repeat_with(|| rng.bits() as u8).take(length).collect();
    let checksum = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a TCP socket");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A client that hangs up has its own complaint.
            let _ = give(client, &content);
        }
    });
    (address, checksum)
}

fn give(client: TcpStream, content: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(&client).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(&client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", content.len())?;
    (&client).write_all(content)
}

/// A port of the loopback interface that was free just now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a TCP socket");
    listener.local_addr().expect("its address").port()
}

/// Says `text` to `port` on this host until somebody answers; the answer.
fn call(port: u16, text: &str) -> String {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let deadline = Instant::now() + COMMAND_LIMIT;
    loop {
        let answer = TcpStream::connect(address).and_then(|mut stream| {
            stream.set_read_timeout(Some(COMMAND_LIMIT))?;
            stream.write_all(text.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        match answer {
            Ok(answer) if !answer.is_empty() => return answer,
            other => assert!(Instant::now() < deadline, "nobody answers on {address}: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
