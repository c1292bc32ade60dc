use super::*;
use crate::testing;
use std::path::Path;
use std::time::Instant;
use thalweg_doubles::suite::kernel;
use thalweg_hal::{Access, Device as _};

/// What a file has beside the data.
const HEADER: u64 = 20 + b"this one".len() as u64;

/// A driver's cache that has so many bytes for each kernel.
struct Double(Mutex<Vec<u8>>);

impl Compiled for Double {
    fn empty(&self) -> Option<Self> {
        Some(Self(Mutex::default()))
    }

    fn bytes(&self) -> u64 {
        lock(&self.0).len() as u64
    }

    fn data(&self) -> Option<Vec<u8>> {
        Some(lock(&self.0).clone())
    }
}

fn file(directory: &Path) -> CacheFile {
    CacheFile::in_directory(directory.to_owned(), "driver", b"this one")
}

/// What the system says of the file in a directory, if there is one.
fn found(directory: &Path) -> Option<std::fs::Metadata> {
    std::fs::read_dir(directory).unwrap().next().map(|file| file.unwrap().metadata().unwrap())
}

fn open(directory: &Path, most: u64) -> PipelineCache<Double> {
    PipelineCache::with(Some(file(directory)), most, |data| Some(Double(Mutex::new(data.to_vec()))))
}

/// Compiles a kernel of so many bytes.
fn compile(cache: &PipelineCache<Double>, number: u32, bytes: usize) {
    let current = cache.current().unwrap();
    let code = number.to_le_bytes().into_iter().cycle().take(bytes);
    lock(&current.0).extend(code);
    drop(current);
    cache.compiled(Duration::ZERO);
}

// audit: C21
#[test]
fn ten_thousand_kernels_stay_within_the_bound() {
    for most in [MAX_BYTES, 1 << 20] {
        let directory = tempfile::tempdir().unwrap();
        let mut cache = open(directory.path(), most);
        let (mut longest, mut overs, mut last) = (0, 0, 0);
        for number in 0..10_000 {
            compile(&cache, number, 4000 + number as usize % 1000);
            let bytes = cache.current().unwrap().bytes();
            (longest, overs, last) = (bytes.max(longest), overs + u32::from(bytes < last), bytes);
            let kept = found(directory.path()).map_or(0, |found| found.len() - HEADER);
            assert!(bytes <= most && kept <= most, "{bytes} in memory, {kept} on disk, of {most}");
        }
        assert!(overs > 0 && longest > most / 10 * 9, "{longest} of {most}, started over {overs} times");
        cache.close();
        // What was compiled since is there.
        assert_eq!(file(directory.path()).read().unwrap().len() as u64, last);
    }
}

/// The same with a driver, as far as it caches anything (the one that computes on the processor does not).
#[test]
fn stress_endless_kernels_of_a_driver_stay_within_the_bound() {
    let Some(device) = testing::device() else { return };
    let kernels = std::env::var_os("THALWEG_STRESS_OPERATIONS").map_or(500_u32, |_| 10_000);
    let (mut longest, mut looks, began) = (0, Duration::ZERO, Instant::now());
    for number in 0..kernels {
        let text = format!(
            "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
             @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
                 x[id.x] = x[id.x] * {number}u + x[id.y] ^ {}u;
             }}",
            !number
        );
        drop(device.create_pipeline(&kernel("numbered", &[Access::ReadWrite], 0, text)).unwrap());
        let look = Instant::now();
        longest = longest.max(device.context.pipelines.current().map_or(0, |cache| cache.bytes()));
        looks += look.elapsed();
    }
    let took = began.elapsed();
    println!("{kernels} kernels in {took:?}, {looks:?} of it to ask how long the cache is: at most {longest} bytes");
    assert!(longest <= MAX_BYTES);
}

