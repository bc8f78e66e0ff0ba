//! A debugger's session, as gdb would lead it.

use machine::Ended;

use crate::client::Client;
use crate::program::{BASE, COUNT, FAIL, RESERVE, Running, SPIN};

const T0: usize = 5;
const PC: usize = 32;
const FT0: usize = 33;
const CSR: usize = 65;
const PRIV: usize = 4161;

fn at(offset: u64) -> u64 {
    BASE + offset
}

fn run_to(client: &mut Client, offset: u64) {
    client.tell(&format!("Z0,{:x},4", at(offset)));
    assert_eq!(client.ask("vCont;c"), "T05thread:01;swbreak:;");
    client.tell(&format!("z0,{:x},4", at(offset)));
    assert_eq!(client.register(PC), at(offset));
}

#[test]
fn waits_steps_and_reports_the_end() {
    let machine = Running::start(COUNT, 1);
    let mut client = Client::connect(&machine.address);
    assert_eq!(client.ask("?"), "T05thread:01;");
    assert_eq!(client.register(PC), 0x1000, "the machine waits before its first instruction");
    assert_eq!(client.ask("vCont;s:1;c"), "T05thread:01;");
    assert_eq!(client.register(PC), 0x1004);
    run_to(&mut client, 0x10);
    for (pc, t0) in [(0x14, 0), (0x18, 1), (0x14, 1), (0x18, 2)] {
        assert_eq!(client.ask("vCont;s:1"), "T05thread:01;");
        assert_eq!((client.register(PC), client.register(T0)), (at(pc), t0));
    }
    run_to(&mut client, 0x20);
    assert_eq!(client.ask("vCont;s:1"), "T05thread:01;");
    assert_eq!(client.register(PC), at(0x40), "a step into the handler ends there");
    assert_eq!(client.register(CSR + 0x342), 11);
    assert_eq!(client.ask("vCont;c"), "W00");
    assert_eq!(machine.ended(), Ended::Off { code: 0 });
}

#[test]
fn breakpoints_of_both_kinds() {
    let machine = Running::start(COUNT, 1);
    let mut client = Client::connect(&machine.address);
    client.tell(&format!("Z0,{:x},4", at(0x14)));
    client.tell(&format!("Z1,{:x},2", at(0x1e)));
    for t0 in 0..3 {
        assert_eq!(client.ask("c"), "T05thread:01;swbreak:;");
        assert_eq!((client.register(PC), client.register(T0)), (at(0x14), t0));
    }
    assert_eq!(client.ask("c"), "T05thread:01;hwbreak:;");
    assert_eq!((client.register(PC), client.register(T0)), (at(0x1e), 4));
    client.tell(&format!("z1,{:x},2", at(0x1e)));
    assert!(client.ask(&format!("z1,{:x},2", at(0x1e))).starts_with('E'), "it is gone");
    // A jump back to a breakpoint counts, although the program counter is set by hand.
    client.set_register(PC, at(0x14));
    client.set_register(T0, 2);
    assert_eq!(client.ask("c"), "T05thread:01;swbreak:;");
    assert_eq!(client.ask("c"), "W00");
    assert_eq!(machine.ended(), Ended::Off { code: 0 });
}

#[test]
fn registers_of_every_kind() {
    let machine = Running::start(COUNT, 1);
    let mut client = Client::connect(&machine.address);
    run_to(&mut client, 0x14);
    let all = client.ask("g");
    assert_eq!(all.len(), 65 * 16);
    assert_eq!(&all[6 * 16..7 * 16], "0300000000000000", "t1");
    let changed = format!("{}{}{}", &all[..5 * 16], "0200000000000000", &all[6 * 16..]);
    client.tell(&format!("G{changed}"));
    assert_eq!(client.register(T0), 2);
    client.set_register(0, 99);
    assert_eq!(client.register(0), 0, "x0 stays zero");
    client.set_register(FT0 + 31, 0x4000_0000_0000_0000);
    assert_eq!(client.register(FT0 + 31), 0x4000_0000_0000_0000);
    client.set_register(CSR + 0x340, 0x1234);
    assert_eq!(client.register(CSR + 0x340), 0x1234, "mscratch");
    assert_eq!(client.register(PRIV), 3);
    client.set_register(PRIV, 1);
    assert_eq!(client.register(PRIV), 1);
    for refused in ["pfff", &format!("P{PRIV:x}=0200000000000000"), &format!("P{:x}=00", CSR + 0xf14)] {
        assert!(client.ask(refused).starts_with('E'), "{refused}");
    }
    assert_eq!(client.ask("p1043"), "", "no such number");
    machine.quit();
}

