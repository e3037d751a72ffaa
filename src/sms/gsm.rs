//! How long a text is on the air: GSM 03.38 (3GPP TS 23.038, 6.2.1), and how texts are cut to fit.

/// Septets of a text that is one message.
pub const SINGLE: usize = 160;
/// Septets of each part of a longer one; the rest of a part says which it is.
pub const PART: usize = 153;

const BASIC: &str =
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "^{}\\[~]|€";

/// The septets of a character: one, two, or `None` when the alphabet lacks it.
fn septets_of(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

/// How many messages carry a text on the air: parts of GSM 03.38, or of UCS-2 when a character is not in that. 0 for the empty text.
pub fn parts(text: &str) -> usize {
    let in_parts = |units: usize, single: usize, part: usize| if units <= single { units.min(1) } else { units.div_ceil(part) };
    let septets: Option<Vec<usize>> = text.chars().map(septets_of).collect();
    match septets {
        None => in_parts(text.encode_utf16().count(), 70, 67),
        Some(septets) if septets.iter().sum::<usize>() <= SINGLE => septets.len().min(1),
        Some(septets) => {
            // A character of two septets does not break over parts.
            let (mut parts, mut used) = (1, 0);
            for width in septets {
                if used + width > PART {
                    (parts, used) = (parts + 1, 0);
                }
                used += width;
            }
            parts
        }
    }
}

/// A text in GSM 03.38: what it lacks is spelled with what it has, or is a question mark.
pub fn spelled(text: &str) -> String {
    let mut spelled = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if septets_of(c).is_some() => spelled.push(c),
            '‘' | '’' | '‚' | '´' | '`' => spelled.push('\''),
            '“' | '”' | '„' | '«' | '»' => spelled.push('"'),
            '‐' | '‑' | '–' | '—' | '−' => spelled.push('-'),
            '…' => spelled.push_str("..."),
            '→' => spelled.push_str("->"),
            '\t' | '\u{a0}' => spelled.push(' '),
            'á' | 'â' | 'ã' | 'ā' | 'ą' => spelled.push('a'),
            'ç' | 'ć' | 'č' => spelled.push('c'),
            'ê' | 'ë' | 'ę' | 'ě' => spelled.push('e'),
            'í' | 'î' | 'ï' => spelled.push('i'),
            'ń' | 'ň' => spelled.push('n'),
            'ó' | 'ô' | 'õ' => spelled.push('o'),
            'ś' | 'š' => spelled.push('s'),
            'ú' | 'û' | 'ů' => spelled.push('u'),
            'ý' | 'ÿ' => spelled.push('y'),
            'ź' | 'ż' | 'ž' => spelled.push('z'),
            'ł' => spelled.push('l'),
            c if c.is_control() => spelled.push(' '),
            _ => spelled.push('?'),
        }
    }
    spelled
}

/// As much of a text of [`spelled`] as fits into so many parts with a tail behind it, which is not put there; what is cut off shows as `..`.
pub fn cut(text: &str, tail: &str, parts_max: usize) -> String {
    if parts(&format!("{text}{tail}")) <= parts_max {
        return text.to_owned();
    }
    let mut kept: String = text.to_owned();
    while !kept.is_empty() && parts(&format!("{kept}..{tail}")) > parts_max {
        kept.pop();
    }
    kept + ".."
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_counted_as_telephones_do() {
        let check = |text: &str, expected: usize| assert_eq!(parts(text), expected, "{} characters", text.chars().count());
        check("", 0);
        check(&"a".repeat(160), 1);
        check(&"a".repeat(161), 2);
        check(&"a".repeat(306), 2);
        check(&"a".repeat(307), 3);
        check(&"€".repeat(80), 1);
        check(&"€".repeat(81), 2);
        // 76 of two septets fit into a part of 153.
        check(&"€".repeat(153), 3);
        check(&"报".repeat(70), 1);
        check(&"报".repeat(71), 2);
    }

    proptest! {
        #[test]
        fn whatever_is_spelled_and_cut_fits(text in "\\PC{0,500}", parts_max in 1..4_usize) {
            let spelled = spelled(&text);
            prop_assert!(spelled.chars().all(|c| septets_of(c).is_some()));
            let cut = cut(&spelled, "; and more", parts_max);
            prop_assert!(parts(&(cut.clone() + "; and more")) <= parts_max);
            prop_assert!(parts(&(spelled.clone() + "; and more")) > parts_max || cut == spelled);
        }
    }
}
