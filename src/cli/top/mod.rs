//! `roger top`: how the fleet stands, live in a terminal, which is left as it was found whatever happens.

mod keys;
mod lines;
mod look;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args;
use super::context::Context;
use super::error::Error;
use crate::broker::Redis;
use crate::worker::chain;
use look::Look;
use view::View;

/// The clock in the first line is drawn so often, whatever else happens.
const CLOCK: Duration = Duration::from_secs(1);

/// Shows it until a key ends it; with `--once` prints it.
pub(super) async fn top(context: &Context, args: args::Top) -> Result<(), Error> {
    let (redis, sos) = (context.redis()?, context.sos_redis()?);
    let mut view = View::new(args.interval);
    if args.once {
        let look = Look::take(context, &redis, &sos).await?;
        context.out.answer(&look, |look| {
            view.take(look.at_ms, Ok(look.clone()));
            view.text()
        });
        return Ok(());
    }
    if context.out.json || !io::stdout().is_terminal() {
        let why = if context.out.json { "--json prints no picture" } else { "stdout is no terminal" };
        return Err(Error::Usage(format!(
            "roger top draws on a terminal, and {why}: add --once for one look as text, or as JSON with --json"
        )));
    }
    watch_it(context, &redis, &sos, Duration::from_secs(args.interval), view)
        .await
        .map_err(|source| Error::File { path: "/dev/tty".into(), source })
}

async fn watch_it(context: &Context, redis: &Redis, sos: &Redis, interval: Duration, mut view: View) -> io::Result<()> {
    let (mut terminated, mut hung_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (paused, is_paused) = watch::channel(false);
    let (sender, mut looks) = mpsc::channel(1);
    let looking = look_on(context, redis, sos, interval, is_paused, sender);
    tokio::pin!(looking);
    let mut screen = Screen::open()?;
    let mut events = events();
    loop {
        let now_ms = context.clock.now_ms();
        screen.0.draw(|frame| view.draw(frame, now_ms))?;
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Key(key)) if !keys::press(&mut view, key) => {
                    paused.send_if_modified(|paused| std::mem::replace(paused, view.paused) != view.paused);
                }
                // A change of size, which drawing sees by itself.
                Some(event) if !matches!(event, Event::Key(_)) => {}
                _ => return Ok(()),
            },
            Some((begun_ms, look)) = looks.recv() => view.take(begun_ms, look),
            () = &mut looking => {}
            () = tokio::time::sleep(CLOCK) => {}
            _ = terminated.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
        }
    }
}

/// Looks again and again, for ever, but not while it is paused.
async fn look_on(
    context: &Context,
    redis: &Redis,
    sos: &Redis,
    interval: Duration,
    mut is_paused: watch::Receiver<bool>,
    sender: mpsc::Sender<(u64, Result<Look, String>)>,
) {
    let mut turns = tokio::time::interval(interval);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let begun_ms = context.clock.now_ms();
        let look = Look::take(context, redis, sos).await.map_err(|error| chain(&error));
        // Both ends are dropped together.
        let _shown = sender.send((begun_ms, look)).await;
        let _goes_on = is_paused.wait_for(|paused| !paused).await;
    }
}

/// The terminal while it is drawn on. It is given back when this is dropped, and by the hook of ratatui before a panic is printed.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| drop(ratatui::try_restore()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = self.0.show_cursor();
        let _gone = ratatui::try_restore();
    }
}

/// What is pressed. From a thread of its own, for reading waits; it ends with the program.
fn events() -> mpsc::Receiver<Event> {
    let (sender, events) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    });
    events
}
