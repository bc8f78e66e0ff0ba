use super::*;
use crate::testing::Rng;

/// A tree with every kind of value.
fn sample() -> Tree {
    let uart =
        NodeDesc::new("serial", &["ns16550a"]).prop("clock-frequency", PropValue::Cells(vec![3_686_400]));
    let cpu = |id: u32| {
        Node::new(format!("cpu@{id:x}"))
            .prop("device_type", "cpu")
            .prop("reg", id)
            .prop("compatible", "riscv")
            .prop("riscv,isa-extensions", PropValue::Strs(vec!["i".into(), "m".into(), "zicsr".into()]))
            .child(
                Node::new("interrupt-controller")
                    .label(format!("cpu{id}-intc"))
                    .prop("#interrupt-cells", 1_u32)
                    .prop("interrupt-controller", PropValue::Empty)
                    .prop("compatible", "riscv,cpu-intc"),
            )
    };
    let cells = |words: &[u32]| PropValue::Cells(words.to_vec());
    let plic = Node::new("plic@c000000")
        .label("plic")
        .prop("compatible", PropValue::Strs(vec!["sifive,plic-1.0.0".into(), "riscv,plic0".into()]))
        .prop("reg", cells(&[0, 0x0c00_0000, 0, 0x60_0000]))
        .prop(
            "interrupts-extended",
            vec!["cpu0-intc".into(), 11.into(), "cpu0-intc".into(), 9.into(), "cpu1-intc".into(), 9.into()],
        )
        .prop("interrupt-controller", PropValue::Empty);
    let serial = Node::of_device(&uart, 0x1000_0000)
        .prop("reg", cells(&[0, 0x1000_0000, 0, 0x100]))
        .prop("interrupts", 10_u32)
        .prop("interrupt-parent", PropValue::Phandle("plic".into()));
    let root = Node::new("")
        .prop("#address-cells", 2_u32)
        .prop("#size-cells", 2_u32)
        .prop("model", "a \"quoted\" \\ model")
        .child(
            Node::new("chosen")
                .prop("stdout-path", "/soc/serial@10000000")
                .prop("rng-seed", PropValue::Bytes(vec![1, 2, 0xfe, 0xff, 5, 6, 7])),
        )
        .child(Node::new("cpus").prop("timebase-frequency", 10_000_000_u32).child(cpu(0)).child(cpu(1)))
        .child(Node::new("memory@80000000").prop("device_type", "memory").prop("size", 0x1_2345_6789_u64))
        .child(Node::new("soc").label("unused").prop("ranges", PropValue::Empty).child(plic).child(serial))
        .child(Node::new("empty"));
    Tree { reservations: vec![(0x8000_0000, 0x4_0000)], boot_cpu: 1, ..Tree::new(root) }
}

