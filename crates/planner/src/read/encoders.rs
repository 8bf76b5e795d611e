//! Names of models that are known to be encoders, for which there is no profile: an answer that says so is worth more than names
//! that are spelt alike.
//!
//! Names: Ollama's library (`ollama.com/search?c=embedding`) and the hub's repositories of those models.

/// How names of encoders begin, without their publisher and in lower case.
const BEGINNINGS: [&str; 22] = [
    "all-minilm",
    "all-mpnet",
    "bge-",
    "clip-vit",
    "e5-",
    "embeddinggemma",
    "granite-embedding",
    "gte-",
    "jina-embeddings",
    "jina-reranker",
    "modernbert",
    "ms-marco",
    "multilingual-e5",
    "mxbai-",
    "nomic-embed",
    "paraphrase-multilingual",
    "siglip",
    "snowflake-arctic-embed",
    "t5-",
    "flan-t5",
    "whisper",
    "xlm-roberta",
];

/// Whether a name is that of a family of encoders.
pub(super) fn is_one(name: &str) -> bool {
    let lower = name.trim().to_ascii_lowercase();
    let own = lower.rsplit('/').next().unwrap_or_default();
    BEGINNINGS.iter().any(|beginning| own.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn encoders_are_known_by_how_their_names_begin() {
        for name in ["bge-m3", "BAAI/bge-m3", "nomic-embed-text:v1.5", "openai/whisper-large-v3"] {
            assert!(is_one(name), "{name}");
        }
        for name in ["qwen3-embedding:8b", "gemma3:4b", "granite4"] {
            assert!(!is_one(name), "{name}");
        }
    }
}
