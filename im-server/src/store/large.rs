//! When a group is delivered to by interest rather than by a list of recipients.

/// The sizes at which a group becomes large and stops being so. They lie apart, so that a group at the edge does not
/// change its way of delivery with every coming and going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargeGroups {
    /// Large from this many present members up.
    pub from: u32,
    /// Not large any more below this many.
    pub below: u32,
}

impl Default for LargeGroups {
    fn default() -> Self {
        Self { from: 500, below: 400 }
    }
}

impl LargeGroups {
    /// Whether a group of this many members is large, given whether it was.
    pub fn is_large(self, was: bool, members: u32) -> bool {
        if was { members >= self.below } else { members >= self.from }
    }
}
