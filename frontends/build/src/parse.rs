//! Reads the notation.

use std::collections::BTreeMap;

use thiserror::Error;

/// What is wrong with a table.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// Number of the line in the file, from one.
    pub line: usize,
    /// The rule that is broken.
    pub problem: String,
}

type Parsed<T> = Result<T, String>;

/// A declared field.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldDef {
    /// Bits; none for a field that is written in parts.
    pub width: Option<u32>,
    pub signed: bool,
    pub add: u32,
    /// Values with which instructions are reserved.
    pub reserved: Vec<u32>,
}

/// A declared format.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub name: String,
    pub fields: Vec<String>,
    pub syntax: String,
}

/// Some consecutive bits of a field in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Lowest bit in the word.
    pub word: u32,
    /// Lowest bit in the field's value.
    pub value: u32,
    pub len: u32,
}

/// A field as it stands in one instruction.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// Without primes.
    pub name: String,
    pub def: FieldDef,
    pub parts: Vec<Part>,
}

impl Field {
    /// Width of the value.
    pub fn bits(&self) -> u32 {
        self.parts.iter().map(|part| part.value + part.len).max().unwrap_or(0)
    }
}

/// What a field must satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Not {
        field: usize,
        value: u32,
    },
    Multiple {
        field: usize,
        of: u32,
    },
    /// The front end's function of that name holds for the word.
    Check(String),
}

/// The instruction that another is short for.
#[derive(Clone, Debug)]
pub(crate) struct Expansion {
    pub name: String,
    pub args: Vec<String>,
}

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub number: usize,
    pub name: String,
    pub section: String,
    pub format: usize,
    pub mask: u32,
    pub value: u32,
    pub fields: Vec<Field>,
    /// Alternatives of features that must all be there.
    pub needs: Vec<Vec<String>>,
    pub conditions: Vec<Condition>,
    pub expansion: Option<Expansion>,
    /// The ordered group that it is in.
    pub group: Option<usize>,
    /// Lift method, and its arguments after the fields.
    pub method: (String, Vec<String>),
}

/// A decode table.
#[derive(Debug, Default)]
pub struct Table {
    pub(crate) width: u32,
    pub(crate) formats: Vec<Format>,
    pub(crate) lines: Vec<Line>,
    base: String,
    fields: BTreeMap<String, FieldDef>,
    suffixes: BTreeMap<String, String>,
    section: String,
    group: Option<usize>,
    groups: usize,
}

