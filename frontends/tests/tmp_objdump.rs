use frontends::decode::Line;
use frontends::riscv::{
    decode::{Insn, length},
    disas::disassemble,
    ext::{Ext, ExtSet},
};
#[test]
fn dump() {
    let all = ExtSet::of(Ext::ALL);
    let mut state = 12345u64;
    let mut rng = move || {
        state = state.wrapping_add(0x9e3779b97f4a7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d049bb133111eb);
        z ^ z >> 31
    };
    let mut bytes = vec![];
    let mut out = String::new();
    for insn in Insn::all() {
        let line: &Line<ExtSet> = insn.line();
        for _ in 0..40 {
            let word = line.random(&mut rng);
            let got = Insn::decode(word, all);
            // ordered groups may claim it
            let pc = bytes.len() as u64;
            out += &format!(
                "{:x}\t{}\t{}\n",
                pc,
                got.map_or("none", |i| i.line().name),
                disassemble(word, pc, all)
            );
            if length(word as u16) == 4 {
                bytes.extend(word.to_le_bytes());
            } else {
                bytes.extend((word as u16).to_le_bytes());
            }
        }
    }
    std::fs::write("/tmp/rvl.bin", bytes).unwrap();
    std::fs::write("/tmp/rvl.txt", out).unwrap();
}
