//! Returns memory that the guest does not use to the host.

use std::{sync::Once, thread, time::Duration};

use super::tool;

/// The driver reports free pages to the VMM, which gives them back to the host.
const DRIVER: &str = "virtio_balloon";
/// Reading the driver from the packed image may take a while on a busy host.
const LOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Loads the driver in the background: nobody waits for it, and a start should not either.
pub fn report_free_pages() {
    static LOADED: Once = Once::new();
    LOADED.call_once(|| drop(thread::spawn(load_driver)));
}

/// Without the driver, the host keeps each page that the guest has used once.
fn load_driver() {
    let loaded = tool::run("/usr/sbin/modprobe", &[DRIVER], LOAD_TIMEOUT);
    if let Err(error) = loaded.and_then(|output| output.require_status(0)) {
        tracing::warn!(%error, "unused memory is not returned to the host");
    }
}
