//! The parts of a decode step, one by one, and decode against prefill.
