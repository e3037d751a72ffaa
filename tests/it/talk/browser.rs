//! A browser talks: gRPC-Web with the edge and WebRTC with Janus, from a page that does all of it by itself.

use std::path::Path;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::Html;
use axum::routing::{get, post};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roger::audio::{Pcm, TALK_HZ};
use roger::client::Media;
use roger::model::GroupId;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, channel};

use super::cli::{Terminal, answer};
use super::scene::Scene;
use super::voice::Voice;
use crate::janus::rooms::OFFER;
use crate::support::fleet::FleetOptions;
use crate::support::janus::{Janus, JanusOptions};
use crate::support::sound::{heard, likeness_within, words};
use crate::support::{PATIENCE, chromium, eventually, namespace, wait_for};

/// What the microphone plays over and over: these words, and silence up to this length.
const WORDS: &str = "Front_Center";
const ROUND_MS: u64 = 2_500;
/// How long the browser talks: long enough for the words to be in it once from their beginning to their end, wherever it begins.
const TALK_MS: u64 = 2 * ROUND_MS;

/// Serves the page; what it tells comes back.
async fn page(listener: TcpListener) -> Receiver<Value> {
    let (tell, told) = channel(16);
    let tell = async move |text: String| tell.send(serde_json::from_str(&text).unwrap()).await.unwrap();
    let script = ([(CONTENT_TYPE, "text/javascript")], include_str!("page/grpc_web.js"));
    let pages = Router::new()
        .route("/", get(Html(include_str!("page/index.html"))))
        .route("/grpc_web.js", get(script))
        .route("/told", post(async move |text: String| tell(text).await));
    tokio::spawn(async move { axum::serve(listener, pages).await });
    told
}

/// The next step that the page tells of.
async fn step(told: &mut Receiver<Value>, expected: &str) -> Value {
    // The first one comes once a browser has started.
    let step = tokio::time::timeout(PATIENCE * 3, told.recv()).await.unwrap_or_else(|_| panic!("waited in vain: {expected}"));
    let step = step.unwrap();
    assert_eq!(step["step"], expected, "{step}");
    step
}

/// A microphone that says words and pauses.
fn microphone(path: &Path) {
    let mut said = words(WORDS);
    said.samples.resize((u64::from(TALK_HZ) * ROUND_MS / 1_000) as usize, 0.0);
    let spec = hound::WavSpec { channels: 1, sample_rate: TALK_HZ, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut wav = hound::WavWriter::create(path, spec).unwrap();
    said.samples.iter().for_each(|sample| wav.write_sample((sample * 32_767.0) as i16).unwrap());
    wav.finalize().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_says_into_its_microphone_is_heard_at_a_radio() {
    if !namespace::entered() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let mut told = page(listener).await;
    let janus = Janus::start();
    let mut overrides = janus.overrides();
    overrides.push(("edge.cors_origins", format!("[{origin:?}]")));
    let scene = Scene::with(FleetOptions { gateway: true, overrides, ..FleetOptions::default() }).await;
    let radio = Terminal::of(&scene, &scene.radios[0]);
    radio.run(&["room", "air"]).succeeded();
    let kept = scene.fleet.folder().join("heard");
    let hearing = radio.start(&["listen", "--audio", kept.to_str().unwrap(), "--json", "--for", "120s"]);

    let folder = tempfile::Builder::new().prefix("roger-chromium-").tempdir().unwrap();
    let sound = folder.path().join("microphone.wav");
    microphone(&sound);
    let (edge, token) = (scene.fleet.edge(1), scene.second.token());
    let url = reqwest::Url::parse_with_params(
        &origin,
        [("edge", edge.as_str()), ("token", &token), ("group", &scene.air.to_string()), ("talk_ms", &TALK_MS.to_string())],
    );
    let _browser = chromium::open(url.unwrap().as_str(), &sound, folder.path());
    step(&mut told, "session").await;
    step(&mut told, "room").await;
    let seated = step(&mut told, "seat").await;
    // Without them it could be reached only because it sees where the browser sends from.
    assert!(seated["answer"].as_str().unwrap().contains("a=candidate:"), "no address of the media server in its answer: {seated}");
    step(&mut told, "granted").await;
    let released = step(&mut told, "released").await;
    let [talked_ms, held_ms] = ["talked_ms", "held_ms"].map(|what| released[what].as_u64().unwrap());

    let files = || std::fs::read_dir(&kept).into_iter().flatten().map(|entry| entry.unwrap().path());
    let file = wait_for("the burst", PATIENCE, || files().find(|path| path.extension().is_some_and(|ending| ending == "opus")));
    let burst = heard(&file);
    // The microphone is open a little before the browser hears of it, and a little after it let go.
    assert!((talked_ms - 100..=held_ms + 100).contains(&burst.length_ms()), "{} of {talked_ms} to {held_ms} ms", burst.length_ms());
    let alike = likeness_within(&words(WORDS), &burst);
    let others = ["Front_Right", "Side_Left"].map(|other| likeness_within(&words(other), &burst));
    assert!(alike > 0.9 && others.iter().all(|other| *other < 0.85), "the words are in it by {alike}, others by {others:?}");
    let loudest = |sound: &Pcm| sound.samples.iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
    let louder = loudest(&burst) / loudest(&words(WORDS));
    assert!((0.5..2.0).contains(&louder), "{louder} times as loud");
    // Once and no more, as long as it is announced.
    kill(Pid::from_raw(i32::try_from(hearing.id()).unwrap()), Signal::SIGINT).unwrap();
    let said: Vec<Value> = answer(hearing).succeeded().stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<_> = said.iter().filter(|entry| entry["kind"] == "talk").collect();
    let [talk] = said[..] else { panic!("{said:?}") };
    assert_eq!((talk["speaker_id"].as_u64(), talk["group_id"].as_u64()), (Some(scene.second.id), Some(scene.air)));
    assert!(talk["duration_ms"].as_u64().unwrap().abs_diff(burst.length_ms()) <= 100, "{talk}");
    assert_eq!((&talk["cut"], files().count()), (&Value::Bool(false), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_janus_whose_answer_has_no_addresses_is_told_of_in_the_log() {
    let janus = Janus::start_with(JanusOptions { full_trickle: true, ..JanusOptions::default() });
    let mut scene = Scene::with(FleetOptions { overrides: janus.overrides(), ..FleetOptions::default() }).await;
    let desk = Voice::in_room(&scene, 0, &scene.second, scene.air).await;
    let joined = async || desk.session.join_voice(GroupId(scene.air), Media::Sdp(OFFER.to_owned())).await.ok();
    let Media::Sdp(answer) = eventually("a seat", joined).await else { panic!("no answer") };
    assert!(answer.contains("m=audio") && !answer.contains("a=candidate:"), "{answer}");
    scene.fleet.program("janus-0").wait_for_log("set nat.full_trickle to false");
}
