//! Tokens that are added to a vocabulary, from all the places that list them.
//!
//! The order of the transformers library (version 5), which decides ids: a token that the vocabulary lacks gets the
//! next free id, whatever id a file gives it.
//!
//! 1. `added_tokens_decoder` of `tokenizer_config.json`, by id. Without it (an empty one counts): `added_tokens.json`
//!    and then the `added_tokens` of `tokenizer.json`, of which the last with an id wins.
//! 2. The named ones, `[UNK]`, `[CLS]` and so on, and a model's own (`extra_special_tokens` with names, `image_token`).
//!    With no `added_tokens_decoder` the names of `special_tokens_map.json` win over those of `tokenizer_config.json`.
//! 3. `extra_special_tokens`, once called `additional_special_tokens`.

use super::class::Class;
use super::settings::TokenizerConfig;
use crate::error::Result;
use crate::json::{Json, JsonFile, Keys, Others, Setting};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use tokenizers::{AddedToken, Tokenizer};

/// The names that every tokenizer has, in the library's order.
pub(super) const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The places of two of them.
const PAD: usize = 4;
const MASK: usize = 6;

/// The keys of `special_tokens_map.json`.
static MAP_KEYS: Keys = Keys {
    read: &["additional_special_tokens", "extra_special_tokens"],
    read_ending: Some("_token"),
    harmless: &[],
    others: Others::Refused,
};

/// The keys of `added_tokens.json`: any.
static ADDED_KEYS: Keys = Keys { read: &[], read_ending: Some(""), harmless: &[], others: Others::Refused };

/// A token as a file lists it: its text alone, or with flags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Token {
    Plain(String),
    Added(Flagged),
}

/// A token with flags.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flagged {
    token: AddedToken,
    /// Whether `normalized` is given. Otherwise a token is normalised unless it is special in the end.
    has_normalized: bool,
}

impl Flagged {
    /// With all flags given.
    fn whole(token: AddedToken) -> Self {
        Self { token, has_normalized: true }
    }

    /// As it is added; special too, if it has a name.
    fn added(&self, has_name: bool) -> AddedToken {
        let mut token = self.token.clone();
        token.special |= has_name;
        if !self.has_normalized {
            token.normalized = !token.special;
        }
        token
    }
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Self::Plain(content) => content,
            Self::Added(flagged) => &flagged.token.content,
        }
    }
}

/// A name for a token.
#[derive(Debug)]
struct Named {
    name: String,
    /// `None` if a file says null.
    token: Option<Token>,
    /// Whether no file has the name, but the class.
    is_default: bool,
}

/// The tokens of all files, in the order in which they are added.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// By the ids that the files give, which decide the order and nothing else.
    by_id: BTreeMap<i64, Flagged>,
    /// Those of [`NAMES`] first.
    named: Vec<Named>,
    extra: Vec<Token>,
    /// Whether no file lists `extra`, but the class.
    is_extra_default: bool,
    /// The contents that make a token of `added_tokens.json` special: of those that every tokenizer has and of the
    /// extra ones, if files name them, but for those with a `__type`, which the reference knows too late.
    counted: HashSet<String>,
}

/// What `tokenizer.json` itself says about tokens.
#[derive(Debug, Default)]
pub(crate) struct FromFile {
    /// Its `added_tokens`, by id.
    pub(crate) listed: Vec<(u32, AddedToken)>,
    /// The token that it pads with.
    pub(crate) pad_token: Option<String>,
}

/// Reads what the files in the folder list.
pub(crate) fn read(folder: &Path, class: Class, config: &TokenizerConfig, file: &FromFile) -> Result<Tokens> {
    let decoder = config.get("added_tokens_decoder").filter(Setting::is_there);
    let map = match decoder {
        Some(_) => None,
        None => JsonFile::read_if_there(folder.join("special_tokens_map.json"), &MAP_KEYS)?,
    };
    let mut tokens = Tokens::default();
    tokens.read_named(class, config, map.as_ref(), file)?;
    match decoder {
        Some(decoder) => tokens.read_decoder(decoder)?,
        None => {
            if let Some(added) = JsonFile::read_if_there(folder.join("added_tokens.json"), &ADDED_KEYS)? {
                tokens.read_added(&added)?;
            }
            tokens.by_id.extend(file.listed.iter().map(|(id, token)| (i64::from(*id), Flagged::whole(token.clone()))));
        }
    }
    Ok(tokens)
}

