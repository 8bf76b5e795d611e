//! Opens NVML, the library of NVIDIA's driver that says what cards hold.

use super::LocalCardError;
use vramplan_planner::text::printable_message;

/// The environment variable that names another library, for drivers that are elsewhere.
pub const LIBRARY: &str = "VRAMPLAN_NVML_LIB";

/// Opens the driver's library, or the one that the environment names.
///
/// # Errors
/// [`LocalCardError::Unavailable`] where there is none, or where it does not start.
pub fn open_nvml() -> Result<nvml_wrapper::Nvml, LocalCardError> {
    let named = std::env::var_os(LIBRARY);
    let mut builder = nvml_wrapper::Nvml::builder();
    if let Some(path) = &named {
        builder.lib_path(path);
    }
    builder.init().map_err(|error| unavailable(&error))
}

/// What NVML said, as an error of the local card.
pub(super) fn unavailable(error: &nvml_wrapper::error::NvmlError) -> LocalCardError {
    use nvml_wrapper::error::NvmlError;
    let message = match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            "no NVIDIA driver was found (`libnvidia-ml` is missing)".to_owned()
        }
        error => printable_message(&error.to_string()),
    };
    LocalCardError::Unavailable { message }
}
