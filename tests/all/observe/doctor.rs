//! `doctor` with and without a driver.

use super::support::{Place, stdout};

fn findings(place: &Place) -> (serde_json::Value, Vec<String>, Option<i32>) {
    let output = place.run(&["doctor", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes = document["findings"].as_array().unwrap().iter();
    let codes = codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
    (document, codes, output.status.code())
}

#[test]
fn planning_is_possible_without_a_driver() {
    let place = Place::new();
    let output = place.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    assert!(text.ends_with("planning is possible\n"), "{text}");
    assert!(text.contains("no NVIDIA driver"), "{text}");
}

#[test]
fn a_profile_that_cannot_be_read_prevents_planning() {
    let place = Place::new();
    fs_err::create_dir(place.path("gpus")).unwrap();
    fs_err::write(place.path("gpus/broken.toml"), "schema = ").unwrap();
    let output = place.run(&["doctor", "--profiles", "."]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("profile-unreadable") && text.contains("broken.toml"), "{text}");
    assert!(text.ends_with("planning is not possible\n"), "{text}");
}

#[cfg(feature = "nvml")]
mod with_driver {
    use super::*;

    const CARD: &str = "name=NVIDIA L4\nuuid=GPU-fake\ntotal=23034\nreserved=476\nused=1000\n\
        process=1:900\nmig=0\necc=1\npersistence=1\nmode=0\n";

    #[test]
    fn a_card_is_described_and_matched_with_its_profile() {
        let place = Place::with_driver(CARD);
        let (document, codes, code) = findings(&place);
        assert_eq!(code, Some(0));
        let device = &document["driver"]["devices"][0];
        assert_eq!(document["matches"][0]["profile"], "L4");
        assert_eq!(device["total"].as_u64(), Some(23034 << 20));
        assert_eq!((device["mig"].as_bool(), device["ecc"].as_bool()), (Some(false), Some(true)));
        assert_eq!(device["processes"][0]["bytes"].as_u64(), Some(900 << 20));
        assert!(codes.contains(&"in-use".to_owned()), "{codes:?}");
        let text = stdout(&place.run(&["doctor"]));
        assert!(text.contains("GPU 0: NVIDIA L4") && text.contains("profile `L4`"), "{text}");
    }

    #[test]
    fn what_is_unknown_is_unknown() {
        let place =
            Place::with_driver("error.memory=3\nerror.processes=3\nname=NVIDIA Imaginary 9\n");
        let (document, codes, code) = findings(&place);
        assert_eq!(code, Some(0));
        let device = &document["driver"]["devices"][0];
        for field in ["total", "used", "free", "processes", "mig", "ecc"] {
            assert!(device[field].is_null(), "{field}: {device}");
        }
        assert!(codes.contains(&"no-profile".to_owned()), "{codes:?}");
        assert!(codes.contains(&"memory-unreadable".to_owned()), "{codes:?}");
        assert!(stdout(&place.run(&["doctor"])).contains("total unknown"));
    }

    #[test]
    fn what_is_in_the_way_of_measuring_is_told() {
        let place = Place::with_driver(&CARD.replace("mig=0", "mig=1").replace("mode=0", "mode=3"));
        let (_, codes, _) = findings(&place);
        assert!(codes.contains(&"mig-enabled".to_owned()), "{codes:?}");
        assert!(codes.contains(&"compute-mode".to_owned()), "{codes:?}");
        let place = Place::with_driver("error.count=18\n");
        assert!(findings(&place).1.contains(&"cards-not-listed".to_owned()));
    }
}
