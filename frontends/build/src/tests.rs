use super::parse::Condition;
use super::*;

const HEAD: &str = "%width 16\n%base I\n%field a 4\n%field b' 3 + 8\n%immediate i signed\n\
                    %format A a \"{a}\"\n%format AB a b \"\"\n%format Im i \"\"\n%format N \"\"\n";

fn parse(lines: &str) -> Result<Table, String> {
    Table::parse(&format!("{HEAD}{lines}")).map_err(|error| error.problem)
}

#[test]
fn reads_fields_conditions_and_expansions() {
    let table = parse("one A 00000000 a 1111 X&Y|Z if a!=0 a%2=0 -> two a 3\ntwo Im 1 i[0|14:1] I").unwrap();
    let one = table.find("one").unwrap();
    assert_eq!((one.mask, one.value), (0xff0f, 0x000f));
    assert_eq!(one.needs, [vec!["X".to_string(), "Y".into()], vec!["Z".into()]]);
    assert_eq!(
        one.conditions,
        [Condition::Not { field: 0, value: 0 }, Condition::Multiple { field: 0, of: 2 }]
    );
    assert_eq!(one.expansion.as_ref().unwrap().args, ["a", "3"]);
    let two = table.find("two").unwrap();
    assert_eq!(two.fields[0].bits(), 15);
    assert_eq!(two.fields[0].parts[0].word, 14);
    assert!(two.needs[0].is_empty());
}

#[test]
fn refuses_what_it_cannot_read() {
    for (line, problem) in [
        ("x N 0000", "12 bits are missing"),
        ("x N 00000000000000000 I", "too many bits"),
        ("x A 000000000000 b' 0 I", "the format has the fields"),
        ("x A 000000000000 z I", "there is no field `z`"),
        ("x Q 0000000000000000 I", "there is no format `Q`"),
        ("x A 000000000000 a", "expected features"),
        ("x A 000000000000 a I when a", "expected `if`"),
        ("x A 000000000000 a I if a<3", "is no condition"),
        ("x A 000000000000 a I ->", "expected an instruction"),
        ("x A 000000000000 a I =>", "expected a method"),
        ("x Im i[7:0] i[8:1] I", "parts of `i` overlap"),
        ("x Im 0000000000000 i[1:3] I", "no range of bits"),
        ("x Im 0000000000000 i I", "needs its bits"),
        ("%field a 3", "declared twice"),
        ("%fjeld a 3", "no directive"),
        ("}", "groups do not nest"),
        ("x N 0000000000000000 I\nx N 0000000000000001 I", "there twice"),
        ("x N 0000000000000000 I\ny A 000000000000 a I", "`y` overlaps with `x`"),
    ] {
        let found = parse(line).expect_err(line);
        assert!(found.contains(problem), "{line}: {found}");
    }
}

#[test]
fn groups_may_overlap_in_order() {
    let table = parse("{\nx N 0000000000000000 I\ny A 000000000000 a I\n}").unwrap();
    let code = compile(&table, "Set", "Ext");
    assert!(code.find("Insn::X)").unwrap() < code.find("Insn::Y)").unwrap(), "{code}");
}

#[test]
fn a_method_may_have_a_name_of_its_own() {
    let table = parse("%suffix q Ty::Q\nx.q A 000000000000 a I if even()").unwrap();
    assert_eq!(table.find("x.q").unwrap().method, ("x".into(), vec!["Ty::Q".into()]));
    assert!(compile(&table, "Set", "Ext").contains("Condition::Check(checks::even)"));
    let table = parse("x.q A 000000000000 a I if a!=1 => load Ty::I8 true").unwrap();
    let dispatch = compile_dispatch(&table, "m", None, "Lifter<'_>", "go").unwrap();
    assert!(
        dispatch.contains("self.r#load(m::args::A { a: (word & 0xf) as u8 }, Ty::I8, true)"),
        "{dispatch}"
    );
}

#[test]
fn files_share_declarations() {
    let mut table = Table::new();
    table.add(HEAD).unwrap();
    table.add("x A 000000000000 a I").unwrap();
    table.add("y A 00000000000- a I").unwrap();
    assert_eq!(table.check_overlaps().unwrap_err().problem, "`y` overlaps with `x`");
}

#[test]
fn expansions_are_checked_against_the_other_table() {
    let long = parse("two AB 000000000 a b' I").unwrap();
    let compile = |line: &str| {
        compile_dispatch(&parse(line).unwrap(), "short", Some((&long, "long")), "Lifter<'_>", "go")
    };
    let code = compile("c.x A 000000000000 a I -> two a 2").unwrap();
    assert!(code.contains("short::Insn::CX => self.r#two(long::args::AB { a: (word & 0xf) as u8, b: 2 })"));
    for bad in [
        "c.x A 000000000000 a I -> two a",
        "c.x A 000000000000 a I -> two a q",
        "c.x A 000000000000 a I -> three a a",
    ] {
        assert!(compile(bad).is_err(), "{bad}");
    }
}
