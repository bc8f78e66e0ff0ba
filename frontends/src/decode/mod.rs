//! What the decoders made from tables (`*.dec`, crate `decode-build`) have in common: the description of a
//! table's lines, from which come disassembly, the generator of random instructions, and reports of coverage.

mod features;
mod text;

pub(crate) use features::features;
pub(crate) use text::write_operands;

/// A set of features (extensions) that instructions depend on.
pub trait Features: Copy {
    /// Whether all members of `needs` are in the set.
    fn covers(self, needs: Self) -> bool;
}

/// A format: which arguments there are and how they are written.
#[derive(Debug)]
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// The operands in assembly language; `{kind:field}` stands for a field's value, printed as the front end
    /// prints that kind.
    pub syntax: &'static str,
}

/// Some consecutive bits of a field.
#[derive(Debug)]
pub struct Part {
    /// Lowest bit in the instruction.
    pub word: u8,
    /// Lowest bit in the field's value.
    pub value: u8,
    /// How many bits.
    pub len: u8,
}

/// A field of an instruction.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Bits in its value.
    pub bits: u8,
    /// Whether the highest of them is a sign.
    pub signed: bool,
    /// What is added to the bits.
    pub add: u8,
    /// Values with which the instruction is reserved.
    pub reserved: &'static [u32],
    /// Where its bits are.
    pub parts: &'static [Part],
}

impl Field {
    /// The bits of the value, as they stand in `word`.
    fn raw(&self, word: u32) -> u32 {
        let part = |part: &Part| (word >> part.word & u32::MAX >> (32 - part.len)) << part.value;
        self.parts.iter().map(part).fold(0, |bits, part| bits | part)
    }

    /// The value in `word`.
    pub fn get(&self, word: u32) -> i64 {
        let raw = i64::from(self.raw(word));
        if self.signed && raw >> (self.bits - 1) != 0 {
            raw - (1 << self.bits)
        } else {
            raw + i64::from(self.add)
        }
    }

    /// `word` with this field's bits replaced by those of `value` that it can hold.
    pub fn put(&self, word: u32, value: i64) -> u32 {
        let raw = value.wrapping_sub(self.add.into()) as u32;
        self.parts.iter().fold(word, |word, part| {
            let mask = u32::MAX >> (32 - part.len);
            (word & !(mask << part.word)) | (raw >> part.value & mask) << part.word
        })
    }
}

/// What a field must satisfy, lest the encoding be reserved.
#[derive(Debug)]
pub enum Condition {
    /// Its value is another one.
    Not {
        /// Index of the field.
        field: usize,
        /// The value.
        value: u32,
    },
    /// Its value is a multiple of a number.
    Multiple {
        /// Index of the field.
        field: usize,
        /// The number.
        of: u32,
    },
    /// This holds for the word.
    Check(fn(u32) -> bool),
}

/// One instruction of a table.
#[derive(Debug)]
pub struct Line<F: 'static> {
    /// Its name in assembly language.
    pub name: &'static str,
    /// The section of the table.
    pub section: &'static str,
    /// Index of its format.
    pub format: usize,
    /// The bits that are fixed.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// Its fields, from the highest bits down.
    pub fields: &'static [Field],
    /// Conditions on them.
    pub conditions: &'static [Condition],
    /// The features that it needs: all of any one of these sets.
    pub needs: &'static [F],
}

impl<F: Features> Line<F> {
    /// Whether it is there with the features `have`.
    pub fn allowed(&self, have: F) -> bool {
        self.needs.iter().any(|needs| have.covers(*needs))
    }

    /// Whether the fields of `word`, whose fixed bits match, have values that are not reserved.
    pub fn accepts(&self, word: u32) -> bool {
        let field = |index: usize| self.fields.get(index).map_or(0, |field| field.get(word));
        let met = |condition: &Condition| match *condition {
            Condition::Not { field: index, value } => field(index) != value.into(),
            Condition::Multiple { field: index, of } => field(index).rem_euclid(of.into()) == 0,
            Condition::Check(check) => check(word),
        };
        let free = |field: &Field| !field.reserved.contains(&field.raw(word));
        self.conditions.iter().all(met) && self.fields.iter().all(free)
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// A random word of this instruction, never a reserved one: each field is at an end of its range, or near
    /// zero, as often as anywhere. `random` gives 64 random bits at each call.
    pub fn random(&self, random: &mut impl FnMut() -> u64) -> u32 {
        loop {
            let word = self.fields.iter().fold(self.value, |word, field| {
                let bits = random();
                let corner = match bits % 16 {
                    0 => 0,
                    1 => 1,
                    2 => -1,
                    3 => i64::MAX << (field.bits - 1),
                    4 => !(i64::MAX << (field.bits - 1)),
                    _ => (bits >> 8) as i64,
                };
                field.put(word, corner.wrapping_add(field.add.into()))
            });
            if self.accepts(word) {
                return word;
            }
        }
    }
}
