//! Assembly text from a format's syntax.

use std::fmt;

/// Writes `syntax` with each `{kind:field}` in it replaced by what `operand` writes for it.
pub(crate) fn write_operands(
    f: &mut fmt::Formatter<'_>,
    syntax: &str,
    mut operand: impl FnMut(&mut fmt::Formatter<'_>, &str, &str) -> fmt::Result,
) -> fmt::Result {
    let mut rest = syntax;
    while let Some((plain, (kind, field, after))) = next_field(rest) {
        f.write_str(plain)?;
        operand(f, kind, field)?;
        rest = after;
    }
    f.write_str(rest)
}

/// The text before the next `{kind:field}`, its parts, and what comes after it.
fn next_field(syntax: &str) -> Option<(&str, (&str, &str, &str))> {
    let (plain, rest) = syntax.split_once('{')?;
    let (field, after) = rest.split_once('}')?;
    let (kind, name) = field.split_once(':')?;
    Some((plain, (kind, name, after)))
}
