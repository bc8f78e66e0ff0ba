//! Writes the Rust code.

use std::fmt::Write;

use crate::parse::{Condition, Error, Field, Line, Part, Table};
use crate::tree::{self, Node};

/// The code of a table: enum `Insn`, `LINES`, `FORMATS`, `decode`, and the arguments' structures in `args`.
/// `features` is the front end's type of feature sets with `of(&[…])`, `names` the path of the features'
/// enum.
pub fn compile(table: &Table, features: &str, names: &str) -> String {
    let mut out = String::new();
    insns(&mut out, table);
    formats(&mut out, table);
    lines(&mut out, table, features, names);
    decoder(&mut out, table, features);
    arguments(&mut out, table);
    out
}

/// The method `name` of `lifter`, which takes a decoded instruction and its word and calls the method of that
/// instruction with its arguments. `module` is where the code of `table` is. The instructions of a table
/// whose lines all have expansions are lifted as those of `target`, whose code is in `target_module`.
pub fn compile_dispatch(
    table: &Table,
    module: &str,
    target: Option<(&Table, &str)>,
    lifter: &str,
    name: &str,
) -> Result<String, Error> {
    let mut out = String::new();
    let _ = writeln!(out, "impl {lifter} {{");
    let _ = writeln!(
        out,
        "    #[allow(clippy::unit_arg, reason = \"the outcome of most methods is that there is none\")]"
    );
    let _ = writeln!(out, "    fn {name}(&mut self, insn: {module}::Insn, word: u32) -> Lifted {{");
    let _ = writeln!(out, "        match insn {{");
    for line in &table.lines {
        let (method, format, args, code) = match (&line.expansion, target) {
            (Some(expansion), Some((target, code))) => {
                let error = |problem| Error { line: line.number, problem };
                let found = target.find(&expansion.name);
                let long = found.ok_or_else(|| error(format!("there is no `{}`", expansion.name)))?;
                let format = &target.formats[long.format];
                if format.fields.len() != expansion.args.len() {
                    return Err(error(format!("`{}` has the arguments {:?}", long.name, format.fields)));
                }
                let mut args = Vec::new();
                for (name, arg) in format.fields.iter().zip(&expansion.args) {
                    let to = argument_type(target, long.format, name);
                    args.push((name, expanded(line, arg, to).map_err(error)?));
                }
                (&long.method, format, args, code)
            }
            _ => {
                let format = &table.formats[line.format];
                let value = |name: &String| {
                    let field = line.fields.iter().find(|field| &field.name == name);
                    let to = argument_type(table, line.format, name);
                    (name.clone(), field.map(|field| cast(field, to)).unwrap_or_default())
                };
                let args: Vec<(String, String)> = format.fields.iter().map(value).collect();
                let args = format.fields.iter().zip(args.into_iter().map(|(_, value)| value)).collect();
                (&line.method, format, args, module)
            }
        };
        let mut list = Vec::new();
        if !format.fields.is_empty() {
            let args: Vec<String> = args.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            list.push(format!("{code}::args::{} {{ {} }}", format.name, args.join(", ")));
        }
        list.extend(method.1.iter().cloned());
        let call = format!("self.r#{}({})", method.0, list.join(", "));
        let _ = writeln!(out, "            {module}::Insn::{} => {call}.outcome(),", camel(&line.name));
    }
    let _ = writeln!(out, "        }}\n    }}\n}}");
    Ok(out)
}

/// An argument of an expansion: a field of the short instruction, or a number.
fn expanded(line: &Line, arg: &str, to: &str) -> Result<String, String> {
    match line.fields.iter().find(|field| field.name == arg) {
        Some(field) => Ok(cast(field, to)),
        None if arg.bytes().all(|byte| byte.is_ascii_digit()) => Ok(arg.into()),
        None => Err(format!("`{arg}` is neither a field nor a number")),
    }
}

/// The type of an argument: whatever holds it in every line of the format.
fn argument_type(table: &Table, format: usize, name: &str) -> &'static str {
    let lines = table.lines.iter().filter(|line| line.format == format);
    let fields = lines.flat_map(|line| line.fields.iter().filter(|field| field.name == name));
    let (mut signed, mut bits) = (false, 0);
    for field in fields {
        signed |= field.def.signed;
        bits = bits.max(field.bits());
    }
    match (signed, bits) {
        (true, _) => "i32",
        (false, 0..=8) => "u8",
        (false, 9..=16) => "u16",
        (false, _) => "u32",
    }
}

/// A field's value in type `to`.
fn cast(field: &Field, to: &str) -> String {
    let term = |part: &Part| {
        let mask = u32::MAX >> (32 - part.len);
        let low = if part.word == 0 { "word".into() } else { format!("word >> {}", part.word) };
        if part.value == 0 {
            format!("{low} & {mask:#x}")
        } else {
            format!("({low} & {mask:#x}) << {}", part.value)
        }
    };
    let terms: Vec<String> = field.parts.iter().map(term).collect();
    let bits = terms.join(" | ");
    let (value, kind) = match (field.def.signed, field.def.add, 32 - field.bits()) {
        (true, _, 0) => (format!("({bits}) as i32"), "i32"),
        (true, _, unused) => (format!("(({bits}) << {unused}) as i32 >> {unused}"), "i32"),
        (false, 0, _) => (bits, "u32"),
        (false, add, _) => (format!("({bits}) + {add}"), "u32"),
    };
    if kind == to { value } else { format!("({value}) as {to}") }
}

fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().into_iter().flat_map(char::to_uppercase);
        first.chain(chars).collect::<String>()
    };
    name.split(['.', '_']).map(word).collect()
}

