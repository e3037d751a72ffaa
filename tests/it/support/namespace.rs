//! A network of its own for a test: Janus and browsers pass over loopback when they look for a way to each other, so a test of WebRTC needs another
//! address, and none of the machine's.

use std::process::{Command, Stdio};

/// Set within the network.
const INSIDE: &str = "ROGER_TEST_NETWORK";
/// Makes loopback and a pair of interfaces, of which the first has an address; then becomes the program that is named.
const ENTER: &str = "missing() { echo \"a network of its own for this test: $1\" >&2; exit 1; }\n\
    command -v ip >/dev/null || missing 'no program ip: it is in the Debian package iproute2; scripts/setup installs it'\n\
    ip link set lo up || missing 'loopback cannot be set up'\n\
    ip link add roger0 type veth peer name roger1 || missing 'the kernel has no veth interfaces: modprobe veth'\n\
    ip address add 10.9.0.1/24 dev roger0 && ip link set roger0 up && ip link set roger1 up || missing 'an interface cannot be set up'\n\
    exec \"$@\"";

/// Whether this test runs in a network of its own. If not it has run there once more by the time this returns, and has succeeded: there is nothing
/// left to do. Panics with what is missing when there can be no such network.
#[track_caller]
pub fn entered() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // The thread of a test has its name.
    let test = std::thread::current().name().unwrap().to_owned();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net"]);
    if !nix::unistd::Uid::effective().is_root() {
        // As oneself: files and folders are those of other tests.
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.args(["--", "sh", "-c", ENTER, "sh"]).arg(std::env::current_exe().unwrap());
    command.args([&test, "--exact", "--nocapture"]).env(INSIDE, "1").stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("cannot start setpriv: {error}; it is in the Debian package util-linux"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success() && out.contains("1 passed"),
        "{test} in a network namespace of its own ({}; it takes root, or a kernel that lets everybody make user namespaces):\n{out}{err}",
        output.status
    );
    false
}
