//! A hub on loopback: a server for tests, which has one model, says what the real one says, and fails where a test
//! wants.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use ring::digest;
use serde_json::json;

use crate::process::{Invocation, Place};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// The first byte that is asked for.
    pub fn start(&self) -> usize {
        let range = self.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        range.map_or(0, |range| range.split('-').next().unwrap().parse().unwrap())
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body are sent before the connection breaks.
    pub sent: usize,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), sent: usize::MAX }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The bytes that a request asks for.
    fn part(self, start: usize) -> Self {
        if start == 0 {
            return self;
        }
        let size = self.body.len();
        if start >= size {
            return Self { status: 416, body: Vec::new(), ..self };
        }
        let body = self.body[start..].to_vec();
        Self { status: 206, body, ..self }.header("Content-Range", format!("bytes {start}-{}/{size}", size - 1))
    }
}

/// Changes an answer, or leaves it.
type Change = Box<dyn Fn(&Request, Answer) -> Answer + Send + Sync>;

/// A server with the model of a [`Place`] as `org/small`.
pub struct Hub {
    pub address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    /// As the real one answers.
    pub fn of(place: &Place) -> Self {
        Self::changed(place, |_, answer| answer)
    }

    /// With answers that `change` may change.
    pub fn changed(place: &Place, change: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Self {
        let mut files = BTreeMap::from([
            ("README.md".to_owned(), b"A model.".to_vec()),
            ("pytorch_model.bin".to_owned(), b"a pickle".to_vec()),
            ("onnx/model.onnx".to_owned(), b"another format".to_vec()),
        ]);
        read_folder(&place.model(), "", &mut files);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new((files, Box::new(change) as Change, Arc::clone(&asked)));
        // They live as long as the test's process.
        thread::spawn(move || {
            for connection in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (files, change, asked) = &*shared;
                    serve(connection.unwrap(), files, change, asked);
                });
            }
        });
        Self { address, asked }
    }

    /// What was asked so far, from the start or since the last time.
    pub fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// `thalweg pull`, of this hub into the folder `hub` of the place.
    pub fn pull(&self, place: &Place, name: &str) -> Invocation {
        pull(place, name).variable("HF_ENDPOINT", &self.address)
    }
}

/// `thalweg pull` into the folder `hub` of the place, with nothing of the test's own environment.
pub fn pull(place: &Place, name: &str) -> Invocation {
    let mut invocation = Invocation::new("pull").switch(name).variable("HF_HUB_CACHE", place.path("hub"));
    invocation = invocation.variable("HF_HOME", place.path("home"));
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "HF_ENDPOINT"] {
        invocation = invocation.without(name);
    }
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"] {
        invocation = invocation.without(name);
    }
    invocation
}

fn read_folder(folder: &Path, place: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{place}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            read_folder(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
}

fn serve(stream: TcpStream, files: &BTreeMap<String, Vec<u8>>, change: &Change, asked: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    let request = Request { path, headers: headers.collect() };
    asked.lock().unwrap().push(request.clone());
    let Answer { status, headers, body, sent } = change(&request, answer(&request, files));
    let mut head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = stream;
    // Who has enough goes away.
    let _ = stream.write_all((head + "\r\n").as_bytes());
    let _ = stream.write_all(&body[..sent.min(body.len())]);
}

/// As the real hub: a list of files with sizes and checksums; what is large lies on another host.
fn answer(request: &Request, files: &BTreeMap<String, Vec<u8>>) -> Answer {
    let path = request.path.as_str();
    if let Some(file) = path.strip_prefix("/elsewhere/") {
        return Answer::new(200, files[file].clone()).header("ETag", "\"of-another-host\"").part(request.start());
    }
    if let Some(revision) = path.strip_prefix("/api/models/org/small/revision/") {
        return match revision.split('?').next().unwrap() {
            "main" | "v1" | "refs%2Fpr%2F1" | COMMIT => Answer::new(200, listing(files).to_string()),
            _ => Answer::new(404, "{\"error\":\"Revision not found\"}"),
        };
    }
    let file = path.strip_prefix(&format!("/org/small/resolve/{COMMIT}/"));
    match file.and_then(|file| Some((file, files.get(file)?))) {
        None => Answer::new(404, "{\"error\":\"Repository not found\"}"),
        Some((file, bytes)) if is_large(file) => {
            let host = &request.headers["host"].replace("127.0.0.1", "localhost");
            Answer::new(302, "")
                .header("Location", format!("http://{host}/elsewhere/{file}"))
                .header("X-Repo-Commit", COMMIT)
                .header("X-Linked-Size", bytes.len().to_string())
                .header("X-Linked-ETag", format!("\"{}\"", checksum(file, bytes)))
        }
        Some((file, bytes)) => Answer::new(200, bytes.clone())
            .header("X-Repo-Commit", COMMIT)
            .header("ETag", format!("\"{}\"", checksum(file, bytes)))
            .part(request.start()),
    }
}

fn is_large(file: &str) -> bool {
    file.ends_with(".safetensors")
}

fn listing(files: &BTreeMap<String, Vec<u8>>) -> serde_json::Value {
    let siblings = files.iter().map(|(file, bytes)| {
        let mut sibling = json!({ "rfilename": file, "size": bytes.len(), "blobId": checksum("", bytes) });
        if is_large(file) {
            sibling["lfs"] = json!({ "sha256": checksum(file, bytes), "size": bytes.len(), "pointerSize": 134 });
        }
        sibling
    });
    json!({ "id": "org/small", "sha": COMMIT, "siblings": siblings.collect::<Vec<_>>() })
}

/// Git's of a small file, SHA-256 of a large one.
pub fn checksum(file: &str, bytes: &[u8]) -> String {
    let digest = if is_large(file) {
        digest::digest(&digest::SHA256, bytes)
    } else {
        let blob = [format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat();
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &blob)
    };
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