fn insns(out: &mut String, table: &Table) {
    let _ = writeln!(out, "/// An instruction of the table.");
    let _ = writeln!(out, "#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]");
    let _ = writeln!(out, "#[repr(u16)]\npub enum Insn {{");
    for line in &table.lines {
        let _ = writeln!(out, "    /// `{}`\n    {},", line.name, camel(&line.name));
    }
    let _ = writeln!(out, "}}\n\nimpl Insn {{");
    let _ = writeln!(out, "    /// All instructions, in table order: that of [`LINES`].");
    let names: Vec<String> = table.lines.iter().map(|line| format!("Self::{}", camel(&line.name))).collect();
    let _ = writeln!(out, "    pub const ALL: &'static [Self] = &[{}];\n}}\n", names.join(", "));
}

fn formats(out: &mut String, table: &Table) {
    let _ = writeln!(out, "/// The formats of the table.");
    let _ = writeln!(out, "pub static FORMATS: &[Format] = &[");
    for format in &table.formats {
        let _ = writeln!(out, "    Format {{ name: {:?}, syntax: {:?} }},", format.name, format.syntax);
    }
    let _ = writeln!(out, "];\n");
}

fn lines(out: &mut String, table: &Table, features: &str, names: &str) {
    let _ = writeln!(out, "/// The lines of the table.");
    let _ = writeln!(out, "pub static LINES: &[Line<{features}>] = &[");
    for line in &table.lines {
        let fields: Vec<String> = line.fields.iter().map(field).collect();
        let conditions: Vec<String> = line.conditions.iter().map(condition).collect();
        let needs: Vec<String> = line
            .needs
            .iter()
            .map(|all| {
                let all: Vec<String> = all.iter().map(|name| format!("{names}::{name}")).collect();
                format!("{features}::of(&[{}])", all.join(", "))
            })
            .collect();
        let _ = writeln!(
            out,
            "    Line {{ name: {:?}, section: {:?}, format: {}, mask: {:#x}, value: {:#x}, fields: &[{}], \
             conditions: &[{}], needs: &[{}] }},",
            line.name,
            line.section,
            line.format,
            line.mask,
            line.value,
            fields.join(", "),
            conditions.join(", "),
            needs.join(", ")
        );
    }
    let _ = writeln!(out, "];\n");
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Check(name) => format!("Condition::Check(checks::{name})"),
        plain => format!("Condition::{plain:?}"),
    }
}

fn field(field: &Field) -> String {
    let part =
        |part: &Part| format!("Part {{ word: {}, value: {}, len: {} }}", part.word, part.value, part.len);
    let parts: Vec<String> = field.parts.iter().map(part).collect();
    format!(
        "Field {{ name: {:?}, bits: {}, signed: {}, add: {}, reserved: &{:?}, parts: &[{}] }}",
        field.name,
        field.bits(),
        field.def.signed,
        field.def.add,
        field.def.reserved,
        parts.join(", ")
    )
}

fn decoder(out: &mut String, table: &Table, features: &str) {
    let _ = writeln!(out, "/// The instruction that `word` encodes where there are the features `have`.");
    let _ = writeln!(out, "pub fn decode(word: u32, have: {features}) -> Option<Insn> {{");
    node(out, &table.lines, &tree::build(&table.lines), 0, 1);
    let _ = writeln!(out, "}}\n");
}

fn node(out: &mut String, lines: &[Line], node_: &Node, seen: u32, depth: usize) {
    let pad = "    ".repeat(depth);
    match node_ {
        Node::Switch { mask, arms } => {
            let _ = writeln!(out, "{pad}match word & {mask:#x} {{");
            for (value, next) in arms {
                let _ = writeln!(out, "{pad}    {value:#x} => {{");
                node(out, lines, next, seen | mask, depth + 2);
                let _ = writeln!(out, "{pad}    }}");
            }
            let _ = writeln!(out, "{pad}    _ => None,\n{pad}}}");
        }
        Node::Try(candidates) => {
            for &index in candidates {
                let line = &lines[index];
                let mut tests = Vec::new();
                let left = line.mask & !seen;
                if left != 0 {
                    tests.push(format!("word & {left:#x} == {:#x}", line.value & left));
                }
                if !line.conditions.is_empty() || line.fields.iter().any(|f| !f.def.reserved.is_empty()) {
                    tests.push(format!("LINES[{index}].accepts(word)"));
                }
                if line.needs.iter().all(|all| !all.is_empty()) {
                    tests.push(format!("LINES[{index}].allowed(have)"));
                }
                let insn = camel(&line.name);
                if tests.is_empty() {
                    let _ = writeln!(out, "{pad}Some(Insn::{insn})");
                    return;
                }
                let _ = writeln!(out, "{pad}if {} {{", tests.join(" && "));
                let _ = writeln!(out, "{pad}    return Some(Insn::{insn});\n{pad}}}");
            }
            let _ = writeln!(out, "{pad}None");
        }
    }
}

fn arguments(out: &mut String, table: &Table) {
    let _ = writeln!(out, "/// The arguments of instructions, by format.\npub mod args {{");
    for (index, format) in table.formats.iter().enumerate() {
        if format.fields.is_empty() || table.lines.iter().all(|line| line.format != index) {
            continue;
        }
        let _ = writeln!(out, "    /// Arguments of format {}: `{}`.", format.name, format.syntax);
        let _ = writeln!(out, "    #[derive(Clone, Copy, Debug)]\n    pub struct {} {{", format.name);
        for name in &format.fields {
            let kind = argument_type(table, index, name);
            let _ = writeln!(out, "        /// The field `{name}`.\n        pub {name}: {kind},");
        }
        let _ = writeln!(out, "    }}");
    }
    let _ = writeln!(out, "}}");
}