impl Table {
    /// Reads a table that is in one file, and checks it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut table = Self::new();
        table.add(text)?;
        table.check_overlaps()?;
        Ok(table)
    }

    /// An empty table.
    pub fn new() -> Self {
        Self { width: 32, ..Self::default() }
    }

    /// Reads a file of the table: it may use what files before it have declared, but for suffixes. When all have been
    /// read, [`Table::check_overlaps`] is due.
    pub fn add(&mut self, text: &str) -> Result<(), Error> {
        self.suffixes.clear();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            self.line(number, line.trim()).map_err(|problem| Error { line: number, problem })?;
        }
        Ok(())
    }

    fn line(&mut self, number: usize, line: &str) -> Parsed<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(title) = line.strip_prefix("==") {
            self.section = title.trim().into();
            return Ok(());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["{"] if self.group.is_none() => {
                self.group = Some(self.groups);
                self.groups += 1;
            }
            ["}"] if self.group.is_some() => self.group = None,
            ["{" | "}"] => return Err("groups do not nest".into()),
            ["%width", width] => {
                self.width = decimal(width)?;
                if !matches!(self.width, 16 | 32) {
                    return Err("instructions have 16 or 32 bits".into());
                }
            }
            ["%base", name] => self.base = (*name).into(),
            ["%field", name, rest @ ..] => self.field(name, rest)?,
            ["%immediate", name, kind] => {
                let signed = match *kind {
                    "signed" => true,
                    "unsigned" => false,
                    _ => return Err("expected `signed` or `unsigned`".into()),
                };
                self.declare(name, FieldDef { signed, ..FieldDef::default() })?;
            }
            ["%format", ..] => self.format(line)?,
            ["%suffix"] => self.suffixes.clear(),
            ["%suffix", name, argument] => {
                self.suffixes.insert((*name).into(), (*argument).into());
            }
            [word, ..] if word.starts_with('%') => return Err(format!("`{word}` is no directive")),
            [name, format, rest @ ..] => self.instruction(number, name, format, rest)?,
            _ => return Err("expected a name and a format".into()),
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, def: FieldDef) -> Parsed<()> {
        match self.fields.insert(name.into(), def) {
            None => Ok(()),
            Some(_) => Err(format!("field `{name}` is declared twice")),
        }
    }

    fn field(&mut self, name: &str, rest: &[&str]) -> Parsed<()> {
        let (width, rest) = rest.split_first().ok_or("expected a width")?;
        let mut def = FieldDef { width: Some(decimal(width)?), ..FieldDef::default() };
        match rest {
            [] => {}
            ["+", add] => def.add = decimal(add)?,
            ["not", values @ ..] => {
                def.reserved = values.iter().map(|value| decimal(value)).collect::<Parsed<_>>()?;
            }
            _ => return Err("expected `+ NUMBER` or `not NUMBER …` after the width".into()),
        }
        self.declare(name, def)
    }

    fn format(&mut self, line: &str) -> Parsed<()> {
        let mut quoted = line.splitn(3, '"');
        let head = quoted.next().unwrap_or_default();
        let syntax = quoted.next().ok_or("expected the operands in quotes")?.into();
        let mut words = head.split_whitespace().skip(1).map(String::from);
        let name = words.next().ok_or("expected a name")?;
        if self.formats.iter().any(|format| format.name == name) {
            return Err(format!("format `{name}` is declared twice"));
        }
        self.formats.push(Format { name, fields: words.collect(), syntax });
        Ok(())
    }

    fn instruction(&mut self, number: usize, name: &str, format: &str, rest: &[&str]) -> Parsed<()> {
        let index = self.formats.iter().position(|f| f.name == format);
        let format = index.ok_or_else(|| format!("there is no format `{format}`"))?;
        let (mut mask, mut value, mut fields) = (0u32, 0u32, Vec::<Field>::new());
        let (mut left, mut words) = (self.width, rest.iter());
        while left > 0 {
            let word = words.next().ok_or_else(|| format!("{left} bits are missing"))?;
            for item in self.bits(word)? {
                let width = match &item {
                    Bits::Fixed(_) | Bits::Any => 1,
                    Bits::Part(_, part) => part.len,
                };
                left = left.checked_sub(width).ok_or("there are too many bits")?;
                match item {
                    Bits::Any => {}
                    Bits::Fixed(bit) => {
                        mask |= 1 << left;
                        value |= u32::from(bit) << left;
                    }
                    Bits::Part(name, part) => {
                        let part = Part { word: left, ..part };
                        let plain = name.trim_end_matches('\'');
                        match fields.iter_mut().find(|field| field.name == plain) {
                            Some(field) => field.parts.push(part),
                            None => fields.push(Field {
                                name: plain.into(),
                                def: self.fields.get(name).cloned().unwrap_or_default(),
                                parts: vec![part],
                            }),
                        }
                    }
                }
            }
        }
        for field in &fields {
            let total: u32 = field.parts.iter().map(|part| part.len).sum();
            let covered = field
                .parts
                .iter()
                .fold(0u32, |bits, part| bits | (u32::MAX >> (32 - part.len)) << part.value);
            if covered.count_ones() != total {
                return Err(format!("parts of `{}` overlap", field.name));
            }
        }
        let mut named: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let mut wanted: Vec<&str> = self.formats[format].fields.iter().map(String::as_str).collect();
        named.sort_unstable();
        wanted.sort_unstable();
        if named != wanted {
            return Err(format!("the format has the fields {wanted:?}, the line has {named:?}"));
        }
        let needs = self.needs(words.next().ok_or("expected features after the bits")?);
        let words: Vec<&str> = words.copied().collect();
        let arrow = words.iter().position(|word| *word == "=>").unwrap_or(words.len());
        let (rest, method) = words.split_at(arrow);
        let (conditions, expansion) = tail(rest, &fields)?;
        if self.lines.iter().any(|line| line.name == name) {
            return Err(format!("`{name}` is there twice"));
        }
        self.lines.push(Line {
            number,
            name: name.into(),
            section: self.section.clone(),
            format,
            mask,
            value,
            fields,
            needs,
            conditions,
            expansion,
            group: self.group,
            method: match method {
                [] => self.method(name),
                [_, method, arguments @ ..] => {
                    ((*method).into(), arguments.iter().map(|argument| (*argument).into()).collect())
                }
                [_] => return Err("expected a method after `=>`".into()),
            },
        });
        Ok(())
    }

    fn method(&self, name: &str) -> (String, Vec<String>) {
        let (stem, arguments) = match name.rsplit_once('.') {
            Some((stem, suffix)) if self.suffixes.contains_key(suffix) => {
                (stem, self.suffixes.get(suffix).cloned().into_iter().collect())
            }
            _ => (name, Vec::new()),
        };
        (stem.replace('.', "_"), arguments)
    }

    fn needs(&self, word: &str) -> Vec<Vec<String>> {
        let all = |side: &str| {
            side.split('&').filter(|name| *name != self.base).map(String::from).collect::<Vec<_>>()
        };
        word.split('|').map(all).collect()
    }

    fn bits<'a>(&self, word: &'a str) -> Parsed<Vec<Bits<'a>>> {
        if word.bytes().all(|byte| matches!(byte, b'0' | b'1' | b'-')) {
            let bit = |byte| match byte {
                b'-' => Bits::Any,
                _ => Bits::Fixed(byte == b'1'),
            };
            return Ok(word.bytes().map(bit).collect());
        }
        if let Some((name, parts)) = word.strip_suffix(']').and_then(|word| word.split_once('[')) {
            let def = self.fields.get(name).ok_or_else(|| format!("there is no field `{name}`"))?;
            if def.width.is_some() {
                return Err(format!("`{name}` is not written in parts"));
            }
            return parts.split('|').map(|part| Ok(Bits::Part(name, range(part)?))).collect();
        }
        let def = self.fields.get(word).ok_or_else(|| format!("there is no field `{word}`"))?;
        let len = def.width.ok_or_else(|| format!("`{word}` needs its bits: {word}[11:0]"))?;
        Ok(vec![Bits::Part(word, Part { word: 0, value: 0, len })])
    }

    /// Checks that no two lines match the same word, but for those of one group.
    pub fn check_overlaps(&self) -> Result<(), Error> {
        for (index, line) in self.lines.iter().enumerate() {
            for other in &self.lines[..index] {
                let apart = (line.value ^ other.value) & line.mask & other.mask != 0;
                if !apart && (line.group.is_none() || line.group != other.group) {
                    let problem = format!("`{}` overlaps with `{}`", line.name, other.name);
                    return Err(Error { line: line.number, problem });
                }
            }
        }
        Ok(())
    }

    /// The line of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }
}