impl Tokens {
    /// The content of a named token.
    pub(super) fn content(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|named| named.name == name)?.token.as_ref().map(Token::content)
    }

    /// The contents that the class names, and no file.
    pub(crate) fn defaults(&self) -> HashSet<&str> {
        let named = |is_default| {
            let named = self.named.iter().filter(move |named| named.is_default == is_default);
            named.filter_map(|named| Some(named.token.as_ref()?.content()))
        };
        let extra =
            |is_default| self.extra.iter().map(Token::content).filter(move |_| self.is_extra_default == is_default);
        let listed: HashSet<&str> = named(false)
            .chain(self.by_id.values().map(|flagged| flagged.token.content.as_str()))
            .chain(extra(false))
            .collect();
        named(true).chain(extra(true)).filter(|content| !listed.contains(content)).collect()
    }

    /// The content and the id of a named token. One that is null has the id given here, or is an error; one that is not
    /// in the vocabulary has the unknown token's.
    pub(super) fn named_id(
        &self,
        name: &str,
        default: Option<u32>,
        tokenizer: &Tokenizer,
    ) -> tokenizers::Result<(String, u32)> {
        let id = self.content(name).and_then(|content| self.id(content, tokenizer)).or(default);
        let id =
            id.ok_or_else(|| format!("its class puts a `{name}` around a text, and tokenizer_config.json has none"))?;
        // What the library writes for a null.
        Ok((self.content(name).unwrap_or("None").to_owned(), id))
    }

    fn id(&self, content: &str, tokenizer: &Tokenizer) -> Option<u32> {
        tokenizer.token_to_id(content).or_else(|| tokenizer.token_to_id(self.content("unk_token")?))
    }

    /// The ids of all that are named or additional, which are those that count as special.
    pub(super) fn special_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        self.special().filter_map(|content| self.id(content, tokenizer)).collect()
    }

    /// Adds them once more to a tokenizer, as they are without flags.
    pub(super) fn add_special_to(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        tokenizer.add_tokens(self.special().map(|content| AddedToken::from(content, true)))?;
        Ok(())
    }

    /// The contents of those that are named or additional.
    fn special(&self) -> impl Iterator<Item = &str> {
        let named = self.named.iter().filter_map(|named| named.token.as_ref());
        named.chain(&self.extra).map(Token::content)
    }

    /// Adds the tokens to a tokenizer.
    ///
    /// Those of [`by_id`](Self::by_id) are added again where the tokenizer has them: of two with one text the last
    /// wins.
    pub(super) fn add_to(&self, tokenizer: &mut Tokenizer) -> tokenizers::Result<()> {
        let there = tokenizer.get_added_tokens_decoder();
        let named = || self.named.iter().filter_map(|named| named.token.as_ref());
        let names: HashSet<&str> = named().map(Token::content).collect();
        let listed = there.values().chain(self.by_id.values().map(|flagged| &flagged.token));
        let known: HashSet<&str> = listed.map(|token| token.content.as_str()).collect();
        let mut seen = HashSet::new();
        let others = named().chain(&self.extra).filter(|token| !known.contains(token.content()) && seen.insert(*token));
        let is_named = |flagged: &Flagged| names.contains(flagged.token.content.as_str());
        let others = others.map(|token| match token {
            Token::Plain(content) => AddedToken::from(content.clone(), true),
            Token::Added(flagged) => flagged.added(is_named(flagged)),
        });
        let all = self.by_id.values().map(|flagged| flagged.added(is_named(flagged))).chain(others);
        tokenizer.add_tokens(all.collect::<Vec<_>>())?;
        Ok(())
    }

    /// Fills in the named tokens and the extra ones.
    fn read_named(
        &mut self,
        class: Class,
        config: &TokenizerConfig,
        map: Option<&JsonFile>,
        file: &FromFile,
    ) -> Result<()> {
        let mut standard = BTreeMap::new();
        // A model's own names: those that the library meets first, then those that win over them.
        let (mut met, mut winning) = (Vec::new(), Vec::new());
        // A name in the map is not looked at elsewhere, unless an argument overrides the map.
        let argument = |key: &str| config.over.as_ref().is_some_and(|over| over.has(key) && over.get(key).is_truthy());
        let in_map = |key: &str| map.is_some_and(|map| map.has(key)) && !argument(key);
        for setting in config.tokens() {
            match NAMES.iter().position(|name| *name == setting.key()) {
                Some(_) if in_map(setting.key()) => {}
                Some(index) => {
                    let token = named(setting)?;
                    if let Some(Token::Plain(content)) = &token {
                        self.counted.insert(content.clone());
                    }
                    standard.insert(index, token);
                }
                None => match setting.value() {
                    Some(Json::String(content)) => winning.push((setting.key(), Token::Plain(content.clone()))),
                    Some(value) => met.extend(typed(value).map(|token| (setting.key(), Token::Added(token)))),
                    None => {}
                },
            }
        }
        let extra = config.get("extra_special_tokens").filter(Setting::is_there);
        let additional = config.get("additional_special_tokens").filter(Setting::is_there);
        let extra = extra.filter(Setting::is_truthy).or(additional).or(extra);
        let mut has_list = false;
        // A list under the old name counts where there is none under the new one; tokens with names are no list.
        let mut last_resort = additional.filter(|_| extra.is_some_and(|extra| extra.key() == "extra_special_tokens"));
        if let Some(setting) = extra {
            match setting.value() {
                Some(Json::Object(entries)) => winning.extend(dictionary(setting, entries)?),
                Some(Json::Array(items)) => {
                    has_list = true;
                    self.extra = list(setting, items, |item| typed(item).map(Token::Added))?;
                    let plain = self.extra.iter().filter(|token| matches!(token, Token::Plain(_)));
                    self.counted.extend(plain.map(|token| token.content().to_owned()));
                }
                Some(_) => return Err(setting.wrong("a list or an object of tokens")),
                None => has_list = true,
            }
        }
        if let Some(setting) = config.get("model_specific_special_tokens")
            && winning.is_empty()
            && let Some(entries) = setting.convert("an object of tokens", Json::as_object)?
        {
            winning = dictionary(setting, entries)?;
        }
        for setting in map.iter().flat_map(|map| map.settings()).filter(|setting| in_map(setting.key())) {
            let special = |item: &Json| flags(item.as_object()?, true);
            match (setting.key(), setting.value()) {
                ("extra_special_tokens", Some(Json::Array(items))) => {
                    has_list = true;
                    let tokens = list(setting, items, |item| {
                        // The library gives the flag itself, and fails if it is there.
                        special(item).filter(|_| item.get("special").is_none()).map(Token::Added)
                    })?;
                    self.counted.extend(tokens.iter().map(|token| token.content().to_owned()));
                    let mut seen: HashSet<Token> = self.extra.iter().cloned().collect();
                    self.extra.extend(tokens.into_iter().filter(|token| seen.insert(token.clone())));
                }
                ("extra_special_tokens", Some(Json::Object(entries))) => winning.extend(dictionary(setting, entries)?),
                ("extra_special_tokens", None) => {}
                ("additional_special_tokens", _) => last_resort = Some(setting),
                ("extra_special_tokens", Some(_)) => return Err(setting.wrong("a list of tokens")),
                (key, value) => {
                    let token = match value {
                        None => None,
                        Some(Json::String(content)) => Some(Token::Plain(content.clone())),
                        Some(value) => {
                            let token = special(value).ok_or_else(|| setting.wrong("a token"))?;
                            Some(Token::Added(token))
                        }
                    };
                    match NAMES.iter().position(|name| *name == key) {
                        Some(index) => {
                            self.counted.extend(token.iter().map(|token| token.content().to_owned()));
                            standard.insert(index, token);
                        }
                        None => met.extend(token.map(|token| (key, token))),
                    }
                }
            }
        }
        if !has_list {
            let items = last_resort.map(|setting| setting.convert("a list of tokens", Json::as_array)).transpose()?;
            match (last_resort, items.flatten()) {
                (Some(setting), Some(items)) => {
                    self.extra = list(setting, items, |item| typed(item).map(Token::Added))?;
                }
                _ => {
                    self.extra = class.extra().iter().map(|content| Token::Plain((*content).into())).collect();
                    self.is_extra_default = true;
                }
            }
        }
        let mut defaults = class.names();
        if let (Class::File, Some(pad)) = (class, &file.pad_token) {
            defaults[PAD] = Some(pad);
        }
        for (index, (name, default)) in NAMES.into_iter().zip(defaults).enumerate() {
            let is_default = !standard.contains_key(&index);
            let token = standard.remove(&index).unwrap_or_else(|| default.map(|name| Token::Plain(name.into())));
            let token = match token {
                Some(Token::Plain(content)) if index == MASK && class.mask_takes_space() => {
                    Some(Token::Added(Flagged::whole(AddedToken::from(content, true).lstrip(true))))
                }
                token => token,
            };
            self.named.push(Named { name: name.to_owned(), token, is_default });
        }
        // One by one it would take long where a file has very many.
        let mut places = HashMap::new();
        for (name, token) in met.into_iter().chain(winning) {
            let place = *places.entry(name).or_insert(self.named.len());
            let named = Named { name: name.to_owned(), token: Some(token), is_default: false };
            match self.named.get_mut(place) {
                Some(there) => *there = named,
                None => self.named.push(named),
            }
        }
        Ok(())
    }

    /// `added_tokens_decoder`: tokens by id.
    fn read_decoder(&mut self, setting: Setting<'_>) -> Result<()> {
        const EXPECTED: &str = "tokens by id: {\"7\": {\"content\": \"<url>\"}}";
        let entries = setting.value().and_then(Json::as_object).ok_or_else(|| setting.wrong(EXPECTED))?;
        for (id, token) in entries {
            let token = token.as_object().and_then(|token| flags(token, false));
            let (Ok(id), Some(token)) = (id.trim().parse(), token) else {
                return Err(setting.wrong_at(id, EXPECTED));
            };
            self.by_id.insert(id, token);
        }
        Ok(())
    }

    /// `added_tokens.json`: ids by token.
    fn read_added(&mut self, file: &JsonFile) -> Result<()> {
        for setting in file.settings() {
            let id = setting.convert("a token's id", |value| i64::try_from(value.as_u64()?).ok())?;
            let id = id.ok_or_else(|| setting.wrong("a token's id"))?;
            let token = AddedToken::from(setting.key(), self.counted.contains(setting.key()));
            self.by_id.insert(id, Flagged::whole(token));
        }
        Ok(())
    }
}

