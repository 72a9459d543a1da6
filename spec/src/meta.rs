//! ObjectMeta rules: names, labels, owner references.
