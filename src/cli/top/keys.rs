//! What keys do in `roger top`.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::view::View;

/// Does what a key asks for; true when it asks for the end.
pub(super) fn press(view: &mut View, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let page = view.page.saturating_sub(1).max(1);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char('p') => view.paused = !view.paused,
        KeyCode::Char('?') => (view.help, view.first) = (!view.help, 0),
        KeyCode::Up => view.first = view.first.saturating_sub(1),
        KeyCode::Down => view.first = view.first.saturating_add(1),
        KeyCode::PageUp => view.first = view.first.saturating_sub(page),
        KeyCode::PageDown => view.first = view.first.saturating_add(page),
        KeyCode::Home => view.first = 0,
        KeyCode::End => view.first = usize::MAX,
        _ => {}
    }
    false
}
