//! Choosing whom to evict, and moving those who stay out of the ring's way.

use super::place::relocate;
use super::policy::LANES;
use super::{Heads, Slots, Step};

/// Selects the candidates of one head with the lowest scores, in ascending order of their number:
/// heavy slots first, then contenders (`Step::candidate_slot`). Of equal scores the earlier candidate
/// loses.
///
/// `scores` are the head's, `[max_cache_tokens]`; `victims` has one element per contender.
pub fn select(step: &Step, scores: &[f32], victims: &mut [u32]) {
    if victims.len() == 1 {
        victims[0] = lowest(step, scores);
        return;
    }
    let score = |candidate: u32| scores[step.candidate_slot(candidate as usize)];
    let loses = |a: u32, b: u32| score(a).total_cmp(&score(b)).then(a.cmp(&b)).is_lt();
    // A heap of the lowest so far, the highest of them on top.
    let kept = victims.len();
    for (candidate, victim) in (0..).zip(victims.iter_mut()) {
        *victim = candidate;
    }
    for root in (0..kept / 2).rev() {
        sift_down(victims, root, loses);
    }
    for candidate in (kept..step.candidates()).filter_map(|index| u32::try_from(index).ok()) {
        if loses(candidate, victims[0]) {
            victims[0] = candidate;
            sift_down(victims, 0, loses);
        }
    }
    victims.sort_unstable();
}

/// Restores the heap below `root`.
fn sift_down(heap: &mut [u32], mut root: usize, loses: impl Fn(u32, u32) -> bool) {
    while let Some(left) = Some(2 * root + 1).filter(|&left| left < heap.len()) {
        let right = left + 1;
        let higher =
            if right < heap.len() && loses(heap[left], heap[right]) { right } else { left };
        if !loses(heap[root], heap[higher]) {
            return;
        }
        heap.swap(root, higher);
        root = higher;
    }
}

/// The one candidate with the lowest score, where a step has one contender.
fn lowest(step: &Step, scores: &[f32]) -> u32 {
    let heavy = &scores[step.policy().heavy()];
    let contender = scores[step.candidate_slot(heavy.len())];
    let (chunks, rest) = heavy.as_chunks::<LANES>();
    let mut least = [contender; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            least[lane] = if chunk[lane] < least[lane] { chunk[lane] } else { least[lane] };
        }
    }
    let least = least.iter().chain(rest).fold(contender, |least, &score| least.min(score));
    let found = heavy.iter().position(|score| score.total_cmp(&least).is_eq());
    u32::try_from(found.unwrap_or(heavy.len())).unwrap_or(u32::MAX)
}

/// The moves of one head that follow from its victims: `(from, to)` slots, the same number for each
/// head or fewer. A contender among the victims is not moved.
pub fn moves<'a>(step: &'a Step, victims: &'a [u32]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let heavy = step.policy().heavy().len();
    let fills = step.fills().map(|token| (step.policy().ring_slot(token), token));
    let freed = victims.partition_point(|&victim| (victim as usize) < heavy);
    let (freed, lost) = victims.split_at(freed);
    let mut lost = lost.iter().copied().peekable();
    let stay = (heavy..step.candidates())
        .filter(move |&candidate| lost.next_if(|&next| next as usize == candidate).is_none());
    let replaced = stay.zip(freed);
    fills.chain(replaced.map(|(candidate, &victim)| {
        (step.candidate_slot(candidate), step.candidate_slot(victim as usize))
    }))
}

/// Makes room for a step in every head, by the scores of all earlier queries.
///
/// `victims` is scratch of `kv_heads · step.contenders().len()` elements, `[kv_heads, contenders]`;
/// afterwards it says who was evicted (`select`).
///
/// # Panics
/// When `victims` is shorter.
pub fn evict(heads: Heads, step: &Step, slots: &mut Slots<'_>, victims: &mut [u32]) {
    let contenders = step.contenders().len();
    let capacity = step.policy().max_cache_tokens();
    for head in 0..heads.kv_heads() {
        let victims = &mut victims[head * contenders..][..contenders];
        let scores = &mut slots.scores[head * capacity..][..capacity];
        // Tokens that fill a free slot may be evicted by the same step.
        for token in step.fills() {
            let from = step.policy().ring_slot(token);
            relocate(heads, &mut slots.rows, head, from, token);
            scores[token] = scores[from];
        }
        if contenders == 0 {
            continue;
        }
        select(step, scores, victims);
        for (from, to) in moves(step, victims).skip(step.fills().len()) {
            relocate(heads, &mut slots.rows, head, from, to);
            scores[to] = scores[from];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2o::Policy;

    /// A step with `contenders` contenders over slots `0..8` heavy and `8..12` recent.
    fn step(contenders: usize) -> Step {
        let policy = Policy::new(4, 12, 4).unwrap();
        policy.step(12, contenders).unwrap()
    }

    fn selected(contenders: usize, scores: [u8; 12]) -> Vec<u32> {
        let mut victims = vec![0; contenders];
        select(&step(contenders), &scores.map(f32::from), &mut victims);
        victims
    }

    #[test]
    fn the_lowest_scores_lose() {
        assert_eq!(selected(1, [9, 8, 7, 1, 5, 4, 3, 6, 2, 9, 9, 9]), [3]);
        assert_eq!(selected(2, [9, 8, 7, 1, 5, 4, 3, 6, 2, 9, 9, 9]), [3, 8]);
        assert_eq!(selected(4, [9, 8, 7, 6, 5, 4, 3, 2, 9, 9, 9, 9]), [4, 5, 6, 7]);
    }

    #[test]
    fn of_equal_scores_the_lower_slot_loses_and_contenders_lose_last() {
        assert_eq!(selected(1, [1; 12]), [0]);
        assert_eq!(selected(3, [1; 12]), [0, 1, 2]);
        assert_eq!(selected(1, [5, 5, 5, 5, 5, 5, 5, 5, 4, 0, 0, 0]), [8]);
        assert_eq!(selected(2, [5, 5, 5, 5, 5, 5, 5, 5, 5, 0, 0, 0]), [0, 9]);
    }

    #[test]
    fn those_who_stay_move_into_freed_slots_in_order() {
        let step = step(4);
        let to: Vec<_> = moves(&step, &[1, 6, 9, 10]).collect();
        assert_eq!(to, [(8, 1), (11, 6)]);
        assert_eq!(moves(&step, &[8, 9, 10, 11]).count(), 0);
    }
}
