//! Facts about the machine, from what the system says without a library of its own. Unknown is an answer.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Assumed where the system does not say.
const DEFAULT_MEMORY_BYTES: u64 = 8 << 30;

/// The processor's name, or the architecture's.
pub fn processor() -> String {
    let name = read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text));
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The first model name of a `/proc/cpuinfo`, without marks and needless spaces.
fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = line.split_once(':')?.1.replace("(R)", " ").replace("(TM)", " ").replace("(tm)", " ");
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then_some(name)
}

/// How much memory this process may use: the machine's, or the least limit of its cgroups. 8 GiB where the system does
/// not say.
pub fn memory_bytes() -> u64 {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| total_memory(&text));
    let cgroups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let files = groups(&cgroups, "memory").into_iter().map(|(folder, version)| match version {
        Version::One => folder.join("memory.limit_in_bytes"),
        Version::Two => folder.join("memory.max"),
    });
    let limits = files.filter_map(|path| read_to_string(path).ok()?.trim().parse().ok());
    // A cgroup without a limit says "max", or a number past any memory.
    machine.into_iter().chain(limits).min().unwrap_or(DEFAULT_MEMORY_BYTES)
}

/// How many processors' time this process may use, by the least quota of its cgroups; it need not be a whole number.
/// `None` without a quota, or where the system does not say.
pub fn cpu_quota() -> Option<f64> {
    let cgroups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let quotas = groups(&cgroups, "cpu").into_iter().filter_map(|(folder, version)| match version {
        Version::One => {
            let read = |file| read_to_string(folder.join(file)).ok();
            quota(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
        }
        Version::Two => {
            let text = read_to_string(folder.join("cpu.max")).ok()?;
            let (quota_text, period) = text.split_once(' ')?;
            quota(quota_text, period)
        }
    });
    quotas.min_by(f64::total_cmp)
}

/// Processors, by microseconds of their time in a period of so many. `None` for what says that there is no quota, which
/// is "max" or -1.
fn quota(quota: &str, period: &str) -> Option<f64> {
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The total of a `/proc/meminfo`, in bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The two that there are of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The folders of the cgroups that may limit what a controller is for, of a process with this `/proc/self/cgroup`: its
/// group and every group above.
fn groups(cgroups: &str, controller: &str) -> Vec<(PathBuf, Version)> {
    let mut folders = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, version) = match controllers {
            "" => (PathBuf::from("/sys/fs/cgroup"), Version::Two),
            _ if controllers.split(',').any(|name| name == controller) => {
                (Path::new("/sys/fs/cgroup").join(controller), Version::One)
            }
            _ => continue,
        };
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        folders.extend(above.map(|group| (root.join(group), version)));
    }
    folders
}

/// How much processor time the calling thread has used. `None` where the system does not say. A system call.
pub fn thread_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a timespec of this frame, which the call writes.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0;
        let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        (!failed).then(|| Duration::new(seconds, nanoseconds))
    }
    #[cfg(not(unix))]
    None
}

/// The vector extensions that kernels may choose from, as the processor reports them at run time.
pub fn simd() -> String {
    let mut seen: Vec<&str> = Vec::new();
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    {
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_x86_feature_detected!($name) { seen.push($name); })* };
        }
        look!("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16");
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! look {
            ($($name:tt),*) => { $(if std::arch::is_aarch64_feature_detected!($name) { seen.push($name); })* };
        }
        look!("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2");
    }
    if seen.is_empty() {
        seen.push("none known");
    }
    seen.join(" ")
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_marks() {
        let text = "processor\t: 0\nmodel\t\t: 207\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t: fpu\n";
        assert_eq!(model_name(text).as_deref(), Some("Intel Xeon Processor"));
        assert_eq!(model_name("processor : 0\nBogoMIPS : 50\n"), None);
        assert_eq!(model_name("model name"), None);
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(total_memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_memory("MemTotal: many kB\n"), None);
        assert_eq!(total_memory("MemTotal: 18446744073709551615 kB\n"), None);
        assert!(memory_bytes() > 0);
    }

    #[test]
    fn every_group_above_may_limit() {
        let folders = |cgroups, controller| -> Vec<_> {
            let show = |(folder, version): (PathBuf, _)| (folder.display().to_string(), version);
            groups(cgroups, controller).into_iter().map(show).collect()
        };
        let two = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"].map(|at| (at.to_owned(), Version::Two));
        assert_eq!(folders("0::/a/b\n", "memory"), two);
        let text = "5:cpu,cpuacct:/x\n4:hugetlb,memory:/\nnonsense\n";
        assert_eq!(folders(text, "memory"), [("/sys/fs/cgroup/memory/".to_owned(), Version::One)]);
        let one = ["/sys/fs/cgroup/cpu/x", "/sys/fs/cgroup/cpu/"].map(|at| (at.to_owned(), Version::One));
        assert_eq!(folders(text, "cpu"), one);
    }

    #[test]
    fn a_quota_is_a_number_of_processors() {
        assert_eq!(quota("50000", "100000\n"), Some(0.5));
        assert_eq!(quota("300000\n", "200000\n"), Some(1.5));
        for none in ["max", "-1\n", "0", ""] {
            assert_eq!(quota(none, "100000"), None, "{none:?}");
        }
        assert_eq!(quota("50000", "0"), None);
    }
}
