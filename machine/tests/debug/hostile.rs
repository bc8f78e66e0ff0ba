//! Bytes that no debugger would send.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::{Client, packet};
use crate::program::{Running, SPIN};

/// Beginnings that lead somewhere.
const PACKETS: [&str; 34] = [
    "?",
    "g",
    "G00",
    "m80000000,8",
    "mffffffffffffffff,ffffffffffffffff",
    "M80000000,8:00",
    "X80000000,4:abcd",
    "p20",
    "P20=00",
    "pffffffffffffffff",
    "vCont?",
    "vCont;s:1",
    "vCont;c",
    "vCont;s",
    "vCont;t:1",
    "vCont;r1,2:1",
    "vCont;s:ffffffffffffffff",
    "c",
    "s",
    "Hg0",
    "Hc-1",
    "Hgp1.2",
    "T1",
    "Z0,80000004,4",
    "z0,80000004,4",
    "Z1,ffffffffffffffff,ffffffff",
    "Z2,80000000,8",
    "qSupported:multiprocess+",
    "qfThreadInfo",
    "qThreadExtraInfo,1",
    "qXfer:features:read:target.xml:0,ffffffffffffffff",
    "qXfer:features:read:target.xml:ffffffffffffffff,1",
    "qRcmd,00",
    "QStartNoAckMode",
];

fn nonsense(random: &mut StdRng) -> Vec<u8> {
    let mut body = PACKETS[random.gen_range(0..PACKETS.len())].as_bytes().to_vec();
    for _ in 0..random.gen_range(0..4) {
        let at = random.gen_range(0..=body.len());
        match random.gen_range(0..4) {
            0 => body.insert(at, random.r#gen()),
            1 if at < body.len() => body[at] = random.r#gen(),
            2 => body.truncate(at),
            _ => body.extend_from_slice(b"ffffffff;:,"),
        }
    }
    match random.gen_range(0..8) {
        0 => (0..random.gen_range(0..200)).map(|_| random.r#gen()).collect(),
        1 => vec![3],
        2 => packet(&vec![b'm'; 20_000]),
        _ => packet(&body),
    }
}

#[test]
fn nothing_that_a_client_sends_harms_the_machine() {
    let machine = Running::start(SPIN, 2);
    let mut random = StdRng::seed_from_u64(0x006d_6163_6869_6e65);
    for _ in 0..150 {
        let mut client = Client::connect(&machine.address);
        for _ in 0..random.gen_range(1..20) {
            if !client.send_raw(&nonsense(&mut random)) {
                break;
            }
        }
    }
    let mut client = Client::connect(&machine.address);
    assert_eq!(client.ask("?"), "T05thread:01;");
    assert_eq!(client.ask("vCont;s:2"), "T05thread:02;");
    machine.quit();
}
