//! Columns and cells of server-made tables.
