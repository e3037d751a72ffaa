//! Talk at the command line, by a real Janus.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use roger::audio::{Decoder, Mjr, Pcm};
use serde_json::Value;

use super::scene::{Scene, burst};
use crate::support::company::Somebody;
use crate::support::fleet::{Answer, FleetOptions};
use crate::support::janus::Janus;
use crate::support::sound::{spoken, words};
use crate::support::{PATIENCE, wait_for};

/// Somebody at a terminal of their own.
pub(super) struct Terminal<'a> {
    scene: &'a Scene,
    state: PathBuf,
}

impl<'a> Terminal<'a> {
    pub(super) fn of(scene: &'a Scene, who: &Somebody) -> Self {
        let terminal = Self { scene, state: scene.fleet.folder().join(format!("state-{}", who.id)) };
        terminal.run(&["login", &who.name, "--password", &who.password]).succeeded();
        terminal
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scene.fleet.command(args);
        command.env("XDG_STATE_HOME", &self.state).env("ROGER_CLIENT_EDGES", self.scene.fleet.edge(0));
        command.env("ROGER_CLIENT_DIRECTORY", self.scene.fleet.directory());
        command.env("ROGER_CLIENT_GATEWAY", format!("http://{}", self.scene.fleet.gateway()));
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Answer {
        answer(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    pub(super) fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

pub(super) fn answer(child: Child) -> Answer {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The one recording of somebody in a room, once the recorder is through with it.
#[track_caller]
fn recording(janus: &Janus, group: u64, user: u64) -> Mjr {
    let of = format!("audiobridge-{group}-user-{user}-");
    let done = janus.recordings().join("done");
    let found = || {
        let mut paths = std::fs::read_dir(&done).into_iter().flatten().map(|entry| entry.unwrap().path());
        paths.find(|path| {
            path.extension().is_some_and(|ending| ending == "mjr") && path.file_name().unwrap().to_str().unwrap().starts_with(&of)
        })
    };
    Mjr::parse(&std::fs::read(wait_for("the recording", PATIENCE, found)).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_is_recorded_as_long_and_as_loud_and_the_next_one_waits() {
    let janus = Janus::start();
    let scene = Scene::with(FleetOptions { overrides: janus.overrides(), ..FleetOptions::default() }).await;
    let (air, [neil, buzz]) = (scene.air, [0, 1].map(|radio| &scene.radios[radio]));
    let (first, second) = (Terminal::of(&scene, neil), Terminal::of(&scene, buzz));
    let (left, tone) = (spoken("Front_Left"), Pcm::tone(440.0, 10_000));

    // The first talks long enough for the second to wait; the second says in which room once, and is there from then on.
    second.run(&["room", "air"]).succeeded();
    let talker = first.start(&["talk", "--tone", "10", "--group", "air", "--json"]);
    let floor = || scene.fleet.roger(&["floor", &format!("g:{air}"), "--json"]).succeeded().json();
    let talks = |floor: &Value, user: u64| floor["talker"]["user_id"] == user && floor["talker"]["talks"] == true;
    wait_for("the first talks", PATIENCE, || talks(&floor(), neil.id).then_some(()));
    let waiter = second.start(&["talk", left.to_str().unwrap(), "--json"]);
    let seen = wait_for("the second waits", PATIENCE, || Some(floor()).filter(|floor| floor["waiting"][0]["user_id"] == buzz.id));
    assert!(talks(&seen, neil.id), "{seen}");
    let rooms = scene.fleet.roger(&["rooms", "--json"]).succeeded().json();
    let room = rooms.as_array().unwrap().iter().find(|room| room["group_id"] == air).unwrap();
    let of = |who: &Somebody| room["users"].as_array().unwrap().iter().find(|user| user["user_id"] == who.id).unwrap().clone();
    assert_eq!(
        [neil, buzz].map(|who| (of(who)["seat"].clone(), of(who)["open_since_ms"].is_u64())),
        [(true.into(), true), (true.into(), false)]
    );

    let (talked, waited) = (answer(talker).succeeded().json(), answer(waiter));
    assert!(waited.stderr.contains("position 1"), "{}", waited.stderr);
    let waited = waited.succeeded().json();
    assert!(waited["grant"].as_u64() > talked["grant"].as_u64(), "{talked} {waited}");
    assert!(waited["waited_ms"].as_u64().unwrap() >= 500, "{waited}");
    for (who, sound, said) in [(neil, &tone, &talked), (buzz, &words("Front_Left"), &waited)] {
        let recorded = recording(&janus, air, who.id);
        assert!(recorded.length_ms().abs_diff(sound.length_ms()) <= 100, "{} of {} ms", recorded.length_ms(), sound.length_ms());
        // A machine that stood still at the end talked no longer, but says it later.
        let talked_ms = said["talked_ms"].as_u64().unwrap();
        assert!((sound.length_ms() - 300..=sound.length_ms() + 10_000).contains(&talked_ms), "{said}");
        let heard = Decoder::sound(recorded.payloads()).unwrap();
        assert!((0.7..1.3).contains(&(heard.loudness() / sound.loudness())), "{} of {}", heard.loudness(), sound.loudness());
    }
    // Both seats are given back, and nobody talks.
    wait_for("the floor is free", PATIENCE, || floor()["talker"].is_null().then_some(()));
    assert_eq!(scene.fleet.redis.cli(&["HLEN", "seats"]).trim().parse::<usize>().map(|notes| notes <= 2), Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn bursts_that_are_heard_are_kept_whole_and_once_and_what_is_missing_is_said() {
    let scene = Scene::with(FleetOptions { gateway: true, ..FleetOptions::default() }).await;
    let (speaker, listener) = (Terminal::of(&scene, &scene.radios[0]), Terminal::of(&scene, &scene.radios[1]));
    let sound = scene.fleet.folder().join("said.opus");
    std::fs::write(&sound, [7_u8; 70_000]).unwrap();
    let topic = format!("g:{}", scene.air);
    let put = ["file", "put", sound.to_str().unwrap(), "--topic", &topic, "--json"];
    let stored = wait_for("the upload", PATIENCE, || Some(speaker.run(&put)).filter(|answer| answer.code == 0)).json();
    let id = stored["id"].as_str().unwrap();
    listener.run(&["room", "air"]).succeeded();

    // By path, by address, and one that nobody has.
    let address = format!("http://{}/files/{id}", scene.fleet.gateway());
    let announced = [format!("files/{id}"), address, "files/00000000000000000000000000000000".to_owned()];
    for (number, file) in announced.iter().enumerate() {
        let mut burst = burst(scene.radios[0].id, scene.air, number + 1);
        burst["file_path"] = file.as_str().into();
        scene.push(&[burst.to_string()]);
    }
    let folder = scene.fleet.folder().join("heard");
    let heard = listener.start(&["listen", "--audio", folder.to_str().unwrap(), "--json", "--for", "20s"]);
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name.to_str().unwrap().ends_with(".opus"));
        names
    };
    wait_for("both are kept", PATIENCE, || (names().len() == 2).then_some(()));
    let heard = answer(heard).succeeded();
    for name in names() {
        assert_eq!(std::fs::read(folder.join(&name)).unwrap(), [7_u8; 70_000], "{name:?}");
        assert!(name.to_str().unwrap().ends_with(&format!("-{}.opus", scene.radios[0].id)), "{name:?}");
    }
    assert!(heard.stderr.contains("(files/00000000000000000000000000000000) cannot be fetched, attempt 5 of 5"), "{}", heard.stderr);
    assert_eq!(names().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_said_is_refused_by_name() {
    let scene = Scene::with(FleetOptions::default()).await;
    let terminal = Terminal::of(&scene, &scene.radios[0]);
    let text = scene.fleet.folder().join("no.wav");
    std::fs::write(&text, "no sound").unwrap();
    let text = text.to_str().unwrap();
    for (args, code, expected) in [
        (vec!["talk"], 64, "required"),
        (vec!["talk", "--tone", "61"], 64, "61"),
        (vec!["talk", text], 64, "no.wav is no sound to talk with"),
        (vec!["talk", "--tone", "--group", "ground"], 64, "no group \"ground\""),
        // In no room at all, and none is named.
        (vec!["talk", "--tone", "--within", "6s"], 69, "`roger room` enters one"),
    ] {
        let refused = terminal.run(&args);
        assert_eq!(refused.code, code, "{args:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{args:?}: {}", refused.stderr);
    }
}
