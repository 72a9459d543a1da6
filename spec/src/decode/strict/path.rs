//! Where in a body a value stands, kept on the stack while reading and written out only when something is reported.

/// The way from the root of the body to a value.
pub(super) enum Path<'p> {
    Root,
    /// In the object there, under this name.
    Key(&'p Path<'p>, &'p str),
    /// In the list there, at this position.
    Index(&'p Path<'p>, usize),
}

impl Path<'_> {
    /// The path of a field of the object here: `spec.containers[0].name`.
    pub(super) fn with(&self, name: &str) -> String {
        let mut text = String::new();
        Path::Key(self, name).write(&mut text, true);
        text
    }

    /// The path as Go's decoder writes it: `spec.containers.name`.
    pub(super) fn without_indices(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, false);
        text
    }

    fn write(&self, text: &mut String, indices: bool) {
        match self {
            Path::Root => {}
            Path::Key(parent, name) => {
                parent.write(text, indices);
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Path::Index(parent, index) => {
                parent.write(text, indices);
                if indices {
                    text.push_str(&format!("[{index}]"));
                }
            }
        }
    }
}
