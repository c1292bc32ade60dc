//! What is asked of the hub, and what its answers mean.

use super::listing::Listing;
use super::{Hub, MAIN};
use crate::error::{Error, Result};
use crate::hub::cache::token_file;
use crate::hub::{Cache, Name};
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Repo, RepoType};
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

/// Where the hub is.
const ENDPOINT: &str = "https://huggingface.co";
/// How long a connection may take to come about, and how long it may say nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// The most that is read of a list of files.
const MAX_LISTING: u64 = 32 << 20;
/// How often an address may lead to another.
const MAX_REDIRECTS: usize = 10;

/// What the environment says.
pub(super) fn from_environment() -> Result<Hub> {
    let get =
        |name: &str| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let endpoint = get("HF_ENDPOINT").map_or(ENDPOINT.to_owned(), |endpoint| endpoint.trim_end_matches('/').to_owned());
    if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
        let reason = "it is no address; expected one such as https://huggingface.co".to_owned();
        return Err(failed(format!("HF_ENDPOINT={endpoint}"), reason, false));
    }
    let Some(cache) = Cache::from_environment() else {
        return Err(failed(
            "the cache of the hub",
            "there is no HOME to have it in; set HF_HUB_CACHE".to_owned(),
            false,
        ));
    };
    let read = || Some(fs::read_to_string(token_file()?).ok()?.trim().to_owned()).filter(|token| !token.is_empty());
    let token = get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")).or_else(read);
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(failed("HF_TOKEN", "the token has characters that no token has".to_owned(), false));
    }
    let offline = get("HF_HUB_OFFLINE")
        .is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str()));
    Ok(Hub { cache, endpoint, token, offline })
}

/// An error of a pull.
pub(super) fn failed(what: impl fmt::Display, reason: String, is_retryable: bool) -> Error {
    Error::Pull { what: what.to_string(), reason, is_retryable }
}

/// Asks for one revision of a model.
pub(super) struct Client {
    pub(super) id: String,
    revision: String,
    endpoint: String,
    token: Option<String>,
    repo: ApiRepo,
    agent: Agent,
}

/// An answer with a file, or a part of it.
pub(super) struct Answer {
    pub(super) response: Response<ureq::Body>,
    /// What the hub says of the whole file, where another server sends it.
    pub(super) etag: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) commit: Option<String>,
}

