//! The smallest capacity, other cards, settings of the allocator.

use super::{L4_CONTEXT, MIB, bytes, rehearse, stderr, stdout};

#[test]
fn the_smallest_capacity_is_found_to_the_bracket() {
    // A program that needs what it takes, and one that takes nine tenths of whatever there is.
    for (arguments, need) in
        [(["take", "5431"], 5431 + 1 + 258), (["greedy", "4500"], 4500 * 10 / 9 + 258)]
    {
        for within in [32u64, 100] {
            let size = format!("{within} MiB");
            let flags = ["--gpu", "L4", "--smallest", "--within", &size];
            let (document, output) = rehearse(&flags, &arguments).json();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let smallest = &document["smallest"];
            let (enough, small) = (bytes(&smallest["enough"]), bytes(&smallest["too_small"]));
            assert!(enough - small <= within * MIB, "{smallest}");
            // Tenths of MiB are rounded down by the program.
            assert!(small < (need + 12) * MIB && enough >= (need - 12) * MIB, "{need}: {smallest}");
            let runs = document["runs"].as_array().unwrap();
            assert!(runs.len() <= 24, "{}", runs.len());
            let run = |size: u64| {
                let mut same = runs.iter().filter(|run| bytes(&run["cards"][0]["usable"]) == size);
                same.next().unwrap()["outcome"]["well"].as_bool()
            };
            assert_eq!((run(enough), run(small)), (Some(true), Some(false)));
        }
    }
}

#[test]
fn what_does_not_end_well_on_the_whole_card_has_no_smallest() {
    let output = rehearse(&["--gpu", "RTX 3060", "--smallest"], &["take", "20000"]).output();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stdout(&output).starts_with("does not end well on RTX 3060: ran out of memory"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn cards_are_swept() {
    let output = rehearse(&["--sweep", "RTX 3060,L4,2xL4"], &["take", "15000"]).output();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("ends well on L4, 2xL4\n"), "{text}");
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("RTX 3060").ends_with("out of memory: 14.65 GiB more"), "{text}");
    assert!(line("L4 ").ends_with("ended") && line("2xL4").ends_with("ended"), "{text}");
}

#[test]
fn a_setting_reaches_the_program() {
    let flags = ["--gpu", "L4", "--try", "expandable_segments"];
    let script = "test \"$PYTORCH_CUDA_ALLOC_CONF\" = expandable_segments:True && exec \"$0\" take 100; exec \"$0\" take 200";
    let program = super::program().to_str().unwrap();
    let (document, output) = super::rehearse_command(&flags, "sh", &["-c", script, program]).json();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(document["answer"], "`expandable_segments:True` saves 100.00 MiB of 458.00 MiB");
    let peak = |at: usize| bytes(&document["runs"][at]["cards"][0]["peak"]) - L4_CONTEXT;
    assert_eq!([peak(0), peak(1)], [200 * MIB, 100 * MIB]);
}
