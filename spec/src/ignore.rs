//! `.dockerignore` files.
