//! The listener without supervisord: its conversation byte by byte.
