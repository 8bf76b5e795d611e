//! Lists the profiles that are embedded in the binary.
fn main() {}
