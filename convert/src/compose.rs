//! Compose files.
use crate::{ConvertError, Input, Options, report::Report, spec::Spec};
pub(crate) fn convert(
    _: &[Input],
    _: &Options<'_>,
    _: &mut Spec,
    _: &mut Report,
) -> Result<(), ConvertError> {
    Ok(())
}