/// A named token of `tokenizer_config.json`; `None` if it is null.
fn named(setting: Setting<'_>) -> Result<Option<Token>> {
    setting.convert("a string, or an object with \"__type\": \"AddedToken\"", |value| match value {
        Json::String(content) => Some(Token::Plain(content.clone())),
        value => typed(value).map(Token::Added),
    })
}

/// The tokens of a list: strings, and what `other` makes of the rest.
fn list(setting: Setting<'_>, items: &[Json], other: impl Fn(&Json) -> Option<Token>) -> Result<Vec<Token>> {
    let token = |item: &Json| match item {
        Json::String(content) => Some(Token::Plain(content.clone())),
        item => other(item),
    };
    items.iter().map(|item| token(item).ok_or_else(|| setting.wrong("a list of tokens"))).collect()
}

/// A model's own tokens by name.
fn dictionary<'a>(setting: Setting<'a>, entries: &'a [(String, Json)]) -> Result<Vec<(&'a str, Token)>> {
    let token = |(name, value): &'a (String, Json)| match value {
        Json::String(content) => Ok((name.as_str(), Token::Plain(content.clone()))),
        value => match typed(value) {
            Some(token) => Ok((name.as_str(), Token::Added(token))),
            None => Err(setting.wrong_at(name, "a token")),
        },
    };
    entries.iter().map(token).collect()
}

/// A token as `tokenizer_config.json` has it where it has flags.
fn typed(value: &Json) -> Option<Flagged> {
    let is_token = value.get("__type").and_then(Json::as_str) == Some("AddedToken");
    value.as_object().filter(|_| is_token).and_then(|entries| flags(entries, false))
}

/// A token of its flags. With `special` it is special whatever they say.
fn flags(entries: &[(String, Json)], special: bool) -> Option<Flagged> {
    let get = |name: &str| entries.iter().find(|(key, _)| key == name).map(|(_, value)| value);
    let flag = |name: &str| get(name).map_or(Some(false), Json::as_bool);
    let special = flag("special")? || special;
    let normalized = get("normalized").map_or(Some(!special), Json::as_bool)?;
    let token = AddedToken::from(get("content").map_or(Some(""), Json::as_str)?, special);
    let token = token.single_word(flag("single_word")?).lstrip(flag("lstrip")?).rstrip(flag("rstrip")?);
    Some(Flagged { token: token.normalized(normalized), has_normalized: get("normalized").is_some() })
}
