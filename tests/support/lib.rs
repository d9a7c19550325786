//! Real servers and faults for the tests.
