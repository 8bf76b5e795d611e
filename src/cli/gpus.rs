//! The GPUs that a model is spread over, from flags.

use anyhow::bail;

use super::args::PlanArgs;
use super::problem::Problem;
use super::scenario::{apply_calibration, capacity, find_gpu};
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::Card;
use vramplan_planner::spec::{Runtime, Split};
use vramplan_planner::text::printable;
use vramplan_planner::units::{to_u64, to_usize};

/// More GPUs than one machine has.
const MOST_GPUS: u64 = 64;

/// Each runtime's own way: llama.cpp and transformers deal out layers, vLLM splits tensors.
pub fn split(args: &PlanArgs, runtime: Runtime) -> Split {
    let default = if runtime == Runtime::Vllm { Split::Tensor } else { Split::Layer };
    args.split.unwrap_or(default)
}

/// The GPUs of these names, or so many of the one name, with what each offers.
pub fn cards(
    args: &PlanArgs,
    names: &[&str],
    runtime: Runtime,
    catalog: &Catalog,
) -> anyhow::Result<Vec<Card>> {
    let names = repeated(args, names)?;
    if args.split.is_some() && names.len() == 1 {
        bail!(
            Problem::new(
                "`--split` says how a model is spread over several GPUs, and there is one"
            )
            .hint("drop `--split`, or add `--gpus N`")
        );
    }
    let mut cards = Vec::with_capacity(names.len());
    for name in &names {
        let (mut gpu, other_use) = find_gpu(name, args.other_use, catalog)?;
        apply_calibration(&mut gpu, runtime, catalog)?;
        let capacity = capacity(args, &gpu, runtime, other_use)?;
        cards.push(Card { gpu, capacity });
    }
    Ok(cards)
}

/// As many names as there are GPUs.
fn repeated<'a>(args: &PlanArgs, names: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    if let Some(empty) = names.iter().find(|name| name.is_empty()) {
        bail!(
            Problem::new(format!(
                "`--gpu` has an empty name: `{}`",
                printable(&(names.join(",") + empty))
            ))
            .hint("separate names by single commas, such as `--gpu L4,T4`")
        );
    }
    match (names, args.gpus) {
        (_, Some(0)) => bail!("`--gpus 0` is out of range: expected 1 to {MOST_GPUS}"),
        (_, Some(gpus)) if gpus > MOST_GPUS => {
            bail!("`--gpus {gpus}` is out of range: expected 1 to {MOST_GPUS}")
        }
        ([name], gpus) => Ok(vec![*name; to_usize(gpus.unwrap_or(1))?]),
        (names, Some(gpus)) if names.len() as u64 != gpus => {
            let message = format!("`--gpus {gpus}` beside {} names in `--gpu`", names.len());
            let hint = "`--gpus` counts equal GPUs: give one name, or drop it";
            bail!(Problem::new(message).hint(hint))
        }
        (names, _) if to_u64(names.len()) > MOST_GPUS => {
            bail!("`--gpu` names {} GPUs: expected 1 to {MOST_GPUS}", names.len())
        }
        (names, _) => Ok(names.to_vec()),
    }
}
