//! The evicting key and value cache.
