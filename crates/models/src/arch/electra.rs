//! ELECTRA: BERT with tables of a width of their own.

use super::config::{ConfigKeys, read};
use super::post_norm::PostNorm;
use super::{Family, bert};

pub(super) static FAMILY: Family = Family {
    name: "electra",
    prefixes: &["electra."],
    keys: &KEYS,
    read: |config| {
        let table_width = config.get("embedding_size").size()?.unwrap_or(128);
        Ok(Box::new(PostNorm { table_width, ..bert::settings(config)? }))
    },
};

static KEYS: ConfigKeys = ConfigKeys::new(read![bert, "embedding_size"]);
