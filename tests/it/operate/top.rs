//! `roger top` in a real pseudo terminal, over a fleet whose Redis dies meanwhile.

mod long {
    use std::io::{Read as _, Write as _};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, ChildStdin, Command, Stdio};
    use std::sync::{Arc, Mutex};

    use nix::sys::signal::{Signal, kill, killpg};
    use nix::unistd::Pid;

    use crate::support::fleet::{Fleet, FleetOptions, binary};
    use crate::support::wait_until;

    /// A shell in a terminal of 24 rows and 80 columns, which runs `roger top` and then says how it finds the terminal.
    struct Terminal {
        child: Child,
        input: ChildStdin,
        parser: Arc<Mutex<vt100::Parser>>,
        pid_file: std::path::PathBuf,
    }

    impl Terminal {
        fn start(fleet: &Fleet, name: &str) -> Self {
            let pid_file = fleet.folder().join(format!("{name}.pid"));
            let script = format!(
                "stty rows 24 cols 80; echo before; stty -g >{0}.before; sh -c 'echo $$ >{0}; exec {1} top --interval 1'; \
                 echo \"ended with $?\"; stty -g >{0}.after; cmp {0}.before {0}.after && echo as it was",
                pid_file.display(),
                binary("roger").display()
            );
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", "script", "--quiet", "--flush", "--command", &script, "/dev/null"]);
            command.env("ROGER_CONFIG", fleet.config()).env("TERM", "xterm-256color").env("SHELL", "/bin/sh").process_group(0);
            let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let mut child = spawned.unwrap_or_else(|error| panic!("cannot start setpriv: {error}; it is in the Debian package util-linux"));
            let (input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            let [rows, columns] = [24, 80].map(|count| std::num::NonZero::new(count).unwrap());
            let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
            let shown = Arc::clone(&parser);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Some(read) = output.read(&mut buffer).ok().filter(|read| *read > 0) {
                    shown.lock().unwrap().process(&buffer[..read]);
                }
            });
            Self { child, input, parser, pid_file }
        }

        fn shows(&self) -> String {
            self.parser.lock().unwrap().screen().contents()
        }

        #[track_caller]
        fn wait_for(&self, text: &str) {
            wait_until(&format!("{text:?} on the screen"), || self.shows().contains(text));
        }

        fn press(&mut self, keys: &str) {
            self.input.write_all(keys.as_bytes()).unwrap();
            self.input.flush().unwrap();
        }

        /// The process of `roger top`.
        fn pid(&self) -> Pid {
            Pid::from_raw(std::fs::read_to_string(&self.pid_file).unwrap().trim().parse().unwrap())
        }

        /// What stood there before stands there again, and the terminal does again what it did.
        #[track_caller]
        fn is_as_it_was(&self) {
            self.wait_for("ended with 0\nas it was");
            let parser = self.parser.lock().unwrap();
            let screen = parser.screen();
            assert!(
                !screen.alternate_screen() && !screen.hide_cursor() && screen.contents().starts_with("before\n"),
                "{}",
                screen.contents()
            );
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            let _gone = killpg(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGKILL);
            let _status = self.child.wait();
            if std::thread::panicking() {
                eprintln!("---- the screen:\n{}", self.shows());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_shows_a_fleet_whose_redis_dies_and_comes_back_and_gives_the_terminal_back() {
        let mut fleet = Fleet::start(FleetOptions { edges: 1, sos: 1, ..FleetOptions::default() });
        let mut terminal = Terminal::start(&fleet, "first");
        for part in ["no SOS is open, 0 dead letters, 1 edge with 0 sessions", "EDGE ", "edge-0", "JOB ", "deliver        1", "q end"] {
            terminal.wait_for(part);
        }
        assert!(terminal.parser.lock().unwrap().screen().alternate_screen());
        fleet.redis.cli(&["XADD", &roger::broker::keys::dead(), "*", "f", "x"]);
        terminal.wait_for("1 dead letter: `roger dead list` says why");
        terminal.press("\x1b[6~");
        terminal.wait_for("COMMITS/S");
        terminal.press("\x1b[6~\x1b[6~");
        terminal.wait_for("GROWTH/S");
        terminal.press("\x1b[H");
        terminal.wait_for("EDGE ");

        fleet.redis.kill();
        terminal.wait_for("Redis does not answer since ");
        assert!(terminal.shows().contains("edge-0"), "{}", terminal.shows());
        fleet.redis.restart();
        terminal.wait_for("1 dead letter, ");
        // It hangs, which takes longer to see; keys work all the while.
        fleet.redis.stop();
        terminal.press("?");
        terminal.wait_for("this help, and back");
        terminal.wait_for("Redis does not answer since ");
        terminal.press("q");
        terminal.is_as_it_was();
        fleet.redis.cont();

        let terminal = Terminal::start(&fleet, "second");
        terminal.wait_for("q end");
        kill(terminal.pid(), Signal::SIGTERM).unwrap();
        terminal.is_as_it_was();

        // For a pipe it is text, once.
        let refused = fleet.roger(&["top"]);
        assert_eq!(refused.code, 64);
        assert!(refused.stderr.contains("stdout is no terminal: add --once"), "{}", refused.stderr);
        let answer = fleet.roger(&["top", "--once"]).succeeded();
        assert!(answer.stdout.contains("\nSHARD  ") && !answer.stdout.contains('\x1b'), "{}", answer.stdout);
        // Redis stood still for a while: the edge may have to give a sign of life first.
        let json = || fleet.roger(&["top", "--once", "--json"]).succeeded().json();
        let is_seen = |json: serde_json::Value| (json["dead"].as_u64(), json["edges"][0]["name"].as_str()) == (Some(1), Some("edge-0"));
        wait_until("the dead letter and the edge are seen", || is_seen(json()));
        fleet.redis.kill();
        assert_eq!(fleet.roger(&["top", "--once"]).code, 69);
    }
}