#[test]
fn describes_itself() {
    let machine = Running::start(COUNT, 2);
    let mut client = Client::connect(&machine.address);
    assert!(client.ask("qSupported:xmlRegisters=riscv;swbreak+;hwbreak+").contains("qXfer:features:read+"));
    let mut xml = String::new();
    loop {
        let part = client.ask(&format!("qXfer:features:read:target.xml:{:x},7ff", xml.len()));
        xml.push_str(&part[1..]);
        if part.starts_with('l') {
            break;
        }
    }
    for line in [
        "<architecture>riscv:rv64</architecture>",
        "<reg name=\"pc\" bitsize=\"64\" regnum=\"32\" type=\"code_ptr\"/>",
        "<reg name=\"fcsr\" bitsize=\"64\" regnum=\"68\" type=\"int\"/>",
        "<reg name=\"mstatus\" bitsize=\"64\" regnum=\"833\" type=\"int\"/>",
        "<reg name=\"priv\" bitsize=\"64\" regnum=\"4161\" type=\"int\"/>",
        "</target>",
    ] {
        assert!(xml.contains(line), "{line} is not in {xml}");
    }
    assert!(client.ask("qXfer:features:read:other.xml:0,100").starts_with('E'));
    assert_eq!(client.ask("qfThreadInfo"), "m01,02");
    assert_eq!(client.ask("qThreadExtraInfo,2"), hex("CPU 1, Machine mode"));
    machine.quit();
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn memory_and_code() {
    let machine = Running::start(COUNT, 1);
    let mut client = Client::connect(&machine.address);
    run_to(&mut client, 0x1c);
    assert_eq!(client.ask(&format!("m{:x},8", at(0xc))), "9302000013033000");
    assert_eq!(client.ask(&format!("m{:x},3", at(0xfff))), "000000");
    for nothing in ["m0,8", "m10000000,1", "mffffffffffffffff,8", "mfffffffffffffff8,8"] {
        assert!(client.ask(nothing).starts_with('E'), "{nothing}: no memory, and devices are left alone");
    }
    assert!(client.ask("M0,1:00").starts_with('E'));
    // The loop has run; from now on it adds three.
    client.tell(&format!("M{:x},4:93823200", at(0x14)));
    client.set_register(PC, at(0xc));
    client.tell(&format!("Z0,{:x},4", at(0x18)));
    assert_eq!(client.ask("c"), "T05thread:01;swbreak:;");
    assert_eq!(client.register(T0), 3);
    client.tell(&format!("z0,{:x},4", at(0x18)));
    assert_eq!(client.ask("c"), "W00");
    assert_eq!(machine.ended(), Ended::Off { code: 0 });
}

#[test]
fn virtual_memory_without_side_effects() {
    let machine = Running::start(COUNT, 1);
    let mut client = Client::connect(&machine.address);
    run_to(&mut client, 0x14);
    // 1 GiB at 0x4000_0000, readable by nobody but the debugger: execute-only, for U-mode, A and D clear.
    let (table, entry) = (at(0x1_0000), BASE >> 12 << 10 | 0x19);
    client.poke(table + 8, entry);
    client.set_register(CSR + 0x180, 8 << 60 | table >> 12);
    let code = client.ask(&format!("m{:x},4", at(0x14)));
    assert!(client.ask("m40000014,4").starts_with('E'), "M-mode does not translate");
    client.set_register(PRIV, 1);
    assert_eq!(client.ask("m40000014,4"), code);
    assert!(client.ask(&format!("m{:x},4", at(0x14))).starts_with('E'), "not mapped");
    client.poke(0x4000_0200, 0x1122_3344_5566_7788);
    client.set_register(PRIV, 3);
    assert_eq!(client.ask(&format!("m{:x},8", at(0x200))), "8877665544332211");
    let after = client.ask(&format!("m{:x},8", table + 8));
    assert_eq!(u64::from_str_radix(&after, 16).unwrap().swap_bytes(), entry);
    machine.quit();
}

#[test]
fn cpus_are_threads() {
    let machine = Running::start(SPIN, 2);
    let mut client = Client::connect(&machine.address);
    let counter = |client: &mut Client, thread: usize| {
        client.tell(&format!("Hg{thread}"));
        (client.register(PC), client.register(T0))
    };
    // Both to the loop.
    client.tell(&format!("Z0,{:x},4", at(4)));
    for thread in [1, 2] {
        let (hit, other) = (format!("T05thread:{thread:02};swbreak:;"), 3 - thread);
        assert_eq!(client.ask(&format!("vCont;c:{thread}")), hit, "CPU {other} stands still");
    }
    client.tell(&format!("z0,{:x},4", at(4)));
    // One alone, and then the other.
    let (first, second) = (counter(&mut client, 1), counter(&mut client, 2));
    for _ in 0..6 {
        assert_eq!(client.ask("vCont;s:2"), "T05thread:02;");
    }
    assert_eq!(counter(&mut client, 1), first);
    assert_eq!(counter(&mut client, 2), (at(4), second.1 + 2));
    // Both, until the user has had enough.
    client.send("vCont;c");
    std::thread::sleep(std::time::Duration::from_millis(50));
    client.send_raw(&[3]);
    assert_eq!(client.receive(), "T02thread:01;");
    let counts = [counter(&mut client, 1).1, counter(&mut client, 2).1];
    assert!(counts[0] > first.1 && counts[1] > second.1 + 2, "both ran: {counts:?}");
    // One steps while the other runs.
    assert_eq!(client.ask("vCont;s:1;c"), "T05thread:01;");
    machine.quit();
}

#[test]
fn a_step_does_not_break_a_reservation() {
    let machine = Running::start(RESERVE, 2);
    let mut client = Client::connect(&machine.address);
    client.tell(&format!("Z1,{:x},4", at(0x10)));
    assert_eq!(client.ask("vCont;c:1"), "T05thread:01;hwbreak:;");
    client.tell(&format!("z1,{:x},4", at(0x10)));
    for count in 1..3u64 {
        assert_eq!(client.ask("vCont;s:1"), "T05thread:01;");
        assert_eq!(client.register(PC), at(0x1c), "from the load-reserve to behind the store-conditional");
        assert_eq!((client.register(7), client.register(T0)), (0, count), "which has succeeded");
        for pc in [0x20, 0x10] {
            assert_eq!(client.ask("vCont;s:1"), "T05thread:01;");
            assert_eq!(client.register(PC), at(pc));
        }
    }
    machine.quit();
}

#[test]
fn detaching_reconnecting_and_killing() {
    let machine = Running::start_at(SPIN, 2, |dir| dir.join("gdb").to_str().unwrap().into());
    let mut client = Client::connect(&machine.address);
    client.tell(&format!("Z0,{:x},4", at(8)));
    assert!(client.ask("c").ends_with("swbreak:;"));
    client.tell("D");
    assert_eq!(client.try_receive(), None);
    // It runs on, without the breakpoint, until somebody connects.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut client = Client::connect(&machine.address);
    let before = client.register(T0);
    assert!(before > 1);
    // A connection that is lost leaves the machine halted.
    drop(client);
    let mut client = Client::connect(&machine.address);
    assert_eq!(client.register(T0), before);
    client.send("k");
    assert_eq!(machine.ended(), Ended::Quit);
}

#[test]
fn exit_codes_and_a_pulled_plug() {
    let machine = Running::start(FAIL, 1);
    let mut client = Client::connect(&machine.address);
    assert_eq!(client.ask("c"), "W07");
    assert_eq!(machine.ended(), Ended::Off { code: 7 });

    let machine = Running::start(SPIN, 1);
    let mut client = Client::connect(&machine.address);
    client.send("c");
    client.ask("vCont?"); // it has seen the packet before
    machine.quit();
    assert_eq!(client.receive(), "X09");
}

#[test]
fn refuses_bad_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("no/where");
    for address in ["", ":", ":70000", "nonsense", "127.0.0.1", nowhere.to_str().unwrap()] {
        let mut config = crate::program::config(dir.path(), SPIN, 1);
        config.gdb = Some(address.into());
        let error = machine::Machine::new(config).err().unwrap_or_else(|| panic!("{address:?}"));
        assert!(error.to_string().contains(address), "{error}");
    }
}
