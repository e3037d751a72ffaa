//! Real servers for the tests, in temporary folders, gone when the test is over.

pub(crate) mod mariadb;
