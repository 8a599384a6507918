//! A principal and the person behind it. Must not know: how that person is found.

use uuid::Uuid;

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// The principal, as actor columns hold it.
    pub id: Uuid,
    /// `None`: a key that was made on the command line.
    pub person: Option<Uuid>,
}
