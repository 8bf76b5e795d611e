//! The page by its keys: what they ask, and what the screen shows then.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;
use vramplan_planner::deployment::resolve;
use vramplan_planner::form::{Given, Lists, Problem, question};
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::render::Document;

use super::fields::FIELDS;
use super::state::{Focus, Over, Planned, State};
use super::update::{Effect, Event, Key, begin, line, update};
use super::view::{Paint, draw};

const LEFT: Key = Key::Left { fine: false };
const RIGHT: Key = Key::Right { fine: false };
const FINER: Key = Key::Right { fine: true };

/// The page, whose questions are answered at once.
struct Page {
    state: State,
    copied: Vec<String>,
    has_ended: bool,
}

fn plan(given: &Given) -> Result<Planned, Problem> {
    let question = question(given)?;
    let deployment = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None)?;
    Ok(Planned::new(Document::new(&deployment, &answer(&deployment)?), false))
}

impl Page {
    #[allow(clippy::needless_pass_by_value, reason = "written where it is asked")]
    fn new(given: serde_json::Value) -> Self {
        let lists = Lists::of(&Catalog::built_in()).unwrap();
        let state = State::new(lists, given.as_object().unwrap().clone());
        let mut page = Self { state, copied: Vec::new(), has_ended: false };
        let effects = begin(&mut page.state);
        page.follow(effects);
        page
    }

    fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::End => self.has_ended = true,
                Effect::Copy(line) => self.copied.push(line),
                Effect::Plan { asked, given } => {
                    let answer = Box::new(plan(&given));
                    let more = update(&mut self.state, Event::Planned { asked, answer });
                    assert!(more.is_empty());
                }
            }
        }
    }

    fn press(&mut self, keys: &[Key]) -> &mut Self {
        for key in keys {
            let effects = update(&mut self.state, Event::Key(*key));
            self.follow(effects);
        }
        self
    }

    fn type_in(&mut self, text: &str) -> &mut Self {
        let keys: Vec<_> = text.chars().map(Key::Char).collect();
        self.press(&keys)
    }

    /// Moves to a field by its key.
    fn to(&mut self, key: &str) -> &mut Self {
        let shown = self.state.fields();
        let at = shown.iter().position(|(_, field)| field.key == key).unwrap();
        self.press(&[Key::Home]).press(&vec![Key::Down; at])
    }

    fn verdict(&self) -> Verdict {
        self.state.planned.as_ref().unwrap().document.verdict
    }

    fn screen(&self, width: u16, height: u16) -> String {
        screen(&self.state, Paint::Plain, width, height)
    }
}

fn screen(state: &State, paint: Paint, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state, paint)).unwrap();
    let text = terminal.backend().to_string();
    let lines = text.lines().map(|line| line.trim_matches('"').trim_end().to_owned() + "\n");
    lines.collect()
}

#[test]
fn a_whole_task() {
    let mut page = Page::new(json!({ "model": "qwen2.5-14b", "gpu": "L4" }));
    assert_eq!(page.verdict(), Verdict::Fits);
    page.press(&[Key::Char('/')]).type_in("llama 3.1 8b").press(&[Key::Enter]);
    assert_eq!(page.state.given["model"], "llama-3.1-8b");
    page.to("runtime").press(&[Key::Enter]).type_in("transformers").press(&[Key::Enter]);
    page.to("gpu").press(&[Key::Enter]).type_in("rtx 4090").press(&[Key::Enter]);
    page.to("users").press(&[RIGHT]);
    page.to("context_per_user").type_in("8k").press(&[Key::Enter]);
    assert_eq!(page.verdict(), Verdict::Fits);
    while page.verdict() != Verdict::DoesNotFit {
        let before = page.state.given.clone();
        page.press(&[RIGHT]);
        assert_ne!(page.state.given, before, "the context stopped growing");
        assert!(page.state.problem.is_none(), "{:?}", page.state.problem);
    }
    let too_much = page.state.given.clone();
    page.press(&[Key::Tab]);
    assert_eq!(page.state.focus, Focus::Advice);
    let advice = page.state.planned.as_ref().unwrap().document.advice.clone();
    let at = advice.iter().position(|advice| advice.text.contains("makes it fit")).unwrap();
    page.press(&vec![Key::Down; at]).press(&[Key::Enter]);
    assert_ne!(page.verdict(), Verdict::DoesNotFit);
    page.press(&[Key::Char('y')]);
    assert!(page.copied[0].starts_with("vramplan budget --gpu 'RTX 4090'"), "{}", page.copied[0]);
    assert!(matches!(page.state.over, Over::Command { .. }));
    page.press(&[Key::Escape, Key::Char('u')]);
    assert_eq!(page.state.given, too_much);
    page.press(&[Key::Char('q')]);
    assert!(page.has_ended);
}

#[test]
fn the_screen_at_80_by_24() {
    let mut page =
        Page::new(json!({ "model": "llama-3.1-8b", "gpu": "L4", "runtime": "llama.cpp" }));
    insta::assert_snapshot!("page", page.screen(80, 24));
    page.press(&[Key::Char('c')]).to("kv").press(&[RIGHT]);
    insta::assert_snapshot!("pinned", page.screen(80, 24));
    page.press(&[Key::Enter]);
    insta::assert_snapshot!("picker", page.screen(80, 24));
    page.press(&[Key::Escape, Key::Char('?')]);
    insta::assert_snapshot!("keys", page.screen(80, 24));
    page.press(&[Key::Escape, Key::Char('y')]);
    insta::assert_snapshot!("command", page.screen(80, 24));
}

