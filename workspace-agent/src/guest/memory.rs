//! Returns memory that the guest does not use to the host.

use std::time::Duration;

use super::tool;

/// The driver reports free pages to the VMM, which gives them back to the host.
const DRIVER: &str = "virtio_balloon";
/// Reading the driver from the packed image may take a while on a busy host.
const LOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Loads the driver. Without it, the host keeps each page that the guest has used once.
pub fn report_free_pages() {
    let loaded = tool::run("/usr/sbin/modprobe", &[DRIVER], LOAD_TIMEOUT);
    if let Err(error) = loaded.and_then(|output| output.require_status(0)) {
        tracing::warn!(%error, "unused memory is not returned to the host");
    }
}