/// One item of the bit pattern.
enum Bits<'a> {
    Fixed(bool),
    Any,
    Part(&'a str, Part),
}

/// `11:5` or `4`
fn range(text: &str) -> Parsed<Part> {
    let (high, low) = match text.split_once(':') {
        Some((high, low)) => (decimal(high)?, decimal(low)?),
        None => (decimal(text)?, decimal(text)?),
    };
    if high < low || high > 31 {
        return Err(format!("`{text}` is no range of bits"));
    }
    Ok(Part { word: 0, value: low, len: high - low + 1 })
}

fn tail(words: &[&str], fields: &[Field]) -> Parsed<(Vec<Condition>, Option<Expansion>)> {
    let arrow = words.iter().position(|word| *word == "->").unwrap_or(words.len());
    let (before, after) = words.split_at(arrow);
    let conditions = match before {
        [] => Vec::new(),
        ["if", conditions @ ..] => {
            conditions.iter().map(|word| condition(word, fields)).collect::<Parsed<_>>()?
        }
        [word, ..] => return Err(format!("expected `if` or `->`, not `{word}`")),
    };
    let expansion = match after {
        [] => None,
        [_, name, args @ ..] => {
            Some(Expansion { name: (*name).into(), args: args.iter().map(|arg| (*arg).into()).collect() })
        }
        [_] => return Err("expected an instruction after `->`".into()),
    };
    Ok((conditions, expansion))
}

fn condition(word: &str, fields: &[Field]) -> Parsed<Condition> {
    let index = |name: &str| {
        let found = fields.iter().position(|field| field.name == name);
        found.ok_or_else(|| format!("there is no field `{name}` in the line"))
    };
    if let Some(name) = word.strip_suffix("()") {
        return Ok(Condition::Check(name.into()));
    }
    if let Some((name, value)) = word.split_once("!=") {
        return Ok(Condition::Not { field: index(name)?, value: decimal(value)? });
    }
    match word.strip_suffix("=0").and_then(|word| word.split_once('%')) {
        Some((name, of)) => Ok(Condition::Multiple { field: index(name)?, of: decimal(of)? }),
        None => Err(format!("`{word}` is no condition: FIELD!=NUMBER, FIELD%NUMBER=0 or CHECK()")),
    }
}

fn decimal(text: &str) -> Parsed<u32> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}
