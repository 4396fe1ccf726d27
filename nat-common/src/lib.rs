//! What kernel and user space share.
