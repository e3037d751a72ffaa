//! Free ports that no other test of this machine takes meanwhile.
//!
//! They lie below 32768, where the ports of outgoing connections begin. A port is reserved by a locked file, so two test programs never
//! choose the same one between looking and listening; the locks go with the program.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;

const FIRST: u16 = 12_000;
const END: u16 = 32_000;

struct Reserved {
    next: u16,
    // Held, not read.
    locks: Vec<File>,
}

static RESERVED: Mutex<Option<Reserved>> = Mutex::new(None);

/// A port on 127.0.0.1 that is free, and reserved for this test program.
pub fn free() -> u16 {
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let folder = std::env::temp_dir().join(format!("roger-test-ports-{uid}"));
    fs::create_dir_all(&folder).unwrap();
    let mut reserved = RESERVED.lock().unwrap();
    let reserved = reserved.get_or_insert_with(|| Reserved { next: random_start(), locks: Vec::new() });
    for _ in FIRST..END {
        let port = reserved.next;
        reserved.next = if port + 1 < END { port + 1 } else { FIRST };
        let lock = File::create(folder.join(port.to_string())).unwrap();
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            reserved.locks.push(lock);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {END}");
}

fn random_start() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    FIRST + u16::try_from(random % u64::from(END - FIRST)).unwrap()
}
