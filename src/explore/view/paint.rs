//! Colours: the same for a component as in every other picture. Without colours letters tell them apart.

use ratatui::style::{Color, Modifier, Style};
use vramplan_planner::estimate::Component;
use vramplan_planner::plan::Verdict;
use vramplan_planner::render::colour;

/// What a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// No colours.
    Plain,
    /// The 256 of most terminals.
    Indexed,
    /// Any.
    True,
}

impl Paint {
    /// A component's part of a bar.
    pub fn cell(self, component: Component) -> (&'static str, Style) {
        match self.colour(colour(component)) {
            Some(colour) => ("█", Style::new().fg(colour)),
            None => (letter(component), Style::new()),
        }
    }

    /// The verdict.
    pub fn verdict(self, verdict: Verdict) -> Style {
        let colour = match verdict {
            Verdict::Fits => Color::Green,
            Verdict::Tight => Color::Yellow,
            Verdict::DoesNotFit => Color::Red,
        };
        self.coloured(colour).add_modifier(Modifier::BOLD)
    }

    /// What went wrong.
    pub fn failure(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is beside the point.
    pub fn quiet(self) -> Style {
        self.coloured(Color::DarkGray)
    }

    /// What counts.
    pub fn strong() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is marked.
    pub fn marked() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn coloured(self, colour: Color) -> Style {
        if self == Self::Plain { Style::new() } else { Style::new().fg(colour) }
    }

    fn colour(self, hex: &str) -> Option<Color> {
        let part = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let (red, green, blue) = (part(1)?, part(3)?, part(5)?);
        match self {
            Self::Plain => None,
            Self::True => Some(Color::Rgb(red, green, blue)),
            Self::Indexed => Some(Color::Indexed(nearest([red, green, blue]))),
        }
    }
}

/// The letter of a component in a bar without colours.
pub fn letter(component: Component) -> &'static str {
    const LETTERS: [&str; Component::ALL.len()] =
        ["W", "K", "P", "A", "L", "C", "T", "R", "F", "O"];
    let mut letters = Component::ALL.into_iter().zip(LETTERS);
    letters.find(|(id, _)| *id == component).map_or("?", |(_, letter)| letter)
}

/// The nearest of xterm's 6 × 6 × 6 colours and its 24 greys.
fn nearest(colour: [u8; 3]) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let distance = |other: [u8; 3]| -> u32 {
        colour.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    let cube = (0..216u8).map(|at| {
        let level = |place: u8| LEVELS[usize::from(place % 6)];
        (16 + at, [level(at / 36), level(at / 6), level(at)])
    });
    let greys = (0..24u8).map(|at| (232 + at, [8 + 10 * at; 3]));
    cube.chain(greys).min_by_key(|(_, other)| distance(*other)).map_or(15, |(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_the_nearest_that_there_are() {
        assert_eq!(nearest([0, 0, 0]), 16);
        assert_eq!(nearest([255, 255, 255]), 231);
        assert_eq!(nearest([0x00, 0x72, 0xb2]), 25);
        assert_eq!(nearest([0x55, 0x55, 0x55]), 240);
    }

    #[test]
    fn every_component_is_told_from_the_others_without_colours() {
        let mut letters: Vec<_> = Component::ALL.into_iter().map(letter).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), Component::ALL.len());
    }
}