#[test]
fn the_screen_of_several_cards_and_of_narrow_terminals() {
    let given =
        json!({ "model": "llama-3.3-70b", "gpu": "2xL4", "runtime": "llama.cpp", "ram": "64GiB" });
    let mut page = Page::new(given);
    insta::assert_snapshot!("several", page.screen(100, 34));
    insta::assert_snapshot!("narrow", page.screen(44, 18));
    page.press(&[Key::Tab]);
    insta::assert_snapshot!("narrow_advice", page.screen(44, 18));
    assert!(page.screen(39, 30).contains("too small"));
    assert!(page.screen(80, 5).contains("40 × 12"));
}

#[test]
fn what_has_no_plan_says_why_and_keeps_the_last_one() {
    let mut page = Page::new(json!({ "model": "qwen2.5-14b", "gpu": "L4" }));
    page.press(&[Key::Char('/')]).type_in("no-such-model").press(&[Key::Enter]);
    let problem = page.state.problem.clone().unwrap();
    assert!(problem.message.contains("no-such-model"), "{problem:?}");
    assert!(page.screen(80, 24).starts_with("error: "));
    assert!(page.state.planned.is_some());
    page.press(&[Key::Char('u')]);
    assert!(page.state.problem.is_none());
}

#[test]
fn numbers_are_typed_as_people_write_them() {
    let mut page = Page::new(json!({ "model": "qwen2.5-14b", "gpu": "L4", "runtime": "vllm" }));
    page.to("cache_tokens").type_in("8k").press(&[Key::Enter]);
    assert_eq!(page.state.given["cache_tokens"], 8192);
    page.press(&[FINER]);
    assert_eq!(page.state.given["cache_tokens"], 8704);
    // A context for each user says both.
    page.to("context_per_user").type_in("4k").press(&[Key::Enter]);
    assert!(!page.state.given.contains_key("cache_tokens"));
    page.press(&[Key::Backspace]);
    assert!(!page.state.given.contains_key("context_per_user"));
}

#[test]
fn formats_that_another_runtime_has_go_with_it() {
    let mut page = Page::new(
        json!({ "model": "llama-3.1-8b", "gpu": "L4", "runtime": "llama.cpp", "kv": "q8_0", "ngl": 20 }),
    );
    page.to("runtime").press(&[Key::Enter]).type_in("vllm").press(&[Key::Enter]);
    assert!(page.state.problem.is_none(), "{:?}", page.state.problem);
    assert!(!page.state.given.contains_key("kv") && !page.state.given.contains_key("ngl"));
}

#[test]
fn a_late_answer_to_an_older_question_is_not_shown() {
    let mut page = Page::new(json!({ "model": "qwen2.5-14b", "gpu": "L4" }));
    page.to("gpu");
    let first = update(&mut page.state, Event::Key(RIGHT));
    let second = update(&mut page.state, Event::Key(RIGHT));
    page.follow(first);
    assert!(page.state.is_waiting);
    let shown = |page: &Page| page.state.planned.as_ref().unwrap().document.deployment.gpu.clone();
    assert_eq!(shown(&page), "L4");
    page.follow(second);
    assert!(!page.state.is_waiting);
    assert_ne!(shown(&page), "L4");
}

#[test]
fn what_is_pasted_is_a_model_and_safe_to_show() {
    let mut page = Page::new(json!({ "model": "qwen2.5-14b", "gpu": "L4" }));
    update(&mut page.state, Event::Pasted("evil\x1b[2J\nname".repeat(500)));
    let Over::Picker(picker) = page.state.over.clone() else { panic!() };
    assert_eq!(picker.field, 0);
    assert!(picker.typed.chars().count() <= 1024 && !picker.typed.contains(char::is_control));
    assert!(!page.screen(80, 24).contains('\x1b'));
}

/// A generator for tests (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}

#[test]
fn no_keys_at_no_size_break_the_page() {
    const KEYS: [Key; 26] = [
        Key::Up,
        Key::Down,
        LEFT,
        RIGHT,
        FINER,
        Key::Left { fine: true },
        Key::Home,
        Key::End,
        Key::Enter,
        Key::Tab,
        Key::Escape,
        Key::Backspace,
        Key::Char('/'),
        Key::Char('?'),
        Key::Char('y'),
        Key::Char('c'),
        Key::Char('u'),
        Key::Char('q'),
        Key::Char('9'),
        Key::Char('k'),
        Key::Char('j'),
        Key::Char('l'),
        Key::Char('h'),
        Key::Char('['),
        Key::Char('é'),
        Key::Char('漢'),
    ];
    let asked = json!({ "model": "qwen2.5-14b", "gpu": "L4" });
    let lists = Lists::of(&Catalog::built_in()).unwrap();
    let planned = plan(asked.as_object().unwrap()).unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20 {
        let mut state = State::new(lists.clone(), asked.as_object().unwrap().clone());
        for _ in 0..80 {
            let key = KEYS[random.below(KEYS.len())];
            for effect in update(&mut state, Event::Key(key)) {
                if let Effect::Plan { asked, .. } = effect {
                    let refused = || Err(Problem::new("no"));
                    let answer = match random.below(5) {
                        0 => refused(),
                        1 => Ok(Planned { is_outline: true, ..planned.clone() }),
                        _ => Ok(planned.clone()),
                    };
                    update(&mut state, Event::Planned { asked, answer: Box::new(answer) });
                }
            }
            assert!(state.field < FIELDS.len());
            let (width, height) = (1 + random.below(130), 1 + random.below(50));
            let paint = [Paint::Plain, Paint::Indexed, Paint::True][random.below(3)];
            let _ = screen(&state, paint, width.try_into().unwrap(), height.try_into().unwrap());
        }
        // Whatever was said, there is a command that says it, or a reason.
        assert!(line(&state.given).is_ok() || line(&state.given).is_err());
    }
}
