//! What prompts may have beside text, as vLLM is told.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// How many images and videos a prompt may have (`--limit-mm-per-prompt`): `image=4,video=0`, or the same as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaLimits {
    /// Images; as many as fit where nothing is said.
    pub images: Option<u16>,
    /// Videos; as many as fit where nothing is said.
    pub videos: Option<u16>,
}

impl MediaLimits {
    /// Neither images nor videos.
    pub const NONE: Self = Self { images: Some(0), videos: Some(0) };

    /// Whether prompts have neither.
    pub fn allow_nothing(self) -> bool {
        self == Self::NONE
    }
}

/// What else such a limit may name: other kinds of input, and sizes within a kind (vLLM `config/multimodal.py`).
const OTHERS: [&str; 6] = ["audio", "vision_chunk", "width", "height", "num_frames", "length"];

impl FromStr for MediaLimits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected `image=4,video=0`, or the same as JSON".to_owned();
        let mut limits = Self::default();
        let plain: String = text.chars().filter(|c| !"{}\"' ".contains(*c)).collect();
        for pair in plain.split(',').filter(|pair| !pair.is_empty()) {
            let (name, count) = pair.split_once([':', '=']).ok_or_else(wrong)?;
            // `{"image": {"count": 4, "width": 512}}` says the number inside.
            let count = count.strip_prefix("count:").unwrap_or(count);
            let place = match name {
                "image" => &mut limits.images,
                "video" => &mut limits.videos,
                _ if OTHERS.contains(&name) => continue,
                _ => return Err(wrong()),
            };
            *place = Some(count.parse().map_err(|_| wrong())?);
        }
        Ok(limits)
    }
}

impl fmt::Display for MediaLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("image", self.images), ("video", self.videos)];
        let given =
            named.into_iter().filter_map(|(name, limit)| limit.map(|n| format!("{name}={n}")));
        f.write_str(&given.collect::<Vec<_>>().join(","))
    }
}

/// What a server makes of images and videos when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// How many a prompt may have.
    pub limits: MediaLimits,
    /// Pixels of the largest image, where they are given (`--mm-processor-kwargs`).
    pub max_pixels: Option<NonZeroU32>,
    /// Whether the profile run encodes nothing (`--skip-mm-profiling`).
    pub is_skipped: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_vllm_has_them() {
        for (text, images, videos) in [
            ("image=4,video=0", Some(4), Some(0)),
            (r#"{"image": 4, "video": 0}"#, Some(4), Some(0)),
            ("image=1", Some(1), None),
            (r#"{"video":0,"audio":0}"#, None, Some(0)),
            (r#"{"image": {"count": 2, "width": 512, "height": 512}}"#, Some(2), None),
        ] {
            assert_eq!(text.parse(), Ok(MediaLimits { images, videos }), "{text}");
        }
        for text in ["image", "image=many", "4", "image=-1", "imgae=0"] {
            assert!(text.parse::<MediaLimits>().is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_said_as_they_are_read() {
        let limits = MediaLimits { images: Some(2), videos: Some(0) };
        assert_eq!(limits.to_string(), "image=2,video=0");
        assert_eq!(limits.to_string().parse(), Ok(limits));
        assert!(MediaLimits::NONE.allow_nothing() && !limits.allow_nothing());
    }
}
