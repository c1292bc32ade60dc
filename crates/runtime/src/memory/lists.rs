//! What memory has to know of the lists that use it: all that this layer asks of the one above.

use crate::base::error::Result;
use crate::base::wait_policy::WaitPolicy;
use crate::order::point::Point;

/// The lists of a device's streams.
pub(crate) trait Lists {
    /// Up to this value the stream's lists have settled. May be out of date, on the safe side.
    fn settled(&self, stream: u32) -> u64;

    /// Settles what has completed, on every stream.
    fn settle_all(&self);

    /// Of each stream, the last list that has something to it.
    fn last(&self) -> Vec<Point>;

    /// Hands over what a stream has recorded, unless that would have to wait. It may be one that is just being made.
    fn flush(&self, stream: u32);

    /// Hands over lists, and waits until any of them has run, or for a moment.
    ///
    /// # Errors
    /// That the time is over, or the device lost or closed.
    fn wait_for_any(&self, lists: &[Point], policy: WaitPolicy) -> Result<()>;

    /// Whether what is waited for may still happen.
    ///
    /// # Errors
    /// That the device is lost or closed.
    fn check_waits(&self) -> Result<()>;

    /// More is reserved than should be, from now on.
    fn pressed(&self);
}