#[test]
fn the_next_process_finds_what_was_compiled_and_writes_it_again_only_if_there_is_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut cache = open(directory.path(), MAX_BYTES);
    (0..5).for_each(|number| compile(&cache, number, 100));
    assert_eq!(file(directory.path()).read().unwrap().len(), 100, "the others are not worth a file yet");
    cache.close();
    let modified = || found(directory.path()).unwrap().modified().unwrap();
    let written = modified();
    let mut cache = open(directory.path(), MAX_BYTES);
    assert_eq!(cache.current().unwrap().bytes(), 500);
    cache.compiled(Duration::from_secs(60)); // which the driver had
    cache.close();
    assert_eq!(modified(), written, "written again, for nothing");
    let cache = open(directory.path(), MAX_BYTES);
    for bytes in [501, 502] {
        lock(&cache.current().unwrap().0).push(7);
        cache.compiled(Duration::from_secs(60));
        let kept = file(directory.path()).read().unwrap().len();
        assert_eq!(kept, bytes, "what took a minute is not lost for its few bytes");
    }
}

// audit: C21
#[test]
fn a_process_that_is_killed_has_compiled_little_in_vain() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), MAX_BYTES);
    for number in 0..500 {
        compile(&cache, number, 3000);
        // As if it ended here.
        let saved = file(directory.path()).read().map_or(0, |data| data.len() as u64);
        let lost = cache.current().unwrap().bytes() - saved;
        assert!(lost < LEAST_GROWTH.max(saved / 4), "{lost} bytes lost, {saved} saved");
    }
}

/// A directory that cannot be written: nobody is told, and nobody tries each time.
#[test]
fn a_file_that_cannot_be_written_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("a file");
    std::fs::write(&blocked, "").unwrap();
    let mut cache = open(&blocked, MAX_BYTES);
    (0..5).for_each(|number| compile(&cache, number, LEAST_GROWTH as usize));
    assert_eq!(cache.current().unwrap().bytes(), 5 * LEAST_GROWTH);
    cache.close();
    assert!(cache.current().is_none());
}

/// Whatever threads compile meanwhile, what they compiled is looked at before all of them are done.
#[test]
fn threads_that_compile_at_once_stay_within_the_bound() {
    let directory = tempfile::tempdir().unwrap();
    let cache = open(directory.path(), 1 << 20);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for number in 0..2000 {
                    compile(cache, 4 * number + thread, 2000);
                }
            });
        }
    });
    assert!(cache.current().unwrap().bytes() <= 1 << 20);
    assert!(file(directory.path()).read().is_some_and(|data| data.len() <= 1 << 20));
}

#[test]
fn files_are_written_seldom_and_nothing_twice() {
    let hour = Duration::from_secs(3600);
    assert!(!Written(0).is_due(0, hour) && !Written(7).is_due(7, hour));
    assert!(Written(0).is_due(1, hour), "a second's work is not lost for its few bytes");
    assert!(!Written(0).is_due(LEAST_GROWTH - 1, Duration::ZERO) && Written(0).is_due(LEAST_GROWTH, Duration::ZERO));
    // Started over, it may be shorter than the file.
    assert!(!Written(1 << 20).is_due(1 << 10, Duration::ZERO));
    // Whatever kernels there are: a few times what is there in the end, and a small part of the time that they took,
    // if a file takes a second for every 100 MiB.
    for (bytes, took) in [(3 << 10, 1), (1 << 10, 100), (100 << 10, 3), (1 << 20, 2000)] {
        let (mut written, mut spent) = (Written(0), Duration::ZERO);
        let (mut length, mut files, mut grown, mut time) = (0u64, 0u64, 0u64, Duration::ZERO);
        while length + bytes <= MAX_BYTES {
            length += bytes;
            spent += Duration::from_millis(took);
            time += Duration::from_millis(took);
            if written.is_due(length, spent) {
                let is_grown = length - written.0 >= LEAST_GROWTH.max(written.0 / 4);
                grown += if is_grown { length } else { 0 };
                (written, spent, files) = (Written(length), Duration::ZERO, files + length);
            }
        }
        let writing = Duration::from_secs_f64((files - grown) as f64 / f64::from(100 << 20));
        assert!(grown <= 6 * length, "{grown} bytes written of {length}");
        assert!(writing <= time / 5, "{writing:?} of {time:?}");
    }
}
