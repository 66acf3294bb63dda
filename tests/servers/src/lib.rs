//! Database servers for this project's own tests.
