//! Yaml