impl Client {
    pub(super) fn new(hub: &Hub, name: &Name) -> Result<Self> {
        let (id, revision) = (name.id(), name.revision().unwrap_or(MAIN).to_owned());
        let api = ApiBuilder::from_cache(hf_hub::Cache::new(hub.cache.folder().to_owned()))
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            .with_user_agent("thalweg", env!("CARGO_PKG_VERSION"))
            .with_progress(false)
            .build()
            .map_err(|error| failed(&id, error.to_string(), false))?;
        let repo = api.repo(Repo::with_revision(id.clone(), RepoType::Model, revision.clone()));
        let agent = Agent::config_builder()
            .user_agent(concat!("thalweg/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // An address that leads elsewhere says here what the file is, and takes the token along only here.
            .max_redirects(0)
            .max_redirects_will_error(false)
            // A file's bytes, and ranges of them.
            .accept_encoding("identity")
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build()
            .into();
        Ok(Self { id, revision, endpoint: hub.endpoint.clone(), token: hub.token.clone(), repo, agent })
    }

    /// The list of files.
    pub(super) fn list(&self) -> Result<Listing> {
        let request = self.repo.info_request().query("blobs", "true").config().http_status_as_error(false);
        let request = request.timeout_connect(Some(SILENCE)).timeout_per_read(Some(SILENCE));
        let response = request.timeout_recv_response(Some(SILENCE)).build().call();
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        self.check(response.status().as_u16(), None)?;
        let mut bytes = Vec::new();
        let read = response.body_mut().as_reader().take(MAX_LISTING + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(&self.id, format!("the connection to {} broke: {error}", self.endpoint), true))?;
        if bytes.len() as u64 > MAX_LISTING {
            return Err(failed(&self.id, format!("its list of files is longer than {} MiB", MAX_LISTING >> 20), false));
        }
        Listing::parse(&bytes).map_err(|reason| failed(&self.id, reason, false))
    }

    /// Asks for a file of a commit, from its byte `start` on.
    ///
    /// # Errors
    /// As of the connection; what a status means, [`Client::check`] says.
    pub(super) fn get(&self, commit: &str, path: &str, start: u64) -> Result<Answer> {
        let mut address = format!("{}/{}/resolve/{commit}/{path}", self.endpoint, self.id);
        let (mut etag, mut size, mut of) = (None, None, None);
        for _ in 0..MAX_REDIRECTS {
            let is_ours = origin(&address) == origin(&self.endpoint);
            let mut request = self.agent.get(&address);
            if start > 0 {
                request = request.header("Range", format!("bytes={start}-"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| is_ours) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| self.unreachable(&error))?;
            let headers = response.headers();
            if is_ours {
                let plain = |etag: String| etag.trim_start_matches("W/").trim_matches('"').to_owned();
                etag = header(headers, "x-linked-etag").or_else(|| header(headers, "etag")).map(plain).or(etag);
                size = header(headers, "x-linked-size").and_then(|size| size.parse().ok()).or(size);
                of = header(headers, "x-repo-commit").or(of);
            }
            let location = header(headers, "location").filter(|_| response.status().is_redirection());
            let Some(location) = location else { return Ok(Answer { response, etag, size, commit: of }) };
            address = self.follow(&address, &location)?;
        }
        Err(failed(path, "its address leads from one to another without an end".to_owned(), false))
    }

    /// The address that another leads to.
    fn follow(&self, from: &str, location: &str) -> Result<String> {
        let is_safe = from.starts_with("https://");
        if location.starts_with("https://") || (location.starts_with("http://") && !is_safe) {
            return Ok(location.to_owned());
        }
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(format!("{}{location}", origin(from)));
        }
        Err(failed(&self.id, format!("{from} leads to {location}, which is not followed"), false))
    }

    /// What a status means; of a file, if one was asked for.
    pub(super) fn check(&self, status: u16, file: Option<&str>) -> Result<()> {
        let Self { id, revision, endpoint, token, .. } = self;
        let fail = |reason: String, is_retryable| Err(failed(id, reason, is_retryable));
        match status {
            200..=299 => Ok(()),
            401 | 403 => {
                let advice = match token {
                    None => "set HF_TOKEN to a token with access to it",
                    Some(_) => "the token of HF_TOKEN or of the hub's token file has no access to it",
                };
                fail(
                    format!(
                        "{endpoint} refuses it (status {status}): there is no such model, or it is private or asks for \
                         consent ({endpoint}/{id}); {advice}"
                    ),
                    false,
                )
            }
            404 => match file {
                Some(file) => fail(format!("{endpoint} has no {file} of it (status 404)"), false),
                None => {
                    fail(format!("{endpoint} has no such model, or no revision {revision} of it (status 404)"), false)
                }
            },
            429 | 500..=599 => fail(format!("{endpoint} cannot answer now (status {status}); try again later"), true),
            _ => fail(format!("{endpoint} answers with status {status}"), false),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Error {
        failed(&self.id, format!("{} cannot be reached: {error}", self.endpoint), true)
    }
}

/// A header that is text.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// Scheme, host and port of an address.
fn origin(address: &str) -> &str {
    let begin = address.find("://").map_or(0, |at| at + 3);
    let end = address[begin..].find(['/', '?', '#']).map_or(address.len(), |at| begin + at);
    &address[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_before_the_path() {
        for (address, expected) in [
            ("https://a.b:7/c/d", "https://a.b:7"),
            ("http://a", "http://a"),
            ("http://a?x=https://b/", "http://a"),
            ("http://a#/x", "http://a"),
        ] {
            assert_eq!(origin(address), expected);
        }
    }
}