#[test]
fn text_form() {
    let text = dump(&sample().to_blob().unwrap()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fdt/sample.dts");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "BLESS=1 rewrites sample.dts");
}

/// An independent writer makes the same bytes.
#[test]
fn blob_equals_that_of_vm_fdt() {
    fn node(writer: &mut vm_fdt::FdtWriter, from: &Node) {
        let open = writer.begin_node(&from.name).unwrap();
        for (name, value) in &from.props {
            let Value::Plain(PropValue::Bytes(bytes)) = value else { panic!("{name} is not bytes") };
            writer.property(name, bytes).unwrap();
        }
        from.children.iter().for_each(|child| node(writer, child));
        writer.end_node(open).unwrap();
    }
    let blob = sample().to_blob().unwrap();
    let tree = Tree::parse(&blob).unwrap();
    let reserved = vm_fdt::FdtReserveEntry::new(0x8000_0000, 0x4_0000).unwrap();
    let mut writer = vm_fdt::FdtWriter::new_with_mem_reserv(&[reserved]).unwrap();
    writer.set_boot_cpuid_phys(1);
    node(&mut writer, &tree.root);
    assert_eq!(writer.finish().unwrap(), blob);
}

#[test]
fn reading_inverts_writing() {
    let blob = sample().to_blob().unwrap();
    let tree = Tree::parse(&blob).unwrap();
    assert_eq!(tree.to_blob().unwrap(), blob);
    let phandle = |path| tree.root.find(path).and_then(|node| node.get("phandle")).cloned();
    let bytes = |word: u32| Some(Value::Plain(PropValue::Bytes(word.to_be_bytes().to_vec())));
    assert_eq!(phandle("cpus/cpu@0/interrupt-controller"), bytes(1));
    assert_eq!(phandle("cpus/cpu@1/interrupt-controller"), bytes(2));
    assert_eq!(phandle("/soc/plic@c000000"), bytes(3));
    assert_eq!(phandle("soc"), None, "a label that nothing refers to needs no phandle");
}

#[test]
fn new_phandles_follow_those_of_the_file() {
    let mut tree = Tree::parse(&sample().to_blob().unwrap()).unwrap();
    tree.root.push(Node::new("a").label("a"));
    tree.root.push(Node::new("b").prop("a", PropValue::Phandle("a".into())));
    let tree = Tree::parse(&tree.to_blob().unwrap()).unwrap();
    let value = PropValue::Bytes(vec![0, 0, 0, 4]).into();
    assert_eq!(tree.root.find("a").and_then(|node| node.get("phandle")), Some(&value));
    assert_eq!(tree.root.find("b").and_then(|node| node.get("a")), Some(&value));
}

#[test]
fn chosen_is_patched_and_the_rest_left_alone() {
    let mut file = sample().to_blob().unwrap();
    let packed = file.clone();
    file.extend([0xaa; 100]);
    assert_eq!(Chosen::default().patch(&file).unwrap(), packed, "used as it is, without what follows it");

    let chosen =
        Chosen { bootargs: Some("console=ttyS0 x=1".into()), initrd: Some(0x8420_0000..0x8432_1000) };
    let patched = Tree::parse(&chosen.patch(&file).unwrap()).unwrap();
    let get = |name| patched.root.find("chosen").and_then(|node| node.get(name)).cloned();
    let bytes = |bytes: &[u8]| Some(Value::Plain(PropValue::Bytes(bytes.to_vec())));
    assert_eq!(get("bootargs"), bytes(b"console=ttyS0 x=1\0"));
    assert_eq!(get("linux,initrd-start"), bytes(&0x8420_0000_u64.to_be_bytes()));
    assert_eq!(get("linux,initrd-end"), bytes(&0x8432_1000_u64.to_be_bytes()));
    assert_eq!(get("stdout-path"), bytes(b"/soc/serial@10000000\0"));
    let mut undone = patched;
    undone.root.find_mut("chosen").unwrap().props.truncate(2);
    assert_eq!(undone.to_blob().unwrap(), packed);

    let again = Chosen { bootargs: Some("second".into()), initrd: None };
    let blob = again.patch(&chosen.patch(&file).unwrap()).unwrap();
    let text = dump(&blob).unwrap();
    assert!(text.contains("bootargs = \"second\";") && !text.contains("ttyS0"), "{text}");

    let bare = Tree::new(Node::new("").child(Node::new("__symbols__"))).to_blob().unwrap();
    let text = dump(&again.patch(&bare).unwrap()).unwrap();
    assert!(text.contains("chosen {\n\t\tbootargs = \"second\";"), "{text}");
    let numbered = Tree::new(Node::new("").child(Node::new("chosen@0"))).to_blob().unwrap();
    let tree = Tree::parse(&again.patch(&numbered).unwrap()).unwrap();
    assert!(tree.root.find("chosen@0/").unwrap().get("bootargs").is_some());
    assert_eq!(tree.root.children().len(), 1);
}

#[test]
fn what_cannot_be_written() {
    let blob = |root| Tree::new(root).to_blob().unwrap_err();
    let dangling = Node::new("").prop("p", PropValue::Phandle("gone".into()));
    assert_eq!(blob(dangling), FdtError::UnknownLabel { property: "p".into(), label: "gone".into() });
    let twice = Node::new("").child(Node::new("a").label("x")).child(Node::new("b").label("x"));
    assert_eq!(blob(twice), FdtError::DuplicateLabel("x".into()));
    for name in ["", "a/b", "a\0b", &"n".repeat(MAX_NAME + 1)] {
        assert_eq!(blob(Node::new("").child(Node::new(name))), FdtError::InvalidString(name.into()));
        assert_eq!(blob(Node::new("").prop(name, 1_u32)), FdtError::InvalidString(name.into()));
    }
    assert_eq!(blob(Node::new("root")), FdtError::InvalidString("root".into()));
    let chosen = Chosen { bootargs: Some("a\0b".into()), initrd: None };
    let minimal = Tree::default().to_blob().unwrap();
    assert_eq!(chosen.patch(&minimal), Err(FdtError::InvalidString("a\0b".into())));
    assert_eq!(blob(Node::new("").prop("p", PropValue::Bytes(vec![0; MAX_BLOB]))), FdtError::TooLarge);
    let nested = |depth| (1..depth).fold(Node::new("n"), |inner, _| Node::new("n").child(inner));
    assert_eq!(blob(Node::new("").child(nested(MAX_DEPTH))), FdtError::TooDeep);
    let deepest = Tree::new(Node::new("").child(nested(MAX_DEPTH - 1)));
    assert_eq!(Tree::parse(&deepest.to_blob().unwrap()), Ok(deepest));
}

/// A blob with this structure block and these strings.
fn blob(structure: &[u32], strings: &[u8]) -> Vec<u8> {
    let structure: Vec<u8> = structure.iter().flat_map(|word| word.to_be_bytes()).collect();
    let (start, end) = (56, 56 + structure.len() as u32);
    let total = end + strings.len() as u32;
    let header =
        [0xd00d_feed, total, start, end, 40, 17, 16, 0, strings.len() as u32, structure.len() as u32];
    let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    blob.resize(56, 0);
    blob.extend(structure);
    blob.extend(strings);
    blob
}

#[test]
fn broken_structures() {
    const ROOT: [u32; 2] = [1, 0];
    let a = u32::from_be_bytes(*b"a\0\0\0");
    let parse = |rest: &[u32]| Tree::parse(&blob(&[&ROOT, rest].concat(), b"name\0"));
    assert!(parse(&[2, 9]).is_ok() && parse(&[4, 3, 0, 0, 4, 4, 1, a, 2, 2, 9]).is_ok());
    for (what, rest) in [
        ("no end", &[2][..]),
        ("ends inside a node", &[9]),
        ("unknown token", &[5, 2, 9]),
        ("two roots", &[2, 1, 0, 2, 9]),
        ("a second nameless node", &[1, 0, 2, 2, 9]),
        ("one end too many", &[2, 2, 9]),
        ("a property outside", &[2, 3, 0, 0, 9]),
        ("a long value", &[3, 400, 0, 2, 9]),
        ("a value without end", &[3, u32::MAX, 0, 2, 9]),
        ("a name outside", &[3, 0, 5, 2, 9]),
        ("a name far outside", &[3, 0, u32::MAX, 2, 9]),
        ("an empty property name", &[3, 0, 4, 2, 9]),
        ("a node name that does not end", &[1, a | 0x0001_0101, 0x6161_6161]),
        ("a name with a slash", &[1, u32::from_be_bytes(*b"a/\0\0"), 2, 2, 9]),
        ("a name that is not text", &[1, u32::from_be_bytes(*b"\xff\xfe\0\0"), 2, 2, 9]),
    ] {
        assert!(matches!(parse(rest), Err(FdtError::Corrupt { .. })), "{what}");
    }
    let deep: Vec<u32> = [1, a].repeat(100_000);
    assert_eq!(parse(&deep), Err(FdtError::TooDeep));
    assert!(Tree::parse(&blob(&[2, 9], b"")).is_err());
    assert!(Tree::parse(&blob(&[], b"")).is_err());

    let good = blob(&[1, 0, 2, 9], b"");
    for (at, value) in [
        (0, 0),
        (4, 39),
        (4, 1000),
        (8, 1000),
        (12, 1000),
        (16, 1000),
        (20, 15),
        (24, 18),
        (32, 1000),
        (36, 1000),
    ]
    .into_iter()
    .chain([8, 12, 16, 32, 36].map(|at| (at, u32::MAX)))
    {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        assert!(Tree::parse(&bad).is_err(), "header word at {at} = {value}");
    }
    let mut large = good;
    large.resize(MAX_BLOB + 1, 0);
    large[4..8].copy_from_slice(&(MAX_BLOB as u32 + 1).to_be_bytes());
    assert_eq!(Tree::parse(&large), Err(FdtError::TooLarge));
}

#[test]
fn hostile_blobs() {
    let good = sample().to_blob().unwrap();
    for len in 0..good.len() {
        assert!(Tree::parse(&good[..len]).is_err(), "cut to {len} bytes");
    }
    let mut read = 0;
    for seed in crate::testing::seeds(20_000) {
        let mut rng = Rng::new(seed);
        let mut blob = good.clone();
        rng.mutate(&mut blob);
        let chosen = Chosen { bootargs: Some("x".into()), initrd: Some(0..rng.nasty()) };
        if let Ok(tree) = Tree::parse(&blob) {
            read += 1;
            let written = tree.to_blob().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert_eq!(Tree::parse(&written).as_ref(), Ok(&tree), "seed {seed}");
            assert!(dump(&blob).is_ok() && chosen.patch(&blob).is_ok(), "seed {seed}");
        }
    }
    assert!((1000..19_000).contains(&read), "{read} of 20000 were read: the mutations are no use");
}
