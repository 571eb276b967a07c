//! Targets.

use super::attributes::Reader;
use super::{Definitions, matrix};
use crate::ConvertError;
use crate::eval::Evaluator;
use crate::expr::Block;
use crate::report::Report;
use crate::spec::{Image, Spec};

/// Converts a target.
///
/// # Errors
/// A mistake that leaves no sense in it.
pub(super) fn convert(
    block: &Block,
    definitions: &Definitions,
    evaluator: &mut Evaluator<'_>,
    spec: &mut Spec,
    report: &mut Report,
) -> Result<(), ConvertError> {
    if let Some(attribute) = block.attribute("matrix") {
        return matrix::convert(block, attribute, definitions, evaluator, spec, report);
    }
    if let Some(name) = block.attribute("name") {
        let what = format!("`name` of target `{}` is for a matrix only", block.label);
        return Err(report.error(name.place, what));
    }
    let mut reader = Reader::new(evaluator, Image::new(&block.label, block.place));
    reader.block(block).map_err(|(place, what)| report.error(place, what))?;
    spec.add_image(reader.finish(report));
    Ok(())
}
